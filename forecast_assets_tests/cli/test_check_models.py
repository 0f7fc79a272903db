"""Test cli.check_models."""

from pathlib import Path

from forecast_assets.cli.check_models import too_short
from forecast_assets_tests.builders import make_series, make_settings, walk


def test_models_that_cannot_compete_are_named_with_what_they_need(tmp_path: Path):
    series = make_series(long=walk(200, seed=1), short=walk(110, seed=2))
    models = ["naive", "mstl_ets", "mstl_arima", "seasonal_naive"]
    (line,) = too_short(series, make_settings(tmp_path, models={"enabled": models}))
    assert (line.name, line.is_well) == ("cannot_compete", None)
    assert line.text == (
        "mstl_ets, mstl_arima: cannot compete on 1 of 2 series, which are too short: 104 weeks are"
        " needed to fit, and 26 more to compare"
    )
    long = series[series["unique_id"] == "long"]
    assert list(too_short(long, make_settings(tmp_path, models={"enabled": models}))) == []
