"""A chunk on a worker: answers in order, what ends a model, and which process it runs in."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from forecast_assets.backtesting import chunk as chunks
from forecast_assets.backtesting.chunk import (
    ChunkResult,
    WorkChunk,
    close_idle,
    run_chunk,
    start_processes,
)
from forecast_assets.backtesting.folds import FitUnit, Panel
from forecast_assets.backtesting.sandbox import ProcessStartError, ResourceLimits, TaskCancelled
from forecast_assets.backtesting.sandbox_main import versions
from forecast_assets.models import ModelSpec, find_model
from forecast_assets_tests.builders import walk
from forecast_assets_tests.misbehaving_models import (
    comes_true,
    has_ended,
    models_below,
    panel_of,
    question,
    said,
    signalled,
    unruly,
)

Y = [float(week) for week in range(1, 21)]
Z = [100.0 + week for week in range(20)]
AMPLE = ResourceLimits(seconds=20, memory_mb=2000)

pytestmark = pytest.mark.usefixtures("unruly_models")


@pytest.fixture(autouse=True)
def _without_processes() -> Iterator[None]:
    close_idle()
    yield
    close_idle()


def run(
    model: ModelSpec,
    *values: Sequence[float],
    budget: ResourceLimits = AMPLE,
    n_windows: int = 3,
    work: tuple[Panel, Sequence[FitUnit]] | None = None,
) -> ChunkResult:
    """Run a model over the last weeks of each series in one chunk."""
    panel, units = work or panel_of(*(values or [Y, Z]), n_windows=n_windows)
    chunk = WorkChunk(question(model), model.fingerprint, units, budget)
    return run_chunk(panel, chunk, versions=versions())


def pids() -> list[int]:
    """The processes that wait for work."""
    return [one.pid for _, one in chunks._idle]  # noqa: SLF001 - nobody else knows


# What comes back
def test_every_unit_is_answered_in_order():
    report = run(unruly())
    assert said(report.answers) == [17.0, 18.0, 19.0, 116.0, 117.0, 118.0]
    assert report.ended == {}
    assert report.refused == ""
    assert abs(report.began - time.time()) < 60
    assert 0 < report.seconds < 60
    assert 50 < report.peak_mb < 1000


@pytest.mark.parametrize(
    ("way", "error", "budget"),
    [
        ("hangs", "took more than 0.4 seconds", ResourceLimits(0.4, 2000)),
        ("swells", "took more than 400 MB of memory", ResourceLimits(20, 400)),
        ("exits", "the model's process ended with exit code 3", AMPLE),
        ("kills_itself", "the model's process ended with signal SIGKILL", AMPLE),
        ("closes_everything", "the model's process ended with exit code 1", AMPLE),
    ],
)
def test_a_chunk_goes_as_far_as_the_unit_that_the_model_is_ended_at(
    way: str, error: str, budget: ResourceLimits
):
    report = run(unruly(way, on=1.0, since=18), Z, Y, Z, budget=budget)
    assert said(report.answers) == [116.0, 117.0, 118.0, 17.0, error]
    assert report.ended == {1: error}


def test_a_failure_that_ends_no_process_stops_nothing():
    report = run(unruly("raises", on=1.0))
    assert said(report.answers) == ["RuntimeError: no licence"] * 3 + [116.0, 117.0, 118.0]
    assert report.ended == {}


def test_the_seconds_of_a_fit_that_was_ended_are_in_its_answer():
    report = run(unruly("hangs", on=1.0), budget=ResourceLimits(0.4, 2000))
    assert 0.4 < report.answers[-1].seconds < 2


def test_a_model_that_cannot_be_imported_here_is_data_that_names_it():
    model = ModelSpec("absent", "no_such_package.models:Absent")
    panel, units = panel_of(Y)
    report = run_chunk(
        panel, WorkChunk(question(model), "its fingerprint", units, AMPLE), versions=versions()
    )
    assert [one[:78] for one in map(str, said(report.answers))] == [
        "The class of the model absent cannot be imported from no_such_package.models:A"
    ] * 3


def test_other_versions_than_the_senders_are_refused():
    panel, units = panel_of(Y)
    chunk = WorkChunk(question(unruly()), unruly().fingerprint, units, AMPLE)
    report = run_chunk(panel, chunk, versions={**versions(), "numpy": "1.0"})
    assert (report.answers, report.refused) == ((), f"numpy is {versions()['numpy']}, not 1.0")


def test_a_model_of_other_code_than_the_senders_is_refused():
    panel, units = panel_of(Y)
    chunk = WorkChunk(question(unruly()), "another fingerprint", units, AMPLE)
    report = run_chunk(panel, chunk, versions=versions())
    assert report.answers == ()
    assert report.refused.startswith("unruly is {'name': 'unruly', 'factory': ")


def test_what_nobody_waits_for_is_left_at_once():
    panel, units = panel_of(Y)
    chunk = WorkChunk(question(unruly("hangs")), unruly("hangs").fingerprint, units, AMPLE)
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        run_chunk(
            panel,
            chunk,
            versions=versions(),
            is_wanted=lambda: time.monotonic() - began < 1.5,
        )
    assert time.monotonic() - began < 20
    assert models_below() == []


def test_a_worker_that_can_start_no_process_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(ProcessStartError, match="No such file or directory: '/no/such/python'"):
        run(unruly())


# Who is to blame
@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.6])
def test_a_process_that_is_killed_from_outside_changes_no_answer(seconds: float):
    y = walk(120, seed=1)
    undisturbed = run(find_model("auto_ets"), y, n_windows=40)
    (pid,) = pids()
    killer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    killer.start()
    killed = run(find_model("auto_ets"), y, n_windows=40)
    killer.join()
    assert said(killed.answers) == said(undisturbed.answers)
    assert killed.ended == {}


def test_a_unit_that_a_process_died_at_once_is_tried_again():
    with signalled(signal.SIGKILL, 1):
        report = run(unruly("tells_and_waits", since=18), Y)
    assert said(report.answers) == [17.0, 18.0, 19.0]


def test_a_unit_that_a_process_died_at_twice_is_to_blame():
    with signalled(signal.SIGKILL, 2):
        report = run(unruly("tells_and_waits", since=18), Y)
    assert said(report.answers) == [17.0, "the model's process ended with signal SIGKILL"]
    assert report.ended == {0: "the model's process ended with signal SIGKILL"}


def test_a_fit_is_not_blamed_for_what_others_left_in_memory():
    panel, units = panel_of(Y)
    report = run(
        unruly("grows", seconds=0.01), budget=ResourceLimits(20, 400), work=(panel, [units[0]] * 60)
    )
    assert said(report.answers) == [17.0] * 60
    assert report.ended == {}


def test_a_frozen_process_is_tried_once_more():
    with signalled(signal.SIGSTOP, 1):
        report = run(unruly("tells_and_waits", since=19), Y, budget=ResourceLimits(3, 2000))
    assert said(report.answers) == [17.0, 18.0, 19.0]


# Which process
def test_the_packages_models_share_a_process_and_yours_has_its_own():
    run(find_model("ses"), Y)
    (packaged,) = pids()
    run(find_model("theta"), Y)
    assert pids() == [packaged]
    own = said(run(unruly("pid"), Y).answers)
    other = said(run(unruly("pid", seconds=0.01), Y).answers)
    assert len({packaged, *own, *other}) == 3
    assert said(run(unruly("pid"), Y).answers) == own


def test_a_process_that_ended_while_it_waited_is_replaced():
    run(unruly(), Y)
    (pid,) = pids()
    os.kill(pid, signal.SIGKILL)
    assert comes_true(lambda: has_ended(pid))
    assert said(run(unruly(), Y).answers) == [17.0, 18.0, 19.0]
    assert len(pids()) == 1
    assert pids() != [pid]


def test_a_process_in_which_something_went_wrong_is_not_used_again():
    run(unruly("exits"), Y)
    assert pids() == []
    assert models_below() == []


def test_no_process_is_left_when_the_idle_ones_are_closed():
    run(unruly(), Y)
    run(find_model("ses"), Y)
    assert len(models_below()) == 2
    close_idle()
    assert models_below() == []


def test_a_process_that_was_warmed_up_is_the_one_that_runs():
    start_processes(question(find_model("ses")), n_processes=1)
    assert comes_true(lambda: len(models_below()) == 1)
    warm = models_below()
    run(find_model("ses"), Y)
    assert pids() == warm


def test_a_warm_up_that_fails_leaves_it_to_the_chunk_to_say_so(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", "/no/such/python")
        start_processes(question(find_model("ses")), n_processes=2)
        with pytest.raises(ProcessStartError, match="No such file or directory: '/no/such/python'"):
            run(find_model("ses"), Y)
    assert len(run(find_model("ses"), Y).answers) == 3


def test_a_warm_up_that_goes_on_is_ended_with_the_idle_processes():
    start_processes(question(find_model("ses")), n_processes=2)
    close_idle()
    assert models_below() == []
