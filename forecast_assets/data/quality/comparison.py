"""Lay out the weeks of a fetch and of the previous version as arrays, to compare them.

What the differences mean: `revisions`, `latest_value` and `value_checks`.
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

        A version without the column `coverage` counts as observed throughout.
        """
        ids = frame["unique_id"].to_numpy(dtype=object)
        begins = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.array([])
        begins = begins.astype(np.int64)
        day = frame["ds"].to_numpy()[begins].astype("datetime64[D]").astype(np.int64)
        return cls(
            ids[begins],
            np.append(begins, len(ids)),
            day // DAYS,
            int(day[0]) % DAYS if len(day) else 0,
            frame["y"].to_numpy(dtype=np.float64),
            np.asarray(frame.get("coverage", np.ones(len(frame)))) > 0,
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
        weeks: Ints = np.repeat(self.first_week, self.sizes) + offset
        return weeks

    @cached_property
    def last_week(self) -> Ints:
        """Newest week of each series: [S]."""
        weeks: Ints = self.first_week + self.sizes - 1
        return weeks

    @property
    def newest_week(self) -> int:
        """Newest week of all series."""
        return int(self.last_week.max())

    def positions(self, series: Ints, weeks: Ints) -> Ints:
        """Return the row of each pair of series and week; -1 if there is none, or series is -1."""
        offset = weeks - self.first_week[series]
        exists = (series >= 0) & (offset >= 0) & (offset < self.sizes[series])
        rows: Ints = np.where(exists, self.starts[series] + offset, -1)
        return rows

    def observed(self, rows: Ints) -> Floats:
        """Return the values of rows; NaN for row -1 and for filled weeks."""
        values: Floats = np.where((rows >= 0) & self.is_observed[rows], self.y[rows], np.nan)
        return values

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
    """The weeks of a fetch and of the previous version; `old` is empty if there is none."""

    new: WeekGrid
    old: WeekGrid

    @cached_property
    def old_index(self) -> Ints:
        """Index of each series in the previous version, -1 if it is new: [S]."""
        index: Ints = pd.Index(self.old.ids).get_indexer(pd.Index(self.new.ids)).astype(np.int64)
        return index

    @cached_property
    def new_index(self) -> Ints:
        """Index in the fetch of each series of the previous version, -1 if it is missing."""
        index: Ints = pd.Index(self.new.ids).get_indexer(pd.Index(self.old.ids)).astype(np.int64)
        return index

    def old_values(self, weeks_before: int = 0) -> Floats:
        """Return what the previous version had for each week, or some weeks before it: [N]."""
        if not len(self.old.ids):
            return np.full(len(self.new.y), np.nan)
        return self.old.observed(self._old_rows(weeks_before))

    @cached_property
    def is_unchanged(self) -> Mask:
        """Whether the previous version had the same value for the week, filled or not: [N]."""
        if not len(self.old.ids):
            return np.zeros(len(self.new.y), dtype=bool)
        rows = self._old_rows()
        same: Mask = (rows >= 0) & is_close(self.old.y[rows], self.new.y)
        return same

    @cached_property
    def has_new_value(self) -> Mask:
        """Whether the newest value of each series was not in the previous version: [S]."""
        return ~self.is_unchanged[self.new.starts[1:] - 1]

    def _old_rows(self, weeks_before: int = 0) -> Ints:
        new = self.new
        return self.old.positions(self.old_index[new.series_index], new.weeks - weeks_before)


def is_close(a: Floats, b: Floats) -> Mask:
    """Return where two values differ by no more than rounding."""
    close: Mask = np.abs(a - b) <= 1e-9 * np.maximum(np.abs(a), np.abs(b))
    return close


def format_value(value: float) -> str:
    """Return a value as messages show it: five digits."""
    return f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"  # noqa: PLR2004 - as reports do
