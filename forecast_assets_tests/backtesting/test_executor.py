"""Running models over their folds: what is computed where, what is known, how failures are told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import fold_keys
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.folds import Panel
from forecast_assets.backtesting.model_job import BacktestRequest, Progress
from forecast_assets.config.settings import Settings
from forecast_assets.errors import ComputeError, StoreError
from forecast_assets.models import MODELS, find_model
from forecast_assets_tests.builders import make_ragged, make_series, make_settings, walk
from forecast_assets_tests.worker_builders import (
    ask,
    cache_folder,
    fold_cache,
    make_compute,
    odd_model,
    run,
)

CLOSED_FORMS = ["naive", "seasonal_naive", "drift", "window_average"]
YS = {"a": walk(40, seed=1), "b": walk(40, seed=2)}
RAGGED = make_ragged(
    a=(0, walk(30, seed=1)),
    b=(10, walk(20, seed=2)),
    c=(20, [4.0, 5.0, 6.0]),
    d=(22, [7.0, 8.0]),  # no fold leaves two weeks to forecast
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": 5}, series={"season_length": 4})


def weeks(n: int, **more: list[float]) -> pd.DataFrame:
    """The first n weeks of two walks, and of others."""
    return make_series(**{name: y[:n] for name, y in {**YS, **more}.items()})


def one_by_one(asked: BacktestRequest, settings: Settings) -> list[list[float]]:
    """The plain way: a fresh model for each fold."""
    return [
        list(
            asked.model.fit(one.y[:end].copy(), season_length=4).predict(settings.backtest.horizon)
        )
        for one in asked.planned
        for end in one.ends
    ]


# Closed forms
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_closed_form_says_at_once_what_it_says_fold_by_fold_and_needs_no_worker(
    tmp_path: Path, name: str
):
    backtest = {"n_windows": 9, "horizon": 2, "step": 2}
    settings = make_settings(tmp_path, backtest=backtest, series={"season_length": 4})
    series = RAGGED[RAGGED["unique_id"] < "c"]
    found = run(name, series, settings)
    expected = one_by_one(ask(name, series, settings), settings)
    assert found.folds.y_hat.tobytes() == np.array(expected).tobytes()
    assert found.folds.is_forecast.all()
    assert found.n_fits == 0
    assert not cache_folder(settings).exists()


def test_a_closed_form_sees_the_values_up_to_the_cutoff_and_no_more(settings: Settings):
    found = run("naive", weeks(40), settings)
    assert found.folds.y_hat[:, 0].tolist() == [*YS["a"][34:39], *YS["b"][34:39]]


def test_a_closed_form_is_not_asked_below_its_fewest_values(settings: Settings):
    found = run("seasonal_naive", make_series(a=walk(5, seed=1)), settings)
    assert list(found.folds.errors) == ["too short: it needs 4 values and has 3", None]
    assert found.folds.failures == []
    assert np.isnan(found.folds.y_hat[0, 0])


def test_a_closed_form_that_leaves_the_numbers_fails_where_it_does(settings: Settings):
    found = run("drift", make_series(a=[-1.7e308, 1.0, 1.0, 1.7e308, 1.0], b=[1] * 5), settings)
    assert list(found.folds.errors[:2]) == [None, "forecast is not finite: [inf]"]
    assert np.isnan(found.folds.y_hat[1, 0])
    assert found.folds.is_forecast[2:].all()


def test_a_closed_form_that_cannot_be_made_fails_at_every_fold(tmp_path: Path):
    models = {"window_average": {"params": {"window": 0}}}
    settings = make_settings(tmp_path, models=models, backtest={"n_windows": 5})
    found = run("window_average", weeks(40), settings)
    assert len(found.folds.failures) == 10
    assert "window is 0: a mean needs one value at least" in found.folds.failures[0]


# Models on workers
@pytest.mark.parametrize("name", ["ses", "holt"])
def test_workers_say_what_this_process_says(tmp_path: Path, crew: DaskPool, name: str):
    settings = make_settings(
        tmp_path, backtest={"n_windows": 5, "horizon": 2}, series={"season_length": 4}
    )
    series = RAGGED[RAGGED["unique_id"] < "c"]
    found = run(name, series, settings, crew)
    expected = one_by_one(ask(name, series, settings), settings)
    assert found.folds.y_hat.tobytes() == np.array(expected).tobytes()
    assert found.n_fits == len(found.folds) == 10


def test_short_series_are_declined_and_the_shortest_has_no_fold(tmp_path: Path, crew: DaskPool):
    settings = make_settings(tmp_path, backtest={"n_windows": 5, "horizon": 2})
    found = run("ses", RAGGED, settings, crew)
    frame = found.predictions(settings)
    of_c = frame[frame["unique_id"] == "c"]
    assert list(of_c["error"]) == ["too short: it needs 4 values and has 1"] * 2
    assert set(frame["unique_id"]) == {"a", "b", "c"}
    assert found.folds.failures == []


def test_the_same_week_again_computes_nothing_and_needs_no_worker(
    settings: Settings, crew: DaskPool
):
    first = run("ses", weeks(40), settings, crew, run_id="1")
    compute = make_compute(settings, run_id="2")
    again = compute.run(ask("ses", weeks(40), settings), ahead=[ask("holt", weeks(40), settings)])
    assert (first.n_fits, again.n_fits) == (10, 0)
    assert again.folds.y_hat.tobytes() == first.folds.y_hat.tobytes()
    assert again.folds.fit_seconds.tolist() == first.folds.fit_seconds.tolist()
    assert compute.dashboard is None


def test_a_new_week_a_revision_and_a_new_model_compute_what_is_new(
    settings: Settings, crew: DaskPool
):
    assert run("ses", weeks(39), settings, crew).n_fits == 10
    assert run("ses", weeks(40), settings, crew).n_fits == 2
    revised = make_series(a=[*YS["a"][:37], 0.5, *YS["a"][38:]], b=YS["b"])
    assert run("ses", revised, settings, crew).n_fits == 2  # at the ends 38 and 39
    assert run("holt", revised, settings, crew).n_fits == 10
    assert run("ses", weeks(40), settings).n_fits == 0


def test_equal_histories_are_computed_once(settings: Settings, crew: DaskPool):
    found = run("ses", weeks(40, again=YS["a"]), settings, crew)
    assert found.n_fits == 10
    assert found.folds.y_hat[:5].tolist() == found.folds.y_hat[5:10].tolist()


@pytest.mark.usefixtures("odd_models")
def test_one_global_fit_a_cutoff_serves_every_series(settings: Settings, crew: DaskPool):
    """It says a million times the values that it saw, of all series up to that day."""
    found = run(odd_model("Pooled"), RAGGED[RAGGED["unique_id"] < "c"], settings, crew)
    n_seen = [(end + end - 10) for end in range(25, 30)]
    assert found.n_fits == 5
    assert [int(y_hat // 1e6) for y_hat in found.folds.y_hat[:, 0]] == n_seen * 2


def test_results_do_not_depend_on_the_cache_or_its_damage(settings: Settings, crew: DaskPool):
    plain = run("holt", weeks(40), settings, crew)
    (file,) = cache_folder(settings).iterdir()
    for content in (b"", b"not a database " * 99, file.read_bytes()[:5000]):
        file.write_bytes(content)
        again = run("holt", weeks(40), settings, crew)
        assert again.data_version == plain.data_version
    file.unlink()
    assert run("holt", weeks(40), settings, crew).n_fits == 10


# Failures
@pytest.mark.usefixtures("odd_models")
def test_what_a_model_does_wrong_on_a_series_is_told_there_and_nowhere_else(
    settings: Settings, crew: DaskPool
):
    """The first value of a series tells the model what to do wrong on it."""
    ways = {f"s{i}": [float(i)] * 20 for i in range(7)}
    compute = make_compute(settings, crew, run_id="1")
    found = compute.run(ask(odd_model(), make_series(**ways), settings))
    said = [found.folds.errors[5 * i : 5 * (i + 1)] for i in range(7)]
    assert all(len(set(errors)) == 1 for errors in said)
    assert [str(errors[0])[:22] for errors in said] == [
        "RuntimeError: cannot say"[:22],
        "forecast is not finite",
        "forecast of shape [2],",
        "ValueError: could not convert"[:22],
        "ConvergenceWarning: no",
        "not for this series: i",
        "None",
    ]
    assert found.folds.y_hat[30:].tolist() == [[6.0]] * 5
    assert len(found.folds.failures) == 25
    again = run(odd_model(), make_series(**ways), settings, run_id="1")  # knows it all
    assert (again.n_fits, again.data_version) == (0, found.data_version)
    compute = make_compute(settings, run_id="2")
    carried_on = compute.run(ask(odd_model(), make_series(**ways), settings), run_id="1")
    assert (carried_on.n_fits, carried_on.data_version) == (0, found.data_version)
    assert run(odd_model(), make_series(**ways), settings, crew, run_id="2").n_fits == 25


@pytest.mark.usefixtures("odd_models")
def test_a_model_that_has_used_up_its_time_is_not_tried_any_more(tmp_path: Path, crew: DaskPool):
    settings = make_settings(tmp_path, backtest={"n_windows": 15}, compute={"model_seconds": 0.5})
    found = run(odd_model(way="slow"), weeks(40), settings, crew)
    said = "not tried: the model had used up its 0.5 seconds"
    assert set(found.folds.errors) == {None, said}
    assert 0 < found.folds.is_forecast.sum() <= 10
    assert found.seconds > 0.5


def test_workers_of_another_version_are_refused_each_time(tmp_path: Path, crew: DaskPool):
    """What was sent and refused does not come back: who asks again must not wait for it."""
    settings = make_settings(tmp_path, backtest={"n_windows": 1})
    asked = ask(replace(MODELS["ses"]), make_series(a=YS["a"]), settings)
    vars(asked.model)["fingerprint"] = "0" * 32  # as if the code here were other than there
    compute = make_compute(settings, crew)
    for _ in range(2):
        with pytest.raises(ComputeError, match=r"would answer with other code.*the same versions"):
            compute.run(asked)
    assert compute.run(ask("ses", make_series(a=YS["a"]), settings)).n_fits == 1


def test_a_cache_that_cannot_be_written_fails_the_model_and_may_be_mended(
    settings: Settings, crew: DaskPool
):
    compute = make_compute(settings, crew)
    cache_folder(settings).parent.mkdir(parents=True)
    cache_folder(settings).write_text("a file where a folder must be")
    asked = ask("ses", weeks(40), settings)
    with pytest.raises(StoreError, match=r"fold cache .* cannot be used"):
        compute.run(asked)
    cache_folder(settings).unlink()
    assert compute.run(asked).folds.is_forecast.all()


# Before the first chunk


# Several models
def n_known(asked: BacktestRequest, settings: Settings) -> int:
    """How many folds of a model lie in the cache."""
    keys = fold_keys(asked.planned, asked.model, asked.panel, horizon=1, season_length=4)
    return len(fold_cache(settings).get(asked.model, keys, run_id="run"))


def test_a_model_ahead_begins_before_it_is_asked_and_says_the_same(
    tmp_path: Path, settings: Settings, crew: DaskPool
):
    compute = make_compute(settings, crew)
    first, naive, second = compute.backtests(weeks(40), ["ses", "naive", "holt"])
    runs = [compute.run(first, ahead=[naive, second])]
    assert crew.n_out + n_known(second, settings) > 0
    runs += [compute.run(naive, ahead=[second]), compute.run(second)]
    assert [one.n_fits for one in runs] == [10, 0, 10]
    alone = make_settings(tmp_path / "b", backtest={"n_windows": 5}, series={"season_length": 4})
    for one in runs:
        assert one.data_version == run(one.model, weeks(40), alone, crew).data_version


def test_a_model_ahead_that_does_not_exist_waits_for_its_turn(settings: Settings, crew: DaskPool):
    compute = make_compute(settings, crew)
    asked = ask("ses", weeks(40), settings)
    gone = BacktestRequest(replace(MODELS["ses"], factory="gone:Gone"), asked.planned, asked.panel)
    assert compute.run(asked, ahead=[gone]).n_fits == 10


def test_several_models_come_back_in_the_order_asked(settings: Settings, crew: DaskPool):
    compute = make_compute(settings, crew)
    runs = compute.run_all(compute.backtests(weeks(40), ["holt", "naive", "ses"]))
    assert [one.model for one in runs] == ["holt", "naive", "ses"]
    assert all(one.folds.is_forecast.all() for one in runs)


def test_the_plan_of_a_frame_is_made_once(settings: Settings):
    compute, series = make_compute(settings), weeks(40)
    (first,), (again,) = compute.backtests(series, ["ses"]), compute.backtests(series, ["holt"])
    assert first.planned is again.planned
    assert first.panel is again.panel
    (other,) = compute.backtests(weeks(39), ["ses"])
    assert [one.ends[-1] for one in other.planned] == [38, 38]


def test_progress_is_told_after_each_report_and_adds_up(settings: Settings, crew: DaskPool):
    told: list[Progress] = []
    found = make_compute(settings, crew).run(ask("ses", weeks(40), settings), watch=told.append)
    assert [one.n_done for one in told] == sorted(one.n_done for one in told)
    assert (told[-1].n_done, told[-1].n_planned, told[-1].seconds_left) == (10, 10, 0.0)
    assert len(told) == len(found.spans) >= 4
    assert {span.model for span in found.spans} == {"ses"}
    assert found.seconds == pytest.approx(sum(span.seconds for span in found.spans))


def test_nothing_to_forecast_is_no_work(settings: Settings):
    for name in ("ses", "naive"):
        assert len(run(name, make_series(a=[1.0]), settings).folds) == 0
        nothing = BacktestRequest(find_model(name), [], Panel.of([]))
        assert len(make_compute(settings).run(nothing).folds) == 0
