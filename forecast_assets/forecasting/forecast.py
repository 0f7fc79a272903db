"""Turn `best_model` into `next_week_forecast`: point forecasts with prediction intervals.

A series is forecast by the first candidate that succeeds: its champion, the runner-up, an ensemble
of the surviving models, naive. Running a model belongs to `backtesting.executor`, the width of an
interval to `intervals`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from itertools import compress
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import Panel, SeriesFolds, latest_folds
from forecast_assets.backtesting.model_job import BacktestRequest
from forecast_assets.config.settings import Settings, column_suffix
from forecast_assets.forecasting.backtest_results import SCORED, BacktestResults, as_weeks
from forecast_assets.forecasting.ensembles import COMBINATIONS, add_ensembles
from forecast_assets.forecasting.intervals import half_widths, recent_volatility
from forecast_assets.models.base import Values
from forecast_assets.models.registry import find_model
from forecast_assets.storage.tables import COMBINATION, NAIVE, RUNNER_UP

# The candidate of the rung `combination`.
SURVIVORS_ENSEMBLE = "combination_median"
Step = tuple[str, str]  # a candidate, and the name of its rung


class SeriesForecast(NamedTuple):
    """A series' forecast, the candidate and rung that it comes from."""

    model: str
    rung: str
    y_hat: Values  # [H]
    members: Sequence[str]  # of an ensemble: the models that forecast; else empty


def forecast(
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    *,
    executor: BacktestExecutor,
    as_of: datetime,
    made_at: datetime,
) -> pd.DataFrame:
    """Forecast the `horizon` weeks after each series' last: rows of `next_week_forecast`.

    The errors that the same candidate made in its backtest give the interval; where they are too
    few for its level, it is null. No value is below `forecast.minimum`.
    """
    results = BacktestResults.from_predictions(predictions, series, settings)
    targets = latest_folds(series)
    columns = best_model[["unique_id", "model", "rung", "runner_up"]].to_numpy()
    choice = {unique_id: _fallback_order(*rest) for unique_id, *rest in columns}
    chosen = [target for target in targets if target.unique_id in choice]
    orders = {target.unique_id: choice[target.unique_id] for target in chosen}
    forecasts = _forecast_with_fallback(
        orders, _LatestForecasts(targets, results, settings, executor)
    )
    models = [made.model for made in forecasts]
    y_hat = np.stack([made.y_hat for made in forecasts])  # [S, H]
    members = [", ".join(made.members) or None for made in forecasts]
    with_ensembles = add_ensembles(results, set(models), min_lag=settings.backtest.overlap)
    widths, mae = interval_half_widths(chosen, models, with_ensembles, settings)
    horizon = settings.backtest.horizon
    h = np.arange(1, horizon + 1)
    cutoff = np.array([target.ds[-1] for target in chosen], dtype="datetime64[ns]")
    minimum = -np.inf if settings.forecast.minimum is None else settings.forecast.minimum
    bounds = {}
    for level, width in zip(settings.forecast.levels, widths, strict=True):
        bounds[f"lo_{column_suffix(level)}"] = np.maximum(y_hat - width, minimum).ravel()
        bounds[f"hi_{column_suffix(level)}"] = np.maximum(y_hat + width, minimum).ravel()
    return pd.DataFrame(
        {
            "unique_id": np.repeat([target.unique_id for target in chosen], horizon),
            "h": np.tile(h, len(chosen)),
            "ds": (cutoff[:, None] + 7 * h * np.timedelta64(1, "D")).ravel(),
            "y_hat": np.maximum(y_hat, minimum).ravel(),
            **bounds,
            "backtest_mae": mae.ravel(),
            "model": np.repeat(models, horizon),
            "members": np.repeat(np.array(members, dtype=object), horizon),
            "rung": np.repeat([made.rung for made in forecasts], horizon),
            "cutoff": np.repeat(cutoff, horizon),
            "made_at": made_at,
            "as_of": as_of,
        }
    )


def interval_half_widths(
    chosen: Sequence[SeriesFolds],
    models: Sequence[str],
    results: BacktestResults,
    settings: Settings,
) -> tuple[Values, Values]:
    """Return each series' interval half-widths and backtest MAE: [L, S, H] and [S, H].

    Both come from the errors of the series' own model (`models` [S]), in the series' unit; NaN
    where it did not forecast every fold.
    """
    horizon, levels = settings.backtest.horizon, settings.forecast.levels
    half = np.full((len(levels), len(chosen), horizon), np.nan)
    mae = np.full((len(chosen), horizon), np.nan)
    ids = pd.Index([target.unique_id for target in chosen])
    positions = ids.get_indexer(pd.Index([series.unique_id for series in results.planned]))
    volatility = np.array([v[-1] for v in recent_volatility([target.y for target in chosen])])
    model_of = np.array(models)
    weeks = np.unique(as_weeks(np.array([target.ds[-1] for target in chosen])))
    for m, name in enumerate(results.models):
        if name not in models:
            continue
        pools = results.error_pools(m, weeks)
        for block in results.blocks():
            rows = positions[block.series]
            here = np.flatnonzero((rows >= 0) & (model_of[rows] == name) & block.is_scored[m])
            if not len(here):
                continue
            rows, abs_errors = rows[here], np.abs(block.errors[m, here])
            now = block.weeks[-1:] + horizon
            widths = half_widths(
                abs_errors,
                block.recent_volatility[here],
                block.weeks,
                levels,
                [pool.at_weeks(np.searchsorted(weeks, now)) for pool in pools],
                target_weeks=now,
                target_volatility=volatility[rows, None],
            )
            half[:, rows] = widths[:, :, 0]
            mae[rows] = abs_errors.mean(axis=1)
    return half, mae


