"""The rolling-origin backtest: the plan of its folds, their forecasts, and their table.

A fold is (model, series, cutoff): the model sees the weeks up to the cutoff and forecasts the
horizon after it. `fitting` runs the models.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.backtesting.regressors import FoldRegressors
from forecast_assets.models.base import Positions, Values

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import BacktestSettings

# `FitUnit.series` of a fit that covers all series.
ALL_SERIES = -1

# The column `error` of backtest_predictions starts with one of these if the model declined.
TOO_SHORT = "too short: "
NOT_FOR = "not for this series: "


def is_declined(error: str) -> bool:
    """Whether a stored `error` says that the model declined the fold, which is no failure."""
    return error.startswith((TOO_SHORT, NOT_FOR))


class Patch(NamedTuple):
    """What differs in the values of a fold: positions in its series, ascending, and the values."""

    positions: Positions
    values: Values

    def apply(self, y: Values, *, first: int = 0) -> None:
        """Write the values into y, which begins at a position of the series."""
        is_inside = (self.positions >= first) & (self.positions < first + len(y))
        y[self.positions[is_inside] - first] = self.values[is_inside]

    def before(self, end: int) -> bytes:
        """Return bytes that identify the part of the patch before a position."""
        n = np.searchsorted(self.positions, end)
        return self.positions[:n].tobytes() + self.values[:n].tobytes()


NO_ENDS = np.array([], dtype=np.int64)
NO_PATCH = Patch(NO_ENDS, np.array([], dtype=np.float64))


@dataclass(frozen=True, eq=False)
class SeriesFolds:
    """One series and its cutoffs. Fold i sees y[:ends[i]]; its cutoff is ds[ends[i] - 1].

    Where a value was another one when the fold's week was due, or is corrected, the fold sees that
    instead: `patches`, by end. `vintage_ends` are the ends of which it is known what was known.
    Forecasts of the newest weeks are compared with what these will usually be after their revision:
    `revised`.
    """

    unique_id: str
    ds: NDArray[np.datetime64]  # [n]
    y: Values  # [n]
    is_filled: NDArray[np.bool_]  # [n]; where `series.missing` made up the value
    ends: Positions  # [k], ascending
    patches: Mapping[int, Patch] = field(default_factory=dict)
    vintage_ends: Positions = field(default_factory=lambda: NO_ENDS)
    revised: Patch = NO_PATCH
    x: FoldRegressors | None = None  # what models may know besides y

    def training(self, end: int) -> Values:
        """Return a copy of the values that the fold with this end sees: [end]."""
        y = self.y[:end].copy()
        if end in self.patches:
            self.patches[end].apply(y)
        return y

    def real_training(self, end: int) -> Values:
        """Return the values that the fold with this end sees, NaN where filled: [end]."""
        return np.where(self.is_filled[:end], np.nan, self.training(end))

    @property
    def last(self) -> Values:
        """The newest value that each fold sees: [k]."""
        last = self.y[self.ends - 1]
        for i in np.flatnonzero(np.isin(self.ends, list(self.patches))) if self.patches else ():
            last[i] = self.training(int(self.ends[i]))[-1]
        return last

    @cached_property
    def real_y(self) -> Values:
        """The values, NaN where the week was filled: [n]."""
        return np.where(self.is_filled, np.nan, self.y)

    def targets(self, horizon: int) -> Values:
        """Return the actuals after each cutoff, NaN where the week was filled: [k, horizon]."""
        actuals = self.y.copy()
        self.revised.apply(actuals)
        actuals[self.is_filled] = np.nan
        return np.asarray(actuals[self.ends[:, None] + np.arange(horizon)])

    def n_real_targets(self, horizon: int) -> int:
        """Count the weeks, not filled, that lie at most a horizon after any cutoff."""
        is_target = np.zeros(len(self.y), dtype=bool)
        is_target[self.ends[:, None] + np.arange(horizon)] = True
        return int((is_target & ~self.is_filled).sum())

    @cached_property
    def prefix_digests(self) -> list[bytes]:
        """A digest of the values that each fold sees: [k]. Each value of `y` is hashed once."""
        digest, digests = hashlib.blake2b(digest_size=16), []
        for start, end in pairwise([0, *self.ends.tolist()]):
            digest.update(self.y[start:end].astype("<f8").tobytes())
            seen = digest
            if end in self.patches:
                seen = hashlib.blake2b(self.training(end).astype("<f8").tobytes(), digest_size=16)
            digests.append(seen.digest())
        return digests


@dataclass(frozen=True)
class FoldForecast:
    """The forecast of a model at one cutoff, shape [h], or an error.

    `is_declined` marks the error of a model that does not compete there: it was not run, because
    the series is too short, or it raised NotForThisSeries.
    """

    y_hat: Values | None
    fit_seconds: float
    error: str | None = None
    is_declined: bool = False


@dataclass(frozen=True, eq=False)
class FoldForecasts:
    """Many folds as columns, in the order of their plan: by series, then by cutoff."""

    y_hat: Values  # [F, H], NaN where there is no forecast
    fit_seconds: Values  # [F]
    errors: NDArray[np.object_]  # [F], null where there is a forecast
    is_declined: NDArray[np.bool_]  # [F]

    @classmethod
    def of(cls, folds: Sequence[FoldForecast], *, horizon: int) -> Self:
        """Lay out single folds as columns."""
        y_hat = np.full((len(folds), horizon), np.nan)
        for i, fold in enumerate(folds):
            if fold.y_hat is not None:
                y_hat[i] = fold.y_hat
        return cls(
            y_hat,
            np.array([fold.fit_seconds for fold in folds], dtype=np.float64),
            np.array([fold.error for fold in folds], dtype=object),
            np.array([fold.is_declined for fold in folds], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.y_hat)

    @property
    def is_forecast(self) -> NDArray[np.bool_]:
        """Which folds have a forecast: [F]."""
        return np.array([error is None for error in self.errors], dtype=bool)

    @property
    def failures(self) -> list[str]:
        """The errors of the folds that failed, without those that the model declined."""
        return list(self.errors[~self.is_forecast & ~self.is_declined])


def plan(series: "pd.DataFrame", backtest: "BacktestSettings") -> list[SeriesFolds]:
    """Plan the folds of every series: the newest `n_windows` of the possible cutoffs.

    A filled week is never a cutoff: the series ended before it as long as its value was unknown.
    Nor is a week that only filled ones follow within the horizon. Earlier cutoffs replace them, so
    that gaps cost folds only where the series has no earlier ones. So every fold sees what would
    have been filled at its cutoff: only gaps that a real value closes.
    """
    planned = []
    for item in split_series(series):
        ends = possible_ends(len(item.y), backtest)
        if item.is_filled.any():
            n_real = np.cumsum(np.append(0, ~item.is_filled))
            has_target = n_real[ends + backtest.horizon] > n_real[ends]
            ends = ends[has_target & ~item.is_filled[ends - 1]]
        planned.append(replace(item, ends=ends[-backtest.n_windows :]))
    return planned


def possible_ends(n_weeks: int, backtest: "BacktestSettings") -> Positions:
    """Return how many values each possible fold of a series without filled weeks sees, ascending.

    Cutoffs are `step` weeks apart; the last one leaves a whole horizon after it, and the first fit
    sees at least half of the weeks. A series with more weeks than the horizon has at least one.
    """
    last = n_weeks - backtest.horizon
    n_folds = 1 + max(last // 2 - 1, 0) // backtest.step if last >= 1 else 0
    return last - backtest.step * np.arange(n_folds, dtype=np.int64)[::-1]


def latest_folds(series: "pd.DataFrame") -> list[SeriesFolds]:
    """Plan one fold for each series, with its last week as cutoff, to forecast the future."""
    return [
        replace(item, ends=np.array([len(item.y)], dtype=np.int64)) for item in split_series(series)
    ]


def split_series(series: "pd.DataFrame") -> list[SeriesFolds]:
    """Split the table `series` into arrays, in its order and without folds."""
    ids = series["unique_id"].to_numpy()
    ds = series["ds"].to_numpy(dtype="datetime64[ns]")
    y = series["y"].to_numpy(dtype=np.float64)
    is_filled = series["is_filled"].to_numpy(dtype=bool)
    bounds = [*np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]), len(ids)] if len(ids) else []
    return [
        SeriesFolds(str(ids[a]), ds[a:b], y[a:b], is_filled[a:b], NO_ENDS)
        for a, b in pairwise(bounds)
    ]


def to_frame(
    model: str, planned: Sequence[SeriesFolds], folds: FoldForecasts, *, horizon: int
) -> "pd.DataFrame":
    """Lay out the folds of one model as backtest_predictions: `horizon` rows for each fold."""
    import pandas as pd

    ids = np.repeat([item.unique_id for item in planned], [len(item.ends) for item in planned])
    cutoffs = np.concatenate(
        [item.ds[item.ends - 1] for item in planned] or [np.array([], dtype="datetime64[ns]")]
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


@dataclass(frozen=True)
class FitUnit:
    """One fit and the folds that it serves: (series, number of values at the cutoff), ascending.

    `anchor` is the number of values that the fit sees; for ALL_SERIES, the number of the last day
    that it sees (days since 1970). `fitted` is the pickled fit of an earlier run. With `is_kept`
    the result carries the pickled fit.
    """

    series: int  # or ALL_SERIES
    anchor: int
    folds: tuple[tuple[int, int], ...]
    fitted: bytes | None = None
    is_kept: bool = False


@dataclass(frozen=True)
class WorkerSpan:
    """A period in which a worker ran a model, in seconds since 1970 of the worker's clock."""

    model: str
    worker: str
    began: float
    seconds: float
