"""Turn `backtest_predictions` into arrays: every model's forecast at every fold, and the actuals.

Scoring and choosing do not belong here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds, is_declined, plan
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting.intervals import ErrorPool, recent_volatility, scale_errors
from forecast_assets.models.base import Positions, Values

# Folds of one model computed at once; bounds memory.
BLOCK_FOLDS = 20_000
# Evenly drawn series; the errors of more give the same intervals.
MAX_POOL_SERIES = 1000

SCORED, FAILED, INELIGIBLE = "scored", "failed", "ineligible"


@dataclass(frozen=True, eq=False)
class SeriesBlock:
    """Series with the same cutoffs; `folds` are the positions of their folds in the whole."""

    series: Positions  # [S]
    folds: Positions  # [S, K]
    weeks: Positions  # [K]; of the cutoffs, as `as_weeks` counts them
    last: Values  # [S, K]; the value at the cutoff
    recent_volatility: Values  # [S, K]; at the cutoff
    y: Values  # [S, K, H]
    y_hat: Values  # [M, S, K, H]; NaN where a model did not forecast
    is_scored: NDArray[np.bool_]  # [M, S]: forecast every fold

    @property
    def errors(self) -> Values:
        """Forecast minus actual: [M, S, K, H]."""
        return self.y_hat - self.y

    @property
    def newest_week(self) -> int:
        """The newest week of the series, as `weeks` counts."""
        return int(self.weeks[-1] + self.y.shape[2])


@dataclass(frozen=True, eq=False)
class BacktestResults:
    """All models' folds, ordered by series and cutoff: F folds of S series that have any."""

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
    def from_predictions(
        cls, predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings
    ) -> Self:
        """Read the rows of `backtest_predictions`; models keep the order of the rows.

        Where no series is long enough for a fold, the models are those of the settings.

        Raises DataError where a model's folds differ from those that data and settings plan.
        """
        planned = [folds for folds in plan(series, settings.backtest) if len(folds.ends)]
        horizon = settings.backtest.horizon
        if not planned and predictions.empty:
            return cls.empty(settings.models.enabled, horizon=horizon)
        n_rows = horizon * np.array([len(folds.ends) for folds in planned], dtype=np.int64)
        starts = np.cumsum(n_rows) - n_rows
        models, rows = _rows_by_model(predictions)
        _check_folds(predictions, models, rows, planned, horizon=horizon)
        y_hat = predictions["y_hat"].to_numpy(dtype=np.float64)
        seconds = predictions["fit_seconds"].to_numpy(dtype=np.float64)
        errors = predictions["error"].to_numpy(dtype=object)
        status = np.full((len(models), len(planned)), SCORED, dtype=object)
        reason = np.full(status.shape, None, dtype=object)
        for m, model_rows in enumerate(rows):
            of_model = errors[model_rows]
            failed = np.flatnonzero(pd.notna(of_model))
            for s in np.unique(np.searchsorted(starts, failed, side="right") - 1):
                of_series = of_model[starts[s] : starts[s] + n_rows[s]]
                status[m, s], reason[m, s] = _status(of_series)
        shape = (len(models), -1, horizon)
        return cls(
            planned,
            models,
            np.concatenate([as_weeks(folds.ds[folds.ends - 1]) for folds in planned]),
            np.concatenate([folds.y[folds.ends - 1] for folds in planned]),
            np.concatenate([recent_volatility(folds.y)[folds.ends - 1] for folds in planned]),
            np.concatenate([_values_after(folds, horizon) for folds in planned]),
            np.stack([y_hat[model_rows] for model_rows in rows]).reshape(shape),
            np.stack([np.add.reduceat(seconds[model_rows], starts) for model_rows in rows])
            / horizon,
            status,
            reason,
        )

    @classmethod
    def empty(cls, models: Sequence[str], *, horizon: int) -> Self:
        """Return results without any fold."""
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
        """Number of folds of each series: [S]."""
        return np.array([len(folds.ends) for folds in self.planned], dtype=np.int64)

    def naive_error(self, *, is_squared: bool = False) -> Values:
        """Return naive's MAE, or RMSE, before the first cutoff, which scales losses: [S]."""
        steps = [np.diff(folds.y[: folds.ends[0]]) for folds in self.planned]
        if is_squared:
            return np.array([np.sqrt((s * s).mean()) if len(s) else np.nan for s in steps])
        return np.array([np.abs(s).mean() if len(s) else np.nan for s in steps])

    def error_pools(self, model: int, at_weeks: Positions) -> list[ErrorPool]:
        """Pool a model's scaled errors over all series that it is scored on, for each week ahead.

        `at_weeks` are the T weeks at which the pools are used.
        """
        scored = np.flatnonzero(self.status[model] == SCORED)
        is_in = np.zeros(len(self.planned), dtype=bool)
        is_in[scored[:: max(-(-len(scored) // MAX_POOL_SERIES), 1)]] = True
        folds = np.flatnonzero(np.repeat(is_in, self.n_folds) & (self.recent_volatility > 0))
        scores = scale_errors(
            np.abs(self.y_hat[model, folds] - self.y[folds]), self.recent_volatility[folds]
        )
        return [
            ErrorPool.from_scores(scores[:, h], self.weeks[folds], at_weeks, h=h + 1)
            for h in range(self.y.shape[1])
        ]

    def with_models(self, other: Self) -> Self:
        """Add the models of other results on the same folds."""
        return replace(
            self,
            models=[*self.models, *other.models],
            y_hat=np.concatenate([self.y_hat, other.y_hat]),
            fit_seconds=np.concatenate([self.fit_seconds, other.fit_seconds]),
            status=np.concatenate([self.status, other.status]),
            reason=np.concatenate([self.reason, other.reason]),
        )

    def blocks(self) -> Iterator[SeriesBlock]:
        """Yield the series in blocks that bound memory; each series is in one block."""
        n_folds = self.n_folds
        starts = np.cumsum(n_folds) - n_folds
        if not len(n_folds):
            return
        calendars = np.stack([n_folds, self.weeks[starts + n_folds - 1]], axis=1)
        kinds, kind = np.unique(calendars, axis=0, return_inverse=True)
        for i, n in enumerate(kinds[:, 0]):
            same_calendar = np.flatnonzero(kind.reshape(-1) == i)
            size = max(BLOCK_FOLDS // int(n), 1)
            for first in range(0, len(same_calendar), size):
                chunk = same_calendar[first : first + size]
                folds = starts[chunk][:, None] + np.arange(n)
                yield SeriesBlock(
                    chunk,
                    folds,
                    self.weeks[folds[0]],
                    self.last[folds],
                    self.recent_volatility[folds],
                    self.y[folds],
                    self.y_hat[:, folds],
                    self.status[:, chunk] == SCORED,
                )


def comparable_candidates_and_series(
    is_eligible: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the candidates to compare over series, and the series: [S, C] -> [C], [S].

    Eligibility decides, not failure: the candidates that are eligible on most series that have any,
    and the series on which all of these are eligible.
    """
    is_open = is_eligible.any(axis=1)
    usual = is_eligible[is_open].sum(axis=0) * 2 > is_open.sum()
    return usual, is_eligible[:, usual].all(axis=1) & usual.any()


def as_weeks(ds: "NDArray[np.datetime64]") -> Positions:
    """Convert days to whole weeks since 1970."""
    weeks: Positions = ds.astype("datetime64[D]").astype(np.int64) // 7
    return weeks


def _values_after(folds: SeriesFolds, horizon: int) -> Values:
    """Return the values that followed each cutoff: [K, H]."""
    actuals: Values = folds.y[folds.ends[:, None] + np.arange(horizon)]
    return actuals


def _rows_by_model(predictions: pd.DataFrame) -> tuple[list[str], list[slice]]:
    """Return the models in the order of the rows, and the contiguous rows of each."""
    names = predictions["model"].to_numpy()
    is_first = np.r_[True, names[1:] != names[:-1]][: len(names)]
    starts = np.flatnonzero(is_first).tolist()
    ends = [*starts[1:], len(names)]
    return [str(names[start]) for start in starts], [
        slice(start, end) for start, end in zip(starts, ends, strict=True)
    ]


def _check_folds(
    predictions: pd.DataFrame,
    models: Sequence[str],
    rows: Sequence[slice],
    planned: Sequence[SeriesFolds],
    *,
    horizon: int,
) -> None:
    sizes = [len(folds.ends) * horizon for folds in planned]
    ids = np.repeat(np.array([folds.unique_id for folds in planned], dtype=object), sizes)
    cutoffs = np.concatenate([np.repeat(folds.ds[folds.ends - 1], horizon) for folds in planned])
    given_ids = predictions["unique_id"].to_numpy()
    given_cutoffs = predictions["cutoff"].to_numpy()
    for model, model_rows in zip(models, rows, strict=True):
        n_rows = model_rows.stop - model_rows.start
        is_same = (
            n_rows == len(ids)
            and bool((given_cutoffs[model_rows] == cutoffs).all())
            and bool((given_ids[model_rows] == ids).all())
        )
        if not is_same:
            raise DataError(
                f"The backtest of {model} has {n_rows} rows on other folds than the {len(ids)} that"
                f" the series and [backtest] of forecast.toml plan now. Scores on different folds"
                f" cannot be compared, so nothing was scored. Run the backtest again:"
                f" dagster asset materialize -m forecast_assets.definitions"
                f" --select backtest_predictions --partition {model}"
            )


# How the column `reason` of a model that failed on a series begins.
N_FAILED = re.compile(r"^\d+ of \d+ forecasts: ")


def failure_causes(reasons: pd.Series) -> pd.Series:
    """Return the first error in each `reason`, without the number of failed forecasts."""
    causes: pd.Series = reasons.fillna("").str.replace(N_FAILED, "", regex=True)
    return causes


def _status(errors: NDArray[np.object_]) -> tuple[str, str | None]:
    messages = [error for error in errors if error is not None]
    failures = [error for error in messages if not is_declined(error)]
    if failures:
        return FAILED, f"{len(failures)} of {len(errors)} forecasts: {failures[0]}"
    return INELIGIBLE, str(messages[0])
