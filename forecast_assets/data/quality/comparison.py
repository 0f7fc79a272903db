"""Lay out the weeks of a fetch and of the previous version as arrays, and compare them.

What the differences mean: `revisions` and `value_checks`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
DAYS = 7
MIN_COMPARED = 8  # values, before a history counts as rewritten, shifted or rescaled
NEARLY_ALL = 0.9  # of the compared values agree on a shift or a factor
SAME_RATIO = 0.005  # relative distance between the ratios of rescaled values: they are rounded
MIN_FACTOR_CHANGE = 0.02  # a factor closer to 1 is a revision


@dataclass(frozen=True, eq=False)
class WeekGrid:
    """The table `series` as arrays: S series, N weeks; series i has rows starts[i]:starts[i + 1].

    A week is a number: weeks since the first of 1970 that ends on the same weekday.
    """

    ids: NDArray[np.object_]  # [S], ascending
    starts: Ints  # [S + 1]
    first_week: Ints  # [S]
    weekday: int  # that weeks end on, in days after Thursday
    y: Floats  # [N]
    is_observed: Mask  # [N], false where the week was filled

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """Lay out a frame that keeps the contract of `series`, in the order of its key.

        A version without the column `is_filled` counts weeks without a day as filled, and one
        without `coverage` as observed throughout.
        """
        ids = frame["unique_id"].to_numpy(dtype=object)
        begins = np.flatnonzero(~frame["unique_id"].duplicated()).astype(np.int64)
        day = frame["ds"].to_numpy()[begins].astype("datetime64[D]").astype(np.int64)
        return cls(
            ids[begins],
            np.append(begins, len(ids)),
            day // DAYS,
            int(day[0]) % DAYS if len(day) else 0,
            frame["y"].to_numpy(dtype=np.float64),
            ~np.asarray(frame["is_filled"], dtype=bool)
            if "is_filled" in frame
            else np.asarray(frame.get("coverage", np.ones(len(frame)))) > 0,
        )

    @cached_property
    def sizes(self) -> Ints:
        """Number of weeks of each series: [S]."""
        return np.diff(self.starts)

    @cached_property
    def series_index(self) -> Ints:
        """Index of each row's series: [N]."""
        return np.repeat(np.arange(len(self.ids)), self.sizes)

    @cached_property
    def weeks(self) -> Ints:
        """Week of each row: [N]."""
        offset = np.arange(len(self.y)) - np.repeat(self.starts[:-1], self.sizes)
        return np.repeat(self.first_week, self.sizes) + offset

    @cached_property
    def last_week(self) -> Ints:
        """Newest week of each series: [S]."""
        return self.first_week + self.sizes - 1

    @property
    def newest_week(self) -> int:
        """Newest week of all series."""
        return int(self.last_week.max())

    def positions(self, series: Ints, weeks: Ints) -> Ints:
        """Return the row of each pair of series and week; -1 if there is none, or series is -1."""
        offset = weeks - self.first_week[series]
        exists = (series >= 0) & (offset >= 0) & (offset < self.sizes[series])
        return np.where(exists, self.starts[series] + offset, -1)

    def observed(self, rows: Ints) -> Floats:
        """Return the values of rows; NaN for row -1 and for filled weeks."""
        return np.where((rows >= 0) & self.is_observed[rows], self.y[rows], np.nan)

    def tail(self, n: int) -> Floats:
        """Return the last n weeks of each series, NaN where none was observed: [S, n]."""
        rows = self.starts[1:, None] - np.arange(n, 0, -1)
        return self.observed(np.where(rows >= self.starts[:-1, None], rows, -1))

    def counts(self, mask: Mask) -> Ints:
        """Count the rows of each series where a mask [N] is set: [S]."""
        return np.add.reduceat(mask, self.starts[:-1], dtype=np.int64)

    def newest_value(self, series: int) -> str:
        """Return the newest value of a series as messages show it."""
        return format_value(self.y[self.starts[series + 1] - 1])

    def day(self, week: int) -> str:
        """Return the day that a week ends, in ISO format."""
        return str(np.datetime64(int(week) * DAYS + self.weekday, "D"))


