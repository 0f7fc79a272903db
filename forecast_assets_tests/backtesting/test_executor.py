"""Backtests of models: closed forms, workers, the fold cache, failures, prewarming."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting import executor as executor_module
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.executor import prewarm
from forecast_assets.backtesting.model_job import BacktestRequest, Progress
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import Settings
from forecast_assets.errors import ComputeError, StoreError
from forecast_assets.models import find_model
from forecast_assets_tests.builders import make_ragged, make_series, make_settings, walk
from forecast_assets_tests.misbehaving_models import misbehaving, user_model
from forecast_assets_tests.worker_builders import (
    cache_folder,
    make_executor,
    make_request,
    run_backtest,
)

# Models of the user: their process starts faster than one of statsforecast.
TABLES = {
    "plain": {"factory": "user_models:Misbehaving"},
    "moved": {"factory": "user_models:Anchored", "refit_every": 4},
}
YS = {"a": walk(40, seed=1), "b": walk(40, seed=2)}
RAGGED = make_ragged(
    a=(0, walk(30, seed=1)),
    b=(10, walk(20, seed=2)),
    c=(20, [4.0, 5.0, 6.0]),
    d=(22, [7.0, 8.0]),  # too short for a fold with a horizon of two weeks
)
A_AND_B = RAGGED[RAGGED["unique_id"] < "c"]


pytestmark = pytest.mark.usefixtures("user_models")


def make_backtest(tmp_path: Path, **backtest: int) -> Settings:
    """Return settings of a small backtest with the models above."""
    plan = {"n_windows": 5, **backtest}
    return make_settings(tmp_path, backtest=plan, series={"season_length": 4}, models=TABLES)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_backtest(tmp_path)


def weeks(n: int, **more: list[float]) -> pd.DataFrame:
    """Return the first n weeks of two random walks and of more series."""
    return make_series(**{name: y[:n] for name, y in {**YS, **more}.items()})


def fold_by_fold(request: BacktestRequest, settings: Settings) -> np.ndarray:
    """Return the plain way: a new model for each fold."""
    horizon = settings.backtest.horizon
    return np.array(
        [
            request.model.fit(series.y[:end].copy(), season_length=4).predict(horizon)
            for series in request.planned
            for end in series.ends
        ]
    )


# Closed forms
@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "drift", "window_average"])
def test_a_closed_form_gives_all_folds_at_once_without_workers_or_cache(tmp_path: Path, name: str):
    settings = make_backtest(tmp_path, n_windows=9, horizon=2, step=2)
    run = run_backtest(name, A_AND_B, settings)
    expected = fold_by_fold(make_request(name, A_AND_B, settings), settings)
    assert run.folds.y_hat.tobytes() == expected.tobytes()
    assert run.folds.is_forecast.all()
    assert run.n_fits == 0
    assert not cache_folder(settings).exists()


def test_a_closed_form_declines_series_that_are_too_short(settings: Settings):
    run = run_backtest("seasonal_naive", make_series(a=walk(5, seed=1)), settings)
    assert list(run.folds.errors) == ["too short: it needs 4 values and has 3", None]
    assert list(run.folds.is_declined) == [True, False]
    assert run.folds.failures == []
    assert np.isnan(run.folds.y_hat[0, 0])


def test_a_closed_form_fails_where_its_forecast_is_not_finite(settings: Settings):
    series = make_series(a=[-1.7e308, 1.0, 1.0, 1.7e308, 1.0], b=[1] * 5)
    run = run_backtest("drift", series, settings)
    assert list(run.folds.errors[:2]) == [None, "forecast is not finite: [inf]"]
    assert len(run.folds.failures) == 1
    assert np.isnan(run.folds.y_hat[1, 0])
    assert run.folds.is_forecast[2:].all()


def test_a_closed_form_with_wrong_parameters_fails_at_every_fold(tmp_path: Path):
    models = {"window_average": {"params": {"window": 0}}}
    settings = make_settings(tmp_path, models=models, backtest={"n_windows": 5})
    run = run_backtest("window_average", weeks(40), settings)
    assert len(run.folds.failures) == 10
    assert "window is 0, but a mean needs at least one value" in run.folds.failures[0]


# Workers and the cache
def test_workers_give_the_same_forecasts_as_this_process(tmp_path: Path, dask_pool: DaskPool):
    settings = make_backtest(tmp_path, horizon=2)
    run = run_backtest("ridge", weeks(40), settings, dask_pool)
    expected = fold_by_fold(make_request("ridge", weeks(40), settings), settings)
    assert run.folds.y_hat.tobytes() == expected.tobytes()
    assert run.n_fits == len(run.folds) == 10


def test_short_series_are_declined_and_the_shortest_has_no_fold(
    tmp_path: Path, dask_pool: DaskPool
):
    settings = make_backtest(tmp_path, horizon=2)
    run = run_backtest("moved", RAGGED, settings, dask_pool)
    frame = run.predictions(settings)
    of_c = frame[frame["unique_id"] == "c"]
    assert list(of_c["error"]) == ["too short: it needs 5 values and has 1"] * 2
    assert set(frame["unique_id"]) == {"a", "b", "c"}
    assert run.folds.failures == []


def test_only_new_folds_are_computed(settings: Settings, dask_pool: DaskPool):
    first = run_backtest("plain", weeks(39), settings, dask_pool)
    executor = make_executor(settings, run_id="2")  # without workers
    request, ahead = (make_request(name, weeks(39), settings) for name in ("plain", "moved"))
    again = executor.run(request, ahead=[ahead])
    assert (first.n_fits, again.n_fits, executor.dashboard) == (10, 0, None)
    assert again.folds.y_hat.tobytes() == first.folds.y_hat.tobytes()
    assert again.folds.fit_seconds.tolist() == first.folds.fit_seconds.tolist()
    assert run_backtest("plain", weeks(40), settings, dask_pool).n_fits == 2
    revised = make_series(a=[*YS["a"][:37], 0.5, *YS["a"][38:]], b=YS["b"])
    assert run_backtest("plain", revised, settings, dask_pool).n_fits == 2  # at ends 38 and 39


def test_one_global_fit_for_each_cutoff_serves_every_series(
    settings: Settings, dask_pool: DaskPool
):
    run = run_backtest(user_model("Pooled"), A_AND_B, settings, dask_pool)
    n_rows = [(end + end - 10) for end in range(25, 30)]
    assert run.n_fits == 5
    assert [int(y_hat // 1e6) for y_hat in run.folds.y_hat[:, 0]] == n_rows * 2


# Failures
def test_a_failure_concerns_its_series_and_its_run_alone(settings: Settings, dask_pool: DaskPool):
    """The first value of a series determines how the model misbehaves."""
    series = make_series(**{f"s{i}": [float(i)] * 20 for i in range(7)})
    model = misbehaving("by_first_value")
    run = run_backtest(model, series, settings, dask_pool, run_id="1")
    errors = [run.folds.errors[5 * i : 5 * (i + 1)] for i in range(7)]
    assert all(len(set(five)) == 1 for five in errors)
    assert [str(five[0])[:22] for five in errors] == [
        "RuntimeError: no licence"[:22],
        "forecast is not finite",
        "forecast of shape [2],",
        "ValueError: could not convert"[:22],
        "ConvergenceWarning: no",
        "not for this series: i",
        "None",
    ]
    assert run.folds.y_hat[30:].tolist() == [[6.0]] * 5
    assert len(run.folds.failures) == 25
    assert list(run.folds.is_declined) == [False] * 25 + [True] * 5 + [False] * 5
    again = run_backtest(model, series, settings, run_id="1")  # without workers
    assert (again.n_fits, again.data_version) == (0, run.data_version)
    request = make_request(model, series, settings)
    resumed = make_executor(settings, run_id="2").run(request, run_id="1")
    assert (resumed.n_fits, resumed.data_version) == (0, run.data_version)
    assert run_backtest(model, series, settings, dask_pool, run_id="2").n_fits == 25


def test_workers_of_another_version_are_refused_each_time(tmp_path: Path, dask_pool: DaskPool):
    """A retry must not wait for the refused chunks."""
    settings = make_backtest(tmp_path, n_windows=1)
    request = make_request("plain", make_series(a=YS["a"]), settings)
    vars(request.model)["fingerprint"] = "0" * 32  # as if the workers had other code
    executor = make_executor(settings, dask_pool)
    for _ in range(2):
        with pytest.raises(ComputeError, match=r"has other code.*the same versions"):
            executor.run(request)
    assert executor.run(make_request("plain", make_series(a=YS["a"]), settings)).n_fits == 1


def test_a_cache_that_cannot_be_written_fails_the_model_until_it_is_repaired(
    settings: Settings, dask_pool: DaskPool
):
    executor = make_executor(settings, dask_pool)
    cache_folder(settings).parent.mkdir(parents=True)
    cache_folder(settings).write_text("a file in place of the folder")
    request = make_request("plain", weeks(40), settings)
    with pytest.raises(StoreError, match=r"fold cache .* cannot be used"):
        executor.run(request)
    cache_folder(settings).unlink()
    assert executor.run(request).folds.is_forecast.all()


# Several models
def test_a_model_ahead_starts_early_and_gives_the_same_forecasts(
    tmp_path: Path, settings: Settings, dask_pool: DaskPool
):
    executor = make_executor(settings, dask_pool)
    first, naive, second = executor.requests(weeks(40), ["plain", "naive", "moved"])
    runs = [executor.run(first, ahead=[naive, second])]
    assert executor._jobs  # noqa: SLF001 - the second has started
    runs += [executor.run(naive, ahead=[second]), executor.run(second)]
    assert [run.n_fits for run in runs] == [10, 0, 4]
    alone = make_executor(make_backtest(tmp_path / "alone"), dask_pool)
    again = alone.run_all(alone.requests(weeks(40), ["plain", "naive", "moved"]))
    assert [run.model for run in again] == ["plain", "naive", "moved"]
    for run, expected in zip(runs, again, strict=True):
        assert run.data_version == expected.data_version
        assert run.folds.is_forecast.all()


def test_a_model_ahead_that_does_not_exist_is_reported_in_its_turn(
    settings: Settings, dask_pool: DaskPool
):
    request = make_request("plain", weeks(40), settings)
    gone = replace(request, model=replace(request.model, factory="gone:Gone"))
    assert make_executor(settings, dask_pool).run(request, ahead=[gone]).n_fits == 10


def test_a_frame_is_planned_once(settings: Settings):
    executor, series = make_executor(settings), weeks(40)
    (first,), (again,) = executor.requests(series, ["plain"]), executor.requests(series, ["moved"])
    assert first.planned is again.planned
    assert first.panel is again.panel
    (other,) = executor.requests(weeks(39), ["plain"])
    assert [series.ends[-1] for series in other.planned] == [38, 38]


def test_progress_is_reported_after_each_result(settings: Settings, dask_pool: DaskPool):
    reported: list[Progress] = []
    request = make_request("plain", weeks(40), settings)
    run = make_executor(settings, dask_pool).run(request, on_progress=reported.append)
    assert [progress.n_done for progress in reported] == sorted(p.n_done for p in reported)
    last = reported[-1]
    assert (last.n_done, last.n_planned, last.seconds_left) == (10, 10, 0.0)
    assert len(reported) == len(run.spans) >= 4
    assert {span.model for span in run.spans} == {"plain"}
    assert run.seconds == pytest.approx(sum(span.seconds for span in run.spans))


def test_series_without_folds_and_no_series_are_no_work(settings: Settings):
    for name in ("plain", "naive"):
        assert len(run_backtest(name, make_series(a=[1.0]), settings).folds) == 0
        nothing = BacktestRequest(find_model(name, settings), [], Panel.of([]))
        assert len(make_executor(settings).run(nothing).folds) == 0


# Prewarming
@pytest.mark.parametrize(
    ("tables", "backtested_at", "expected"),
    [
        ({}, None, [("theta", 3)]),
        ({}, datetime(2026, 1, 2, tzinfo=UTC), [("theta", 3)]),  # Friday's week was not over
        ({}, datetime(2026, 1, 3, tzinfo=UTC), []),
        ({"models": {"enabled": ["naive", "drift"]}}, None, []),
        ({"models": {"enabled": ["unknown", "theta"]}}, None, []),
        ({"compute": {"dask_address": "tcp://10.0.0.1:8786"}}, None, []),
    ],
)
def test_processes_start_early_only_if_this_machine_is_likely_to_fit_models(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables: dict[str, Any],
    backtested_at: datetime | None,
    expected: list[tuple[str, int]],
):
    started: list[tuple[str, int]] = []
    monkeypatch.setattr(
        executor_module,
        "start_processes",
        lambda config, n_processes: started.append((config.model.name, n_processes)),
    )
    defaults = {"models": {"enabled": ["naive", "theta", "ses"]}, "compute": {"workers": 3}}
    settings = make_settings(tmp_path, **{**defaults, **tables})
    commits = [SimpleNamespace(as_of=backtested_at)] if backtested_at else []
    store: Any = SimpleNamespace(history={"backtest_predictions": commits}.__getitem__)
    prewarm(settings, store, as_of=datetime(2026, 1, 4, 6, tzinfo=UTC))
    assert started == expected
