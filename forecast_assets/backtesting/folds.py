"""The rolling-origin backtest as a plan and as a table: which folds there are, what they said.

A fold is (model, series, cutoff): the model sees the weeks up to the cutoff and forecasts the
horizon after it. Running models does not belong here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import BacktestSettings
from forecast_assets.models.base import Positions, Values

TOO_SHORT = "too short: "
NOT_FOR = "not for this series: "
# How the error of a fold begins that is no failure: the model was never asked, or declined.


@dataclass(frozen=True, eq=False)
class SeriesFolds:
    """One series and its cutoffs. Fold i sees y[:ends[i]]; its cutoff is ds[ends[i] - 1]."""

    unique_id: str
    ds: NDArray[np.datetime64]  # [n]
    y: Values  # [n]
    ends: NDArray[np.int64]  # [k], ascending

    @cached_property
    def prefixes(self) -> list[bytes]:
        """A digest of the values up to each cutoff: [k]. Each value is hashed once."""
        values = self.y.astype("<f8").tobytes()
        digest = hashlib.blake2b(digest_size=16)
        found, seen = [], 0
        for end in self.ends.tolist():
            digest.update(values[8 * seen : 8 * end])
            seen = end
            found.append(digest.copy().digest())
        return found


@dataclass(frozen=True)
class FoldForecast:
    """What a model said at one cutoff: a forecast of shape [h], or an error."""

    y_hat: Values | None
    fit_seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class FoldForecasts:
    """Many folds as columns, in the order of their plan: series by series, cutoff by cutoff."""

    y_hat: Values  # [F, H], NaN where the model did not forecast
    fit_seconds: Values  # [F]
    errors: NDArray[np.object_]  # [F], null where it did

    @classmethod
    def of(cls, folds: Sequence[FoldForecast], *, horizon: int) -> Self:
        """Lay out single folds as columns."""
        y_hat = np.full((len(folds), horizon), np.nan)
        for i, fold in enumerate(folds):
            if fold.y_hat is not None:
                y_hat[i] = fold.y_hat
        seconds = np.array([fold.fit_seconds for fold in folds], dtype=np.float64)
        return cls(y_hat, seconds, np.array([fold.error for fold in folds], dtype=object))

    def __len__(self) -> int:
        return len(self.y_hat)

    @property
    def is_forecast(self) -> NDArray[np.bool_]:
        """Which folds hold a forecast: [F]."""
        return pd.isna(self.errors)

    @property
    def failures(self) -> list[str]:
        """What the folds said that failed; a model that was never asked, or declined, did not."""
        return [error for error in self.errors if error is not None and not is_declined(error)]


def is_declined(error: str) -> bool:
    """Whether a fold's error is no failure of the model."""
    return error.startswith((TOO_SHORT, NOT_FOR))


def plan(series: pd.DataFrame, backtest: BacktestSettings) -> list[SeriesFolds]:
    """Plan the folds of every series: a function of the data and the settings alone.

    The last cutoff leaves one whole horizon after it; the others lie `step` weeks apart before it,
    `n_windows` in all. A short series keeps at least half of its weeks for the first fit, and one
    of more weeks than the horizon has at least one fold.
    """
    planned = []
    for one in split_series(series):
        last = len(one.y) - backtest.horizon
        room = 1 + max(last // 2 - 1, 0) // backtest.step
        n_folds = min(backtest.n_windows, room) if last >= 1 else 0
        ends = last - backtest.step * np.arange(n_folds, dtype=np.int64)[::-1]
        planned.append(SeriesFolds(one.unique_id, one.ds, one.y, ends))
    return planned


def latest_folds(series: pd.DataFrame) -> list[SeriesFolds]:
    """One fold a series, its cutoff the last week known: the one that forecasts the future."""
    return [
        SeriesFolds(one.unique_id, one.ds, one.y, np.array([len(one.y)], dtype=np.int64))
        for one in split_series(series)
    ]


def split_series(series: pd.DataFrame) -> list[SeriesFolds]:
    """The weekly table cut into its series, in order, as arrays and without folds."""
    ids = series["unique_id"].to_numpy()
    ds = series["ds"].to_numpy(dtype="datetime64[ns]")
    y = series["y"].to_numpy(dtype=np.float64)
    bounds = [*np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]), len(ids)] if len(ids) else []
    none = np.array([], dtype=np.int64)
    return [
        SeriesFolds(str(ids[start]), ds[start:stop], y[start:stop], none)
        for start, stop in pairwise(bounds)
    ]


def to_frame(
    model: str, planned: Sequence[SeriesFolds], folds: FoldForecasts, *, horizon: int
) -> pd.DataFrame:
    """Lay out one model's folds as rows of backtest_predictions, `horizon` rows a fold."""
    ids = np.repeat([one.unique_id for one in planned], [len(one.ends) for one in planned])
    cutoffs = np.concatenate(
        [one.ds[one.ends - 1] for one in planned] or [np.array([], dtype="datetime64[ns]")]
    )
    h = np.tile(np.arange(1, horizon + 1, dtype=np.int64), len(folds))
    cutoff = np.repeat(cutoffs, horizon)
    return pd.DataFrame(
        {
            "model": model,
            "unique_id": np.repeat(ids, horizon),
            "cutoff": cutoff,
            "h": h,
            "ds": cutoff + 7 * h * np.timedelta64(1, "D"),
            "y_hat": folds.y_hat.reshape(-1),
            "fit_seconds": np.repeat(folds.fit_seconds, horizon),
            "error": np.repeat(folds.errors, horizon),
        }
    )


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
class FitUnit:
    """One fit, and the folds that it serves: (series, values up to the cutoff), ascending.

    The fit sees `anchor` values of the series; for all series at once, the weeks up to the day of
    that number. `fitted` is the fit of an earlier run; `is_kept` asks for this one's.
    """

    series: int  # or ALL_SERIES
    anchor: int
    folds: tuple[tuple[int, int], ...]
    fitted: bytes | None = None
    is_kept: bool = False


@dataclass(frozen=True)
class WorkerSpan:
    """A stretch of time in which a worker ran a model: seconds of its own clock, from 1970."""

    model: str
    worker: str
    began: float
    seconds: float
