"""The process for models: what a model may do in it, how it ends, and what is left of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from forecast_assets.backtesting import sandbox, sandbox_main
from forecast_assets.backtesting.fitting import FitResult, ResourceLimits
from forecast_assets.backtesting.sandbox import (
    EnvironmentMismatch,
    ModelProcess,
    ProcessStartError,
    ProcessTerminated,
    TaskCancelled,
)
from forecast_assets.models import ModelSpec, find_model
from forecast_assets_tests.builders import walk
from forecast_assets_tests.misbehaving_models import (
    AMPLE,
    Y,
    child_processes,
    comes_true,
    has_ended,
    make_chunk,
    make_units,
    misbehaving,
    outcomes,
    started_children,
)

HALF_A_SECOND = ResourceLimits(seconds=0.5, memory_mb=2000)

pytestmark = [pytest.mark.usefixtures("user_models"), pytest.mark.alone]


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    """A process for one test."""
    with closing(ModelProcess()) as new:
        yield new


@pytest.fixture(scope="module")
def lasting(user_models: Path) -> Iterator[ModelProcess]:  # noqa: ARG001 - first on the path
    """A process for all tests in which the process does not end."""
    with closing(ModelProcess()) as new:
        yield new


def run(
    process: ModelProcess,
    model: ModelSpec,
    limits: ResourceLimits = AMPLE,
    *,
    y: list[float] = Y,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[FitResult]:
    """Run the model on the last three weeks of a series."""
    panel, units = make_units(y)
    return list(process.run(make_chunk(model, units, limits), panel, is_wanted=is_wanted))


def end_of(
    process: ModelProcess, way: str, limits: ResourceLimits = AMPLE, **params: float
) -> ProcessTerminated:
    """Run a model that ends the process, and return how it ended."""
    with pytest.raises(ProcessTerminated) as raised:
        run(process, misbehaving(way, **params), limits)
    return raised.value


def ends_soon(pid: int, *, within: float = 5.0) -> bool:
    return comes_true(lambda: has_ended(pid), within=within)


# What a model may do
def test_one_process_runs_model_after_model_and_returns_results_in_order(lasting: ModelProcess):
    y = walk(30, seed=1)
    assert outcomes(run(lasting, misbehaving(), y=y)) == y[26:29]
    assert len(run(lasting, find_model("ses"), y=y)) == 3
    assert outcomes(run(lasting, misbehaving())) == [17.0, 18.0, 19.0]


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raises", "RuntimeError: no licence"),
        ("huge", "forecast of shape [10000000], expected [1]"),
        ("objects", "TypeError: float() argument must be a string or a real number, not 'object'"),
        ("raises_system_exit", "SystemExit: enough"),
        ("raises_interrupt", "KeyboardInterrupt: "),
        ("raises_unprintable", "Unprintable: (its message cannot be read)"),
        ("reads_input", "EOFError: EOF when reading a line"),
    ],
)
def test_an_error_of_a_model_is_a_result_and_the_process_goes_on(
    lasting: ModelProcess, way: str, error: str
):
    assert outcomes(run(lasting, misbehaving(way, since=18))) == [17.0, error, error]
    assert lasting.is_alive


def test_the_output_of_a_model_is_discarded(
    lasting: ModelProcess, capfd: pytest.CaptureFixture[str]
):
    assert outcomes(run(lasting, misbehaving("prints"))) == [17.0, 18.0, 19.0]
    assert capfd.readouterr() == ("", "")


def test_a_fork_that_a_model_makes_of_the_process_sends_no_results(lasting: ModelProcess):
    for _ in range(2):
        assert outcomes(run(lasting, misbehaving("forks"))) == [17.0, 18.0, 19.0]


def test_the_libraries_of_a_model_use_one_thread(lasting: ModelProcess):
    assert outcomes(run(lasting, misbehaving("threads"))) == [1.0, 1.0, 1.0]
    environ = psutil.Process(lasting.pid).environ()
    assert {environ[name] for name in sandbox.ONE_THREAD} == {"1"}


def test_the_time_limit_is_that_of_each_fit(lasting: ModelProcess):
    assert len(run(lasting, misbehaving(seconds=0.3), HALF_A_SECOND)) == 3


# How the process ends
@pytest.mark.parametrize(
    ("way", "ending", "unit"),
    [
        ("crashes", "ended with signal SIGSEGV", 1),
        ("dies_of_an_unnamed_signal", f"ended with signal {signal.SIGRTMIN + 3}", 1),
        ("starts_children_and_exits", "ended with exit code 3", 1),
        ("leaves_a_copy_in_its_own_session", "ended with exit code 3", 1),
        ("closes_everything", "ended with exit code 1", 2),  # it cannot send the next result
        ("closes_everything_and_hangs", "closed its connection", 1),
    ],
)
def test_the_end_of_the_process_is_described_with_the_unit(
    process: ModelProcess, way: str, ending: str, unit: int
):
    end = end_of(process, way, since=18)
    assert (str(end), end.unit) == (f"the model's process {ending}", unit)
    assert end.is_retryable
    assert comes_true(lambda: not started_children(process.pid))
    assert ends_soon(process.pid)


def test_a_fit_that_takes_too_long_is_killed(process: ModelProcess):
    end = end_of(process, "hangs_with_the_interpreter", HALF_A_SECOND, since=18)
    assert (str(end), end.unit, end.is_retryable) == ("took more than 0.5 seconds", 1, False)
    assert 0.5 < end.seconds < 2
    assert ends_soon(process.pid)


def test_a_process_that_was_stopped_from_outside_is_not_the_models_fault(process: ModelProcess):
    end = end_of(process, "stops", HALF_A_SECOND)
    assert (str(end), end.is_retryable) == ("took more than 0.5 seconds", True)
    assert ends_soon(process.pid)


def test_a_process_that_takes_too_much_memory_is_killed(process: ModelProcess):
    end = end_of(process, "allocates", ResourceLimits(seconds=20, memory_mb=400), since=18)
    assert (str(end), end.unit) == ("took more than 400 MB of memory", 1)
    assert end.is_retryable
    assert 400 < process.peak_mb < 2000


def test_the_imports_of_a_model_do_not_count_as_time_of_its_first_fit(
    monkeypatch: pytest.MonkeyPatch,
):
    model = misbehaving()
    chunk_of_now = make_chunk(model, ())  # imported here while it is fast
    assert chunk_of_now.config.fingerprint
    monkeypatch.setenv("MODEL_IMPORT_SECONDS", "1")
    with closing(ModelProcess()) as process:
        assert len(run(process, model, HALF_A_SECOND)) == 3


def test_a_model_that_is_not_imported_in_time_is_killed(monkeypatch: pytest.MonkeyPatch):
    model = misbehaving()
    assert model.fingerprint  # imported here while it is fast
    monkeypatch.setenv("MODEL_IMPORT_SECONDS", "3600")
    with closing(ModelProcess()) as process:
        monkeypatch.setattr(sandbox, "LOADING_SECONDS", 0.5)
        with pytest.raises(ProcessTerminated, match=r"took more than 0.5 seconds"):
            run(process, model)


def test_a_chunk_that_nobody_waits_for_is_cancelled(process: ModelProcess):
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        run(process, misbehaving("hangs"), is_wanted=lambda: time.monotonic() - began < 0.3)
    assert ends_soon(process.pid)


def test_a_process_killed_from_outside_names_the_unit(process: ModelProcess):
    killer = threading.Timer(0.7, os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(ProcessTerminated, match="the model's process ended with signal SIGKILL"):
        run(process, misbehaving(seconds=0.5))


def test_an_idle_process_that_was_killed_fails_at_its_next_chunk(process: ModelProcess):
    os.kill(process.pid, signal.SIGKILL)
    assert comes_true(lambda: not process.is_alive)
    with pytest.raises(ProcessTerminated, match="signal SIGKILL"):
        run(process, misbehaving())


# What is left of it
def test_closing_ends_the_process_and_what_its_model_started(process: ModelProcess):
    run(process, misbehaving("starts_children"))
    children = started_children(process.pid)
    assert len(children) == 9
    process.close()
    assert all(ends_soon(pid) for pid in (process.pid, *children))
    process.close()


IMPATIENT = """
import sys
from forecast_assets.backtesting import sandbox_main
sandbox_main.IDLE_SECONDS = 0.5
sandbox_main.main(int(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.parametrize("way", ["starts_children", "leaves_a_thread"])
def test_an_idle_process_ends_itself_and_what_its_model_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox_main, "__name__", "impatient")
    with closing(ModelProcess()) as process:
        run(process, misbehaving(way))
        assert comes_true(lambda: not process.is_alive)
        assert comes_true(lambda: not started_children(process.pid))


PARENT = """
import sys, time
from forecast_assets.backtesting.sandbox import ModelProcess
from forecast_assets_tests.misbehaving_models import make_chunk, make_units, misbehaving
process = ModelProcess()
print(process.pid, flush=True)
panel, units = make_units([1.0] * 20)
list(process.run(make_chunk(misbehaving(sys.argv[1]), units), panel))
time.sleep(3600)
"""


@pytest.mark.parametrize("way", ["hangs_with_the_interpreter", "starts_children"])
def test_a_process_ends_with_all_it_started_when_its_parent_is_killed(user_models: Path, way: str):
    path = os.pathsep.join([str(user_models), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, way],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        try:
            assert parent.stdout
            pid = int(parent.stdout.readline())
            if way == "starts_children":
                assert comes_true(lambda: bool(started_children(pid)), within=20)
            else:
                time.sleep(1)  # until the fit has begun
        finally:
            parent.kill()
    assert ends_soon(pid)
    assert comes_true(lambda: not started_children(pid))


# What it refuses
@pytest.mark.parametrize(
    ("numpy", "loading_seconds", "message"),
    [
        ("raise ImportError('not for this machine')", 60.0, "ImportError: not for this machine"),
        ("import os\nos._exit(7)", 60.0, "it ended with code 7 and without output"),
        ("import time\ntime.sleep(3600)", 0.5, "it ended with code -9 and without output"),
    ],
)
def test_a_process_that_does_not_get_ready_cannot_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    numpy: str,
    loading_seconds: float,
    message: str,
):
    (tmp_path / "numpy.py").write_text(numpy)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox, "LOADING_SECONDS", loading_seconds)
    before = child_processes()
    with pytest.raises(ProcessStartError, match=message):
        ModelProcess()
    assert set(child_processes()) <= set(before)


def test_without_an_interpreter_no_process_can_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ProcessStartError, match="No such file or directory: '/no/such/python'"):
        ModelProcess()


def test_a_file_of_the_current_folder_does_not_replace_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "numpy.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    ModelProcess().close()


def test_a_model_with_other_code_in_the_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The process imports it after a change."""
    source = "import user_models\nclass Model(user_models.Misbehaving):\n    pass\n"
    module = tmp_path / "changing_models.py"
    module.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = ModelSpec("changed", "changing_models:Model")
    assert model.fingerprint
    module.write_text(source + "# changed\n")
    with (
        closing(ModelProcess()) as process,
        pytest.raises(EnvironmentMismatch, match=r"changed is \{'name': 'changed', 'factory': "),
    ):
        run(process, model)
