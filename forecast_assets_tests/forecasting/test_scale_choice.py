"""The scale of a panel: chosen by past intervals, and what is published on it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.metrics import collect, compute, to_frame
from forecast_assets_tests.builders import make_series, make_settings
from forecast_assets_tests.worker_builders import run_backtest

N_WEEKS, N_SERIES = 120, 12


def panel(*, is_multiplicative: bool) -> pd.DataFrame:
    """Return series around levels that rise and fall tenfold, with noise around each level."""
    rng = np.random.default_rng(1)
    phase = rng.uniform(0, 2 * np.pi, (N_SERIES, 1))
    level = 100 * np.exp(1.2 * np.sin(phase + 2 * np.pi * np.arange(N_WEEKS) / 60))
    noise = rng.normal(size=level.shape)
    values = level * np.exp(0.2 * noise) if is_multiplicative else 200 + level + 20 * noise
    return make_series(**{f"s{i:02}": list(y) for i, y in enumerate(values)})


def collected(series: pd.DataFrame, tmp_path: Path, **forecast: Any) -> BacktestResults:
    """Return the results of naive on a panel."""
    settings = settings_of(tmp_path, **forecast)
    predictions = run_backtest("naive", series, settings).predictions(settings)
    return collect(predictions, series, settings)


def settings_of(tmp_path: Path, **forecast: Any) -> Settings:
    return make_settings(
        tmp_path, backtest={"n_windows": 52}, models={"enabled": ["naive"]}, forecast=forecast
    )


def test_noise_that_grows_with_the_level_is_measured_on_a_scale_and_other_noise_is_not(
    tmp_path: Path,
):
    assert collected(panel(is_multiplicative=True), tmp_path).scale.name == "log1p"
    assert collected(panel(is_multiplicative=False), tmp_path).scale.name == "level"


def test_the_settings_may_name_the_scale(tmp_path: Path):
    series = panel(is_multiplicative=True)
    assert collected(series, tmp_path, scale="sqrt").scale.name == "sqrt"


def test_a_panel_with_negative_values_or_few_weeks_keeps_the_level(tmp_path: Path):
    series = panel(is_multiplicative=True)
    assert collected(series.assign(y=-series["y"]), tmp_path).scale.name == "level"
    early = series[series["ds"] < series["ds"].min() + pd.Timedelta(weeks=12)]
    assert collected(early.reset_index(drop=True), tmp_path).scale.name == "level"


def test_scores_are_those_of_the_forecast_raised_to_the_minimum(tmp_path: Path):
    """Naive repeats values below the minimum, which would be published as the minimum."""
    series, minimum = panel(is_multiplicative=True), 60.0
    settings = settings_of(tmp_path, minimum=minimum)
    predictions = run_backtest("naive", series, settings).predictions(settings)
    results = collect(predictions, series, settings)
    scores = to_frame(results, compute(results, settings)).set_index(["unique_id", "model"])
    actual = series.set_index(["unique_id", "ds"])["y"]
    y = actual.loc[pd.MultiIndex.from_frame(predictions[["unique_id", "ds"]])].to_numpy()
    error = predictions["y_hat"].clip(lower=minimum) - y
    expected = error.abs().groupby(predictions["unique_id"]).mean()
    assert (predictions["y_hat"] < minimum).any()
    assert scores.xs("naive", level="model")["mae"].to_list() == pytest.approx(list(expected))
