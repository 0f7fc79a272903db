"""The weeks of a fetch beside those of the version before, series by series, without a loop.

What is made of the differences: `verdict`.
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
    """The table `series` as numbers: series i has the weeks starts[i] to starts[i + 1] - 1."""

    ids: NDArray[np.object_]  # [S], ascending
    starts: Ints  # [S + 1]
    first: Ints  # [S], the first week of each, counted from 1970
    weekday: int  # of the day that a week ends, from Thursday on
    y: Floats  # [N]
    is_given: Mask  # [N], whether the source gave the week: it was not filled

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """Lay out a frame that keeps the contract of `series`, and is in its order.

        A version from before `coverage` was recorded passes for one that the source gave whole.
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
        """How many weeks each series has: [S]."""
        return np.diff(self.starts)

    @cached_property
    def of_series(self) -> Ints:
        """Which series each week is of: [N]."""
        return np.repeat(np.arange(len(self.ids)), self.sizes)

    @cached_property
    def week(self) -> Ints:
        """Each week, counted from 1970: [N]."""
        nth = np.arange(len(self.y)) - np.repeat(self.starts[:-1], self.sizes)
        weeks: Ints = np.repeat(self.first, self.sizes) + nth
        return weeks

    @cached_property
    def last(self) -> Ints:
        """The newest week of each series: [S]."""
        weeks: Ints = self.first + self.sizes - 1
        return weeks

    @property
    def newest(self) -> int:
        """The newest week of all."""
        return int(self.last.max())

    def places(self, series: Ints, week: Ints) -> Ints:
        """Where the weeks of these series are, -1 where there is none; a series of -1 has none."""
        nth = week - self.first[series]
        is_there = (series >= 0) & (nth >= 0) & (nth < self.sizes[series])
        places: Ints = np.where(is_there, self.starts[series] + nth, -1)
        return places

    def at(self, places: Ints) -> Floats:
        """The values there; NaN for a place of -1, and for weeks that the source did not give."""
        found: Floats = np.where((places >= 0) & self.is_given[places], self.y[places], np.nan)
        return found

    def tail(self, n: int) -> Floats:
        """The newest n weeks of each series, the newest last; NaN where none was given: [S, n]."""
        place = self.starts[1:, None] - np.arange(n, 0, -1)
        return self.at(np.where(place >= self.starts[:-1, None], place, -1))

    def day(self, week: int) -> str:
        """The day that a week ends, as it is written."""
        return str(np.datetime64(int(week) * DAYS + self.weekday, "D"))


@dataclass(frozen=True, eq=False)
class VersionComparison:
    """The weeks of a fetch, and the version before; `was` has no series where there is none."""

    now: WeekGrid
    was: WeekGrid

    @cached_property
    def in_was(self) -> Ints:
        """Which of the earlier series each of the series is, -1 where it is new: [S]."""
        found: Ints = pd.Index(self.was.ids).get_indexer(pd.Index(self.now.ids)).astype(np.int64)
        return found

    @cached_property
    def in_now(self) -> Ints:
        """The reverse: which series each of the earlier ones is, -1 where it is gone."""
        found: Ints = pd.Index(self.now.ids).get_indexer(pd.Index(self.was.ids)).astype(np.int64)
        return found

    def was_at(self, weeks_before: int = 0) -> Floats:
        """What the version before gave for each week, or for so many weeks before it: [N]."""
        if not len(self.was.ids):
            return np.full(len(self.now.y), np.nan)
        now = self.now
        places = self.was.places(self.in_was[now.of_series], now.week - weeks_before)
        return self.was.at(places)

    @cached_property
    def is_known(self) -> Mask:
        """Which weeks the version before had, with this very value, filled ones too: [N]."""
        now, was = self.now, self.was
        if not len(was.ids):
            return np.zeros(len(now.y), dtype=bool)
        places = was.places(self.in_was[now.of_series], now.week)
        same: Mask = (places >= 0) & is_close(was.y[places], now.y)
        return same

    @cached_property
    def is_news(self) -> Mask:
        """Which series have a newest value that the version before had not: [S]."""
        return ~self.is_known[self.now.starts[1:] - 1]


def is_close(a: Floats, b: Floats) -> Mask:
    """Where two values differ by no more than rounding."""
    close: Mask = np.abs(a - b) <= 1e-9 * np.maximum(np.abs(a), np.abs(b))
    return close
