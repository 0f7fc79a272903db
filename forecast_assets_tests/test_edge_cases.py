"""Whole weeks of a panel with awkward and sound series."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.finding import KINDS
from forecast_assets.defs.build import build_store
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.forecast import forecast
from forecast_assets.forecasting.metrics import collect, compute, to_frame
from forecast_assets.forecasting.policies import POLICIES
from forecast_assets.forecasting.selection import choose
from forecast_assets.storage.tables import table_contracts
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import AS_OF, make_ragged, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.worker_builders import local_pool, make_executor

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
ALL = {**SOUND, **AWKWARD}
MODELS = ["naive", "seasonal_naive", "drift", "window_average", "theta", "croston"]
CLOSED_FORM = {"enabled": ["naive", "drift", "window_average"]}
AT_LEAST_ZERO = {"minimum": 0.0}

PUBLISH_ALL = dict.fromkeys([*KINDS, "implausible_forecast"], "publish")
Tables = dict[str, pd.DataFrame]


def edge_settings(
    folder: Path, series: Mapping[str, tuple[int, list[float]]], **tables: Mapping[str, object]
) -> Settings:
    """Return the settings of a week whose data are published whatever they are."""
    folder.mkdir(exist_ok=True)
    small = {"models": {"enabled": MODELS}, "backtest": {"n_windows": 26}}
    given = {**small, "compute": {"workers": 1}, "data_quality": PUBLISH_ALL, **tables}
    return week_settings(folder, make_ragged(**series), **given)


def make_tables(
    folder: Path,
    series: Mapping[str, tuple[int, list[float]]],
    pool: DaskPool | None = None,
    **tables: Mapping[str, object],
) -> Tables:
    """Compute the tables of a week without Dagster; check them as the store does."""
    settings = edge_settings(folder, series, **tables)
    contracts = table_contracts(settings.forecast.levels)
    panel, executor = make_ragged(**series), make_executor(settings, pool)
    runs = executor.run_all(executor.requests(panel, settings.models.enabled))
    predictions = pd.concat([run.predictions(settings) for run in runs])
    results = collect(predictions, panel, settings)
    metrics = contracts["metrics"].check(to_frame(results, compute(results, settings)))
    return {"metrics": metrics, **publish(metrics, panel, predictions, settings, executor)}


def publish(
    metrics: pd.DataFrame,
    panel: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    executor: BacktestExecutor,
) -> Tables:
    """Choose models by their scores and forecast with them."""
    contracts = table_contracts(settings.forecast.levels)
    best_model = contracts["best_model"].check(choose(metrics, settings))
    times = {"as_of": AS_OF, "made_at": AS_OF}
    week = forecast(best_model, panel, predictions, settings, executor=executor, **times)
    published = contracts["next_week_forecast"].check(week.published)
    return {
        "backtest_predictions": predictions,
        "best_model": best_model,
        "next_week_forecast": published,
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Run the week of sound and awkward series; return the tables that it published."""
    settings = edge_settings(tmp_path_factory.mktemp("all"), ALL)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_week(settings, instance).success
    store = build_store(settings)
    names = ("metrics", "best_model", "next_week_forecast")
    return {name: store.read(select(store, name)) for name in names}


def test_awkward_series_are_forecast_and_change_no_other(tables: Tables, tmp_path: Path):
    with local_pool(n_workers=1) as pool:
        alone = make_tables(tmp_path, SOUND, pool)
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert sorted(forecast.index) == sorted(ALL)
    assert np.isfinite(forecast["y_hat"]).all()
    assert (forecast.drop(index="one_week")["rung"] == "champion").all()
    assert forecast.loc["one_week", ["y_hat", "model", "rung"]].tolist() == [3.0, "naive", "naive"]
    # Which models an ensemble has depends on all series, and so a little on awkward ones.
    pd.testing.assert_series_equal(
        forecast.loc[list(SOUND), "y_hat"],
        alone["next_week_forecast"].set_index("unique_id")["y_hat"],
        rtol=0.01,
    )
    assert forecast.loc["copy_of_sound_a", "y_hat"] == forecast.loc["sound_a", "y_hat"]
    columns = ["mae", "mase", "skill_vs_naive", "p_vs_naive", "status"]
    of_models, of_models_alone = (
        frame["metrics"][~frame["metrics"]["model"].isin(list(COMBINATIONS))]
        for frame in (tables, alone)
    )
    pd.testing.assert_frame_equal(
        of_models.set_index(["unique_id", "model"]).loc[list(SOUND), columns],
        of_models_alone.set_index(["unique_id", "model"])[columns],
    )


def test_intervals_are_as_wide_as_the_errors_of_each_series(tables: Tables):
    forecast = tables["next_week_forecast"].set_index("unique_id")
    ends = ["lo_80", "hi_80", "lo_95", "hi_95"]
    for name in ("constant", "zeros"):  # no forecast of them was ever wrong
        assert (forecast.loc[name, ends] == forecast.loc[name, "y_hat"]).all()
    for name in ("one_week", "two_alike"):
        assert forecast.loc[name, ends].isna().all()
    moving = forecast.drop(index=["constant", "zeros", "one_week", "two_alike"])
    assert (moving["lo_95"] < moving["lo_80"]).all()
    assert (moving["lo_80"] < moving["y_hat"]).all()
    assert (moving["hi_95"] > moving["hi_80"]).all()
    sizes = (moving["hi_80"] - moving["lo_80"]) / moving["backtest_mae"]
    usual = sizes[["sound_a", "sound_b", "huge", "tiny", "negative", "late"]]
    assert usual.between(1, 8).all()


