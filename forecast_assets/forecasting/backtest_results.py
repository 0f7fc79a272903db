"""What every model said at every planned fold, and what came: the evidence that scores rest on.

Turns the table of predictions into arrays. Scoring and choosing do not belong here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds, is_declined, plan
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting.intervals import ErrorPool, recent_volatility, scaled
from forecast_assets.models.base import Positions, Values

BLOCK_FOLDS = 20_000  # of one model; bounds the memory of what is worked out at once
POOL_SERIES = 1000  # evenly drawn; the errors of more say the same

SCORED, FAILED, INELIGIBLE = "scored", "failed", "ineligible"


@dataclass(frozen=True, eq=False)
class SeriesBlock:
    """Some series with the same cutoffs. Their folds lie at `folds` of the whole: [S, K]."""

    series: Positions  # [S]
    folds: Positions  # [S, K]
    weeks: Positions  # [K]; of the cutoffs
    last: Values  # [S, K]; the value at the cutoff
    recent_volatility: Values  # [S, K]; as in `intervals`, known at the cutoff
    y: Values  # [S, K, H]
    y_hat: Values  # [M, S, K, H]; NaN where a model did not forecast
    is_scored: NDArray[np.bool_]  # [M, S]: forecast every fold

    @property
    def errors(self) -> Values:
        """Forecast less value: [M, S, K, H]."""
        return self.y_hat - self.y

    @property
    def now(self) -> int:
        """The newest week, as `weeks` count."""
        return int(self.weeks[-1] + self.y.shape[2])


@dataclass(frozen=True, eq=False)
class BacktestResults:
    """All models' folds end to end, series by series, cutoff by cutoff; S series have folds."""

    planned: Sequence[SeriesFolds]  # [S]
    models: Sequence[str]  # [M]
    weeks: Positions  # [F]; of the cutoffs, counted from 1970 on
    last: Values  # [F]
    recent_volatility: Values  # [F]
    y: Values  # [F, H]
    y_hat: Values  # [M, F, H]
    fit_seconds: Values  # [M, S]
    status: NDArray[np.object_]  # [M, S]: scored, failed or ineligible
    reason: NDArray[np.object_]  # [M, S]: why it is not scored, else null

    @classmethod
    def of(cls, predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> Self:
        """Gather the rows of backtest_predictions; models keep the order that they come in.

        Where no series is long enough for a fold, the models are those of the settings.

        Raises DataError where a model's folds are not those that the data and the settings plan.
        """
        planned = [one for one in plan(series, settings.backtest) if len(one.ends)]
        horizon = settings.backtest.horizon
        if not planned and predictions.empty:
            return cls.empty(settings.models.enabled, horizon=horizon)
        n_rows = horizon * np.array([len(one.ends) for one in planned], dtype=np.int64)
        starts = np.cumsum(n_rows) - n_rows
        models, rows = _rows_by_model(predictions)
        _refuse_other_folds(predictions, models, rows, planned, horizon=horizon)
        y_hat = predictions["y_hat"].to_numpy(dtype=np.float64)
        seconds = predictions["fit_seconds"].to_numpy(dtype=np.float64)
        errors = predictions["error"].to_numpy(dtype=object)
        status = np.full((len(models), len(planned)), SCORED, dtype=object)
        reason = np.full(status.shape, None, dtype=object)
        for m, at in enumerate(rows):
            wrong = np.flatnonzero(pd.notna(errors[at]))
            for s in np.unique(np.searchsorted(starts, wrong, side="right") - 1):
                part = errors[at][starts[s] : starts[s] + n_rows[s]]
                status[m, s], reason[m, s] = _status(part)
        shape = (len(models), -1, horizon)
        return cls(
            planned,
            models,
            np.concatenate([as_weeks(one.ds[one.ends - 1]) for one in planned]),
            np.concatenate([one.y[one.ends - 1] for one in planned]),
            np.concatenate([recent_volatility(one.y)[one.ends - 1] for one in planned]),
            np.concatenate([_after(one, horizon) for one in planned]),
            np.stack([y_hat[at] for at in rows]).reshape(shape),
            np.stack([np.add.reduceat(seconds[at], starts) for at in rows]) / horizon,
            status,
            reason,
        )

    @classmethod
    def empty(cls, models: Sequence[str], *, horizon: int) -> Self:
        """No folds of any series."""
        folds, no_series = np.zeros(0), np.zeros((len(models), 0))
        return cls(
            [],
            models,
            folds.astype(np.int64),
            folds,
            folds,
            np.zeros((0, horizon)),
            np.zeros((len(models), 0, horizon)),
            no_series,
            no_series.astype(object),
            no_series.astype(object),
        )

    @property
    def n_folds(self) -> Positions:
        """Folds of each series: [S]."""
        return np.array([len(one.ends) for one in self.planned], dtype=np.int64)

    def naive_error(self, *, is_squared: bool = False) -> Values:
        """What the scaled losses divide by: naive's MAE, or RMSE, before the first cutoff: [S]."""
        steps = [np.diff(one.y[: one.ends[0]]) for one in self.planned]
        if is_squared:
            return np.array([np.sqrt((s * s).mean()) if len(s) else np.nan for s in steps])
        return np.array([np.abs(s).mean() if len(s) else np.nan for s in steps])

    def pools(self, model: int, at: Positions) -> list[ErrorPool]:
        """A model's scaled errors on all series that it is scored on, one pool a week ahead."""
        which = np.flatnonzero(self.status[model] == SCORED)
        is_in = np.zeros(len(self.planned), dtype=bool)
        is_in[which[:: max(-(-len(which) // POOL_SERIES), 1)]] = True
        folds = np.flatnonzero(np.repeat(is_in, self.n_folds) & (self.recent_volatility > 0))
        size = scaled(
            np.abs(self.y_hat[model, folds] - self.y[folds]), self.recent_volatility[folds]
        )
        return [
            ErrorPool.of(size[:, h], self.weeks[folds], at, h=h + 1) for h in range(self.y.shape[1])
        ]

    def joined(self, other: Self) -> Self:
        """The same folds with the models of both."""
        return replace(
            self,
            models=[*self.models, *other.models],
            y_hat=np.concatenate([self.y_hat, other.y_hat]),
            fit_seconds=np.concatenate([self.fit_seconds, other.fit_seconds]),
            status=np.concatenate([self.status, other.status]),
            reason=np.concatenate([self.reason, other.reason]),
        )

    def blocks(self) -> Iterator[SeriesBlock]:
        """The series in blocks that can be worked out at once: each in one of them."""
        n_folds = self.n_folds
        starts = np.cumsum(n_folds) - n_folds
        if not len(n_folds):
            return
        calendars = np.stack([n_folds, self.weeks[starts + n_folds - 1]], axis=1)
        kinds, kind = np.unique(calendars, axis=0, return_inverse=True)
        for i, n in enumerate(kinds[:, 0]):
            alike = np.flatnonzero(kind.reshape(-1) == i)
            size = max(BLOCK_FOLDS // int(n), 1)
            for first in range(0, len(alike), size):
                which = alike[first : first + size]
                folds = starts[which][:, None] + np.arange(n)
                yield SeriesBlock(
                    which,
                    folds,
                    self.weeks[folds[0]],
                    self.last[folds],
                    self.recent_volatility[folds],
                    self.y[folds],
                    self.y_hat[:, folds],
                    self.status[:, which] == SCORED,
                )


def comparable_candidates_and_series(
    is_eligible: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The candidates to compare over series, and the series to compare them on: [S, C] -> [C], [S].

    Decided by who is eligible, not by who failed: the candidates that are on most of the series
    that anybody is on, and the series on which all of those are.
    """
    is_open = is_eligible.any(axis=1)
    usual = is_eligible[is_open].sum(axis=0) * 2 > is_open.sum()
    return usual, is_eligible[:, usual].all(axis=1) & usual.any()


def as_weeks(ds: "NDArray[np.datetime64]") -> Positions:
    """Days to whole weeks since 1970."""
    weeks: Positions = ds.astype("datetime64[D]").astype(np.int64) // 7
    return weeks


def _after(one: SeriesFolds, horizon: int) -> Values:
    """The values that followed each cutoff: [K, H]."""
    after: Values = one.y[one.ends[:, None] + np.arange(horizon)]
    return after


def _rows_by_model(predictions: pd.DataFrame) -> tuple[list[str], list[slice]]:
    """The models in the order that they come in, and the rows of each, which lie together."""
    names = predictions["model"].to_numpy()
    is_first = np.r_[True, names[1:] != names[:-1]][: len(names)]
    starts = np.flatnonzero(is_first).tolist()
    ends = [*starts[1:], len(names)]
    return [str(names[start]) for start in starts], [
        slice(start, end) for start, end in zip(starts, ends, strict=True)
    ]


def _refuse_other_folds(
    predictions: pd.DataFrame,
    models: Sequence[str],
    rows: Sequence[slice],
    planned: Sequence[SeriesFolds],
    *,
    horizon: int,
) -> None:
    sizes = [len(one.ends) * horizon for one in planned]
    ids = np.repeat(np.array([one.unique_id for one in planned], dtype=object), sizes)
    cutoffs = np.concatenate([np.repeat(one.ds[one.ends - 1], horizon) for one in planned])
    given_ids = predictions["unique_id"].to_numpy()
    given_cutoffs = predictions["cutoff"].to_numpy()
    for model, at in zip(models, rows, strict=True):
        same = (
            at.stop - at.start == len(ids)
            and bool((given_cutoffs[at] == cutoffs).all())
            and bool((given_ids[at] == ids).all())
        )
        if not same:
            raise DataError(
                f"The backtest of {model} has {at.stop - at.start} rows on other folds than the"
                f" {len(ids)} that the series and [backtest] of forecast.toml plan now. Scores on"
                f" different folds cannot be compared, so nothing was scored. Run it again:"
                f" dagster asset materialize -m forecast_assets.definitions"
                f" --select backtest_predictions --partition {model}"
            )


def _status(errors: NDArray[np.object_]) -> tuple[str, str | None]:
    said = [error for error in errors if error is not None]
    failures = [error for error in said if not is_declined(error)]
    if failures:
        return FAILED, f"{len(failures)} of {len(errors)} forecasts: {failures[0]}"
    return INELIGIBLE, str(said[0])
