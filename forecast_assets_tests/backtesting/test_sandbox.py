"""The process for models: what a model may do in it, how it ends, and what is left of it."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from forecast_assets.backtesting import sandbox, sandbox_main
from forecast_assets.backtesting.fitting import FitResult
from forecast_assets.backtesting.sandbox import (
    EnvironmentMismatch,
    ModelProcess,
    ProcessStartError,
    ProcessTerminated,
)
from forecast_assets.models import ModelSpec, find_model
from forecast_assets_tests.misbehaving_models import (
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

pytestmark = pytest.mark.usefixtures("user_models")


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    """Yield a process for one test."""
    with closing(ModelProcess()) as new:
        yield new


@pytest.fixture(scope="module")
def lasting(user_models: Path) -> Iterator[ModelProcess]:  # noqa: ARG001 - first on the path
    """Yield a process for all tests in which the process does not end."""
    with closing(ModelProcess()) as new:
        yield new


def run(
    process: ModelProcess, model: ModelSpec, *, n_windows: int = 3, **limits: float
) -> list[FitResult]:
    """Run the model on the last weeks of a series."""
    panel, units = make_units(Y, n_windows=n_windows)
    return list(process.run(make_chunk(model, units, **limits), panel))


def end_of(process: ModelProcess, way: str, **limits: float) -> ProcessTerminated:
    """Run a model that ends the process at the second fit, and return how it ended."""
    with pytest.raises(ProcessTerminated) as raised:
        run(process, misbehaving(way, since=18), **limits)
    assert comes_true(lambda: has_ended(process.pid))
    assert comes_true(lambda: not started_children(process.pid))
    return raised.value


# What a model may do
def test_one_process_runs_model_after_model_and_returns_results_in_order(lasting: ModelProcess):
    for model in (misbehaving(), find_model("naive"), misbehaving()):
        assert outcomes(run(lasting, model)) == [17.0, 18.0, 19.0]


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("huge", "forecast of shape [10000000], expected [1]"),
        ("raises_system_exit", "SystemExit: enough"),
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
    environ = psutil.Process(lasting.pid).environ()
    assert {environ[name] for name in sandbox.ONE_THREAD} == {"1"}


def test_the_time_limit_is_that_of_each_fit(lasting: ModelProcess):
    assert len(run(lasting, misbehaving(seconds=0.2), n_windows=7, seconds=1.2)) == 7


# How the process ends
@pytest.mark.parametrize(
    ("way", "ending"),
    [
        ("crashes", "signal SIGSEGV"),
        ("starts_children_and_exits", "exit code 3"),
        ("leaves_a_copy_in_its_own_session", "exit code 3"),
    ],
)
def test_the_end_of_the_process_is_described_with_the_unit(
    process: ModelProcess, way: str, ending: str
):
    end = end_of(process, way)
    assert (str(end), end.unit) == (f"the model's process ended with {ending}", 1)
    assert end.is_retryable


def test_a_fit_that_takes_too_long_is_killed(process: ModelProcess):
    end = end_of(process, "hangs_with_the_interpreter", seconds=0.5)
    assert (str(end), end.unit, end.is_retryable) == ("took more than 0.5 seconds", 1, False)
    assert end.seconds > 0.5


def test_a_process_that_takes_too_much_memory_is_killed(process: ModelProcess):
    end = end_of(process, "allocates", memory_mb=200)
    assert (str(end), end.unit) == ("took more than 200 MB of memory", 1)
    assert end.is_retryable
    assert process.peak_mb > 200


def test_the_imports_of_a_model_do_not_count_as_time_of_its_first_fit(
    monkeypatch: pytest.MonkeyPatch,
):
    model = misbehaving()
    chunk_of_now = make_chunk(model, ())  # imported here while it is fast
    assert chunk_of_now.config.fingerprint
    monkeypatch.setenv("MODEL_IMPORT_SECONDS", "0.8")
    with closing(ModelProcess()) as process:
        assert len(run(process, model, seconds=0.5)) == 3


def test_a_model_that_is_not_imported_in_time_is_killed(monkeypatch: pytest.MonkeyPatch):
    model = misbehaving()
    assert model.fingerprint  # imported here while it is fast
    monkeypatch.setenv("MODEL_IMPORT_SECONDS", "3600")
    with closing(ModelProcess()) as process:
        monkeypatch.setattr(sandbox, "LOADING_SECONDS", 0.5)
        with pytest.raises(ProcessTerminated, match=r"took more than 0.5 seconds"):
            run(process, model)


def test_an_idle_process_that_was_killed_fails_at_its_next_chunk(process: ModelProcess):
    os.kill(process.pid, signal.SIGKILL)
    assert comes_true(lambda: not process.is_alive)
    with pytest.raises(ProcessTerminated, match="signal SIGKILL"):
        run(process, misbehaving())


# What is left of it
def test_closing_ends_the_process_and_what_its_model_started(process: ModelProcess):
    run(process, misbehaving("starts_children"))
    children = started_children(process.pid)
    assert len(children) == 6
    process.close()
    assert comes_true(lambda: all(has_ended(pid) for pid in (process.pid, *children)))
    process.close()


IMPATIENT = """
import sys
from forecast_assets.backtesting import sandbox_main
sandbox_main.IDLE_SECONDS = 0.3
sandbox_main.main(int(sys.argv[1]), int(sys.argv[2]))
"""


def test_an_idle_process_ends_itself_and_what_its_model_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sandbox_main, "__name__", "impatient")
    with closing(ModelProcess()) as process:
        run(process, misbehaving("starts_children", since=19))
        assert comes_true(lambda: not process.is_alive)
        assert comes_true(lambda: not started_children(process.pid))


PARENT = """
import pickle, sys
from forecast_assets.backtesting.sandbox import ModelProcess
process = ModelProcess()
print(process.pid, flush=True)
list(process.run(*pickle.load(sys.stdin.buffer)))
"""


def test_a_process_ends_with_all_it_started_when_its_parent_is_killed(user_models: Path):
    """Even while the model holds the interpreter."""
    panel, units = make_units(Y)
    chunk = make_chunk(misbehaving("starts_children_and_hangs"), units, seconds=3600)
    path = os.pathsep.join([str(user_models), str(Path(__file__).parents[2])])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        try:
            assert parent.stdin
            assert parent.stdout
            pid = int(parent.stdout.readline())
            parent.stdin.write(pickle.dumps((chunk, panel)))
            parent.stdin.flush()
            assert comes_true(lambda: len(started_children(pid)) == 2)
            time.sleep(0.5)  # until the model holds the interpreter
        finally:
            parent.kill()
    assert comes_true(lambda: has_ended(pid) and not started_children(pid))


# What it refuses
@pytest.mark.parametrize(
    ("numpy", "loading_seconds", "message"),
    [
        ("raise ImportError('not for this machine')", 60.0, "ImportError: not for this machine"),
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
