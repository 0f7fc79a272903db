"""Whether the newest values are likely: in range, usual, in the usual unit, no repeats, not stuck.

What the version before had too is not told again. What became of its weeks: `history`.
"""

import math
from collections.abc import Mapping

import numpy as np

from forecast_assets.config.settings import matches_any
from forecast_assets.data.quality.comparison import VersionComparison, is_close
from forecast_assets.data.quality.finding import Finding, make_finding, named, number, pluralize
from forecast_assets.data.quality.latest_value import LatestValues
from forecast_assets.errors import format_list

YEAR = 52  # weeks that a gap is told within
RARE = 1e-3  # the chance that a sound week repeats the one before
TOGETHER = 0.05  # of the weeks before, in which nearly all series repeated their value at once
USUALLY = 0.5  # a series that repeats its value less often than this usually changes
NEARLY_ALL = 0.9
FLAT_LEAST, FLAT_MOST = 4, 26  # weeks that a flat line is told for: then it is how the series is


def unusual(newest: LatestValues) -> list[Finding]:
    """Tell of newest values far outside of what their series do, as far as no unit explains it."""
    now = newest.beside.now
    is_told = newest.is_unusual & ~newest.is_rescaled
    places = np.flatnonzero(is_told)
    places = places[np.argsort(-newest.score[places], kind="stable")]
    told = [
        f"{now.ids[i]} ({number(newest.tail[i, -2])}, now {number(newest.tail[i, -1])})"
        for i in places[:5]
    ]
    what = (
        f"The newest value of {len(places):,} of {pluralize(len(now.ids), 'series', 'series')} lies"
        f" far outside of what the series does: {format_list(told, total=len(places))}."
    )
    then = (
        "It is forecast from as it stands. See whether the source means it; a wrong value is"
        " mended there."
    )
    return make_finding("unusual", len(places), now.ids[np.sort(places)], what, then)


def rescaled(newest: LatestValues) -> list[Finding]:
    """Tell of newest values that look to be in another unit."""
    now, places = newest.beside.now, np.flatnonzero(newest.is_rescaled)
    told = [
        f"{now.ids[i]} ({number(newest.level[i])}, now {number(newest.tail[i, -1])})"
        for i in places
    ]
    what = (
        f"The newest value of {len(places):,} of {pluralize(len(now.ids), 'series', 'series')} is off"
        f" the usual level by a factor: {named(told)}."
    )
    then = (
        "Its unit changed, or a part of the week is missing. Ask the source, and have the whole"
        " history in one unit."
    )
    return make_finding("rescaled", len(places), now.ids[places], what, then)


def repeated(newest: LatestValues) -> list[Finding]:
    """Tell of a newest week that is the one before again, where that cannot be chance."""
    now, tail = newest.beside.now, newest.tail
    same = is_close(tail[:, 1:], tail[:, :-1])
    n_pairs = np.sum(~np.isnan(np.diff(tail, axis=1))[:, :-1], axis=1)
    rate = (same[:, :-1].sum(axis=1) + 1) / (n_pairs + 2)  # Laplace's rule of succession
    is_asked = newest.is_judged & (now.last == now.newest) & (rate < USUALLY) & (tail[:, -1] != 0)
    is_same = is_asked & same[:, -1]
    n, n_same = int(is_asked.sum()), int(is_same.sum())
    if not n_same or n_same < NEARLY_ALL * n:
        return []
    pairs = same & is_asked[:, None]  # [S, P]
    n_weeks = int(np.sum(~np.isnan(tail[is_asked]).all(axis=0))) - 2
    n_together = int((pairs[:, :-1].sum(axis=0) >= NEARLY_ALL * n).sum())
    if (n_together + 1) / (n_weeks + 2) > TOGETHER:  # prices of one list change together
        return []
    ways = math.lgamma(n + 1) - math.lgamma(n_same + 1) - math.lgamma(n - n_same + 1)
    if float(np.log(rate[is_same]).sum()) + ways > math.log(RARE):
        return []
    ids = now.ids[is_same]
    what = (
        f"The week ending {now.day(now.newest)} has the value of the week before for {n_same:,} of"
        f" {pluralize(n, 'series', 'series')} that usually change: {named(ids)}."
    )
    then = "Last week's data came under a new date. Ask the source for the week itself."
    return make_finding("repeated", n_same, ids, what, then)


