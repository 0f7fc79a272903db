"""One model's folds on their way: which fits are left, in which chunks, and what comes back."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import fold_keys
from forecast_assets.backtesting.chunk import ChunkResult, WorkChunk
from forecast_assets.backtesting.fitting import run_unit
from forecast_assets.backtesting.folds import ALL_SERIES, FitUnit, FoldForecast, FoldForecasts
from forecast_assets.backtesting.model_job import CHUNK_SECONDS, ModelBacktest, ModelJob
from forecast_assets.config.settings import Settings
from forecast_assets.models import ModelSpec
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_ragged, make_series, make_settings, walk
from forecast_assets_tests.worker_builders import ask, fold_cache, odd_model

pytestmark = pytest.mark.usefixtures("odd_models")

ODD, ANCHORED = odd_model(), odd_model("Anchored", refit_every=13)
POOLED = odd_model("Pooled", refit_every=4)
YS = {"a": walk(70, seed=1), "b": walk(70, seed=2)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": 20})


def weeks(n: int, **revised: float) -> pd.DataFrame:
    """The first n weeks of two walks; y55=1.0 revises the value number 55 of the first."""
    a = list(YS["a"][:n])
    for place, value in revised.items():
        a[int(place[1:])] = value
    return make_series(a=a, b=YS["b"][:n])


def make_job(
    model: ModelSpec | str, settings: Settings, series: pd.DataFrame, *, run_id: str = "run"
) -> ModelJob:
    """What a run has to do for a model."""
    return ModelJob(ask(model, series, settings), settings, fold_cache(settings), run_id=run_id)


def report(job: ModelJob, chunk: WorkChunk, *, fit_seconds: float = 0.001) -> ChunkResult:
    """What a worker says of a chunk, each fit having taken so long."""
    panel = job.asked.panel
    answers = [run_unit(chunk.question, unit, panel, lambda: None) for unit in chunk.units]
    timed = [replace(one, seconds=fit_seconds) for one in answers]
    return ChunkResult(timed, {}, began=0.0, seconds=fit_seconds * len(timed))


def chunks(job: ModelJob, *, n_workers: int = 1) -> Iterator[WorkChunk]:
    """Chunk after chunk, until nothing waits."""
    while job.n_waiting:
        yield job.next_chunk(n_workers=n_workers)


def finish(
    job: ModelJob, settings: Settings, *, n_workers: int = 1, seed: int = 0, run_id: str = "run"
) -> ModelBacktest:
    """Run a job to its end and keep what is new; with a seed, reports come back in any order."""
    rng, out = np.random.default_rng(seed), list[WorkChunk]()
    while not job.is_done:
        while job.n_waiting and len(out) < 2 * n_workers:
            out.append(job.next_chunk(n_workers=n_workers))
        chunk = out.pop(rng.integers(len(out)) if seed else 0)
        job.take(chunk, "worker", report(job, chunk, fit_seconds=rng.uniform(0, 0.2)), "")
    fold_cache(settings).put(job.asked.model, job.fresh, run_id=run_id)
    fold_cache(settings).put_fits(job.asked.model, job.fresh_fits)
    return job.done()


def computed(
    model: ModelSpec | str, settings: Settings, series: pd.DataFrame, *, run_id: str = "run"
) -> ModelBacktest:
    """One model's folds, by what the cache knows and the rest computed here."""
    return finish(make_job(model, settings, series, run_id=run_id), settings, run_id=run_id)


def units(job: ModelJob) -> list[FitUnit]:
    """All fits that are left."""
    return [unit for chunk in chunks(job) for unit in chunk.units]


def folds(job: ModelJob) -> list[tuple[int, int]]:
    """All folds that are left, in the order that they are computed in."""
    return [fold for unit in units(job) for fold in unit.folds]


# Which fits there are
def test_a_model_that_is_not_moved_is_fitted_at_every_cutoff(settings: Settings):
    found = units(make_job(ODD, settings, weeks(60)))
    ends = range(40, 60)
    assert found == [FitUnit(i, end, ((i, end),)) for i in (0, 1) for end in ends]


def test_a_moved_model_is_fitted_at_multiples_of_its_cadence(settings: Settings):
    found = units(make_job(ANCHORED, settings, weeks(60)))
    of_a = [
        FitUnit(0, 39, tuple((0, end) for end in range(40, 52))),
        FitUnit(0, 52, tuple((0, end) for end in range(52, 60)), is_kept=True),
    ]
    assert found[:2] == of_a
    assert [(unit.series, unit.anchor) for unit in found[2:]] == [(1, 39), (1, 52)]


def test_before_the_first_multiple_a_fold_is_its_own_anchor(settings: Settings):
    found = units(make_job(ANCHORED, settings, weeks(20)))[:4]
    assert [unit.anchor for unit in found] == [11, 12, 13, 11]


