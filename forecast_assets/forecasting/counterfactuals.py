"""Make the counterfactual forecasts of one series that `explanation` compares.

Most of them are in the fold cache, because runs of the weeks made them; the others are fitted and
kept there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.backtesting.model_job import BacktestRequest
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import Settings
from forecast_assets.errors import ModelError
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.explanation import (
    RAW_NOW,
    RAW_THEN,
    REVISED_THEN,
    SEEN_NOW,
    SEEN_THEN,
    THEN,
    NotSplit,
    Recipe,
)
from forecast_assets.models.base import Values
from forecast_assets.models.registry import find_model

# Characters of a model's error.
MAX_ERROR_LENGTH = 200
Plan = Sequence[SeriesFolds]  # one fold of each series: its newest


class Revision(NamedTuple):
    """A value of the past that is known otherwise now."""

    week: date
    then: float
    now: float


@dataclass(frozen=True, eq=False)
class Week:
    """What is known of a week: who made the forecast of the series, from what, and how.

    `newest` has the folds of all series that forecast the future, as the models saw them; where it
    is a text, that is why they are unknown. `executor` runs models on them by some settings.
    """

    recipe: Recipe | str
    settings: Settings
    newest: Plan | str
    executor: Callable[[Settings], BacktestExecutor]


@dataclass(eq=False)
class Counterfactuals:
    """The forecasts of a series by the models and values of two weeks; each is made once."""

    unique_id: str
    then: Week
    now: Week
    _plans: dict[str, Plan] = field(default_factory=dict)
    _cells: dict[tuple[str, str, str], tuple[Values, str]] = field(default_factory=dict)

    def forecast(self, recipe_of: str, settings_of: str, values: str, h: int) -> float:
        """Return a forecast as `explanation.Forecast` describes it. Raises NotSplit."""
        week = self.then if recipe_of == THEN else self.now
        if isinstance(week.recipe, str):
            raise NotSplit(week.recipe)
        if h < 1:
            raise NotSplit("the newest weeks of then are gone")
        settings = (self.then if settings_of == THEN else self.now).settings
        longer = settings.backtest.model_copy(update={"horizon": max(h, settings.backtest.horizon)})
        settings = settings.model_copy(update={"backtest": longer})
        forecasts = self._run([*week.recipe.weights], settings, values)
        y_hat = np.stack([forecasts[name] for name in week.recipe.weights])
        shares = np.array([*week.recipe.weights.values()])[:, None]
        pool = COMBINATIONS[week.recipe.candidate].pool if len(y_hat) > 1 else None
        pooled = pool(y_hat[:, None], shares)[0] if pool else y_hat[0]
        least = settings.forecast.minimum
        return float(pooled[h - 1] if least is None else max(pooled[h - 1], least))

    def values(self, name: str) -> SeriesFolds:
        """Return the newest fold of the series with one of VALUES. Raises NotSplit."""
        for item in self._plan(name):
            if item.unique_id == self.unique_id:
                return item
        raise NotSplit(f"{self.unique_id} has no week of then any more")

    def revisions(self) -> list[Revision]:
        """Return the values that were revised since, the newest week first; none if unknown."""
        try:
            then, now = self.values(RAW_THEN), self.values(REVISED_THEN)
        except NotSplit:
            return []
        weeks, at_then, at_now = np.intersect1d(then.ds, now.ds, return_indices=True)
        old, new = then.y[at_then], now.y[at_now]
        return [
            Revision(pd.Timestamp(weeks[i]).date(), float(old[i]), float(new[i]))
            for i in np.flatnonzero(old != new)[::-1]
        ]

    def _run(self, names: Sequence[str], settings: Settings, values: str) -> Mapping[str, Values]:
        """Run models on values and return their forecasts: [H] each. Raises NotSplit."""
        plan, _ = self._plan(values), self.values(values)
        week = self.then if values in (SEEN_THEN, RAW_THEN) else self.now
        key = settings.model_dump_json(include={"series", "backtest", "models"})
        requests = {}
        for name in names:
            if (name, key, values) not in self._cells:
                try:
                    spec = find_model(name, settings)
                    _ = spec.fingerprint  # it imports the model
                except ModelError as error:
                    raise NotSplit(f"the model {name} is no longer installed") from error
                requests[name] = BacktestRequest(spec, self._restricted(plan), Panel.of(plan))
        runs = week.executor(settings).run_all([*requests.values()]) if requests else []
        for name, run in zip(requests, runs, strict=True):
            problem = "" if run.folds.is_forecast[0] else str(run.folds.errors[0])
            self._cells[name, key, values] = run.folds.y_hat[0], problem
        found = {name: self._cells[name, key, values] for name in names}
        for name, (_, problem) in found.items():
            if problem:
                text = " ".join(problem.split())[:MAX_ERROR_LENGTH]
                raise NotSplit(f"{name} makes no forecast of the values {values}: {text}")
        return {name: y_hat for name, (y_hat, _) in found.items()}

    def _restricted(self, plan: Plan) -> Plan:
        """Keep every series, but the fold of this one alone."""
        return [
            item if item.unique_id == self.unique_id else replace(item, ends=item.ends[:0])
            for item in plan
        ]

    def _plan(self, values: str) -> Plan:
        if values not in self._plans:
            self._plans[values] = self._make_plan(values)
        return self._plans[values]

    def _make_plan(self, values: str) -> Plan:
        week = self.then if values in (SEEN_THEN, RAW_THEN) else self.now
        if isinstance(week.newest, str):
            raise NotSplit(week.newest)
        if values in (SEEN_THEN, SEEN_NOW):
            return week.newest
        if values in (RAW_THEN, RAW_NOW):
            return without_correction(week.newest)
        if isinstance(self.then.newest, str):
            raise NotSplit(self.then.newest)
        return as_known_now(self.then.newest, without_correction(week.newest))


def without_correction(newest: Plan) -> Plan:
    """Return the newest folds with the values as they are stored; the same if that is no change."""
    if not any(item.patches for item in newest):
        return newest
    return [replace(item, patches={}) for item in newest]


def as_known_now(then: Plan, now: Plan) -> list[SeriesFolds]:
    """Return the weeks of then with the values of now: a fold of each series that has any.

    A series that was unknown then has the weeks up to the newest of then.
    """
    last = {item.unique_id: item.ds[-1] for item in then}
    newest = max(last.values())
    found = []
    for item in now:
        n = int(np.searchsorted(item.ds, last.get(item.unique_id, newest), side="right"))
        if n:
            ends = np.array([n], dtype=np.int64)
            cut = {name: getattr(item, name)[:n] for name in ("ds", "y", "is_filled")}
            found.append(replace(item, **cut, ends=ends))
    return found
