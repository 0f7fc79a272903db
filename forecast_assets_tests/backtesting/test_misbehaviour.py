"""A week is published although models misbehave.

What a way does to the process of a model: `test_sandbox.py` and `test_chunk.py`.
"""

from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.test_week import latest

# The first value of a series tells the models with `on` whether to misbehave on it.
ODD, EVEN = [100.0, *walk(29, seed=1)], [200.0, *walk(29, seed=2, start=200.0)]
PARAMS = {
    "sound": {},
    "raises": {"way": "raises"},
    "hangs": {"way": "hangs", "on": ODD[0]},
    "kills_itself": {"way": "kills_itself", "on": ODD[0]},
}
ERRORS = {
    "raises": "RuntimeError: no licence",
    "hangs": "took more than 1 seconds",
    "kills_itself": "the model's process ended with signal SIGKILL",
}


@pytest.mark.usefixtures("user_models")
def test_a_week_is_published_whatever_its_models_do(tmp_path: Path, instance: dg.DagsterInstance):
    tables = {
        name: {"factory": "user_models:Misbehaving", "params": params}
        for name, params in PARAMS.items()
    }
    settings = week_settings(
        tmp_path,
        make_series(even=EVEN, odd=ODD),
        models={"enabled": ["naive", *tables], **tables},
        backtest={"n_windows": 3},
        compute={"fold_seconds": 1, "workers": 1},
    )
    result = run_week(settings, instance)
    assert result.success
    store = build_store(settings)
    scores = latest(store, "metrics").set_index(["model", "unique_id"])
    for way, error in ERRORS.items():
        assert scores.loc[(way, "odd"), "status"] == "failed"
        assert error in scores.loc[(way, "odd"), "reason"]
        assert scores.loc[(way, "even"), "status"] == ("failed" if way == "raises" else "scored")
    # The sound model is a naive one: the others disturb neither it nor the closed form.
    assert (scores.loc[["naive", "sound"], "status"] == "scored").all()
    y_hat = latest(store, "backtest_predictions").groupby("model")["y_hat"].apply(list)
    assert y_hat["sound"] == y_hat["naive"]
    forecast = latest(store, "next_week_forecast")
    assert list(forecast["unique_id"]) == ["even", "odd"]
    assert forecast["y_hat"].notna().all()
    checks = result.get_asset_check_evaluations()
    (check,) = [check for check in checks if check.asset_key == dg.AssetKey("metrics")]
    assert not check.passed
    assert "4 " in str(check.description)
    assert latest(store, "weekly_report")["file"].str.endswith("report.html").any()
