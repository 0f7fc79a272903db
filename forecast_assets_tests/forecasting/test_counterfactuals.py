"""Counterfactual forecasts of one series, of the values of two weeks, and why one is missing."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import Patch, latest_folds
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.counterfactuals import Counterfactuals, Plan, Week, as_known_now
from forecast_assets.forecasting.explanation import (
    NOW,
    RAW_NOW,
    RAW_THEN,
    REVISED_THEN,
    SEEN_NOW,
    SEEN_THEN,
    THEN,
    NotSplit,
    Recipe,
)
from forecast_assets_tests.builders import make_ragged, make_series, make_settings
from forecast_assets_tests.worker_builders import make_executor

OLD, NEW = [10.0, 12.0, 14.0], [10.0, 13.0, 15.0, 20.0]


def weeks_of(settings: Settings, *, corrected: float = 21.0) -> tuple[Week, Week]:
    """Return two weeks: by naive, then by the mean of naive and drift; the 20 is corrected."""

    def executor(settings: Settings) -> BacktestExecutor:
        return make_executor(settings)

    then = latest_folds(make_series(a=OLD, z=OLD))
    now = latest_folds(make_series(a=NEW, z=NEW))
    patch = Patch(np.array([3]), np.array([corrected]))
    now[0] = replace(now[0], patches={4: patch})
    mean = Recipe("combination_mean", {"naive": 0.5, "drift": 0.5})
    return (
        Week(Recipe("naive", {"naive": 1.0}), settings, then, executor),
        Week(mean, settings, now, executor),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, models={"enabled": ["naive", "drift"]})


@pytest.mark.parametrize(
    ("recipe", "values", "h", "expected"),
    [
        (THEN, SEEN_THEN, 1, 14.0),
        (NOW, SEEN_THEN, 1, (14 + 16) / 2),
        (NOW, SEEN_THEN, 3, (14 + 20) / 2),
        (NOW, REVISED_THEN, 1, (15 + 17.5) / 2),
        (THEN, RAW_NOW, 1, 20.0),
        (THEN, SEEN_NOW, 1, 21.0),
    ],
)
def test_a_recipe_forecasts_the_values_of_a_week(
    settings: Settings, recipe: str, values: str, h: int, expected: float
):
    cells = Counterfactuals("a", *weeks_of(settings))
    assert cells.forecast(recipe, NOW, values, h) == pytest.approx(expected)


def test_no_forecast_is_below_the_minimum_of_its_settings(tmp_path: Path, settings: Settings):
    then, now = weeks_of(settings)
    raised = make_settings(tmp_path, forecast={"minimum": 100.0})
    cells = Counterfactuals("a", then, replace(now, settings=raised))
    assert cells.forecast(THEN, THEN, SEEN_THEN, 1) == 14
    assert cells.forecast(THEN, NOW, SEEN_THEN, 1) == 100


def changed(settings: Settings, **of_then: object) -> Counterfactuals:
    then, now = weeks_of(settings)
    return Counterfactuals("a", replace(then, **of_then), now)  # type: ignore[arg-type]


def test_what_cannot_be_made_says_why(settings: Settings):
    short = Recipe("seasonal_naive", {"seasonal_naive": 1.0})
    cases: list[tuple[Counterfactuals, str, int]] = [
        (changed(settings, recipe="the weights were not recorded"), "the weights were not", 1),
        (changed(settings, newest="it was pruned"), "it was pruned", 1),
        (changed(settings, recipe=Recipe("gone", {"gone": 1.0})), "the model gone is no longer", 1),
        (changed(settings), "the newest weeks of then are gone", 0),
        (changed(settings, newest=latest_folds(make_series(b=OLD))), "a has no week of then", 1),
        (changed(settings, recipe=short), "seasonal_naive makes no forecast of the values as", 1),
    ]
    for cells, message, h in cases:
        with pytest.raises(NotSplit, match=message):
            cells.forecast(THEN, THEN, SEEN_THEN, h)
    with pytest.raises(NotSplit, match="it was pruned"):
        changed(settings, newest="it was pruned").values(REVISED_THEN)


def test_a_model_is_run_once_on_equal_values(settings: Settings):
    cells = Counterfactuals("a", *weeks_of(settings))
    assert cells.values(RAW_THEN) is cells.values(SEEN_THEN)
    assert cells.values(RAW_NOW) is not cells.values(SEEN_NOW)


def test_revised_values_are_listed_the_newest_first(settings: Settings):
    cells = Counterfactuals("a", *weeks_of(settings))
    assert [tuple(each) for each in cells.revisions()] == [
        (date(2024, 1, 19), 14.0, 15.0),
        (date(2024, 1, 12), 12.0, 13.0),
    ]
    assert changed(settings, newest="it was pruned").revisions() == []


def test_weeks_of_then_have_the_values_of_now():
    """`late` ended earlier then; `new` was not known; `gone` is no longer."""
    then: Plan = latest_folds(make_ragged(late=(0, OLD), a=(0, [*OLD, 1.0]), gone=(0, OLD)))
    now: Plan = latest_folds(make_ragged(late=(0, NEW), a=(0, [*NEW, 2.0]), new=(1, NEW)))
    found = {item.unique_id: item for item in as_known_now(then, now)}
    assert {name: list(item.y) for name, item in found.items()} == {
        "a": NEW,
        "late": NEW[:3],
        "new": NEW[:3],
    }
    assert {name: list(item.ends) for name, item in found.items()} == {
        "a": [4],
        "late": [3],
        "new": [3],
    }
