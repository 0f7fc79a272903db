"""The watched process: what a model may do in it, how it ends, and what is left of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from forecast_assets.backtesting import sandbox as runner_module
from forecast_assets.backtesting import sandbox_main
from forecast_assets.backtesting.fitting import FitResult
from forecast_assets.backtesting.folds import FitUnit, Panel
from forecast_assets.backtesting.sandbox import (
    EnvironmentMismatch,
    ModelProcess,
    ProcessStartError,
    ProcessTerminated,
    ResourceLimits,
    TaskCancelled,
)
from forecast_assets.models import ModelSpec, find_model
from forecast_assets_tests.builders import walk
from forecast_assets_tests.misbehaving_models import (
    below,
    comes_true,
    has_ended,
    left_by,
    panel_of,
    question,
    said,
    unruly,
)

AMPLE = ResourceLimits(seconds=20, memory_mb=2000)
Y = [float(week) for week in range(1, 21)]

pytestmark = [pytest.mark.usefixtures("unruly_models"), pytest.mark.alone]


@pytest.fixture
def runner() -> Iterator[ModelProcess]:
    """A process that is ended with the test."""
    made = ModelProcess()
    yield made
    made.close()


@pytest.fixture(scope="module")
def lasting(unruly_models: Path) -> Iterator[ModelProcess]:  # noqa: ARG001 - first on the path
    """A process for what none ends at."""
    made = ModelProcess()
    yield made
    made.close()


def answers(
    runner: ModelProcess,
    model: ModelSpec,
    budget: ResourceLimits = AMPLE,
    *,
    units: Sequence[FitUnit] | None = None,
    panel: Panel | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[FitResult]:
    """Run the model over the last three weeks of a short series, unless something else is given."""
    its_panel, its_units = panel_of(Y)
    ran = runner.run(
        question(model),
        its_units if units is None else units,
        panel or its_panel,
        budget,
        fingerprint=model.fingerprint,
        is_wanted=is_wanted,
    )
    return list(ran)


def end(
    lasting: ModelProcess, way: str, budget: ResourceLimits = AMPLE, **params: float
) -> ProcessTerminated:
    """How the process ended that the model went this way in."""
    with pytest.raises(ProcessTerminated) as ended:
        answers(lasting, unruly(way, **params), budget)
    return ended.value


def is_gone(pid: int, *, within: float = 5.0) -> bool:
    """Whether a process ends soon."""
    return comes_true(lambda: has_ended(pid), within=within)


# What a model may do
def test_answers_come_in_the_order_of_the_units(lasting: ModelProcess):
    assert said(answers(lasting, unruly())) == [17.0, 18.0, 19.0]


def test_one_process_runs_model_after_model(lasting: ModelProcess):
    y = walk(30, seed=1)
    panel, units = panel_of(y)
    assert said(answers(lasting, unruly(), panel=panel, units=units)) == y[26:29]
    for name in ("ses", "theta"):
        assert len(answers(lasting, find_model(name), panel=panel, units=units)) == 3
    assert said(answers(lasting, unruly())) == [17.0, 18.0, 19.0]


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raises", "RuntimeError: no licence"),
        ("nan", "forecast is not finite: [nan]"),
        ("long", "forecast of shape [2], asked for [1]"),
        ("huge", "forecast of shape [10000000], asked for [1]"),
        ("objects", "TypeError: float() argument must be a string or a real number, not 'object'"),
        ("does_not_converge", "ConvergenceWarning: no optimum"),
        ("leaves", "SystemExit: enough"),
        ("interrupts", "KeyboardInterrupt: "),
        ("is_unspeakable", "Unspeakable: and its text cannot be made"),
        ("asks", "EOFError: EOF when reading a line"),
    ],
)
def test_what_a_model_does_wrong_is_its_answer_and_the_process_goes_on(
    lasting: ModelProcess, way: str, error: str
):
    assert said(answers(lasting, unruly(way, since=18))) == [17.0, error, error]
    assert lasting.is_alive


def test_what_a_model_prints_goes_nowhere(lasting: ModelProcess, capfd: pytest.CaptureFixture[str]):
    assert said(answers(lasting, unruly("makes_noise"))) == [17.0, 18.0, 19.0]
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_a_model_makes_of_the_process_answers_nothing(lasting: ModelProcess):
    for _ in range(3):
        assert said(answers(lasting, unruly("forks"))) == [17.0, 18.0, 19.0]


def test_the_libraries_of_a_model_use_one_thread(lasting: ModelProcess):
    assert said(answers(lasting, unruly("threads"))) == [1.0, 1.0, 1.0]
    assert {psutil.Process(lasting.pid).environ()[name] for name in runner_module.ONE_THREAD} == {
        "1"
    }


# How it ends
@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("exits", "exit code 3"),
        ("kills_itself", "signal SIGKILL"),
        ("crashes", "signal SIGSEGV"),
        ("dies_of_an_unnamed_signal", f"signal {signal.SIGRTMIN + 3}"),
        ("starts_children_and_exits", "exit code 3"),
        ("leaves_a_copy_behind", "exit code 3"),
        ("leaves_a_copy_with_a_session_of_its_own", "exit code 3"),
    ],
)
def test_a_process_that_a_model_ends_is_named_with_the_unit(
    runner: ModelProcess, way: str, error: str
):
    began = time.monotonic()
    ended = end(runner, way, since=18)
    assert (str(ended), ended.unit, ended.may_pass) == (
        f"the model's process ended with {error}",
        1,
        True,
    )
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("closes_everything", "ended with exit code 1"),
        ("closes_everything_and_hangs", "closed its line"),
    ],
)
def test_a_process_that_can_no_longer_answer_is_ended(runner: ModelProcess, way: str, error: str):
    ended = end(runner, way, since=19)
    assert (str(ended), ended.unit) == (f"the model's process {error}", 2)
    assert is_gone(runner.pid)


@pytest.mark.parametrize("way", ["hangs", "hangs_with_the_interpreter"])
def test_a_fit_that_takes_too_long_is_ended(runner: ModelProcess, way: str):
    ended = end(runner, way, ResourceLimits(seconds=0.5, memory_mb=2000), since=18)
    assert (str(ended), ended.unit, ended.may_pass) == ("took more than 0.5 seconds", 1, False)
    assert 0.5 < ended.seconds < 2
    assert is_gone(runner.pid)


def test_the_time_of_a_budget_is_that_of_each_fit(runner: ModelProcess):
    budget = ResourceLimits(seconds=0.8, memory_mb=2000)
    assert len(answers(runner, unruly(seconds=0.4), budget)) == 3


def test_a_process_that_was_stopped_from_outside_is_not_the_models_fault(runner: ModelProcess):
    ended = end(runner, "stops", ResourceLimits(seconds=0.5, memory_mb=2000))
    assert (str(ended), ended.may_pass) == ("took more than 0.5 seconds", True)
    assert is_gone(runner.pid)


def test_imports_take_no_time_from_a_fit(monkeypatch: pytest.MonkeyPatch):
    model = unruly()
    assert model.fingerprint  # imported here before it is slow
    monkeypatch.setenv("UNRULY_IMPORT_SECONDS", "1")
    with closing(ModelProcess()) as runner:
        assert len(answers(runner, model, ResourceLimits(seconds=0.5, memory_mb=2000))) == 3


def test_a_model_that_cannot_be_imported_in_time_is_ended(monkeypatch: pytest.MonkeyPatch):
    model = unruly()
    assert model.fingerprint  # imported here before it is slow
    monkeypatch.setenv("UNRULY_IMPORT_SECONDS", "3600")
    monkeypatch.setattr(runner_module, "LOADING_SECONDS", 2.0)
    with (
        closing(ModelProcess()) as runner,
        pytest.raises(ProcessTerminated, match="took more than 2 seconds"),
    ):
        answers(runner, model)


def test_a_process_that_swells_is_ended(runner: ModelProcess):
    began = time.monotonic()
    ended = end(runner, "swells", ResourceLimits(seconds=20, memory_mb=400), since=18)
    assert (str(ended), ended.unit, ended.may_pass) == (
        "took more than 400 MB of memory",
        1,
        True,
    )
    assert 400 < runner.peak_mb < 2000
    assert time.monotonic() - began < 15


def test_memory_that_grows_over_many_fits_is_seen(runner: ModelProcess):
    _, units = panel_of(Y)
    with pytest.raises(ProcessTerminated, match="took more than 400 MB of memory") as ended:
        answers(
            runner,
            unruly("grows", seconds=0.02),
            ResourceLimits(seconds=20, memory_mb=400),
            units=units * 100,
        )
    assert ended.value.unit > 3


def test_the_peak_of_memory_is_that_of_the_last_work(runner: ModelProcess):
    with suppress(ProcessTerminated):
        answers(runner, unruly("grows", seconds=0.01), units=panel_of(Y)[1] * 4)
    grown = runner.peak_mb
    answers(runner, unruly("huge"))
    assert 0 < runner.peak_mb < grown + 200


def test_work_that_nobody_wants_any_more_is_ended(runner: ModelProcess):
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        answers(runner, unruly("hangs"), is_wanted=lambda: time.monotonic() - began < 0.5)
    assert is_gone(runner.pid)


def test_a_process_killed_from_outside_says_so_and_where_it_was(runner: ModelProcess):
    killer = threading.Timer(0.7, os.kill, (runner.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(
        ProcessTerminated, match="the model's process ended with signal SIGKILL"
    ) as ended:
        answers(runner, unruly(seconds=0.5))
    assert (ended.value.unit, ended.value.may_pass) == (1, True)


def test_an_idle_process_that_was_killed_shows_at_its_next_work(runner: ModelProcess):
    answers(runner, unruly())
    os.kill(runner.pid, signal.SIGKILL)
    assert comes_true(lambda: not runner.is_alive)
    with pytest.raises(ProcessTerminated, match="signal SIGKILL"):
        answers(runner, unruly())


# What is left of it
def test_what_a_model_started_is_ended_with_the_process(runner: ModelProcess):
    answers(runner, unruly("starts_children"))
    started = left_by(runner.pid)
    assert len(started) == 9
    runner.close()
    assert all(is_gone(pid) for pid in (runner.pid, *started))


def test_what_a_model_started_is_ended_where_the_process_ended_by_itself(runner: ModelProcess):
    end(runner, "starts_children_and_exits")
    assert comes_true(lambda: not left_by(runner.pid))


def test_closing_twice_and_after_an_end_is_no_error(runner: ModelProcess):
    end(runner, "exits")
    runner.close()
    runner.close()


IMPATIENT = """
import sys
from forecast_assets import watched
watched.IDLE_SECONDS = 0.5
watched.main(int(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.parametrize("way", ["", "starts_children", "leaves_a_thread"])
def test_a_process_that_idles_ends_itself_with_all_that_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox_main, "__name__", "impatient")
    with closing(ModelProcess()) as runner:
        answers(runner, unruly(way))
        assert bool(left_by(runner.pid)) == (way == "starts_children")
        assert comes_true(lambda: not runner.is_alive)
        assert comes_true(lambda: not left_by(runner.pid))


WATCHER = """
import os, sys, time
from forecast_assets.backtesting.sandbox import Budget, Runner
from forecast_assets_tests.misbehaving_models import panel_of, question, unruly
runner = Runner()
print(runner.pid, flush=True)
model, (panel, units) = unruly(sys.argv[1]), panel_of([1.0] * 20)
budget = Budget(seconds=3600, memory_mb=2000)
for _ in runner.run(question(model), units, panel, budget, fingerprint=model.fingerprint):
    pass
time.sleep(3600)
"""


@pytest.mark.parametrize("way", ["", "hangs", "hangs_with_the_interpreter", "starts_children"])
def test_a_process_whose_watcher_is_killed_ends_with_all_it_started(unruly_models: Path, way: str):
    path = os.pathsep.join([str(unruly_models), str(Path(__file__).parents[2])])
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, way],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    with watcher:
        try:
            assert watcher.stdout
            pid = int(watcher.stdout.readline())
            time.sleep(1.5)  # until it is in the middle of it
            assert bool(left_by(pid)) == (way == "starts_children")
        finally:
            watcher.kill()
    assert is_gone(pid, within=2)
    assert comes_true(lambda: not left_by(pid), within=2)


