"""The backtest of one model: which fits are left, in which chunks, and what their results add."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.chunk import ChunkResult
from forecast_assets.backtesting.fitting import WorkChunk, run_unit
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    FoldForecasts,
    WorkerSpan,
)
from forecast_assets.backtesting.model_job import (
    CHUNK_SECONDS,
    BacktestRequest,
    ModelBacktest,
    ModelJob,
)
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.regressors import CommonColumns, FoldRegressors
from forecast_assets.config.settings import Settings
from forecast_assets.models import ModelSpec
from forecast_assets_tests.builders import make_ragged, make_series, make_settings, walk
from forecast_assets_tests.misbehaving_models import misbehaving, user_model
from forecast_assets_tests.worker_builders import cache_folder, make_request

pytestmark = pytest.mark.usefixtures("user_models")

PLAIN, ANCHORED = misbehaving(), user_model("Anchored", refit_every=13)
POOLED = user_model("Pooled", refit_every=4)
YS = {"a": walk(70, seed=1), "b": walk(70, seed=2)}
EACH_KIND = pytest.mark.parametrize(
    "model", [PLAIN, ANCHORED, POOLED], ids=["refitted", "updated", "global"]
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": 20})


def weeks(n: int, **revised: float) -> pd.DataFrame:
    """Return the first n weeks of two random walks; y55=1.0 revises value 55 of the first one."""
    a = list(YS["a"][:n])
    for name, value in revised.items():
        a[int(name[1:])] = value
    return make_series(a=a, b=YS["b"][:n])


def make_job(
    model: ModelSpec, settings: Settings, series: pd.DataFrame, *, run_id: str = "run"
) -> ModelJob:
    request = make_request(model, series, settings)
    return ModelJob(request, settings, FoldCache(cache_folder(settings)), run_id=run_id)


def run_here(job: ModelJob, chunk: WorkChunk, *, fit_seconds: float = 0.001) -> ChunkResult:
    """Run a chunk in this process, as if each fit had taken so long."""
    units = [run_unit(chunk.config, unit, job.request.panel, lambda: None) for unit in chunk.units]
    results = [replace(result, seconds=fit_seconds) for result in units]
    return ChunkResult(results, {}, began=0.0, seconds=fit_seconds * len(results))


def chunks(job: ModelJob, *, n_workers: int = 1) -> Iterator[WorkChunk]:
    """Take chunks until no fit waits."""
    while job.n_waiting:
        yield job.next_chunk(n_workers=n_workers)


def finish(
    job: ModelJob, *, n_workers: int = 1, seed: int = 0, run_id: str = "run"
) -> ModelBacktest:
    """Finish and save a job; with a seed, results return in random order."""
    rng, out = np.random.default_rng(seed), list[WorkChunk]()
    while not job.is_done:
        while job.n_waiting and len(out) < 2 * n_workers:
            out.append(job.next_chunk(n_workers=n_workers))
        chunk = out.pop(rng.integers(len(out)) if seed else 0)
        job.add_result(chunk, "worker", run_here(job, chunk, fit_seconds=rng.uniform(0, 0.2)), "")
    job.save(run_id=run_id)
    return job.result()


def backtest(
    model: ModelSpec, settings: Settings, series: pd.DataFrame, *, run_id: str = "run"
) -> ModelBacktest:
    return finish(make_job(model, settings, series, run_id=run_id), run_id=run_id)


def units_left(job: ModelJob) -> list[FitUnit]:
    return [unit for chunk in chunks(job) for unit in chunk.units]


def folds_left(job: ModelJob) -> list[tuple[int, int]]:
    """Return the folds that are left, in the order of their computation."""
    return [fold for unit in units_left(job) for fold in unit.folds]


# Which fits there are
def test_a_model_without_updates_is_fitted_at_every_cutoff(settings: Settings):
    ends = range(40, 60)
    assert units_left(make_job(PLAIN, settings, weeks(60))) == [
        FitUnit(i, end, ((i, end),)) for i in (0, 1) for end in ends
    ]


def test_an_updated_model_is_fitted_at_multiples_of_refit_every(settings: Settings):
    units = units_left(make_job(ANCHORED, settings, weeks(60)))
    assert units[:2] == [
        FitUnit(0, 39, tuple((0, end) for end in range(40, 52))),
        FitUnit(0, 52, tuple((0, end) for end in range(52, 60)), is_kept=True),
    ]
    assert [(unit.series, unit.anchor) for unit in units[2:]] == [(1, 39), (1, 52)]
    short = units_left(make_job(ANCHORED, settings, weeks(20)))
    assert [unit.anchor for unit in short[:4]] == [11, 12, 13, 11]


def test_a_global_model_is_fitted_once_for_each_cutoff(settings: Settings):
    model = replace(POOLED, refit_every=1)
    series = make_ragged(a=(0, YS["a"][:9]), b=(3, YS["b"][:5]))
    units = units_left(make_job(model, settings, series))
    assert {unit.series for unit in units} == {ALL_SERIES}
    assert [unit.folds for unit in units] == [
        ((0, 5),),
        ((0, 6), (1, 3)),
        ((0, 7), (1, 4)),
        ((0, 8),),
    ]
    days = [np.datetime64(unit.anchor, "D").item().isoformat() for unit in units]
    assert days == ["2024-02-02", "2024-02-09", "2024-02-16", "2024-02-23"]


def test_cutoffs_at_which_other_series_have_the_same_patch_share_no_fit(settings: Settings):
    """At one cutoff a regressor of the first series is not known, at the next of the second."""
    request = make_request("boosted_levels_x", weeks(60), settings)
    unknown = (np.array([20]), np.array([np.nan]))
    common = CommonColumns(np.zeros((61, 0)), np.datetime64("2023-01-06"))
    planned = [
        replace(item, x=FoldRegressors(["p"], common, 0, np.ones((61, 1)), {end: unknown}))
        for item, end in zip(request.planned, (53, 54), strict=True)
    ]
    request = BacktestRequest(request.model, planned, Panel.of(planned))
    units = units_left(ModelJob(request, settings, FoldCache(cache_folder(settings)), run_id="run"))
    ends = [{end for _, end in unit.folds} for unit in units]
    assert all(len(of_unit) == 1 for of_unit in ends if of_unit & {53, 54})
    assert max(map(len, ends)) == 4


@pytest.mark.parametrize("model", [ANCHORED, POOLED], ids=["local", "global"])
def test_anchors_are_the_same_from_week_to_week(settings: Settings, model: ModelSpec):
    anchors = [
        {
            fold: unit.anchor
            for unit in units_left(make_job(model, settings, weeks(n)))
            for fold in unit.folds
        }
        for n in (60, 61, 62, 66)
    ]
    for before, after in itertools.pairwise(anchors):
        shared = before.keys() & after.keys()
        assert len(shared) >= 32
        assert all(before[fold] == after[fold] for fold in shared)


# What is known
@EACH_KIND
def test_a_second_run_computes_nothing_and_a_new_week_only_its_folds(
    settings: Settings, model: ModelSpec
):
    first = backtest(model, settings, weeks(60))
    again = make_job(model, settings, weeks(60))
    assert again.is_done
    assert again.n_waiting == 0
    assert again.result().data_version == first.data_version
    assert (first.n_fits > 0, again.result().n_fits) == (True, 0)
    assert folds_left(make_job(model, settings, weeks(61))) == [(0, 60), (1, 60)]


def test_a_revision_leaves_the_folds_that_saw_it(settings: Settings):
    """A global model saw it in the folds of all series."""
    for model in (PLAIN, POOLED):
        backtest(model, settings, weeks(60))
    revised = weeks(60, y55=0.5)
    assert folds_left(make_job(PLAIN, settings, revised)) == [(0, end) for end in range(56, 60)]
    assert folds_left(make_job(POOLED, settings, revised)) == [
        (i, end) for end in range(56, 60) for i in (0, 1)
    ]


def test_equal_histories_are_computed_once(settings: Settings):
    run = finish(make_job(PLAIN, settings, make_series(a=YS["a"], b=YS["a"])))
    assert run.n_fits == 20
    assert run.folds.y_hat[:20].tolist() == run.folds.y_hat[20:].tolist()


# Fits that are kept
def test_the_newest_fit_serves_the_weeks_until_the_next_anchor(settings: Settings):
    """The last cutoff is a week before the end; anchors of ends 52 to 64 are 52, of 65 it is 65."""
    n_fits = {n: backtest(ANCHORED, settings, weeks(n)).n_fits for n in range(60, 68)}
    assert n_fits == {60: 4, 61: 0, 62: 0, 63: 0, 64: 0, 65: 0, 66: 2, 67: 0}
    n_global = [backtest(POOLED, settings, weeks(n)).n_fits for n in range(60, 69)]
    assert n_global[0] == 6  # 20 weeks in parts of 4 that need not begin with the first week
    assert sorted(n_global[1:5]) == sorted(n_global[5:]) == [0, 0, 0, 1]


def test_a_revision_needs_a_new_fit_only_before_the_anchor(settings: Settings):
    backtest(ANCHORED, settings, weeks(60))
    assert backtest(ANCHORED, settings, weeks(60, y55=0.5)).n_fits == 0
    assert backtest(ANCHORED, settings, weeks(60, y45=0.5)).n_fits == 2


# The same forecasts however they are computed
@pytest.mark.parametrize(
    "model",
    [user_model("Random"), user_model("Random", refit_every=13), POOLED],
    ids=["random", "random, updated", "global, updated"],
)
def test_forecasts_are_the_same_bit_for_bit_in_any_chunks_order_and_weeks(
    tmp_path: Path, model: ModelSpec
):
    backtests = {"n_windows": 20, "horizon": 2}
    once, spread, weekly = (make_settings(tmp_path / name, backtest=backtests) for name in "abc")
    plain = backtest(model, once, weeks(70))
    assert plain.folds.is_forecast.all()
    others = [finish(make_job(model, spread, weeks(70)), n_workers=3, seed=1)]
    others += [backtest(model, weekly, weeks(n)) for n in (55, 60, 65, 70)][-1:]
    for other in others:
        assert other.folds.y_hat.tobytes() == plain.folds.y_hat.tobytes()
        assert other.data_version == plain.data_version


# Failures
@pytest.mark.parametrize("model", [misbehaving("declines"), replace(ANCHORED, refit_every=1)])
def test_a_declined_fold_is_not_tried_again(settings: Settings, model: ModelSpec):
    short = make_series(a=[1.0, 2.0, 3.0])
    run = backtest(model, settings, short, run_id="1")
    assert (run.folds.failures, run.folds.is_forecast.any()) == ([], False)
    assert make_job(model, settings, short, run_id="2").is_done


def test_a_chunk_without_a_result_fails_its_folds(settings: Settings):
    job = make_job(PLAIN, settings, weeks(60))
    job.add_result(job.next_chunk(n_workers=1), "", None, "the worker ended")
    run = finish(job)
    assert run.folds.failures == ["the worker ended"]
    assert run.folds.errors[0] == "the worker ended"


def test_units_without_a_result_are_sent_again(settings: Settings):
    job = make_job(PLAIN, settings, weeks(60))
    first = job.next_chunk(n_workers=1)
    job.add_result(first, "worker", run_here(job, first), "")
    chunk = job.next_chunk(n_workers=1)
    whole = run_here(job, chunk)
    job.add_result(chunk, "worker", replace(whole, results=whole.results[:2]), "")
    assert job.next_chunk(n_workers=1).units[0] == chunk.units[2]
    assert len(chunk.units) > 3


def test_the_other_folds_of_the_series_of_a_killed_fit_are_skipped(settings: Settings):
    job = make_job(PLAIN, settings, weeks(60))
    chunk = job.next_chunk(n_workers=1)
    killed = replace(run_here(job, chunk), killed={0: "took more than 60 seconds"})
    job.add_result(chunk, "worker", killed, "")
    error = "skipped after another fold of the series: took more than 60 seconds"
    assert list(finish(job).folds.errors) == [None] + [error] * 19 + [None] * 20


def test_a_model_that_has_used_its_time_is_skipped(tmp_path: Path):
    slow = make_settings(tmp_path, backtest={"n_windows": 20}, compute={"model_seconds": 3})
    job = make_job(PLAIN, slow, weeks(60))
    for seconds in (2.0, 0.9, 0.2):
        chunk = job.next_chunk(n_workers=1)
        job.add_result(chunk, "worker", run_here(job, chunk, fit_seconds=seconds), "")
    error = "skipped, the model has used its 3 seconds"
    assert job.is_done
    assert list(job.result().folds.errors) == [None] * 3 + [error] * 37
    assert job.result().seconds == pytest.approx(3.1)


def test_a_global_fit_may_take_the_whole_time_of_the_model(tmp_path: Path):
    settings = make_settings(tmp_path, compute={"model_seconds": 3, "fold_seconds": 1})
    chunks = [make_job(m, settings, weeks(60)).next_chunk(n_workers=1) for m in (POOLED, PLAIN)]
    assert [chunk.config.max_seconds for chunk in chunks] == [3, 1]


# Chunks
def sizes(job: ModelJob, fit_seconds: float, *, n_workers: int = 1) -> list[int]:
    """Return the number of fits in each chunk if each fit takes so long."""
    n_units = []
    for chunk in chunks(job, n_workers=n_workers):
        n_units.append(len(chunk.units))
        job.add_result(chunk, "worker", run_here(job, chunk, fit_seconds=fit_seconds), "")
    return n_units


@pytest.mark.parametrize(
    ("fit_seconds", "n_workers", "expected"),
    [
        (10.0, 1, [1] * 40),  # expensive: one at a time
        (CHUNK_SECONDS / 5, 1, [1, 5, 5, 5, 5, 5, 5, 4, 2, 2, 1]),  # half a second, then shares
        (0.001, 2, [1, 39]),  # cheap: at least 50 ms of work
        (0.01, 4, [1, 5, 5, 5, 5, 5, 5, 5, 4]),
        (0.0, 1, [1, 39]),
    ],
)
def test_a_chunk_is_half_a_second_of_work_or_a_share_of_what_is_left(
    settings: Settings, fit_seconds: float, n_workers: int, expected: list[int]
):
    job = make_job(PLAIN, settings, weeks(60))
    assert sizes(job, fit_seconds, n_workers=n_workers) == expected


# Progress and results
def test_progress_and_costs_add_up(settings: Settings):
    job = make_job(ANCHORED, settings, weeks(60))
    reported, now = [job.progress(n_workers=2, now=100.0)], 100.0
    for i, chunk in enumerate(chunks(job)):
        now += 0.5
        result = replace(run_here(job, chunk, fit_seconds=0.4), began=now, peak_mb=50.0 - i)
        job.add_result(chunk, f"worker {i % 2}", result, "")
        reported.append(job.progress(n_workers=2, now=now))
    assert [progress.n_done for progress in reported] == [0, 12, 20, 32, 40]
    assert {progress.n_planned for progress in reported} == {40}
    assert [progress.fits_per_second for progress in reported] == [0, 2, 2, 2, 2]
    seconds_left = [progress.seconds_left for progress in reported]
    assert seconds_left == pytest.approx([0, 0.6, 0.4, 0.2, 0])
    assert str(reported[1]) == "mine: 12 of 40 folds, 2.0 fits per second, 1 s left"
    run = job.result()
    assert (run.n_fits, run.seconds, run.peak_mb) == (4, 1.6, 50.0)
    spans = [WorkerSpan("mine", f"worker {i % 2}", 100.5 + 0.5 * i, 0.4) for i in range(4)]
    assert run.spans == spans


def test_a_data_version_covers_forecasts_and_errors_but_not_times():
    folds = [FoldForecast(np.array([1.0, 2.0]), 0.1), FoldForecast(None, 0.1, "no")]
    variants = [
        folds,
        [replace(folds[0], fit_seconds=9.0), folds[1]],
        [FoldForecast(np.array([1.0, np.nextafter(2.0, 3)]), 0.1), folds[1]],
        [folds[0], FoldForecast(None, 0.1, "never")],
        folds[::-1],
    ]
    versions = [
        ModelBacktest("m", (), FoldForecasts.of(variant, horizon=2)).data_version
        for variant in variants
    ]
    assert versions[0] == versions[1]
    assert len(set(versions[1:])) == 4
