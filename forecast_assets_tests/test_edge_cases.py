"""Whole weeks on a panel in which every awkward series sits beside sound ones."""

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import KINDS
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.policies import POLICIES
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_ragged, walk, week_settings

N = 60
SOUND = {"sound_a": (0, walk(N, seed=1)), "sound_b": (0, walk(N, seed=2))}
SALES = [float(n) for n in np.random.default_rng(3).poisson(3, 20)]
AWKWARD = {
    "constant": (0, [7.0] * N),
    "zeros": (0, [0.0] * N),
    "one_week": (N - 1, [3.0]),
    "two_weeks": (N - 2, [3.0, 4.0]),
    "two_alike": (N - 2, [3.0, 3.0]),
    "eight_weeks": (N - 8, walk(8, seed=4)),
    "ended": (0, walk(N - 20, seed=5)),
    "late": (N - 25, walk(25, seed=6)),
    "huge": (0, [1e12 * y for y in walk(N, seed=7)]),
    "tiny": (0, [1e-12 * y for y in walk(N, seed=8)]),
    "then_sales": (0, [0.0] * (N - 20) + SALES),
    "outlier": (0, [*walk(N - 1, seed=9), 1e9]),
    "negative": (0, [-y for y in walk(N, seed=10)]),
    "flat_end": (0, walk(N - 30, seed=11) + [100.0] * 30),
    "copy_of_sound_a": SOUND["sound_a"],
}
MODELS = ["naive", "seasonal_naive", "drift", "window_average", "ses", "theta", "croston"]

ODD_AS_IT_IS = dict.fromkeys(KINDS, "publish")


def week(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    series: dict[str, tuple[int, list[float]]],
    **tables: dict[str, object],
) -> tuple[Settings, dict[str, pd.DataFrame]]:
    """One week of a panel: the settings, and each table that it published."""
    tmp_path.mkdir(exist_ok=True)
    given = {"models": {"enabled": MODELS}, "data_quality": ODD_AS_IT_IS, **tables}
    settings = week_settings(tmp_path, make_ragged(**series), **given)
    job = build_defs(settings).resolve_job_def("weekly_forecast")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert result.success
    store = build_store(settings)
    names = ("metrics", "best_model", "next_week_forecast")
    return settings, {name: store.read(select(store, name)) for name in names}


def test_every_series_is_forecast_and_none_spoils_another(
    tmp_path: Path, instance: dg.DagsterInstance
):
    """The forecasts of sound series are those that they have without the others."""
    _, tables = week(tmp_path / "all", instance, {**SOUND, **AWKWARD})
    _, alone = week(tmp_path / "sound", instance, SOUND)
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert sorted(forecast.index) == sorted({**SOUND, **AWKWARD})
    assert np.isfinite(forecast["y_hat"]).all()
    assert (forecast.drop(index="one_week")["rung"] == "champion").all()
    assert forecast.loc["one_week", ["model", "rung"]].tolist() == ["naive", "naive"]
    of_sound = alone["next_week_forecast"].set_index("unique_id")
    same = ["y_hat", "backtest_mae", "model"]
    pd.testing.assert_frame_equal(forecast.loc[list(SOUND), same], of_sound[same])
    assert forecast.loc["copy_of_sound_a", "y_hat"] == forecast.loc["sound_a", "y_hat"]
    scores = {
        name: one["metrics"].set_index(["unique_id", "model"])
        for name, one in (("all", tables), ("alone", alone))
    }
    columns = ["mae", "mase", "skill_vs_naive", "p_vs_naive", "may_be_best", "status"]
    pd.testing.assert_frame_equal(scores["all"].loc[list(SOUND), columns], scores["alone"][columns])


def test_intervals_hold_what_each_series_lets_one_say(tmp_path: Path, instance: dg.DagsterInstance):
    _, tables = week(tmp_path, instance, {**SOUND, **AWKWARD}, backtest={"n_windows": 26})
    forecast = tables["next_week_forecast"].set_index("unique_id")
    ends = ["lo_80", "hi_80", "lo_95", "hi_95"]
    for name in ("constant", "zeros"):  # nothing ever moved, and no forecast was ever wrong
        assert (forecast.loc[name, ends] == forecast.loc[name, "y_hat"]).all()
    for name in ("one_week", "two_alike"):
        assert forecast.loc[name, ends].isna().all()
    moved = forecast.drop(index=["constant", "zeros", "one_week", "two_alike"])
    assert (moved["lo_95"] < moved["lo_80"]).all()
    assert (moved["lo_80"] < moved["y_hat"]).all()
    assert (moved["hi_95"] > moved["hi_80"]).all()
    sizes = (moved["hi_80"] - moved["lo_80"]) / moved["backtest_mae"]
    usual = sizes[["sound_a", "sound_b", "huge", "tiny", "negative", "late"]]
    assert usual.between(1, 8).all()


