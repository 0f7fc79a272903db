"""Forecast each series with the first candidate of its fallback order that succeeds.

The order is champion, runner-up, ensemble of the surviving models, naive. Running a model belongs
to `backtesting.executor`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import Panel, SeriesFolds
from forecast_assets.backtesting.model_job import BacktestRequest
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.backtest_results import SCORED, BacktestResults
from forecast_assets.forecasting.ensembles import COMBINATIONS
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


def fallback_order(model: str, rung: str, runner_up: str | None) -> list[Step]:
    """Return the candidates of a series in the order in which they are tried."""
    second = [(runner_up, RUNNER_UP)] if runner_up is not None else []
    return [(model, rung), *second, (SURVIVORS_ENSEMBLE, COMBINATION), ("naive", NAIVE)]


def forecast_with_fallback(
    orders: Mapping[str, Sequence[Step]],
    targets: Sequence[SeriesFolds],
    results: BacktestResults,
    settings: Settings,
    executor: BacktestExecutor,
) -> dict[str, SeriesForecast]:
    """Forecast each series with the first candidate that succeeds, by `unique_id`.

    `orders` holds each series' fallback order, `targets` every series with its newest week as its
    single fold. A model runs only on the series that need it; all models of the same depth run
    together.
    """
    latest = _LatestForecasts(targets, results, settings, executor)
    forecasts: dict[str, SeriesForecast] = {}
    for depth in range(max(map(len, orders.values()))):
        steps = {
            unique_id: order[depth]
            for unique_id, order in orders.items()
            if unique_id not in forecasts and depth < len(order)
        }
        members = {unique_id: latest.members(unique_id, *step) for unique_id, step in steps.items()}
        latest.run_missing(members)
        for unique_id, (name, rung) in steps.items():
            y_hat = latest.forecast(unique_id, name, members[unique_id])
            if np.isfinite(y_hat).all():
                survivors = latest.successful_members(unique_id, name, members[unique_id])
                forecasts[unique_id] = SeriesForecast(name, rung, y_hat, survivors)
    return {unique_id: forecasts[unique_id] for unique_id in orders}


class _LatestForecasts:
    """Run models on the newest week, each at most once for a series, and combine them."""

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
        self._weights: dict[str, Values] = {}  # [M, S] by ensemble
        self._y_hat: dict[str, dict[str, Values]] = {}  # [H] by model and series

    def members(self, unique_id: str, name: str, rung: str) -> dict[str, float]:
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
            if name not in self._weights:
                self._weights[name] = latest_weights(self._results, name)
            weights = self._weights[name][:, self._position[unique_id]]
        pairs = zip(self._results.models, weights, strict=True)
        return {model: float(weight) for model, weight in pairs if weight}

    def run_missing(self, members: Mapping[str, Collection[str]]) -> None:
        """Run the models that series need and that have not run on them yet."""
        needed: dict[str, set[str]] = {}
        for unique_id, models in members.items():
            for model in models:
                if unique_id not in self._y_hat.get(model, {}):
                    needed.setdefault(model, set()).add(unique_id)
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
            self._y_hat.setdefault(model, {}).update(zip(ids, run.folds.y_hat, strict=True))

    def forecast(self, unique_id: str, name: str, members: Mapping[str, float]) -> Values:
        """Return a candidate's forecast of a series: [H]; NaN where it failed."""
        y_hat = [self._y_hat[model][unique_id] for model in members]
        if name not in COMBINATIONS:
            return y_hat[0]
        if not y_hat:
            return np.full(self._settings.backtest.horizon, np.nan)
        weights = np.array([*members.values()])[:, None]
        pooled: Values = COMBINATIONS[name].pool(np.stack(y_hat)[:, None], weights)[0]
        return pooled

    def successful_members(self, unique_id: str, name: str, members: Collection[str]) -> list[str]:
        """Return the members of an ensemble that forecast a series; none for a single model."""
        if name not in COMBINATIONS:
            return []
        return [model for model in members if np.isfinite(self._y_hat[model][unique_id]).all()]

    def _weights_of_survivors(self, unique_id: str, name: str) -> Values:
        """Return the weights in an ensemble of the models that have not failed: [M]."""
        position = self._position[unique_id]
        folds = slice(self._ends[position - 1] if position else 0, self._ends[position])
        errors = self._results.y_hat[:, folds] - self._results.y[folds]
        has_failed = np.array(
            [
                np.isnan(self._y_hat.get(model, {}).get(unique_id, 0.0)).any()
                for model in self._results.models
            ]
        )
        is_able = (self._results.status[:, position] == SCORED) & ~has_failed
        weights: Values = COMBINATIONS[name].weigh(errors[:, None], is_able[:, None])[:, 0]
        return weights

    def _restrict(self, ids: Collection[str]) -> list[SeriesFolds]:
        """Keep every series, but the fold of these alone: a global model trains on all of them."""
        return [
            series if series.unique_id in ids else replace(series, ends=series.ends[:0])
            for series in self._targets
        ]


def latest_weights(results: BacktestResults, name: str) -> Values:
    """Return the weights of models in an ensemble for the newest week, from all folds: [M, S]."""
    weights = np.zeros((len(results.models), len(results.planned)))
    for block in results.blocks():
        weights[:, block.series] = COMBINATIONS[name].weigh(block.errors, block.is_scored)
    return weights
