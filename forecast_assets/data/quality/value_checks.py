"""Check whether new values are plausible: in range, not filled, unusual, repeated or stuck.

A value that the previous version had already is not reported again. All statistics are medians, so
that a spike of last year does not hide one of today. Revisions: `revisions`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from forecast_assets.config.series_settings import first_match
from forecast_assets.data.hierarchy import differing_totals
from forecast_assets.data.quality.comparison import (
    Floats,
    Ints,
    Mask,
    VersionComparison,
    format_change,
    format_value,
    is_close,
)
from forecast_assets.data.quality.finding import (
    Finding,
    SeriesRow,
    about_series,
    about_weeks,
    make_finding,
)

YEAR, HOLIDAY_SHIFT = 52, 1  # weeks of a season whose holidays move, and by how many
N_CHANGES, MIN_CHANGES = 104, 12  # weekly changes that a new one is compared with
SIGMA_PER_MAD = 1.4826  # a normal distribution's standard deviation over its MAD
# An unusual change is this many deviations off, and this many times the largest change before.
# Over the last 100 weeks of the demo and of benchmarks/public_series.py this finds 3 of 2,187
# values: money in 2008, a peak of sunspots, and a part that is seldom asked for; 3.5 and 1 find 13.
MAX_SCORE, MAX_OVER_LARGEST = 5.0, 1.25
DECADE_SLACK = 0.15  # distance of a factor from a power of ten, in decades
MIN_JUMP = 3.0  # a jump between units, over the distance of any value from the usual level
NEARLY_ALL = 0.9  # of the series change, or repeat their value, together
MIN_TOGETHER = 5  # series that change by one factor
UNLIMITED = (-math.inf, math.inf)
UNITS = (7, 10, 12, 42, 100, 1000, 10**6, 2.20462, 3.78541)  # days, prefixes, pounds, gallons
UNIT_SLACK = 0.03  # distance of a factor from one of them: a holiday halves all series together
FIRST_GAPS_WEEKS = 52  # that gaps of a first version are reported for
MAX_REPEAT_CHANCE = 1e-3  # below it, a repeated week is no coincidence
MAX_REPEAT_RATE = 0.5  # a series that repeats its value less often usually changes
MAX_TOGETHER_RATE = 0.05  # of earlier weeks in which nearly all series repeated their value
MIN_FLAT_WEEKS, MAX_FLAT_WEEKS = 4, 26  # after half a year a flat line is how the series is


@dataclass(frozen=True, eq=False)
class LatestValues:
    """The newest value of each series and its past. [S], S series; [S, P], P past weeks."""

    comparison: VersionComparison
    season_length: int

    @cached_property
    def tail(self) -> Floats:
        """The newest value of each series, after those it is compared with: [S, P + 1]."""
        return self.comparison.new.tail(N_CHANGES + self.season_length + HOLIDAY_SHIFT + 2)

    @cached_property
    def changes(self) -> Floats:
        """Weekly changes before the newest one: [S, P]."""
        return np.diff(self.tail, axis=1)[:, -N_CHANGES - 1 : -1]

    @cached_property
    def change(self) -> Floats:
        """Change of the newest week: [S]."""
        return self.tail[:, -1] - self.tail[:, -2]

    @cached_property
    def is_judged(self) -> Mask:
        """Whether the newest value is new, and has enough past to compare it with: [S]."""
        n_changes: Ints = np.sum(~np.isnan(self.changes), axis=1)
        has_past = (n_changes >= MIN_CHANGES) & ~np.isnan(self.change)
        return self.comparison.has_new_value & has_past

    @cached_property
    def score(self) -> Floats:
        """Deviations of the newest change from the usual one: [S].

        With two years of data also from the change of a year ago; the smaller score counts.
        """
        score = _robust_score(self.change, self.changes)
        changes = np.diff(self.tail, axis=1)
        around = HOLIDAY_SHIFT if self.season_length >= YEAR else 0
        for lag in range(self.season_length - around, self.season_length + around + 1):
            if lag == 1:  # there is no season
                break
            seasonal = changes - np.roll(changes, lag, axis=1)
            seasonal[:, :lag] = np.nan
            has_years = np.sum(~np.isnan(seasonal[:, :-1]), axis=1) >= self.season_length
            other = _robust_score(seasonal[:, -1], seasonal[:, -N_CHANGES - 1 : -1])
            score = np.where(has_years & ~np.isnan(other), np.fmin(score, other), score)
        return score

    @cached_property
    def is_unusual(self) -> Mask:
        """Whether the newest value is far outside what the series does: [S]."""
        largest: Floats = np.fmax.reduce(np.abs(self.changes), axis=1, initial=0.0)
        is_large = np.abs(self.change) > MAX_OVER_LARGEST * largest
        return self.is_judged & (self.score > MAX_SCORE) & is_large

    @cached_property
    def past(self) -> Floats:
        """Values before the newest one: [S, P]."""
        return self.tail[:, -N_CHANGES - 1 : -1]

    @cached_property
    def level(self) -> Floats:
        """Median of the past values: [S]."""
        return _median(self.past)

    @cached_property
    def is_rescaled(self) -> Mask:
        """Whether the newest value is off by a power of ten, or nearly all by one factor: [S]."""
        jump = np.abs(np.log(self.tail[:, -1] / self.level))
        decades = jump / math.log(10)
        decades = np.where(np.isfinite(decades), decades, 0)
        whole = np.round(decades)
        is_tenfold = (whole >= 1) & (np.abs(decades - whole) <= DECADE_SLACK)
        distance = np.abs(np.log(self.past / self.level[:, None]))
        has_zeros = np.any(self.past <= 0, axis=1)
        width = np.where(has_zeros, np.nan, np.fmax.reduce(distance, axis=1))
        is_far = self.is_judged & is_tenfold & (jump > MIN_JUMP * width)
        return is_far | self._is_rescaled_together()

    def _is_rescaled_together(self) -> Mask:
        """Whether the series changed by a factor between units, as nearly all of them did: [S]."""
        steps = np.diff(np.log(self.tail[:, -N_CHANGES - 2 :]), axis=1)  # NaN below 0
        step, widest = steps[:, -1], np.fmax.reduce(np.abs(steps[:, :-1]), axis=1)
        is_off: Mask = self.is_unusual & np.isfinite(step) & np.isfinite(widest)
        n_needed: float = max(MIN_TOGETHER, NEARLY_ALL * int(self.is_judged.sum()))
        if is_off.sum() < n_needed:
            return np.zeros_like(is_off)
        factor = float(np.median(step[is_off]))
        is_same: Mask = is_off & (np.abs(step - factor) <= widest)
        is_unit = np.abs(abs(factor) - np.log(UNITS)).min() < math.log1p(UNIT_SLACK)
        return is_same if is_unit and is_same.sum() >= n_needed else np.zeros_like(is_same)


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
    grid, tail = latest.comparison.new, latest.tail
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
    last, week = grid.last_week, grid.day(grid.newest_week)
    return about_series(
        "repeated", grid, is_repeated, last, grid.newest_value, n_judged=n, week=week
    )


def flat(latest: LatestValues, *, has_zeros: bool = False) -> list[Finding]:
    """Find series that repeat one value, for twice as long as ever before.

    With `has_zeros` a run of zeros is a time without rows.
    """
    grid, tail = latest.comparison.new, latest.tail
    runs = np.ones_like(tail, dtype=np.int64)  # number of equal values up to each week
    for i, is_same in enumerate(is_close(tail[:, 1:], tail[:, :-1]).T, start=1):
        runs[:, i] = np.where(is_same, runs[:, i - 1] + 1, 1)
    run = runs[:, -1]
    is_earlier = np.arange(tail.shape[1]) < tail.shape[1] - run[:, None]
    longest = np.max(runs, axis=1, where=is_earlier & ~np.isnan(tail), initial=0)
    is_flat = latest.comparison.has_new_value & (run >= MIN_FLAT_WEEKS) & (run <= MAX_FLAT_WEEKS)
    is_flat &= (run > 2 * longest) & (longest > 0)
    if has_zeros:
        is_flat &= tail[:, -1] != 0
    since = grid.last_week - run + 1
    text = "{} weeks at {}".format
    return about_series("flat", grid, is_flat, since, lambda i: text(run[i], grid.newest_value(i)))


def totals_differ(series: pd.DataFrame, before: pd.DataFrame) -> list[Finding]:
    """Find weeks in which a parent of the source differs from its children, and did not before."""
    known = pd.MultiIndex.from_frame(differing_totals(before)[["unique_id", "ds"]])
    found = differing_totals(series)
    found = found[~pd.MultiIndex.from_frame(found[["unique_id", "ds"]]).isin(known)]
    rows = []
    for name, weeks in found.groupby("unique_id"):
        newest = weeks.iloc[-1]
        detail = f"{format_value(newest['y'])}, its children sum to {format_value(newest['total'])}"
        rows.append(SeriesRow(str(name), str(newest["ds"].date()), len(weeks), detail))
    return make_finding("totals_differ", rows)


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
    bounds = np.array([first_match(str(name), ranges) or UNLIMITED for name in new.ids])
    low = np.maximum(bounds[:, 0], -math.inf if minimum is None else minimum)[new.series_index]
    high = bounds[:, 1][new.series_index]
    is_new = new.is_observed & ~comparison.is_unchanged
    is_out = is_new & ((new.y < low) | (new.y > high))
    return about_weeks("out_of_range", new, is_out, lambda row: format_value(new.y[row]))


def gaps(comparison: VersionComparison) -> list[Finding]:
    """Find filled weeks that the previous version did not have; in a first one, of a year."""
    new, is_new = comparison.new, comparison.old_rows < 0
    if not len(comparison.old.ids):
        is_new &= new.weeks > new.newest_week - FIRST_GAPS_WEEKS
    is_gap = ~new.is_observed & is_new
    return about_weeks("gaps", new, is_gap, lambda row: f"now {format_value(new.y[row])}")


def long_gap(comparison: VersionComparison) -> list[Finding]:
    """Find new filled gaps that are longer than all weeks with a value of their series."""
    new = comparison.new
    rows = np.flatnonzero(new.is_observed)
    series = new.series_index[rows]
    n_filled = np.diff(rows) - 1  # between two values, which may be of different series
    n_observed = np.bincount(series, minlength=len(new.ids))
    is_long = (np.diff(series) == 0) & (n_filled >= n_observed[series[1:]])
    starts, sizes = rows[:-1][is_long] + 1, n_filled[is_long]
    is_new = comparison.old_rows[starts] < 0
    mask = np.zeros(len(new.y), dtype=bool)
    for start, size in zip(starts[is_new], sizes[is_new], strict=True):
        mask[start : start + size] = True
    counts = new.counts(mask)
    return about_weeks(
        "long_gap/filled", new, mask, lambda row: f"{counts[new.series_index[row]]:,} weeks"
    )


def _about_newest(
    form: str, latest: LatestValues, series: Ints | Mask, usual: Floats
) -> list[Finding]:
    grid, tail = latest.comparison.new, latest.tail
    return about_series(
        form, grid, series, grid.last_week, lambda i: format_change(usual[i], tail[i, -1])
    )


def _robust_score(value: Floats, past: Floats) -> Floats:
    """Return the distance to the median in median absolute deviations: [S], [S, P] -> [S].

    If more than half of the past is one value, the mean deviation counts; 0 if all of it is.
    """
    median = _median(past)
    deviation = np.abs(past - median[:, None])
    spread = SIGMA_PER_MAD * _median(deviation)
    n = np.maximum(np.sum(~np.isnan(deviation), axis=1), 1)
    spread = np.where(spread > 0, spread, np.nansum(deviation, axis=1) / n)
    return np.where(spread > 0, np.abs(value - median) / spread, 0.0)


def _median(values: Floats) -> Floats:
    """Return the median of each row without NaN, or NaN: [S, P] -> [S]."""
    ranked: Floats = np.sort(values, axis=1)  # NaN last
    n: Ints = np.sum(~np.isnan(values), axis=1)
    rows = np.arange(len(values))
    return (ranked[rows, (n - 1) // 2] + ranked[rows, n // 2]) / 2