def test_a_global_model_is_fitted_once_a_cutoff_over_all_series(settings: Settings):
    model = replace(POOLED, refit_every=1)
    found = units(make_job(model, settings, make_ragged(a=(0, YS["a"][:9]), b=(3, YS["b"][:5]))))
    assert {unit.series for unit in found} == {ALL_SERIES}
    assert [unit.folds for unit in found] == [
        ((0, 5),),
        ((0, 6), (1, 3)),
        ((0, 7), (1, 4)),
        ((0, 8),),
    ]
    assert [np.datetime64(unit.anchor, "D").item().isoformat() for unit in found] == [
        "2024-02-02",
        "2024-02-09",
        "2024-02-16",
        "2024-02-23",
    ]


@pytest.mark.parametrize("model", [ANCHORED, POOLED], ids=["local", "global"])
def test_anchors_are_the_same_from_week_to_week(settings: Settings, model: ModelSpec):
    anchors = [
        {
            fold: unit.anchor
            for unit in units(make_job(model, settings, weeks(n)))
            for fold in unit.folds
        }
        for n in (60, 61, 62, 66)
    ]
    for before, after in itertools.pairwise(anchors):
        shared = before.keys() & after.keys()
        assert len(shared) >= 32
        assert all(before[fold] == after[fold] for fold in shared)


def test_a_global_models_anchor_is_no_more_than_its_cadence_before_the_cutoff(settings: Settings):
    job = make_job(POOLED, settings, weeks(60))
    apart = [
        (int(job.asked.panel.day(*fold).astype(int)) - unit.anchor) / 7
        for unit in units(job)
        for fold in unit.folds
    ]
    assert set(apart) == {0, 1, 2, 3}


# What is known
@pytest.mark.parametrize("model", [ODD, ANCHORED, POOLED], ids=["plain", "moved", "global"])
def test_the_same_week_again_leaves_nothing_to_compute(settings: Settings, model: ModelSpec):
    first = computed(model, settings, weeks(60))
    again = make_job(model, settings, weeks(60))
    assert again.is_done
    assert again.n_waiting == 0
    assert again.done().data_version == first.data_version
    assert (first.n_fits > 0, again.done().n_fits) == (True, 0)


@pytest.mark.parametrize("model", [ODD, ANCHORED, POOLED], ids=["plain", "moved", "global"])
def test_a_new_week_leaves_its_new_folds_alone(settings: Settings, model: ModelSpec):
    computed(model, settings, weeks(60))
    assert folds(make_job(model, settings, weeks(61))) == [(0, 60), (1, 60)]


def test_a_revision_leaves_the_folds_that_saw_it(settings: Settings):
    computed(ODD, settings, weeks(60))
    assert folds(make_job(ODD, settings, weeks(60, y55=0.5))) == [(0, end) for end in range(56, 60)]


def test_a_revision_of_one_series_leaves_every_series_folds_of_a_global_model_that_saw_it(
    settings: Settings,
):
    computed(POOLED, settings, weeks(60))
    left = folds(make_job(POOLED, settings, weeks(60, y55=0.5)))
    assert left == [(i, end) for end in range(56, 60) for i in (0, 1)]


def test_equal_histories_are_computed_once(settings: Settings):
    same = make_series(a=YS["a"], b=YS["a"])
    job = make_job(ODD, settings, same)
    run = finish(job, settings)
    assert run.n_fits == 20
    assert run.folds.y_hat[:20].tolist() == run.folds.y_hat[20:].tolist()


def test_a_model_of_other_parameters_knows_nothing(settings: Settings):
    computed(ODD, settings, weeks(60))
    assert make_job(odd_model(way="last"), settings, weeks(60)).n_waiting == 40


# Fits that are kept
def test_the_newest_fit_serves_the_weeks_until_the_next_anchor(settings: Settings):
    """Of ends 52 to 64 the anchor is 52, of 65 it is 65; the last cutoff is a week before."""
    n_fits = {n: computed(ANCHORED, settings, weeks(n)).n_fits for n in range(60, 68)}
    assert n_fits == {60: 4, 61: 0, 62: 0, 63: 0, 64: 0, 65: 0, 66: 2, 67: 0}


def test_the_newest_global_fit_serves_the_weeks_until_the_next_anchor(settings: Settings):
    n_fits = [computed(POOLED, settings, weeks(n)).n_fits for n in range(60, 69)]
    assert n_fits[0] == 6  # 20 weeks, in parts of 4 that need not begin with the first
    assert sorted(n_fits[1:5]) == sorted(n_fits[5:]) == [0, 0, 0, 1]


