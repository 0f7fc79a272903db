"""The ladder: who forecasts a series where those before it fail on the newest week.

Champion, runner-up, a combination of the survivors, naive. How a model is run: `compute`.
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

SURVIVORS = "combination_median"  # what the third rung forecasts with
Rung = tuple[str, str]  # a candidate's name, and the name of the rung it would stand on


class SeriesForecast(NamedTuple):
    """A series' forecast: whose it is, on which rung, what it says, and of whom it is combined."""

    model: str
    rung: str
    y_hat: Values  # [H]
    members: Sequence[str]  # those that forecast; none for a single model


def fallback_order(model: str, rung: str, runner_up: str | None) -> list[Rung]:
    """A series' ladder, from its choice on."""
    second = [(runner_up, RUNNER_UP)] if runner_up is not None else []
    return [(model, rung), *second, (SURVIVORS, COMBINATION), ("naive", NAIVE)]


def forecast_with_fallback(
    ladders: Mapping[str, Sequence[Rung]],
    targets: Sequence[SeriesFolds],
    evidence: BacktestResults,
    settings: Settings,
    compute: BacktestExecutor,
) -> dict[str, SeriesForecast]:
    """The first rung of each series that forecasts its newest week, by `unique_id`.

    `targets` are all series, each with that one fold. A model is asked for the series whose rung
    needs it, and for no other; all models of rungs that stand equally high at once.
    """
    newest = _LatestForecasts(targets, evidence, settings, compute)
    made: dict[str, SeriesForecast] = {}
    for depth in range(max(map(len, ladders.values()))):
        tried = {
            unique_id: ladder[depth]
            for unique_id, ladder in ladders.items()
            if unique_id not in made and depth < len(ladder)
        }
        needed = {one: newest.members(one, *rung) for one, rung in tried.items()}
        newest.ask(needed)
        for unique_id, (name, rung) in tried.items():
            members = needed[unique_id]
            y_hat = newest.forecast(unique_id, name, members)
            if np.isfinite(y_hat).all():
                made[unique_id] = SeriesForecast(
                    name, rung, y_hat, newest.heard(unique_id, name, members)
                )
    return {unique_id: made[unique_id] for unique_id in ladders}


class _LatestForecasts:
    """What models say of the newest week: each is asked once for a series."""

    def __init__(
        self,
        targets: Sequence[SeriesFolds],
        evidence: BacktestResults,
        settings: Settings,
        compute: BacktestExecutor,
    ) -> None:
        self._targets, self._panel = targets, Panel.of(targets)
        self._evidence, self._settings, self._compute = evidence, settings, compute
        self._place = {one.unique_id: i for i, one in enumerate(evidence.planned)}
        self._ends = np.cumsum(evidence.n_folds)
        self._weights: dict[str, Values] = {}
        self._said: dict[str, dict[str, Values]] = {}  # by model and series

    def members(self, unique_id: str, name: str, rung: str) -> dict[str, float]:
        """The models that a candidate needs on a series, and what each weighs.

        On the rung of that name a combination is one of those that have not failed yet.
        """
        if name not in COMBINATIONS:
            return {name: 1.0}
        if unique_id not in self._place:
            return {}
        if rung == COMBINATION:
            shares = self._of_survivors(unique_id, name)
        else:
            if name not in self._weights:
                self._weights[name] = newest_weights(self._evidence, name)
            shares = self._weights[name][:, self._place[unique_id]]
        named = zip(self._evidence.models, shares, strict=True)
        return {model: float(share) for model, share in named if share}

    def ask(self, needed: Mapping[str, Collection[str]]) -> None:
        """Ask the models that series need and that were not asked for them yet."""
        asked: dict[str, set[str]] = {}
        for unique_id, models in needed.items():
            for model in models:
                if unique_id not in self._said.get(model, {}):
                    asked.setdefault(model, set()).add(unique_id)
        order = [name for name in self._evidence.models if name in asked]
        order += [name for name in asked if name not in order]
        runs = self._compute.run_all(
            [
                BacktestRequest(find_model(m, self._settings), self._only(asked[m]), self._panel)
                for m in order
            ]
        )
        for model, run in zip(order, runs, strict=True):
            ids = [one.unique_id for one in run.planned if len(one.ends)]
            self._said.setdefault(model, {}).update(zip(ids, run.folds.y_hat, strict=True))

    def forecast(self, unique_id: str, name: str, members: Mapping[str, float]) -> Values:
        """What a candidate says of a series: [H]; NaN where it does not forecast."""
        said = [self._said[model][unique_id] for model in members]
        if name not in COMBINATIONS:
            return said[0]
        if not said:
            return np.full(self._settings.backtest.horizon, np.nan)
        weights = np.array([*members.values()])[:, None]
        pooled: Values = COMBINATIONS[name].pool(np.stack(said)[:, None], weights)[0]
        return pooled

    def heard(self, unique_id: str, name: str, members: Collection[str]) -> list[str]:
        """The members of a combination that forecast a series."""
        if name not in COMBINATIONS:
            return []
        return [one for one in members if np.isfinite(self._said[one][unique_id]).all()]

    def _of_survivors(self, unique_id: str, name: str) -> Values:
        """What each model weighs in a combination of those that have not failed: [M]."""
        at = self._place[unique_id]
        folds = slice(self._ends[at - 1] if at else 0, self._ends[at])
        errors = self._evidence.y_hat[:, folds] - self._evidence.y[folds]
        has_failed = np.array(
            [
                np.isnan(self._said.get(model, {}).get(unique_id, 0.0)).any()
                for model in self._evidence.models
            ]
        )
        is_able = (self._evidence.status[:, at] == SCORED) & ~has_failed
        weights: Values = COMBINATIONS[name].weigh(errors[:, None], is_able[:, None])[:, 0]
        return weights

    def _only(self, ids: Collection[str]) -> list[SeriesFolds]:
        """Every series, with a fold for those alone: a global model sees the others too."""
        return [
            one if one.unique_id in ids else replace(one, ends=one.ends[:0])
            for one in self._targets
        ]


def newest_weights(evidence: BacktestResults, name: str) -> Values:
    """What each model weighs in a combination for the newest week: [M, S]; all folds are known."""
    weights = np.zeros((len(evidence.models), len(evidence.planned)))
    for block in evidence.blocks():
        weights[:, block.series] = COMBINATIONS[name].weigh(block.errors, block.is_scored)
    return weights
