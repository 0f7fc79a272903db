"""A week is published although models misbehave.

What a way does to the process of a model: `test_sandbox.py` and `test_chunk.py`.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.test_week import latest
from forecast_assets_tests.worker_builders import make_executor

SOUND = ("naive", "sound")
# The first value of a series tells the models with `on` whether to misbehave on it.
ODD, EVEN = [100.0, *walk(29, seed=1)], [200.0, *walk(29, seed=2, start=200.0)]
ERRORS = {
    "raises": "RuntimeError: no licence",
    "hangs": "took more than 1 seconds",
    "kills_itself": "the model's process ended with signal SIGKILL",
    "nan": "forecast is not finite: [nan]",
}
# Models that misbehave on one of two series; the others do so on both.
ON_ODD = ("kills_itself", "nan")


@pytest.mark.usefixtures("user_models")
def test_a_week_is_published_whatever_its_models_do(
    tmp_path: Path, instance: dg.DagsterInstance, dask_pool: DaskPool
):
    params = {way: {"way": way} | ({"on": ODD[0]} if way in ON_ODD else {}) for way in ERRORS}
    params["sound"] = {}
    tables = {
        name: {"factory": "user_models:Misbehaving", "params": params[name]} for name in params
    }
    settings = week_settings(
        tmp_path,
        make_series(even=EVEN, odd=ODD),
        models={"enabled": ["naive", *tables], **tables},
        backtest={"n_windows": 3},
        compute={"fold_seconds": 1},
    )
    result = run_week(settings, instance)
    assert result.success
    store = build_store(settings)
    scores = latest(store, "metrics").set_index(["model", "unique_id"])
    for way, error in ERRORS.items():
        assert scores.loc[(way, "odd"), "status"] == "failed"
        assert error in scores.loc[(way, "odd"), "reason"]
        assert scores.loc[(way, "even"), "status"] == ("scored" if way in ON_ODD else "failed")
    assert (scores.loc[list(SOUND), "status"] == "scored").all()
    predictions = latest(store, "backtest_predictions").drop(columns="fit_seconds")
    calm = settings.model_copy(update={"var": tmp_path / "calm"})
    executor = make_executor(calm, dask_pool)
    for run in executor.run_all(executor.requests(latest(store, "series"), SOUND)):
        rows = predictions[predictions["model"] == run.model].reset_index(drop=True)
        alone = run.predictions(calm).drop(columns="fit_seconds")
        pd.testing.assert_frame_equal(rows, alone, check_dtype=False, check_exact=True)
    forecast = latest(store, "next_week_forecast")
    assert list(forecast["unique_id"]) == ["even", "odd"]
    assert forecast["y_hat"].notna().all()
    checks = result.get_asset_check_evaluations()
    (check,) = [check for check in checks if check.asset_key == dg.AssetKey("metrics")]
    assert not check.passed
    assert "6 " in str(check.description)
    assert latest(store, "weekly_report")["file"].str.endswith("report.html").any()
