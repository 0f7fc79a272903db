"""The series as one block of numbers, and the fits that are asked of it.

What is here travels to the workers: arrays and small records, nothing of Dagster or the store.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtest import SeriesFolds
from forecast_assets.models.base import Positions, Values

ALL_SERIES = -1
WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True, eq=False)
class Panel:
    """All series end to end. Series i is y[starts[i] : starts[i + 1]], weekly from first[i] on."""

    y: Values  # [N]
    starts: Positions  # [S + 1]
    first: NDArray[np.datetime64]  # [S], days

    @classmethod
    def of(cls, planned: Sequence[SeriesFolds]) -> "Panel":
        """Lay the series of a plan end to end."""
        none = [np.array([], dtype=np.float64)]
        sizes = [0, *(len(one.y) for one in planned)]
        first = np.array([one.ds[0] for one in planned], dtype="datetime64[D]")
        return cls(np.concatenate([one.y for one in planned] or none), np.cumsum(sizes), first)

    def series(self, i: int) -> Values:
        """The values of series i."""
        return self.y[self.starts[i] : self.starts[i + 1]]

    def day(self, series: int, end: int) -> np.datetime64:
        """The last day that the first `end` values of a series cover."""
        day: np.datetime64 = self.first[series] + (end - 1) * WEEK
        return day

    def sizes_at(self, day: np.datetime64) -> Positions:
        """How many values each series has up to and including a day: shape [S]."""
        weeks = (day - self.first) // WEEK + 1
        sizes: Positions = np.clip(weeks, 0, np.diff(self.starts)).astype(np.int64)
        return sizes

    def frame(self, after: Positions, upto: Positions) -> pd.DataFrame:
        """The values number after[i] to upto[i] - 1 of each series: `unique_id, ds, y`."""
        sizes = upto - after
        ids = np.repeat(np.arange(len(sizes)), sizes)
        week = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        week += np.repeat(after, sizes)
        ds = (self.first[ids] + week * WEEK).astype("datetime64[ns]")
        return pd.DataFrame({"unique_id": ids, "ds": ds, "y": self.y[self.starts[ids] + week]})

    @cached_property
    def digest(self) -> str:
        """Identify the numbers and their weeks (32 hex digits)."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.y, self.starts, self.first):
            digest.update(part.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Unit:
    """One fit, and the folds that it serves: (series, values up to the cutoff), ascending.

    The fit sees `anchor` values of the series; for all series at once, the weeks up to the day of
    that number. `fitted` is the fit of an earlier run; `is_kept` asks for this one's.
    """

    series: int  # or ALL_SERIES
    anchor: int
    folds: tuple[tuple[int, int], ...]
    fitted: bytes | None = None
    is_kept: bool = False
