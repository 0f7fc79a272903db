"""Turn `backtest_predictions` into arrays: every model's forecast at every fold, and the actuals.

Scoring and choosing do not belong here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

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

        Where there are no rows, the models are those of the settings.

        Raises DataError where a model's folds differ from those that data and settings plan.
        """
        horizon, every = settings.backtest.horizon, plan(series, settings.backtest)
        planned = [folds for folds in every if len(folds.ends)]
        n_rows = horizon * np.array([len(folds.ends) for folds in planned], dtype=np.int64)
        starts = np.cumsum(n_rows) - n_rows
        rows = _rows_by_model(predictions) or dict.fromkeys(settings.models.enabled, slice(0))
        _check_folds(predictions, rows, every, horizon=horizon)
        y_hat = predictions["y_hat"].to_numpy(dtype=np.float64)
        seconds = predictions["fit_seconds"].to_numpy(dtype=np.float64)
        errors = predictions["error"].to_numpy(dtype=object)
        volatility = recent_volatility([folds.y for folds in every])
        status = np.full((len(rows), len(planned)), SCORED, dtype=object)
        reason = np.full(status.shape, None, dtype=object)
        for m, model_rows in enumerate(rows.values()):
            of_model = errors[model_rows]
            failed = np.flatnonzero(pd.notna(of_model))
            for s in np.unique(np.searchsorted(starts, failed, side="right") - 1):
                of_series = of_model[starts[s] : starts[s] + n_rows[s]]
                status[m, s], reason[m, s] = _status(of_series)
        return cls(
            planned,
            list(rows),
            np.concatenate([as_weeks(folds.ds[folds.ends - 1]) for folds in every]),
            np.concatenate([folds.y[folds.ends - 1] for folds in every]),
            np.concatenate([v[folds.ends - 1] for folds, v in zip(every, volatility, strict=True)]),
            np.concatenate([folds.y[folds.ends[:, None] + np.arange(horizon)] for folds in every]),
            np.stack([y_hat[of] for of in rows.values()]).reshape(len(rows), -1, horizon),
            np.stack([np.add.reduceat(seconds[of], starts) for of in rows.values()]) / horizon,
            status,
            reason,
        )

    @property
    def n_folds(self) -> Positions:
        """Number of folds of each series: [S]."""
        return np.array([len(folds.ends) for folds in self.planned], dtype=np.int64)

    def naive_error(self, *, is_squared: bool = False) -> Values:
        """Return naive's MAE, or RMSE, before the first cutoff, which scales losses: [S]."""
        steps = [np.diff(folds.y[: folds.ends[0]]) for folds in self.planned]
        sizes = [(s * s if is_squared else np.abs(s)).mean() if len(s) else np.nan for s in steps]
        return np.sqrt(sizes) if is_squared else np.array(sizes)

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


def pivot_scores(metrics: pd.DataFrame, column: str, candidates: Sequence[str]) -> Values:
    """Return a column of `metrics`: [S, C], by name of the series; NaN where not scored."""
    return _pivot(metrics, metrics[column].where(metrics["status"] == SCORED), candidates)


def pivot_eligible(metrics: pd.DataFrame, candidates: Sequence[str]) -> NDArray[np.bool_]:
    """Return where candidates are not ineligible in `metrics`: [S, C], by name of the series."""
    return np.asarray(_pivot(metrics, metrics["status"] != INELIGIBLE, candidates) == 1)


def _pivot(metrics: pd.DataFrame, values: "pd.Series[Any]", candidates: Sequence[str]) -> Values:
    table = metrics.assign(value=values).pivot(index="unique_id", columns="model", values="value")
    return table.reindex(columns=list(candidates)).to_numpy(dtype=np.float64)


def mean_of_known(values: Values, axis: int | tuple[int, ...]) -> Values:
    """Return the mean of the values that are not NaN; NaN where all are."""
    is_known = ~np.isnan(values)
    n = is_known.sum(axis=axis)
    total = np.where(is_known, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def as_weeks(ds: "NDArray[np.datetime64]") -> Positions:
    """Convert days to whole weeks since 1970."""
    return ds.astype("datetime64[D]").astype(np.int64) // 7


def _rows_by_model(predictions: pd.DataFrame) -> dict[str, slice]:
    """Return the contiguous rows of each model, in their order."""
    names = predictions["model"].to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]][: len(names)])
    spans = pairwise([*starts.tolist(), len(names)])
    return {str(names[start]): slice(start, end) for start, end in spans}


def _check_folds(
    predictions: pd.DataFrame,
    rows: Mapping[str, slice],
    planned: Sequence[SeriesFolds],
    *,
    horizon: int,
) -> None:
    sizes = [len(folds.ends) * horizon for folds in planned]
    ids = np.repeat(np.array([folds.unique_id for folds in planned], dtype=object), sizes)
    cutoffs = np.concatenate([np.repeat(folds.ds[folds.ends - 1], horizon) for folds in planned])
    for model, model_rows in rows.items():
        given = predictions.iloc[model_rows]
        n_rows = len(given)
        if (
            n_rows != len(ids)
            or (given["cutoff"].to_numpy() != cutoffs).any()
            or (given["unique_id"].to_numpy() != ids).any()
        ):
            raise DataError(
                f"The backtest of {model} has {n_rows} rows on other folds than the {len(ids)} that"
                f" the series and [backtest] of forecast.toml plan now. Scores on different folds"
                f" cannot be compared, so nothing was scored. Run the backtest again:"
                f" dagster asset materialize -m forecast_assets.definitions"
                f" --select backtest_predictions --partition {model}"
            )


# How the column `reason` of a model that failed on a series begins.
N_FAILED = re.compile(r"^\d+ of \d+ forecasts: ")


def _status(errors: NDArray[np.object_]) -> tuple[str, str | None]:
    messages = [error for error in errors if error is not None]
    failures = [error for error in messages if not is_declined(error)]
    if failures:
        return FAILED, f"{len(failures)} of {len(errors)} forecasts: {failures[0]}"
    return INELIGIBLE, str(messages[0])
