"""All series of a plan as one array: what workers receive, and what each fold sees of it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import Patch, SeriesFolds
from forecast_assets.backtesting.regressors import FoldRegressors
from forecast_assets.models.base import Positions, Values

if TYPE_CHECKING:
    import pandas as pd

WEEK = np.timedelta64(7, "D")


@dataclass(frozen=True, eq=False)
class Panel:
    """All series, concatenated. Series i is y[starts[i] : starts[i + 1]], weekly from first[i].

    `patches` are those of the folds, by series and end; `x` has the regressors of each series.
    """

    y: Values  # [N]
    starts: Positions  # [S + 1]
    first: NDArray[np.datetime64]  # [S], days
    is_filled: NDArray[np.bool_]  # [N]; the first value of each series is real
    patches: Mapping[tuple[int, int], Patch] = field(default_factory=dict)
    x: Sequence[FoldRegressors] = ()

    @classmethod
    def of(cls, planned: Sequence[SeriesFolds]) -> "Panel":
        """Concatenate the series of a plan."""
        values = [series.y for series in planned] or [np.array([], dtype=np.float64)]
        is_filled = [series.is_filled for series in planned] or [np.array([], dtype=bool)]
        sizes = [0, *(len(series.y) for series in planned)]
        first = np.array([series.ds[0] for series in planned], dtype="datetime64[D]")
        patches = {
            (i, end): patch
            for i, series in enumerate(planned)
            for end, patch in series.patches.items()
        }
        starts = np.cumsum(sizes)
        x = [series.x for series in planned if series.x is not None]
        return cls(np.concatenate(values), starts, first, np.concatenate(is_filled), patches, x)

    def training(self, series: int, end: int) -> Values:
        """Return a copy of the values that the fold of a series with this end sees: [end]."""
        y = self.y[self.starts[series] : self.starts[series] + end].copy()
        if (series, end) in self.patches:
            self.patches[series, end].apply(y)
        return y

    def patches_at(self, sizes: Positions) -> Iterator[tuple[int, Patch]]:
        """Yield the patches of the folds of all series with these ends: [S]."""
        if self.patches:
            for i, size in enumerate(sizes.tolist()):
                if (i, size) in self.patches:
                    yield i, self.patches[i, size]

    def day(self, series: int, end: int) -> np.datetime64:
        """Return the last day that the first `end` values of a series cover."""
        day: np.datetime64 = self.first[series] + (end - 1) * WEEK
        return day

    def sizes_at(self, day: np.datetime64) -> Positions:
        """Return how many values each series had on a day: shape [S].

        A series ends with its newest real value up to and including the day: a gap is filled once
        a value closes it.
        """
        weeks = (day - self.first) // WEEK + 1
        sizes: Positions = np.clip(weeks, 0, np.diff(self.starts)).astype(np.int64)
        starts = self.starts[:-1]
        return np.where(sizes > 0, self._newest_real[starts + sizes - 1] - starts + 1, 0)

    @cached_property
    def _newest_real(self) -> Positions:
        """The position of the newest real value up to each value: [N]."""
        return np.maximum.accumulate(np.where(self.is_filled, 0, np.arange(len(self.y))))

    def frame(
        self, after: Positions, upto: Positions, *, seen_at: Positions | None = None
    ) -> "pd.DataFrame":
        """Return the values after[i] to upto[i] - 1 of each series i: `unique_id, ds, y`.

        They are those that the folds with the ends `seen_at` see, by default those with `upto`.
        """
        import pandas as pd

        sizes = upto - after
        rows = np.cumsum(sizes) - sizes
        ids = np.repeat(np.arange(len(sizes)), sizes)
        week = np.arange(sizes.sum()) - np.repeat(rows, sizes)
        week += np.repeat(after, sizes)
        ds = (self.first[ids] + week * WEEK).astype("datetime64[ns]")
        y = self.y[self.starts[ids] + week]
        for i, patch in self.patches_at(upto if seen_at is None else seen_at):
            patch.apply(y[rows[i] : rows[i] + sizes[i]], first=int(after[i]))
        return pd.DataFrame({"unique_id": ids, "ds": ds, "y": y})

    @cached_property
    def digest(self) -> str:
        """A digest of the values, their weeks and the patches (32 hex digits)."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.y, self.starts, self.first, self.is_filled):
            digest.update(part.tobytes())
        for fold, patch in self.patches.items():
            digest.update(repr(fold).encode() + patch.before(len(self.y)))
        for of_series in self.x:
            digest.update(of_series.content_digest)
        return digest.hexdigest()