def latest_weights(results: BacktestResults, name: str) -> Values:
    """Return the weights of models in an ensemble for the newest week, from all folds: [M, S]."""
    weights = np.zeros((len(results.models), len(results.planned)))
    for block in results.blocks():
        weights[:, block.series] = COMBINATIONS[name].weigh(block.errors, block.is_scored)
    return weights


def _fallback_order(model: str, rung: str, runner_up: str | None) -> list[Step]:
    """Return the candidates of a series in the order in which they are tried."""
    second = [(runner_up, RUNNER_UP)] if runner_up is not None else []
    return [(model, rung), *second, (SURVIVORS_ENSEMBLE, COMBINATION), ("naive", NAIVE)]


def _forecast_with_fallback(
    orders: Mapping[str, Sequence[Step]], latest: "_LatestForecasts"
) -> list[SeriesForecast]:
    """Forecast each series with the first candidate of its order that succeeds.

    A model runs only on the series that need it; all models of the same depth run together.
    """
    forecasts: dict[str, SeriesForecast] = {}
    for depth in range(max(map(len, orders.values()))):
        steps = {
            unique_id: order[depth]
            for unique_id, order in orders.items()
            if unique_id not in forecasts and depth < len(order)
        }
        weights = {unique_id: latest.weights(unique_id, *step) for unique_id, step in steps.items()}
        latest.run_missing(weights)
        for unique_id, step in steps.items():
            made = latest.forecast(unique_id, *step, weights[unique_id])
            if np.isfinite(made.y_hat).all():
                forecasts[unique_id] = made
    return [forecasts[unique_id] for unique_id in orders]


class _LatestForecasts:
    """Run models on the newest week of `targets`, at most once for a series, and combine them."""

    def __init__(
        self,
        targets: Sequence[SeriesFolds],
        results: BacktestResults,
        settings: Settings,
        executor: BacktestExecutor,
    ) -> None:
        self._targets, self._panel = targets, Panel.of(targets)
        self._results, self._settings, self._executor = results, settings, executor
        self._position = {series.unique_id: i for i, series in enumerate(results.planned)}
        self._ends = np.cumsum(results.n_folds)
        self._weights = cache(partial(latest_weights, results))  # [M, S] by ensemble
        self._y_hat: dict[str, dict[str, Values]] = defaultdict(dict)  # [H] by model and series

    def weights(self, unique_id: str, name: str, rung: str) -> dict[str, float]:
        """Return the models that a candidate needs on a series, with their weights.

        On the rung `combination` an ensemble consists of the models that have not failed yet.
        """
        if name not in COMBINATIONS:
            return {name: 1.0}
        if unique_id not in self._position:
            return {}
        if rung == COMBINATION:
            weights = self._weights_of_survivors(unique_id, name)
        else:
            weights = self._weights(name)[:, self._position[unique_id]]
        pairs = zip(self._results.models, weights, strict=True)
        return {model: float(weight) for model, weight in pairs if weight}

    def run_missing(self, models_by_series: Mapping[str, Collection[str]]) -> None:
        """Run the models that series need and that have not run on them yet."""
        needed: dict[str, set[str]] = defaultdict(set)
        for unique_id, models in models_by_series.items():
            for model in models:
                if unique_id not in self._y_hat[model]:
                    needed[model].add(unique_id)
        order = [name for name in self._results.models if name in needed]
        order += [name for name in needed if name not in order]
        requests = [
            BacktestRequest(
                find_model(model, self._settings), self._restrict(needed[model]), self._panel
            )
            for model in order
        ]
        for model, run in zip(order, self._executor.run_all(requests), strict=True):
            ids = [series.unique_id for series in run.planned if len(series.ends)]
            self._y_hat[model].update(zip(ids, run.folds.y_hat, strict=True))

    def forecast(
        self, unique_id: str, name: str, rung: str, weights: Mapping[str, float]
    ) -> SeriesForecast:
        """Return a candidate's forecast of a series, NaN where it failed."""
        y_hat = [self._y_hat[model][unique_id] for model in weights]
        if name not in COMBINATIONS:
            return SeriesForecast(name, rung, y_hat[0], ())
        if not y_hat:
            return SeriesForecast(name, rung, np.full(self._settings.backtest.horizon, np.nan), ())
        columns = np.array([*weights.values()])[:, None]
        pooled = COMBINATIONS[name].pool(np.stack(y_hat)[:, None], columns)[0]
        is_known = [np.isfinite(values).all() for values in y_hat]
        return SeriesForecast(name, rung, pooled, [*compress(weights, is_known)])

    def _weights_of_survivors(self, unique_id: str, name: str) -> Values:
        """Return the weights in an ensemble of the models that have not failed: [M]."""
        position, results = self._position[unique_id], self._results
        end = self._ends[position]
        folds = slice(end - results.n_folds[position], end)
        errors = results.y_hat[:, folds] - results.y[folds]
        latest = [self._y_hat[model].get(unique_id, np.zeros(0)) for model in results.models]
        has_failed = np.array([np.isnan(y_hat).any() for y_hat in latest])
        is_able = (results.status[:, position] == SCORED) & ~has_failed
        return COMBINATIONS[name].weigh(errors[:, None], is_able[:, None])[:, 0]

    def _restrict(self, ids: Collection[str]) -> list[SeriesFolds]:
        """Keep every series, but the fold of these alone: a global model trains on all of them."""
        return [
            series if series.unique_id in ids else replace(series, ends=series.ends[:0])
            for series in self._targets
        ]
