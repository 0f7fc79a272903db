"""Compare the newest value of each series with its past: how unusual it is, and in which unit.

All statistics are medians, so that a spike of last year does not hide one of today. The findings
made of them: `value_checks`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecast_assets.data.quality.comparison import (
    Floats,
    Ints,
    Mask,
    VersionComparison,
    WeekGrid,
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
MIN_TOGETHER, NEARLY_ALL = 5, 0.9  # series that change by one factor, and their share of all
UNITS = (7, 10, 12, 42, 100, 1000, 10**6, 2.20462, 3.78541)  # days, prefixes, pounds, gallons
UNIT_SLACK = 0.03  # distance of a factor from one of them: a holiday halves all series together


@dataclass(frozen=True, eq=False)
class LatestValues:
    """The newest value of each series and its past. [S], S series; [S, P], P past weeks."""

    comparison: VersionComparison
    season_length: int

    @property
    def grid(self) -> WeekGrid:
        """The weeks of the fetch."""
        return self.comparison.new

    @cached_property
    def tail(self) -> Floats:
        """The newest value of each series, after those it is compared with: [S, P + 1]."""
        return self.grid.tail(N_CHANGES + self.season_length + HOLIDAY_SHIFT + 2)

    @cached_property
    def changes(self) -> Floats:
        """Weekly changes before the newest one: [S, P]."""
        changes: Floats = np.diff(self.tail, axis=1)[:, -N_CHANGES - 1 : -1]
        return changes

    @cached_property
    def change(self) -> Floats:
        """Change of the newest week: [S]."""
        newest: Floats = self.tail[:, -1] - self.tail[:, -2]
        return newest

    @cached_property
    def is_judged(self) -> Mask:
        """Whether the newest value is new, and has enough past to compare it with: [S]."""
        n_changes: Ints = np.sum(~np.isnan(self.changes), axis=1)
        has_past = (n_changes >= MIN_CHANGES) & ~np.isnan(self.change)
        judged: Mask = self.comparison.has_new_value & has_past
        return judged

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
        largest = np.fmax.reduce(np.abs(self.changes), axis=1, initial=0.0)
        is_large = np.abs(self.change) > MAX_OVER_LARGEST * largest
        unusual: Mask = self.is_judged & (self.score > MAX_SCORE) & is_large
        return unusual

    @cached_property
    def level(self) -> Floats:
        """Median of the past values: [S]."""
        return _median(self.tail[:, -N_CHANGES - 1 : -1])

    @cached_property
    def is_rescaled(self) -> Mask:
        """Whether the newest value is off by a power of ten, or nearly all by one factor: [S]."""
        jump = np.abs(np.log(self.tail[:, -1] / self.level))
        decades = jump / math.log(10)
        decades = np.where(np.isfinite(decades), decades, 0)
        whole = np.round(decades)
        is_tenfold = (whole >= 1) & (np.abs(decades - whole) <= DECADE_SLACK)
        past = self.tail[:, -N_CHANGES - 1 : -1]
        distance = np.abs(np.log(past / self.level[:, None]))
        has_zeros = np.any(past <= 0, axis=1)
        width = np.where(has_zeros, np.nan, np.fmax.reduce(distance, axis=1))
        rescaled: Mask = self.is_judged & is_tenfold & (jump > MIN_JUMP * width)
        return rescaled | self._is_rescaled_together

    @cached_property
    def _is_rescaled_together(self) -> Mask:
        """Whether the series changed by a factor between units, as nearly all of them did: [S]."""
        steps = np.diff(np.log(self.tail[:, -N_CHANGES - 2 :]), axis=1)  # NaN below 0
        step, widest = steps[:, -1], np.fmax.reduce(np.abs(steps[:, :-1]), axis=1)
        is_off: Mask = self.is_unusual & np.isfinite(step) & np.isfinite(widest)
        n_needed = max(MIN_TOGETHER, NEARLY_ALL * int(self.is_judged.sum()))
        if is_off.sum() < n_needed:
            return np.zeros_like(is_off)
        factor = float(np.median(step[is_off]))
        is_same = is_off & (np.abs(step - factor) <= widest)
        is_unit = np.abs(np.abs(factor) - np.log(UNITS)).min() < math.log1p(UNIT_SLACK)
        together: Mask = is_same & (is_same.sum() >= n_needed) & is_unit
        return together


def _robust_score(value: Floats, past: Floats) -> Floats:
    """Return the distance to the median in median absolute deviations: [S], [S, P] -> [S].

    If more than half of the past is one value, the mean deviation counts; 0 if all of it is.
    """
    median = _median(past)
    deviation = np.abs(past - median[:, None])
    spread = SIGMA_PER_MAD * _median(deviation)
    n = np.maximum(np.sum(~np.isnan(deviation), axis=1), 1)
    spread = np.where(spread > 0, spread, np.nansum(deviation, axis=1) / n)
    scores: Floats = np.where(spread > 0, np.abs(value - median) / spread, 0.0)
    return scores


def _median(values: Floats) -> Floats:
    """Return the median of each row without NaN, or NaN: [S, P] -> [S]."""
    ranked = np.sort(values, axis=1)  # NaN last
    n = np.sum(~np.isnan(values), axis=1)
    rows = np.arange(len(values))
    low, high = np.maximum(n - 1, 0) // 2, n // 2
    middle: Floats = (ranked[rows, low] + ranked[rows, np.minimum(high, values.shape[1] - 1)]) / 2
    return middle
