"""The newest value of each series beside its past: how far off the usual, and in which unit.

Medians all the way: a spike of last year must not hide that of today. What is said of it:
`values`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forecast_assets.data.quality.comparison import Floats, Ints, Mask, VersionComparison

YEAR = 52  # weeks; from here on a season is one, and its holidays move by a week
PAST = 104  # changes that say what is usual
LEAST = 12  # of them, to say anything
SIGMA = 1.4826  # a normal distribution's standard deviation, of its median absolute deviation
FAR = 5.0  # such deviations from the usual change
BEYOND = 1.25  # times the largest change before
# Over the last 100 weeks of the demo and of benchmarks/public_series.py 3 of 2,187 values are told:
# money in 2008, a peak of sunspots, and a part that is seldom asked for; with 3.5 and 1 it is 13.
TENFOLD = 0.15  # how far a power of ten may be missed, in decades
NARROW = 3.0  # the jump is so many times as far as any value lies from the usual level
AT_ONCE = 5  # series that are off by one factor
NEARLY_ALL = 0.9
UNITS = (7, 10, 12, 42, 100, 1000, 10**6, 2.20462, 3.78541)  # days, prefixes, pounds, gallons
UNIT_SLACK = 0.03  # how far a factor may be from one of them: a holiday halves all series at once
AROUND = 1  # weeks that a holiday may lie from that of a year ago


@dataclass(frozen=True, eq=False)
class LatestValues:
    """The newest value of each series beside its past. [S], S series; [S, P], P past weeks."""

    beside: VersionComparison
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
        return np.log(self.tail[:, -1] / self.level)

    @cached_property
    def level(self) -> Floats:
        """The middle of the values of the last weeks: [S]."""
        return _median(self.tail[:, -PAST - 1 : -1])

    @cached_property
    def width(self) -> Floats:
        """How far, as a logarithm, any lay from that level; NaN where one is not above 0: [S]."""
        past = self.tail[:, -PAST - 1 : -1]
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
        steps = np.diff(np.log(self.tail[:, -PAST - 2 :]), axis=1)  # NaN below 0
        step, widest = steps[:, -1], np.fmax.reduce(np.abs(steps[:, :-1]), axis=1)
        is_off: Mask = self.is_unusual & np.isfinite(step) & np.isfinite(widest)
        least = max(AT_ONCE, NEARLY_ALL * int(self.is_judged.sum()))
        if is_off.sum() < least:
            return np.zeros_like(is_off)
        factor = float(np.median(step[is_off]))
        is_one = is_off & (np.abs(step - factor) <= widest)
        is_unit = np.abs(np.abs(factor) - np.log(UNITS)).min() < math.log1p(UNIT_SLACK)
        is_told: Mask = is_one & (is_one.sum() >= least) & is_unit
        return is_told


def _score(value: Floats, past: Floats) -> Floats:
    """How many usual deviations a value lies from the middle of the past: [S], [S, P] -> [S].

    Where more than half of the past is one value, its mean deviation counts; where all is, none.
    """
    middle = _median(past)
    away = np.abs(past - middle[:, None])
    spread = SIGMA * _median(away)
    n = np.maximum(np.sum(~np.isnan(away), axis=1), 1)
    spread = np.where(spread > 0, spread, np.nansum(away, axis=1) / n)
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
