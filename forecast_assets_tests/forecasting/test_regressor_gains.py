"""By how much models are better with regressors, and where that is too good to be true."""

from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.regressor_gains import probable_leak, regressor_gains
from forecast_assets_tests.builders import make_settings


def scores(**mae: tuple[float, float]) -> pd.DataFrame:
    """Make metrics of models on the series a and b."""
    rows = [(series, model, mae[model][i]) for i, series in enumerate("ab") for model in mae]
    table = pd.DataFrame(rows, columns=["unique_id", "model", "mae"])
    return table.assign(status="scored", n_real=8, mase=table["mae"] / 10)


def settings_of(tmp_path: Path, **promo: object) -> Settings:
    own = {"kind": "file", "path": "promo.csv", "columns": ["price"], "known": "ahead", **promo}
    return make_settings(tmp_path, regressors={"promo": own})


def test_each_model_is_compared_with_its_twin_on_the_series_that_both_are_scored_on():
    metrics = scores(naive=(1, 1), ridge=(10, 20), ridge_x=(5, 25), theta=(8, 8), theta_x=(4, 4))
    metrics.loc[metrics["model"].eq("theta") & metrics["unique_id"].eq("b"), "status"] = "failed"
    twins = [("arima", "arima_x"), ("theta", "theta_x"), ("ridge", "ridge_x")]
    gains = regressor_gains(metrics, twins, metric="mase").set_index("model")
    assert list(gains.index) == ["theta_x", "ridge_x"]
    assert gains.loc["theta_x", ["gain", "n_series", "n_better"]].tolist() == [0.5, 1, 1]
    assert gains.loc["ridge_x", ["gain", "n_series", "n_better"]].tolist() == [0.0, 2, 1]
    assert gains.loc["ridge_x", "without"] == pytest.approx(1.5)


def test_an_implausible_gain_of_values_without_a_time_of_publication_is_a_probable_leak(
    tmp_path: Path,
):
    metrics = scores(ridge=(10, 20), ridge_x=(0.1, 18))
    text = probable_leak(metrics, settings_of(tmp_path))
    assert "ridge_x has errors 99% lower than ridge on 1 of 2 series (a)" in text
    assert "Set `regressors.promo.available` to the column of publication times" in text
    assert not probable_leak(metrics, settings_of(tmp_path, available="published"))
    assert not probable_leak(scores(ridge=(10, 20), ridge_x=(2, 4)), settings_of(tmp_path))
