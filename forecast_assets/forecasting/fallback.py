"""Forecast each series by its first candidate that makes a plausible forecast of the newest week.

The candidates are its champion, the runner-up, an ensemble of the surviving models, and naive.
Running a model belongs to `backtesting.executor`, and what is plausible to `plausibility`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import compress
from typing import NamedTuple

import numpy as np

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.model_job import BacktestRequest
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.plausibility import PlausibleRange
from forecast_assets.models.base import Values
from forecast_assets.models.registry import find_model
from forecast_assets.storage.tables import COMBINATION, NAIVE, RUNNER_UP

# The candidate of the rung `combination`.
SURVIVORS_ENSEMBLE = "combination_median"
# Characters of a model's error in the reason why another one forecasts.
MAX_ERROR_LENGTH = 200
Step = tuple[str, str]  # a candidate, and the name of its rung


class Attempt(NamedTuple):
    """A candidate's forecast of a series, and what is wrong with it, if anything is."""

    model: str
    rung: str
    y_hat: Values  # [H]; NaN where it failed
    members: Sequence[str]  # of an ensemble: the models that forecast; else empty
    problem: str | None  # in words that follow the model's name
    left_out: Sequence[str] = ()  # members whose forecast is not plausible, with their problem
    weights: Sequence[float] = ()  # of the members

    @property
    def unequal_weights(self) -> Sequence[float]:
        """Return the weights of the members unless they are equal."""
        return self.weights if len({*self.weights}) > 1 else ()

    @property
    def is_number(self) -> bool:
        """Tell whether there is a forecast for each week, plausible or not."""
        return bool(np.isfinite(self.y_hat).all())


def latest_weights(results: BacktestResults, name: str) -> Values:
    """Return the weights of models in an ensemble for the newest week, from all folds: [M, S]."""
    weights = np.zeros((len(results.models), len(results.planned)))
    for block in results.blocks():
        weights[:, block.series] = COMBINATIONS[name].weights(block)
    return weights


def fallback_order(model: str, rung: str, runner_up: str | None) -> list[Step]:
    """Return the candidates of a series in the order in which they are tried."""
    second = [(runner_up, RUNNER_UP)] if runner_up is not None else []
    return [(model, rung), *second, (SURVIVORS_ENSEMBLE, COMBINATION), ("naive", NAIVE)]


def forecast_with_fallback(
    orders: Mapping[str, Sequence[Step]], latest: "LatestForecasts"
) -> list[list[Attempt]]:
    """Try the candidates of each series in their order, up to the first without a problem.

    A model runs only on the series that need it; all models of the same depth run together.
    """
    attempts: dict[str, list[Attempt]] = {unique_id: [] for unique_id in orders}
    for depth in range(max(map(len, orders.values()))):
        steps = {
            unique_id: order[depth]
            for unique_id, order in orders.items()
            if depth < len(order) and all(tried.problem for tried in attempts[unique_id])
        }
        weights = {unique_id: latest.weights(unique_id, *step) for unique_id, step in steps.items()}
        latest.run_missing(weights)
        for unique_id, step in steps.items():
            attempts[unique_id].append(latest.attempt(unique_id, *step, weights[unique_id]))
    return list(attempts.values())


class LatestForecasts:
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
        self._weights = cache(partial(latest_weights, results))  # [M, S] by ensemble
        self._y_hat: dict[str, dict[str, Values]] = defaultdict(dict)  # [H] by model and series
        self._errors: dict[str, dict[str, str | None]] = defaultdict(dict)
        self._target = {series.unique_id: i for i, series in enumerate(targets)}
        self._range = PlausibleRange.of(
            [series.y for series in targets],
            horizon=settings.backtest.horizon,
            season_length=settings.series.season_length,
        )

    def weights(self, unique_id: str, name: str, rung: str) -> dict[str, float]:
        """Return the models that a candidate needs on a series, with their weights.

        On the rung `combination` an ensemble consists of the models that have no problem so far.
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
            self._errors[model].update(zip(ids, run.folds.errors, strict=True))

    def attempt(
        self, unique_id: str, name: str, rung: str, weights: Mapping[str, float]
    ) -> Attempt:
        """Return a candidate's forecast of a series with its problem."""
        if name not in COMBINATIONS:
            problem = self._problem(unique_id, name)
            return Attempt(name, rung, self._y_hat[name][unique_id], (), problem)
        is_able = [bool(np.isfinite(self._y_hat[model][unique_id]).all()) for model in weights]
        problems = {model: self._problem(unique_id, model) for model in weights}
        is_plausible = [problem is None for problem in problems.values()]
        left_out: list[str] = []
        if any(is_plausible) and self._settings.data_quality.implausible_forecast != "publish":
            odd = [able and not good for able, good in zip(is_able, is_plausible, strict=True)]
            left_out = [f"{model} {problems[model]}" for model in compress(weights, odd)]
            is_able = is_plausible  # an implausible member would bias the others
        if not any(is_able):
            nothing = np.full(self._settings.backtest.horizon, np.nan)
            return Attempt(name, rung, nothing, (), "has no member that forecasts")
        members = [*compress(weights, is_able)]
        y_hat = np.stack([self._y_hat[model][unique_id] for model in members])
        shares = [weights[model] for model in members]
        pooled = COMBINATIONS[name].pool(y_hat[:, None], np.array(shares)[:, None])[0]
        problem = self._implausible(unique_id, pooled)
        return Attempt(name, rung, pooled, members, problem, left_out, shares)

    def _problem(self, unique_id: str, model: str) -> str | None:
        """Return the problem of a model that ran on a series: it failed, or is implausible."""
        y_hat = self._y_hat[model][unique_id]
        if not np.isfinite(y_hat).all():
            error = " ".join(str(self._errors[model][unique_id]).split())
            return f"failed: {error[:MAX_ERROR_LENGTH]}"
        return self._implausible(unique_id, y_hat)

    def _implausible(self, unique_id: str, y_hat: Values) -> str | None:
        minimum = self._settings.forecast.minimum
        published = y_hat if minimum is None else np.maximum(y_hat, minimum)
        return self._range.problem(self._target[unique_id], published)

    def _weights_of_survivors(self, unique_id: str, name: str) -> Values:
        """Return the weights in an ensemble of the models that have no problem so far: [M]."""
        position, results = self._position[unique_id], self._results
        has_problem = np.array(
            [
                unique_id in self._y_hat[model] and self._problem(unique_id, model) is not None
                for model in results.models
            ]
        )
        block = results.block(np.array([position]))
        able = replace(block, is_scored=block.is_scored & ~has_problem[:, None])
        return COMBINATIONS[name].weights(able)[:, 0]

    def _restrict(self, ids: Collection[str]) -> list[SeriesFolds]:
        """Keep every series, but the fold of these alone: a global model trains on all of them."""
        return [
            series if series.unique_id in ids else replace(series, ends=series.ends[:0])
            for series in self._targets
        ]