# What it refuses
def test_a_process_that_cannot_start_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy for this machine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProcessStartError, match="ImportError: no numpy for this machine"):
        ModelProcess()


def test_a_process_that_ends_without_a_word_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "numpy.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProcessStartError, match="it ended with code 7 and without a word"):
        ModelProcess()


def test_a_process_that_does_not_get_ready_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "numpy.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(runner_module, "LOADING_SECONDS", 1.0)
    before = below()
    with pytest.raises(ProcessStartError, match="it ended with code -9 and without a word"):
        ModelProcess()
    assert set(below()) <= set(before)


def test_without_an_interpreter_no_process_can_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ProcessStartError, match="No such file or directory: '/no/such/python'"):
        ModelProcess()


CHANGING = "import unruly_models\nclass Unruly(unruly_models.Unruly):\n    pass\n"


def test_a_model_whose_code_is_another_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = tmp_path / "changing_models.py"
    module.write_text(CHANGING)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = ModelSpec("changed", "changing_models:Unruly")
    assert model.fingerprint  # of the file as it is now
    module.write_text(CHANGING + "# another\n")
    with (
        closing(ModelProcess()) as runner,
        pytest.raises(EnvironmentMismatch, match=r"changed is \{'name': 'changed', 'factory': "),
    ):
        answers(runner, model)


def test_a_file_of_the_present_folder_is_not_taken_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "present"
    folder.mkdir()
    (folder / "numpy.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    ModelProcess().close()
