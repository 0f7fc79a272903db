"""Whether the newest values are likely: in range, usual, in the usual unit, no repeats, not stuck.

What the version before had too is not told again. What became of its weeks: `verdict_of_history`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecast_assets.beside import Beside, Floats, Ints, Mask, is_close
from forecast_assets.finding import Finding, counted, found, named, number
from forecast_assets.settings import fits

YEAR = 52  # weeks that a gap is told within
PAST = 104  # changes that say what is usual
LEAST = 12  # of them, to say anything
RARE = 1e-3  # the chance that a sound week repeats the one before
USUALLY = 0.5  # a series that repeats its value less often than this usually changes
NEARLY_ALL = 0.9
FLAT_LEAST, FLAT_MOST = 4, 26  # weeks that a flat line is told for: then it is how the series is
SIGMA = 1.4826  # a normal distribution's standard deviation, of its median absolute deviation
FAR = 5.0  # such deviations from the usual change
BEYOND = 1.25  # times the largest change before
# Over the last 100 weeks of the demo and of benchmarks/public_series.py: 2 of 2,187 values are
# told. With 3.5 and 1 there are 11, with 8 and 1 one: a jump in prices that is none of these.
TENFOLD = 0.15  # how far a power of ten may be missed, in decades
NARROW = 3.0  # the jump is so many times as far as any value lies from the usual level
AT_ONCE = 5  # series that are off by one factor
BY_MORE = 1.4  # than that a factor is told for
AROUND = 1  # weeks that a holiday may lie from that of a year ago


@dataclass(frozen=True, eq=False)
class Newest:
    """The newest value of each series beside its past. [S], S series; [S, P], P past weeks."""

    beside: Beside
    season_length: int

    @cached_property
    def tail(self) -> Floats:
        """The newest weeks of each series: those that are judged by, and the newest: [S, P + 1]."""
        return self.beside.now.tail(PAST + self.season_length + AROUND + 2)

    @cached_property
    def changes(self) -> Floats:
        """From week to week, of the last weeks before the newest: [S, P]."""
        changes: Floats = np.diff(self.tail, axis=1)[:, -PAST - 1 : -1]
        return changes

    @cached_property
    def change(self) -> Floats:
        """That of the newest week: [S]."""
        newest: Floats = self.tail[:, -1] - self.tail[:, -2]
        return newest

    @cached_property
    def n_past(self) -> Ints:
        """How many changes there are to judge by: [S]."""
        counts: Ints = np.sum(~np.isnan(self.changes), axis=1)
        return counts

    @cached_property
    def is_judged(self) -> Mask:
        """Which series have a newest value that is news, and a past: [S]."""
        judged: Mask = self.beside.is_news & (self.n_past >= LEAST) & ~np.isnan(self.change)
        return judged

    @cached_property
    def score(self) -> Floats:
        """How many usual deviations the newest change is off; [S].

        Where there are two years, those from the change of a year ago count, if they are fewer.
        """
        plain = _score(self.change, self.changes)
        every = np.diff(self.tail, axis=1)
        around = AROUND if self.season_length >= YEAR else 0
        for shift in range(self.season_length - around, self.season_length + around + 1):
            if shift == 1:  # no season
                break
            ago = every - np.roll(every, shift, axis=1)
            ago[:, :shift] = np.nan
            has_years = np.sum(~np.isnan(ago[:, :-1]), axis=1) >= self.season_length
            seasonal = _score(ago[:, -1], ago[:, -PAST - 1 : -1])
            plain = np.where(has_years & ~np.isnan(seasonal), np.fmin(plain, seasonal), plain)
        return plain

    @cached_property
    def is_unusual(self) -> Mask:
        """Which newest values lie far outside of what the series does: [S]."""
        largest = np.fmax.reduce(np.abs(self.changes), axis=1, initial=0.0)
        far: Mask = self.is_judged & (self.score > FAR) & (np.abs(self.change) > BEYOND * largest)
        return far

    @cached_property
    def jump(self) -> Floats:
        """The newest value over the usual level, as a logarithm; NaN where there is none: [S]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.tail[:, -1] / self.level)

    @cached_property
    def level(self) -> Floats:
        """The middle of the values of the last weeks: [S]."""
        return _median(self.tail[:, -PAST - 1 : -1])

    @cached_property
    def width(self) -> Floats:
        """How far, as a logarithm, any lay from that level; NaN where one is not above 0: [S]."""
        past = self.tail[:, -PAST - 1 : -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            away = np.abs(np.log(past / self.level[:, None]))
        is_open = np.any(past <= 0, axis=1)
        widest: Floats = np.where(is_open, np.nan, np.fmax.reduce(away, axis=1))
        return widest

    @cached_property
    def is_rescaled(self) -> Mask:
        """Which newest values are off by a power of ten, or all by one factor: [S]."""
        decades = np.abs(self.jump) / math.log(10)
        decades = np.where(np.isfinite(decades), decades, 0)
        whole = np.round(decades)
        is_tenfold = (whole >= 1) & (np.abs(decades - whole) <= TENFOLD)
        is_narrow = np.abs(self.jump) > NARROW * self.width
        is_off: Mask = self.is_judged & is_tenfold & is_narrow
        return is_off | self._at_once

    @cached_property
    def _at_once(self) -> Mask:
        """Which series fell or rose by a factor that nearly all of them did: [S]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.diff(np.log(self.tail[:, -PAST - 2 :]), axis=1)  # NaN below 0
        step, widest = steps[:, -1], np.fmax.reduce(np.abs(steps[:, :-1]), axis=1)
        is_off: Mask = self.is_unusual & np.isfinite(step) & np.isfinite(widest)
        least = max(AT_ONCE, NEARLY_ALL * int(self.is_judged.sum()))
        if is_off.sum() < least:
            return np.zeros_like(is_off)
        factor = float(np.median(step[is_off]))
        is_one = is_off & (np.abs(step - factor) <= widest)
        is_told: Mask = is_one & (is_one.sum() >= least) & (abs(factor) > math.log(BY_MORE))
        return is_told


def unusual(newest: Newest) -> list[Finding]:
    """Tell of newest values far outside of what their series do, as far as no unit explains it."""
    now = newest.beside.now
    is_told = newest.is_unusual & ~newest.is_rescaled
    places = np.flatnonzero(is_told)
    places = places[np.argsort(-newest.score[places], kind="stable")]
    told = [
        f"{now.ids[i]} ({number(newest.tail[i, -2])}, now {number(newest.tail[i, -1])})"
        for i in places[:5]
    ] + [""] * max(0, len(places) - 5)
    says = (
        f"The newest value of {len(places):,} of {counted(len(now.ids), 'series', 'series')} lies"
        f" far outside of what the series does: {named(told)}. It is forecast from as it stands."
        f" See whether the source means it; a wrong value is mended there."
    )
    return found("unusual", len(places), now.ids[np.sort(places)], says)


def rescaled(newest: Newest) -> list[Finding]:
    """Tell of newest values that look to be in another unit."""
    now, places = newest.beside.now, np.flatnonzero(newest.is_rescaled)
    told = [
        f"{now.ids[i]} ({number(newest.level[i])}, now {number(newest.tail[i, -1])})"
        for i in places
    ]
    says = (
        f"The newest value of {len(places):,} of {counted(len(now.ids), 'series', 'series')} is off"
        f" the usual level by a factor: {named(told)}. Its unit changed, or a part of the week is"
        f" missing. Ask the source, and have the whole history in one unit."
    )
    return found("rescaled", len(places), now.ids[places], says)


def repeated(newest: Newest) -> list[Finding]:
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
    ways = math.lgamma(n + 1) - math.lgamma(n_same + 1) - math.lgamma(n - n_same + 1)
    if float(np.log(rate[is_same]).sum()) + ways > math.log(RARE):
        return []
    ids = now.ids[is_same]
    says = (
        f"The week ending {now.day(now.newest)} has the value of the week before for {n_same:,} of"
        f" {counted(n, 'series', 'series')} that usually change: {named(ids)}. Last week's data"
        f" came under a new date. Ask the source for the week itself."
    )
    return found("repeated", n_same, ids, says)


def flat(newest: Newest) -> list[Finding]:
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
    says = (
        f"{counted(len(places), 'series', 'series')} stand still, longer than ever before:"
        f" {named(told)}. A sensor that is stuck, or a value that is carried on, looks so. See"
        f" whether the source still measures."
    )
    return found("flat", len(places), now.ids[places], says)


def out_of_range(
    beside: Beside, *, minimum: float | None, ranges: Mapping[str, tuple[float, float]]
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
    ] + [""] * max(0, len(places) - 5)
    says = (
        f"{counted(len(places), 'value')} of {counted(len(ids), 'series', 'series')} lie where none"
        f" can: {named(told)}. Models would learn from them. Mend the source, or, where they are"
        f" right, `[series.ranges]` and `forecast.minimum`."
    )
    return found("out_of_range", len(places), ids, says)


def gaps(beside: Beside) -> list[Finding]:
    """Tell of weeks of the last year that were filled, and that the version before had not."""
    now, was = beside.now, beside.was
    is_told = ~now.is_given & (now.week > now.newest - YEAR)
    if len(was.ids):
        is_told &= was.places(beside.in_was[now.of_series], now.week) < 0
    places = np.flatnonzero(is_told)
    ids = now.ids[np.unique(now.of_series[places])]
    told = [f"{now.ids[now.of_series[i]]} / {now.day(now.week[i])}" for i in places]
    says = (
        f"{counted(len(places), 'week')} of {counted(len(ids), 'series', 'series')} have no value"
        f" and were filled: {named(told)}. Models take what was filled for what came. Where the"
        f" source has them by now, run the week again; `series.missing` says how gaps are filled."
    )
    return found("gaps", len(places), ids, says)


def _range(name: str, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """The first range whose pattern the name fits; without one, anywhere."""
    every = (ends for pattern, ends in ranges.items() if fits(name, [pattern]))
    return next(every, (-math.inf, math.inf))


def _score(value: Floats, past: Floats) -> Floats:
    """How many usual deviations a value lies from the middle of the past: [S], [S, P] -> [S].

    Where more than half of the past is one value, its mean deviation counts; where all is, none.
    """
    middle = _median(past)
    away = np.abs(past - middle[:, None])
    spread = SIGMA * _median(away)
    n = np.maximum(np.sum(~np.isnan(away), axis=1), 1)
    spread = np.where(spread > 0, spread, np.nansum(away, axis=1) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = np.where(spread > 0, np.abs(value - middle) / spread, 0.0)
    return scores


def _median(values: Floats) -> Floats:
    """The median of each row, of what is there; NaN of a row without: [S, P] -> [S]."""
    ranked = np.sort(values, axis=1)  # NaN last
    n = np.sum(~np.isnan(values), axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum(n - 1, 0) // 2, n // 2
    middle: Floats = (ranked[rows, low] + ranked[rows, np.minimum(high, values.shape[1] - 1)]) / 2
    return middle
