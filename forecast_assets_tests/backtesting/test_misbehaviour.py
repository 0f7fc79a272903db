"""A week is published although models misbehave in every way.

What a way does to the process of a model: `test_sandbox.py` and `test_chunk.py`.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.test_week import latest

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("user_models")]

SOUND = ("naive", "drift", "ses")
# The first value of a series tells the models with `on` whether to misbehave on it.
ODD, EVEN = [100.0, *walk(29, seed=1)], [200.0, *walk(29, seed=2, start=200.0)]
ERRORS = {
    "raises": "RuntimeError: no licence",
    "nan": "forecast is not finite: [nan]",
    "long": "forecast of shape [2], expected [1]",
    "does_not_converge": "ConvergenceWarning: no optimum",
    "hangs": "took more than 1 seconds",
    "allocates": "took more than 400 MB of memory",
    "kills_itself": "the model's process ended with signal SIGKILL",
}
# Models that misbehave on all series, and that do so on one of two.
ON_ALL, ON_ODD = (
    ("raises", "hangs"),
    ("nan", "long", "does_not_converge", "allocates", "kills_itself"),
)


def make_week(folder: Path, *ways: str) -> Settings:
    """A week of two series with the sound models and some that misbehave."""
    models = {
        way: {
            "factory": "user_models:Misbehaving",
            "params": {"way": way} | ({"on": ODD[0]} if way in ON_ODD else {}),
        }
        for way in ways
    }
    folder.mkdir()
    return week_settings(
        folder,
        make_series(even=EVEN, odd=ODD),
        models={"enabled": [*SOUND, *ways], **models},
        backtest={"n_windows": 3},
        compute={"fold_seconds": 1, "memory_mb": 400},
    )


def sound_predictions(settings: Settings) -> pd.DataFrame:
    rows = latest(build_store(settings), "backtest_predictions")
    rows = rows[rows["model"].isin(SOUND)]
    return rows.drop(columns="fit_seconds").reset_index(drop=True)


def test_a_week_is_published_whatever_its_models_do(tmp_path: Path):
    settings, calm = make_week(tmp_path / "all", *ERRORS), make_week(tmp_path / "calm")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_week(settings, instance)
        assert result.success
        assert run_week(calm, instance).success
    store = build_store(settings)
    scores = latest(store, "metrics").set_index(["model", "unique_id"])
    for way, error in ERRORS.items():
        assert scores.loc[(way, "odd"), "status"] == "failed"
        assert error in scores.loc[(way, "odd"), "reason"]
        assert scores.loc[(way, "even"), "status"] == ("failed" if way in ON_ALL else "scored")
    assert (scores.loc[list(SOUND), "status"] == "scored").all()
    assert sound_predictions(settings).equals(sound_predictions(calm))
    forecast = latest(store, "next_week_forecast")
    assert list(forecast["unique_id"]) == ["even", "odd"]
    assert forecast["y_hat"].notna().all()
    checks = result.get_asset_check_evaluations()
    (check,) = [check for check in checks if check.asset_key == dg.AssetKey("metrics")]
    assert not check.passed
    assert "9 " in str(check.description)
    assert latest(store, "weekly_report")["file"].str.endswith("report.html").any()
