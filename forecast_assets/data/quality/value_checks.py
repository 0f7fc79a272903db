"""Check whether new values are plausible: in range, not filled, unusual, repeated or stuck.

A value that the previous version had already is not reported again. Revisions: `revisions`.
"""

import math
from collections.abc import Mapping

import numpy as np

from forecast_assets.config.settings import matches_any
from forecast_assets.data.quality.comparison import (
    Floats,
    Ints,
    Mask,
    VersionComparison,
    format_value,
    is_close,
)
from forecast_assets.data.quality.finding import (
    Finding,
    about_series,
    about_weeks,
    format_change,
)
from forecast_assets.data.quality.latest_value import LatestValues

FIRST_GAPS_WEEKS = 52  # that gaps of a first version are reported for
MAX_REPEAT_CHANCE = 1e-3  # below it, a repeated week is no coincidence
MAX_REPEAT_RATE = 0.5  # a series that repeats its value less often usually changes
MAX_TOGETHER_RATE = 0.05  # of earlier weeks in which nearly all series repeated their value
NEARLY_ALL = 0.9
MIN_FLAT_WEEKS, MAX_FLAT_WEEKS = 4, 26  # after half a year a flat line is how the series is


def unusual(latest: LatestValues) -> list[Finding]:
    """Find newest values far outside what their series do, unless a unit explains them."""
    series = np.flatnonzero(latest.is_unusual & ~latest.is_rescaled)
    series = series[np.argsort(-latest.score[series], kind="stable")]
    return _about_newest("unusual", latest, series, latest.tail[:, -2])


def rescaled(latest: LatestValues) -> list[Finding]:
    """Find newest values that seem to be in another unit."""
    return _about_newest("rescaled", latest, latest.is_rescaled, latest.level)


def repeated(latest: LatestValues) -> list[Finding]:
    """Find a newest week that repeats the week before, if that cannot be a coincidence.

    The chance is that of a binomial distribution whose rates follow Laplace's rule of succession.
    """
    grid, tail = latest.grid, latest.tail
    is_same = is_close(tail[:, 1:], tail[:, :-1])
    n_pairs = np.sum(~np.isnan(np.diff(tail, axis=1))[:, :-1], axis=1)
    rate = (is_same[:, :-1].sum(axis=1) + 1) / (n_pairs + 2)
    is_judged = latest.is_judged & (grid.last_week == grid.newest_week)
    is_judged &= (rate < MAX_REPEAT_RATE) & (tail[:, -1] != 0)
    is_repeated = is_judged & is_same[:, -1]
    n, n_repeated = int(is_judged.sum()), int(is_repeated.sum())
    if not n_repeated or n_repeated < NEARLY_ALL * n:
        return []
    # Prices of one list change together, or not at all.
    n_weeks = int(np.sum(~np.isnan(tail[is_judged]).all(axis=0))) - 2
    n_same = (is_same & is_judged[:, None])[:, :-1].sum(axis=0)
    n_together = int((n_same >= NEARLY_ALL * n).sum())
    if (n_together + 1) / (n_weeks + 2) > MAX_TOGETHER_RATE:
        return []
    ways = math.lgamma(n + 1) - math.lgamma(n_repeated + 1) - math.lgamma(n - n_repeated + 1)
    if float(np.log(rate[is_repeated]).sum()) + ways > math.log(MAX_REPEAT_CHANCE):
        return []
    week = grid.day(grid.newest_week)
    return about_series(
        "repeated",
        grid,
        is_repeated,
        grid.last_week,
        grid.newest_value,
        n_judged=n,
        week=week,
    )


def flat(latest: LatestValues) -> list[Finding]:
    """Find series that repeat one value, for twice as long as ever before."""
    grid, tail = latest.grid, latest.tail
    runs = np.ones_like(tail, dtype=np.int64)  # number of equal values up to each week
    for i, is_same in enumerate(is_close(tail[:, 1:], tail[:, :-1]).T, start=1):
        runs[:, i] = np.where(is_same, runs[:, i - 1] + 1, 1)
    run = runs[:, -1]
    is_earlier = np.arange(tail.shape[1]) < tail.shape[1] - run[:, None]
    longest = np.max(runs, axis=1, where=is_earlier & ~np.isnan(tail), initial=0)
    is_flat = latest.comparison.has_new_value & (run >= MIN_FLAT_WEEKS) & (run <= MAX_FLAT_WEEKS)
    is_flat &= (run > 2 * longest) & (longest > 0)

    def detail(i: int) -> str:
        return f"{run[i]} weeks at {grid.newest_value(i)}"

    return about_series("flat", grid, is_flat, grid.last_week - run + 1, detail)


def out_of_range(
    comparison: VersionComparison,
    *,
    minimum: float | None,
    ranges: Mapping[str, tuple[float, float]],
) -> list[Finding]:
    """Find new values below the minimum or outside the range of their series."""
    if minimum is None and not ranges:
        return []
    new = comparison.new
    bounds = np.array([_range(str(name), ranges) for name in new.ids])
    low = np.maximum(bounds[:, 0], -math.inf if minimum is None else minimum)[new.series_index]
    high = bounds[:, 1][new.series_index]
    is_new = new.is_observed & ~comparison.is_unchanged
    is_out = is_new & ((new.y < low) | (new.y > high))
    return about_weeks("out_of_range", new, is_out, lambda row: format_value(new.y[row]))


def gaps(comparison: VersionComparison) -> list[Finding]:
    """Find filled weeks that the previous version did not have; in a first one, of a year."""
    new, old = comparison.new, comparison.old
    is_new = new.weeks > new.newest_week - FIRST_GAPS_WEEKS
    if len(old.ids):
        is_new = old.positions(comparison.old_index[new.series_index], new.weeks) < 0
    is_gap = ~new.is_observed & is_new
    return about_weeks("gaps", new, is_gap, lambda row: f"now {format_value(new.y[row])}")


def _about_newest(
    form: str, latest: LatestValues, series: Ints | Mask, usual: Floats
) -> list[Finding]:
    grid, tail = latest.grid, latest.tail
    return about_series(
        form, grid, series, grid.last_week, lambda i: format_change(usual[i], tail[i, -1])
    )


def _range(name: str, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Return the first range whose pattern matches the name, else an unlimited one."""
    matching = (bounds for pattern, bounds in ranges.items() if matches_any(name, [pattern]))
    return next(matching, (-math.inf, math.inf))