def test_undefined_scores_are_null_with_a_reason(tables: Tables):
    scores = tables["metrics"].set_index(["unique_id", "model"])
    assert scores.loc["zeros"]["mape"].isna().all()
    assert scores.loc["constant"]["mase"].isna().all()
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


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Score closed forms on all series; the scores depend on no selection rule."""
    folder = tmp_path_factory.mktemp("scored")
    return make_tables(folder, ALL, models=CLOSED_FORM, forecast=AT_LEAST_ZERO)


@pytest.mark.parametrize("scope", ["series", "all"])
@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_selection_rule_publishes_every_series(
    scored: Tables, tmp_path: Path, policy: str, scope: str
):
    tables = {"selection": {"policy": policy, "scope": scope}, "forecast": AT_LEAST_ZERO}
    settings = edge_settings(tmp_path, ALL, models=CLOSED_FORM, **tables)
    predictions, panel = scored["backtest_predictions"], make_ragged(**ALL)
    week = publish(scored["metrics"], panel, predictions, settings, make_executor(settings))
    published = week["next_week_forecast"].set_index("unique_id")
    assert len(published) == len(ALL)
    assert set(published["model"]) <= {*CLOSED_FORM["enabled"], *COMBINATIONS}
    ends = published[["y_hat", "lo_80", "hi_80", "lo_95", "hi_95"]]
    assert not (ends < 0).any(axis=None)
    if scope == "all":
        assert len(set(published.drop(index="one_week")["model"])) == 1


def test_the_quantiles_of_a_forecast_hub_do_not_cross(tmp_path: Path):
    """Eleven intervals and the forecast make 23 quantiles."""
    levels = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98]
    panel = {f"s{i:02d}": (0, walk(N, seed=i)) for i in range(8)}
    models = {"enabled": ["naive", "drift"]}
    forecast = {"levels": levels}
    tables = make_tables(tmp_path, panel, models=models, forecast=forecast)
    low = [f"lo_{level}" for level in reversed(levels)]
    high = [f"hi_{level}" for level in levels]
    quantiles = tables["next_week_forecast"][[*low, "y_hat", *high]].to_numpy()
    assert quantiles.shape == (8, 23)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("series", "horizon", "models"),
    [
        ({"a": (2, [1.0]), "b": (0, [2.0, 3.0, 1.0])}, 1, ["naive", "drift"]),
        ({"a": (0, walk(4, seed=1)), "b": SOUND["sound_a"]}, 9, ["naive"]),
        # No series has a fold.
        ({"a": (0, walk(4, seed=1)), "b": (0, walk(5, seed=2))}, 10, ["naive", "drift"]),
    ],
)
def test_a_series_too_short_for_a_fold_gets_the_naive_forecast(
    tmp_path: Path, series: dict[str, tuple[int, list[float]]], horizon: int, models: list[str]
):
    backtest = {"n_windows": 8, "horizon": horizon}
    tables = make_tables(tmp_path, series, models={"enabled": models}, backtest=backtest)
    assert set(tables["metrics"]["model"]) == {*models, *COMBINATIONS}
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert len(forecast) == horizon * len(series)
    assert forecast.loc[["a"], "y_hat"].to_numpy() == pytest.approx(series["a"][1][-1])
    assert set(forecast.loc[["a"], "rung"]) == {"naive"}
    assert forecast.loc[["a"], ["lo_80", "hi_80"]].isna().all(axis=None)
    reasons = tables["metrics"].set_index("unique_id").loc[["a"], "reason"]
    assert set(reasons) == {"the series has no week to hold out"}


def test_a_series_too_short_for_a_fold_gets_the_best_model_of_all_series(
    tmp_path: Path, dask_pool: DaskPool
):
    rng = np.random.default_rng(0)
    growth = np.convolve(rng.normal(0, 0.1, N + 8), np.ones(8) / 4, "valid")[:N]
    together = {
        f"s{i}": (0, list(100 * np.exp(np.cumsum(growth + rng.normal(0, 0.01, N)))))
        for i in range(6)
    }
    short = {"short": (N - 4, list(50 * np.exp(np.cumsum(growth[-4:]))))}
    models = {"enabled": ["naive", "drift", "pooled_growth"]}
    tables = make_tables(
        tmp_path,
        {**together, **short},
        dask_pool,
        models=models,
        backtest={"horizon": 4, "n_windows": 26},
    )
    forecast = tables["next_week_forecast"].set_index("unique_id")
    assert set(forecast.loc[["short"], "model"]) == {"pooled_growth"}
    assert set(forecast.loc[["short"], "rung"]) == {"champion"}
    reason = tables["best_model"].set_index("unique_id").loc["short", "reason"]
    assert "too short for a backtest; pooled_growth learns from all series" in reason