@dataclass(frozen=True, eq=False)
class VersionComparison:
    """The weeks of a fetch and of the previous version; `old` is empty if there is none.

    Arrays [N] and [S] have an element for each week and each series of the fetch.
    """

    new: WeekGrid
    old: WeekGrid

    @cached_property
    def old_index(self) -> Ints:
        """Index of each series in the previous version, -1 if it is new: [S]."""
        return pd.Index(self.old.ids).get_indexer(pd.Index(self.new.ids)).astype(np.int64)

    @cached_property
    def new_index(self) -> Ints:
        """Index in the fetch of each series of the previous version, -1 if it is missing."""
        return pd.Index(self.new.ids).get_indexer(pd.Index(self.old.ids)).astype(np.int64)

    @cached_property
    def old_rows(self) -> Ints:
        """Row of each week in the previous version, -1 if it has none: [N]."""
        return self._old_rows(self.new.weeks)

    @cached_property
    def old_y(self) -> Floats:
        """Value of each week in the previous version, NaN where it was not observed: [N]."""
        return self._old_values(self.old_rows)

    @cached_property
    def is_unchanged(self) -> Mask:
        """Whether the previous version had the same value for the week, filled or not: [N]."""
        if not len(self.old.ids):
            return np.zeros(len(self.new.y), dtype=bool)
        return (self.old_rows >= 0) & is_close(self.old.y[self.old_rows], self.new.y)

    @cached_property
    def has_new_value(self) -> Mask:
        """Whether the newest value of each series was not in the previous version: [S]."""
        return ~self.is_unchanged[self.new.starts[1:] - 1]

    @cached_property
    def is_compared(self) -> Mask:
        """Whether both versions observed the week: [N]."""
        return self.new.is_observed & ~np.isnan(self.old_y)

    @cached_property
    def is_changed(self) -> Mask:
        """Whether both observed the week and have different values: [N]."""
        return self.is_compared & ~is_close(self.new.y, self.old_y)

    @cached_property
    def is_shifted(self) -> Mask:
        """Whether each week has what the previous version had one week earlier: [S]."""
        earlier = self._old_values(self._old_rows(self.new.weeks - 1))
        is_telling = self.is_compared & ~np.isnan(earlier) & ~is_close(earlier, self.old_y)
        n = self.new.counts(is_telling)
        n_shifted = self.new.counts(is_telling & is_close(self.new.y, earlier))
        return (n >= MIN_COMPARED) & (n_shifted >= NEARLY_ALL * n)

    @cached_property
    def factor(self) -> Floats:
        """Factor by which the history of each series was multiplied, NaN if it was not: [S]."""
        new = self.new
        is_telling = self.is_compared & ((new.y != 0) | (self.old_y != 0))
        n = new.counts(is_telling)
        n_changed = new.counts(is_telling & self.is_changed)
        is_candidate = (n >= MIN_COMPARED) & (n_changed >= NEARLY_ALL * n)
        factors = np.full(len(new.ids), np.nan)
        if not is_candidate.any():
            return factors
        rows = is_telling & is_candidate[new.series_index]
        series = new.series_index[rows]
        ratio = pd.Series(new.y[rows] / self.old_y[rows])
        median = ratio.groupby(series).transform("median").to_numpy()
        is_same = np.abs(ratio - median) <= SAME_RATIO * np.abs(median)
        n_same = np.bincount(series[is_same], minlength=len(n))
        factors[series] = median
        is_other = np.isfinite(factors) & (factors != 0) & (abs(factors - 1) > MIN_FACTOR_CHANGE)
        return np.where(is_other & (n_same >= NEARLY_ALL * n), factors, np.nan)

    def _old_rows(self, weeks: Ints) -> Ints:
        if not len(self.old.ids):
            return np.full(len(weeks), -1)
        return self.old.positions(self.old_index[self.new.series_index], weeks)

    def _old_values(self, rows: Ints) -> Floats:
        return self.old.observed(rows) if len(self.old.ids) else np.full(len(rows), np.nan)


def is_close(a: Floats, b: Floats) -> Mask:
    """Return where two values differ by no more than rounding."""
    return abs(a - b) <= 1e-9 * np.maximum(abs(a), abs(b))


def format_value(value: float) -> str:
    """Return a value as messages show it: five digits."""
    return f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"  # noqa: PLR2004 - as reports do


def format_change(before: float, now: float) -> str:
    """Return two values as messages show a change."""
    return f"{format_value(before)}, now {format_value(now)}"