def test_a_revision_after_the_anchor_needs_no_fit_and_one_before_it_does(settings: Settings):
    computed(ANCHORED, settings, weeks(60))
    assert computed(ANCHORED, settings, weeks(60, y55=0.5)).n_fits == 0
    assert computed(ANCHORED, settings, weeks(60, y45=0.5)).n_fits == 2


# The same, however it is computed
@pytest.mark.parametrize(
    "model",
    [
        "holt",
        "holt on 13",
        odd_model("Chance"),
        odd_model("Chance", refit_every=13),
        replace(POOLED, refit_every=1),
        POOLED,
    ],
    ids=["holt", "holt, moved", "chance", "chance, moved", "global", "global, moved"],
)
def test_results_are_the_same_bit_for_bit_in_any_chunks_order_and_weeks(
    tmp_path: Path, model: ModelSpec | str
):
    backtest = {"n_windows": 20, "horizon": 2}
    if model == "holt on 13":
        model, backtest = "holt", {**backtest, "refit_every": 13}
    places = [make_settings(tmp_path / name, backtest=backtest) for name in "abc"]
    plain = finish(make_job(model, places[0], weeks(70)), places[0])
    assert plain.folds.is_forecast.all()
    spread = finish(make_job(model, places[1], weeks(70)), places[1], n_workers=3, seed=1)
    for n in range(55, 71, 5):  # every fold known, or a few of them new
        weekly = computed(model, places[2], weeks(n))
    for other in (spread, weekly, computed(model, places[2], weeks(70))):
        assert other.folds.y_hat.tobytes() == plain.folds.y_hat.tobytes()
        assert other.data_version == plain.data_version


# What fails
def test_a_failure_is_known_to_the_run_that_met_it_and_tried_again_by_the_next(settings: Settings):
    model = odd_model(way="raise")
    first = computed(model, settings, weeks(60), run_id="1")
    assert first.folds.failures == ["RuntimeError: cannot say"] * 40
    assert make_job(model, settings, weeks(60), run_id="1").is_done
    assert make_job(model, settings, weeks(60), run_id="2").n_waiting == 40


@pytest.mark.parametrize("model", [odd_model(way="declines"), replace(ANCHORED, refit_every=1)])
def test_what_a_model_declines_it_is_not_asked_again(settings: Settings, model: ModelSpec):
    short = make_series(a=[1.0, 2.0, 3.0])
    run = computed(model, settings, short, run_id="1")
    assert (run.folds.failures, run.folds.is_forecast.any()) == ([], False)
    assert make_job(model, settings, short, run_id="2").is_done


def test_a_chunk_that_never_comes_back_fails_its_folds(settings: Settings):
    job = make_job(ODD, settings, weeks(60))
    chunk = job.next_chunk(n_workers=1)
    job.take(chunk, "", None, "its worker ended")
    rest = finish(job, settings)
    assert rest.folds.failures == ["its worker ended"]
    assert rest.folds.errors[0] == "its worker ended"


def test_what_a_report_leaves_out_is_sent_again(settings: Settings):
    job = make_job(ODD, settings, weeks(60))
    first = job.next_chunk(n_workers=1)
    job.take(first, "worker", report(job, first), "")
    chunk = job.next_chunk(n_workers=1)
    whole = report(job, chunk)
    job.take(chunk, "worker", replace(whole, answers=whole.answers[:2]), "")
    assert job.next_chunk(n_workers=1).units[0] == chunk.units[2]
    assert len(chunk.units) > 3


def test_where_a_model_was_ended_its_other_folds_of_the_series_are_not_tried(settings: Settings):
    job = make_job(ODD, settings, weeks(60))
    chunk = job.next_chunk(n_workers=1)
    ended = replace(report(job, chunk), ended={0: "took more than 60 seconds"})
    job.take(chunk, "worker", ended, "")
    run = finish(job, settings)
    said = "not tried: at another cutoff it took more than 60 seconds"
    assert list(run.folds.errors) == [None] + [said] * 19 + [None] * 20


def test_a_model_that_has_used_up_its_time_is_not_tried_any_more(tmp_path: Path):
    slow = make_settings(tmp_path, backtest={"n_windows": 20}, compute={"model_seconds": 3})
    job = make_job(ODD, slow, weeks(60))
    for seconds in (2.0, 0.9, 0.2):
        chunk = job.next_chunk(n_workers=1)
        job.take(chunk, "worker", report(job, chunk, fit_seconds=seconds), "")
    said = "not tried: the model had used up its 3 seconds"
    assert job.is_done
    assert list(job.done().folds.errors) == [None] * 3 + [said] * 37
    assert job.done().seconds == pytest.approx(3.1)