def flat(newest: LatestValues) -> list[Finding]:
    """Tell of series that no longer move: as long as that is news, and twice as long as ever."""
    now, tail = newest.beside.now, newest.tail
    runs = np.ones_like(tail, dtype=np.int64)  # of equal values, up to each week
    for i, same in enumerate(is_close(tail[:, 1:], tail[:, :-1]).T, start=1):
        runs[:, i] = np.where(same, runs[:, i - 1] + 1, 1)
    run = runs[:, -1]
    is_earlier = np.arange(tail.shape[1]) < tail.shape[1] - run[:, None]
    longest = np.max(runs, axis=1, where=is_earlier & ~np.isnan(tail), initial=0)
    is_told = newest.beside.is_news & (run >= FLAT_LEAST) & (run <= FLAT_MOST)
    places = np.flatnonzero(is_told & (run > 2 * longest) & (longest > 0))
    told = [f"{now.ids[i]} ({run[i]} weeks at {number(tail[i, -1])})" for i in places]
    what = (
        f"{pluralize(len(places), 'series', 'series')} stand still, longer than ever before:"
        f" {named(told)}."
    )
    then = (
        "A sensor that is stuck, or a value that is carried on, looks so. See whether the source"
        " still measures."
    )
    return make_finding("flat", len(places), now.ids[places], what, then)


def out_of_range(
    beside: VersionComparison, *, minimum: float | None, ranges: Mapping[str, tuple[float, float]]
) -> list[Finding]:
    """Tell of values where none of the series can lie: below the minimum, or out of its range."""
    now = beside.now
    least = -math.inf if minimum is None else minimum
    if minimum is None and not ranges:
        return []
    ends = np.array([_range(str(one), ranges) for one in now.ids])
    low, high = np.maximum(ends[:, 0], least)[now.of_series], ends[:, 1][now.of_series]
    is_out = now.is_given & ~beside.is_known & ((now.y < low) | (now.y > high))
    places = np.flatnonzero(is_out)
    ids = now.ids[np.unique(now.of_series[places])]
    told = [
        f"{now.ids[now.of_series[i]]} / {now.day(now.week[i])}: {number(now.y[i])}"
        for i in places[:5]
    ]
    what = (
        f"{pluralize(len(places), 'value')} of {pluralize(len(ids), 'series', 'series')} lie where none"
        f" can: {format_list(told, total=len(places))}."
    )
    then = (
        "Models would learn from them. Mend the source, or, where they are right,"
        " `[series.ranges]` and `forecast.minimum`."
    )
    return make_finding("out_of_range", len(places), ids, what, then)


def gaps(beside: VersionComparison) -> list[Finding]:
    """Tell of weeks that were filled and that the version before had not; at first, of a year."""
    now, was = beside.now, beside.was
    is_new = now.week > now.newest - YEAR
    if len(was.ids):
        is_new = was.places(beside.in_was[now.of_series], now.week) < 0
    is_told = ~now.is_given & is_new
    places = np.flatnonzero(is_told)
    ids = now.ids[np.unique(now.of_series[places])]
    told = [f"{now.ids[now.of_series[i]]} / {now.day(now.week[i])}" for i in places]
    what = (
        f"{pluralize(len(places), 'week')} of {pluralize(len(ids), 'series', 'series')} have no value"
        f" and were filled: {named(told)}."
    )
    then = (
        "Models take what was filled for what came. Where the source has them by now, run the week"
        " again; `series.missing` says how gaps are filled."
    )
    return make_finding("gaps", len(places), ids, what, then)


def _range(name: str, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """The first range whose pattern the name fits; without one, anywhere."""
    every = (ends for pattern, ends in ranges.items() if matches_any(name, [pattern]))
    return next(every, (-math.inf, math.inf))