def test_scores_that_mean_nothing_are_null_and_say_why(
    tmp_path: Path, instance: dg.DagsterInstance
):
    _, tables = week(tmp_path, instance, {**SOUND, **AWKWARD})
    scores = tables["metrics"].set_index(["unique_id", "model"])
    assert scores.loc["zeros"]["mape"].isna().all()  # a share of nothing
    assert scores.loc["constant"]["mase"].isna().all()  # naive is never wrong there
    assert scores.loc["constant"].loc["naive", "mae"] == 0
    assert not np.isinf(scores.select_dtypes("number")).any(axis=None)
    assert (scores.loc["one_week"]["status"] == "ineligible").all()
    short = scores.loc[("two_weeks", "theta")]
    assert short["status"] == "ineligible"
    assert "values" in short["reason"]
    choice = tables["best_model"].set_index("unique_id")
    assert "mase is undefined on this series" in choice.loc["constant", "reason"]
    assert choice.loc["two_weeks", "reason"].count("1 fold ")
    assert choice.loc["one_week", "reason"] == "no model forecast every fold"


@pytest.mark.parametrize("scope", ["series", "all"])
@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_rule_publishes_the_week(
    tmp_path: Path, instance: dg.DagsterInstance, policy: str, scope: str
):
    settings, tables = week(
        tmp_path,
        instance,
        {**SOUND, **AWKWARD},
        models={"enabled": ["naive", "drift", "window_average"]},
        selection={"policy": policy, "scope": scope},
        forecast={"minimum": 0.0},
    )
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert len(forecast) == len(SOUND) + len(AWKWARD)
    assert set(forecast["model"]) <= {*settings.models.enabled, *COMBINATIONS}
    ends = forecast[["y_hat", "lo_80", "hi_80", "lo_95", "hi_95"]]
    assert not (ends < 0).any(axis=None)
    if scope == "all":
        assert len(set(forecast.drop(index="one_week")["model"])) == 1


def test_levels_of_a_hub_submission(tmp_path: Path, instance: dg.DagsterInstance):
    """Eleven intervals and the forecast make 23 quantiles; they never cross."""
    levels = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98]
    panel = {f"s{i:02d}": (0, walk(N, seed=i)) for i in range(8)}
    _, tables = week(
        tmp_path,
        instance,
        panel,
        models={"enabled": ["naive", "drift"]},
        backtest={"n_windows": 26},
        forecast={"levels": levels},
    )
    forecast = tables["next_week_forecast"]
    low = [f"lo_{level}" for level in reversed(levels)]
    high = [f"hi_{level}" for level in levels]
    quantiles = forecast[[*low, "y_hat", *high]].to_numpy()
    assert quantiles.shape == (8, 23)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("series", "horizon"),
    [
        ({"a": (2, [1.0]), "b": (0, [2.0, 3.0, 1.0])}, 1),
        ({"a": (0, walk(4, seed=1)), "b": SOUND["sound_a"]}, 9),
    ],
)
def test_series_too_short_for_any_fold_get_naive(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    series: dict[str, tuple[int, list[float]]],
    horizon: int,
):
    _, tables = week(tmp_path, instance, series, backtest={"n_windows": 8, "horizon": horizon})
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert len(forecast) == horizon * len(series)
    assert forecast.loc[["a"], "y_hat"].to_numpy() == pytest.approx(series["a"][1][-1])
    assert set(forecast.loc[["a"], "rung"]) == {"naive"}
    assert forecast.loc[["a"], ["lo_80", "hi_80"]].isna().all(axis=None)
    reasons = tables["metrics"].set_index("unique_id").loc[["a"], "reason"]
    assert set(reasons) == {"the series has no week to hold out"}


def test_no_series_is_long_enough_for_a_fold(tmp_path: Path, instance: dg.DagsterInstance):
    panel = {"a": (0, walk(4, seed=1)), "b": (0, walk(5, seed=2))}
    settings, tables = week(tmp_path, instance, panel, backtest={"n_windows": 8, "horizon": 10})
    assert set(tables["metrics"]["model"]) == {*settings.models.enabled, *COMBINATIONS}
    assert set(tables["next_week_forecast"]["model"]) == {"naive"}