def test_a_global_model_has_its_whole_time_for_one_fit(tmp_path: Path):
    settings = make_settings(tmp_path, compute={"model_seconds": 3, "fold_seconds": 1})
    allowed = [make_job(m, settings, weeks(60)).next_chunk(n_workers=1) for m in (POOLED, ODD)]
    assert [chunk.budget.seconds for chunk in allowed] == [3, 1]


# Chunks
def sizes(job: ModelJob, fit_seconds: float, *, n_workers: int = 1) -> list[int]:
    """How many fits each chunk has, where each takes so long."""
    found = []
    for chunk in chunks(job, n_workers=n_workers):
        found.append(len(chunk.units))
        job.take(chunk, "worker", report(job, chunk, fit_seconds=fit_seconds), "")
    return found


def test_a_chunk_is_one_fit_until_it_is_known_what_one_costs(settings: Settings):
    job = make_job(ODD, settings, weeks(60))
    assert [len(job.next_chunk(n_workers=1).units) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("fit_seconds", "n_workers", "expected"),
    [
        (10.0, 1, [1] * 40),  # dear: one at a time
        (CHUNK_SECONDS / 5, 1, [1, 5, 5, 5, 5, 5, 5, 4, 2, 2, 1]),  # half a second, then shares
        (0.001, 2, [1, 39]),  # cheap: a chunk has work for 50 ms at least
        (0.01, 4, [1, 5, 5, 5, 5, 5, 5, 5, 4]),
        (0.0, 1, [1, 39]),
    ],
)
def test_a_chunk_is_half_a_second_of_work_or_a_share_of_what_is_left(
    settings: Settings, fit_seconds: float, n_workers: int, expected: list[int]
):
    job = make_job(ODD, settings, weeks(60))
    assert sizes(job, fit_seconds, n_workers=n_workers) == expected


def test_what_a_fold_cost_last_time_sizes_the_first_chunk(settings: Settings):
    asked = ask(ODD, weeks(60), settings)
    keys = fold_keys(asked.planned, ODD, asked.panel, horizon=1, season_length=52)
    fold_cache(settings).put(ODD, {key: FoldForecast(np.array([1.0]), 0.1) for key in keys[:20]})
    assert sizes(make_job(ODD, settings, weeks(60)), 0.1)[0] == 5


# How it goes
def test_progress_adds_up(settings: Settings):
    job = make_job(ANCHORED, settings, weeks(60))
    told, now = [job.progress(n_workers=2, now=100.0)], 100.0
    for chunk in chunks(job):
        now += 0.5
        job.take(chunk, "worker", report(job, chunk, fit_seconds=0.4), "")
        told.append(job.progress(n_workers=2, now=now))
    assert [one.n_done for one in told] == [0, 12, 20, 32, 40]
    assert {one.n_planned for one in told} == {40}
    assert [one.fits_per_second for one in told] == [0, 2, 2, 2, 2]
    assert [one.seconds_left for one in told] == pytest.approx([0, 0.6, 0.4, 0.2, 0])
    assert str(told[1]) == "odd: 12 of 40 folds, 2.0 fits a second, 1 s left"


def test_a_run_says_what_it_cost_and_where(settings: Settings):
    job = make_job(ANCHORED, settings, weeks(60))
    for i, chunk in enumerate(chunks(job)):
        told = replace(report(job, chunk, fit_seconds=1.5), began=10.0 * i, peak_mb=50.0 - i)
        job.take(chunk, f"worker {i % 2}", told, "")
    run = job.done()
    assert (run.n_fits, run.seconds, run.peak_mb) == (4, 6.0, 50.0)
    assert [(span.model, span.worker, span.began, span.seconds) for span in run.spans] == [
        ("odd", f"worker {i % 2}", 10.0 * i, 1.5) for i in range(4)
    ]


def test_predictions_keep_their_contract(settings: Settings):
    frame = computed(ODD, settings, weeks(60)).predictions(settings)
    checked = table_contracts((80,))["backtest_predictions"].check(frame)
    pd.testing.assert_frame_equal(checked, frame)


def test_a_data_version_covers_what_was_said_and_not_how_long_it_took():
    said = [FoldForecast(np.array([1.0, 2.0]), 0.1), FoldForecast(None, 0.1, "no")]
    every = [
        said,
        [replace(said[0], fit_seconds=9.0), said[1]],
        [FoldForecast(np.array([1.0, np.nextafter(2.0, 3)]), 0.1), said[1]],
        [said[0], FoldForecast(None, 0.1, "never")],
        said[::-1],
    ]
    runs = [
        ModelBacktest("m", (), FoldForecasts.of(folds, horizon=2)).data_version for folds in every
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[1:])) == 4


def test_series_without_folds_are_done_before_they_begin(settings: Settings):
    job = make_job(ODD, settings, make_series(a=[1.0]))
    assert job.is_done
    assert len(job.done().folds) == 0
