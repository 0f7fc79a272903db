"""Models with regressors: a known effect is found, and noise is not taken for one."""

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.errors import ModelError
from forecast_assets.models.naive import Naive
from forecast_assets.models.registry import enabled, find_model, with_candidates, with_twins
from forecast_assets.models.regressors import (
    Effects,
    GlobalWithRegressors,
    WithRegressors,
    relevant_weights,
)
from forecast_assets_tests.builders import make_settings

WEEKS = pd.date_range("2024-01-05", periods=61, freq="W-FRI")


class LastValues:
    """A global model: the last value of each series."""

    is_global = True

    def fit(self, series: pd.DataFrame, **_: int) -> Self:
        """Keep the last values."""
        self._last = series.groupby("unique_id")["y"].last()
        return self

    def update(self, new: pd.DataFrame) -> Self:
        """Replace the last values of series with new ones."""
        last = new.groupby("unique_id")["y"].last()
        self._last = last.combine_first(self._last).sort_index()
        return self

    def predict(self, h: int) -> "np.typing.NDArray[np.float64]":
        """Repeat the last values: [S, h]."""
        return np.repeat(self._last.to_numpy()[:, None], h, axis=1)


def test_the_effect_of_a_holiday_that_came_once_is_added_to_the_forecast():
    rng = np.random.default_rng(1)
    holiday = np.zeros((81, 1))
    holiday[[30, 80]] = 1
    level = 100 * np.exp(np.cumsum(rng.normal(scale=0.01, size=81)))
    y = level * np.exp(0.4 * holiday[:, 0])
    model = WithRegressors(Naive()).fit(y[:80], season_length=1, X=holiday[:80])
    assert model.predict(1, X=holiday[80:]) == pytest.approx(y[79] * np.exp(0.4), rel=0.05)
    assert model.predict(1, X=holiday[:1]) == pytest.approx(y[79], rel=0.01)


def test_a_global_model_has_the_effects_of_each_series_and_none_of_a_new_one():
    holiday = np.zeros((61, 1))
    holiday[[30, 60]] = 1
    y = 100 * np.exp(np.outer([0.2, 0.6], holiday[:60, 0]))
    names = np.repeat([3, 5], 60)  # the other series of the panel have not begun
    frame = pd.DataFrame({"unique_id": names, "ds": np.tile(WEEKS[:60], 2), "y": y.ravel()})
    model = GlobalWithRegressors(LastValues())
    model.fit(frame, season_length=1, X=np.tile(holiday[:60], (2, 1)))
    new = pd.DataFrame({"unique_id": [0], "ds": WEEKS[59:60], "y": [5.0]})
    ahead = np.tile(holiday[60:], (3, 1, 1))
    y_hat = model.update(new, X=holiday[59:60]).predict(1, X=ahead)[:, 0]
    assert y_hat == pytest.approx([5, 100 * np.exp(0.2), 100 * np.exp(0.6)], rel=0.02)


def test_effects_are_amounts_where_values_are_not_all_positive():
    pulse = np.zeros((60, 1))
    pulse[20] = 1
    y = np.sin(np.arange(60)) + 50 * pulse[:, 0]
    model = WithRegressors(Naive()).fit(y, season_length=1, X=pulse)
    assert model.predict(1, X=np.ones((1, 1))) == pytest.approx(y[-1] + 50, abs=5)


def test_a_random_walk_has_hardly_any_weight():
    rng = np.random.default_rng(0)
    weights = [
        relevant_weights(rng.normal(size=(100, 1)), rng.normal(size=100))[0] for _ in range(60)
    ]
    assert np.median(np.abs(weights)) < 0.01
    assert np.mean(np.abs(weights)) < 0.05


def test_a_zero_after_the_fit_stays_zero():
    x = np.zeros((30, 1))
    x[10] = 1
    effects = Effects(np.exp(x[:, 0]), x).estimate(np.exp(x[:, 0]), x, season_length=1)
    assert effects.remove(np.array([0.0, np.e]), np.ones((2, 1)))[0] == 0
    assert effects.remove(np.array([0.0, np.e]), np.ones((2, 1)))[1] == pytest.approx(1, rel=0.05)


def test_each_enabled_model_that_uses_regressors_has_a_twin(tmp_path: Path):
    models = {"enabled": ["naive", "ridge", "ridge_log", "boosted_levels"]}
    plain = make_settings(tmp_path, models=models)
    assert with_twins(plain) is plain
    settings = with_twins(make_settings(tmp_path, models=models, calendar={"country": "US"}))
    twins = ("ridge_x", "ridge_log_x", "boosted_levels_x")
    assert settings.models.enabled == (*models["enabled"], *twins)
    assert with_twins(settings) == settings
    for name in twins:
        assert find_model(name, settings).with_regressors
        assert find_model(name).fingerprint != find_model(name.removesuffix("_x")).fingerprint


def test_a_model_that_needs_regressors_is_refused_where_the_settings_give_none(tmp_path: Path):
    models, calendar = {"enabled": ["naive", "ridge_x"]}, {"country": "US"}
    with pytest.raises(ModelError, match=r"ridge_x\. No model ran\. Add a table \[calendar\] or"):
        enabled(make_settings(tmp_path, models=models))
    assert len(enabled(make_settings(tmp_path, models=models, calendar=calendar))) == 2


def test_a_series_may_be_pinned_to_a_twin_but_to_no_model_that_does_not_compete(tmp_path: Path):
    models, calendar = {"enabled": ["naive", "ridge"]}, {"country": "US"}

    def pin(name: str) -> Settings:
        pinned = {"pinned": {"a": name}}
        settings = make_settings(tmp_path, models=models, calendar=calendar, selection=pinned)
        return with_candidates(settings)

    assert pin("ridge_x").models.enabled == ("naive", "ridge", "ridge_x")
    with pytest.raises(ModelError, match="models that do not compete: naive_x; add them to"):
        pin("naive_x")


def test_a_twin_of_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="There is no model 'riddle_x'"):
        find_model("riddle_x")
