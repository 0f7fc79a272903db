"""A chunk on a worker: results in order, killed fits, and the process that it runs in."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from forecast_assets.backtesting import chunk as chunk_module
from forecast_assets.backtesting.chunk import ChunkResult, close_idle, run_chunk, start_processes
from forecast_assets.backtesting.fitting import FitConfig
from forecast_assets.backtesting.folds import FitUnit
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.sandbox import ProcessStartError, TaskCancelled
from forecast_assets.backtesting.sandbox_main import versions
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.misbehaving_models import (
    Y,
    comes_true,
    config_of,
    has_ended,
    make_chunk,
    make_units,
    misbehaving,
    model_processes,
    outcomes,
    signal_models,
)

Z = [100.0 + week for week in range(20)]
NAIVE = MODELS["naive"]

pytestmark = pytest.mark.usefixtures("user_models")


@pytest.fixture(scope="module", autouse=True)
def _close_processes() -> Iterator[None]:
    close_idle()
    yield
    close_idle()


@pytest.fixture
def _no_processes() -> None:
    close_idle()


def run(
    model: ModelSpec,
    *values: Sequence[float],
    work: tuple[Panel, Sequence[FitUnit]] | None = None,
    **limits: float,
) -> ChunkResult:
    """Run a model over the last three weeks of each series in one chunk."""
    panel, units = work or make_units(*(values or [Y, Z]))
    return run_chunk(panel, make_chunk(model, units, **limits), versions=versions())


def idle_pids() -> list[int]:
    return [process.pid for _, process in chunk_module._idle]  # noqa: SLF001 - nothing else knows


# What comes back
def test_every_unit_has_a_result_in_order():
    result = run(misbehaving())
    assert outcomes(result.results) == [17.0, 18.0, 19.0, 116.0, 117.0, 118.0]
    assert (result.killed, result.refused) == ({}, "")
    assert abs(result.began - time.time()) < 60
    assert result.seconds > 0
    assert 10 < result.peak_mb < 2000


@pytest.mark.parametrize(
    ("way", "error", "limits"),
    [
        ("hangs", "took more than 1.5 seconds", {"seconds": 1.5}),
        ("allocates", "took more than 200 MB of memory", {"memory_mb": 200}),
        ("kills_itself", "the model's process ended with signal SIGKILL", {}),
    ],
)
def test_a_chunk_ends_with_the_unit_at_which_the_process_is_killed(
    way: str, error: str, limits: dict[str, float]
):
    result = run(misbehaving(way, on=1.0, since=18), Z, Y, Z, **limits)
    assert outcomes(result.results) == [116.0, 117.0, 118.0, 17.0, error]
    assert result.killed == {1: error}
    if way == "hangs":
        assert result.results[-1].seconds > 1.5


def test_a_model_that_cannot_be_imported_here_is_an_error_of_its_folds():
    model = ModelSpec("absent", "no_such_package.models:Absent")
    panel, units = make_units(Y)
    chunk = replace(make_chunk(misbehaving(), units), config=FitConfig(model, 1, 4, "fingerprint"))
    errors = outcomes(run_chunk(panel, chunk, versions=versions()).results)
    assert {str(error)[:78] for error in errors} == {
        "The class of the model absent cannot be imported from no_such_package.models:A"
    }


def test_a_chunk_of_other_code_or_libraries_is_refused():
    panel, units = make_units(Y)
    chunk = make_chunk(misbehaving(), units)
    result = run_chunk(panel, chunk, versions={**versions(), "numpy": "1.0"})
    assert (result.results, result.refused) == ((), f"numpy is {versions()['numpy']}, not 1.0")
    other = replace(chunk, config=replace(chunk.config, fingerprint="another"))
    result = run_chunk(panel, other, versions=versions())
    assert result.results == ()
    assert result.refused.startswith("mine is {'name': 'mine', 'factory': ")


@pytest.mark.usefixtures("_no_processes")
def test_a_chunk_that_nobody_waits_for_is_cancelled():
    panel, units = make_units(Y)
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        run_chunk(
            panel,
            make_chunk(misbehaving("hangs"), units),
            versions=versions(),
            is_wanted=lambda: time.monotonic() - began < 0.5,
        )
    assert model_processes() == []


# What the model is blamed for
@pytest.mark.usefixtures("_no_processes")
def test_a_unit_is_blamed_only_for_the_second_end_of_its_process():
    """Each process runs until the next signal that is not zero."""
    with signal_models(signal.SIGKILL, 0, signal.SIGSTOP, 0, signal.SIGKILL, signal.SIGKILL):
        result = run(misbehaving("logs_and_waits"), Y, seconds=1.5)
    error = "the model's process ended with signal SIGKILL"
    assert outcomes(result.results) == [17.0, 18.0, error]
    assert result.killed == {0: error}


def test_a_fit_is_not_blamed_for_memory_that_earlier_fits_left():
    panel, units = make_units(Y)
    leaking = misbehaving("leaks", seconds=0.1)
    result = run(leaking, memory_mb=200, work=(panel, [units[0]] * 8))
    assert outcomes(result.results) == [17.0] * 8
    assert result.killed == {}


# Which process
@pytest.mark.usefixtures("_no_processes")
def test_packaged_models_share_a_process_and_each_users_model_has_its_own():
    run(NAIVE, Y)
    (packaged,) = idle_pids()
    run(MODELS["drift"], Y)
    assert idle_pids() == [packaged]
    own = outcomes(run(misbehaving("pid"), Y).results)
    other = outcomes(run(misbehaving("pid", seconds=0.01), Y).results)
    assert len({packaged, *own, *other}) == 3
    assert outcomes(run(misbehaving("pid"), Y).results) == own
    close_idle()
    assert model_processes() == []


@pytest.mark.usefixtures("_no_processes")
def test_a_process_that_ended_is_replaced():
    run(misbehaving(), Y)
    (pid,) = idle_pids()
    os.kill(pid, signal.SIGKILL)
    assert comes_true(lambda: has_ended(pid))
    assert outcomes(run(misbehaving(), Y).results) == [17.0, 18.0, 19.0]
    assert len(idle_pids()) == 1
    assert idle_pids() != [pid]


@pytest.mark.usefixtures("_no_processes")
def test_a_process_that_was_started_early_runs_the_first_chunk():
    start_processes(config_of(NAIVE), n_processes=1)
    start_processes(config_of(NAIVE), n_processes=1)
    assert comes_true(lambda: len(model_processes()) == 1)
    started = model_processes()
    run(NAIVE, Y)
    assert idle_pids() == started


@pytest.mark.usefixtures("_no_processes")
def test_a_process_that_cannot_start_early_is_reported_by_the_first_chunk(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("sys.executable", "/no/such/python")
    start_processes(config_of(NAIVE), n_processes=2)
    with pytest.raises(ProcessStartError, match="No such file or directory: '/no/such/python'"):
        run(NAIVE, Y)


def test_processes_that_are_still_starting_are_closed_with_the_idle_ones():
    start_processes(config_of(NAIVE), n_processes=2)
    close_idle()
    assert model_processes() == []
