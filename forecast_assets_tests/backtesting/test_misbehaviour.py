"""One week in which models misbehave in every way, beside sound ones: it is published all the same.

What each way does to the process that a model runs in: `test_runner` and `test_chunks`.
"""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_store
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.test_week import latest, run_week

pytestmark = pytest.mark.alone

SOUND = ("naive", "drift", "ses")
ODD, EVEN = [100.0, *walk(29, seed=1)], [200.0, *walk(29, seed=2, start=200.0)]
ON = 100.0  # the value that the series of half the models' misbehaviour begins with
ENDED = "the model's process ended with"
SAYS = {
    "raises": "RuntimeError: no licence",
    "nan": "forecast is not finite: [nan]",
    "long": "forecast of shape [2], expected [1]",
    "does_not_converge": "ConvergenceWarning: no optimum",
    "hangs": "took more than 1 seconds",
    "allocates": "took more than 400 MB of memory",
    "exits": f"{ENDED} exit code 3",
    "kills_itself": f"{ENDED} signal SIGKILL",
}


def week(folder: Path, *models: str) -> Settings:
    """A week of two series, with these models."""
    misbehaving = {
        name: {
            "factory": "user_models:Misbehaving",
            "params": {"way": name.removesuffix("_on_some")}
            | ({"on": ON} if name.endswith("_on_some") else {}),
        }
        for name in models
        if name not in SOUND
    }
    folder.mkdir()
    return week_settings(
        folder,
        make_series(even=EVEN, odd=ODD),
        models={"enabled": list(models), **misbehaving},
        backtest={"n_windows": 3},
        compute={"fold_seconds": 1, "memory_mb": 400},
    )


def sound(predictions: pd.DataFrame) -> pd.DataFrame:
    """What the sound models said."""
    rows = predictions[predictions["model"].isin(SOUND)]
    return rows.drop(columns="fit_seconds").reset_index(drop=True)


@pytest.mark.usefixtures("user_models")
def test_a_week_is_published_whatever_its_models_do(tmp_path: Path):
    models = [*SOUND, *SAYS, *(f"{way}_on_some" for way in SAYS)]
    settings, calm = week(tmp_path / "all", *models), week(tmp_path / "calm", *SOUND)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_week(settings, instance)
        assert result.success
        assert run_week(calm, instance).success
    store = build_store(settings)
    scores = latest(store, "metrics").set_index(["model", "unique_id"])
    for way, says in SAYS.items():
        for model, unique_id in ((way, "even"), (way, "odd"), (f"{way}_on_some", "odd")):
            assert scores.loc[(model, unique_id), "status"] == "failed"
            assert says in scores.loc[(model, unique_id), "reason"]
        assert scores.loc[(f"{way}_on_some", "even"), "status"] == "scored"
    assert (scores.loc[list(SOUND), "status"] == "scored").all()
    assert sound(latest(store, "backtest_predictions")).equals(
        sound(latest(build_store(calm), "backtest_predictions"))
    )
    forecast = latest(store, "next_week_forecast")
    assert list(forecast["unique_id"]) == ["even", "odd"]
    assert forecast["y_hat"].notna().all()
    (check,) = [
        one for one in result.get_asset_check_evaluations() if one.check_name == "models_complete"
    ]
    assert not check.passed
    assert "24 times a model failed on a series" in str(check.description)
    assert latest(store, "weekly_report")["file"].str.endswith("report.html").any()
