"""A model that misbehaves as it is told to, in a module of its own, and units of its work."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import pytest

from forecast_assets.backtesting.fitting import FitConfig, FitResult
from forecast_assets.backtesting.folds import FitUnit, FoldForecast, Panel, plan
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.models import ModelSpec
from forecast_assets_tests.builders import make_series

MODULE = '''
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np

GROWN = []


class ConvergenceWarning(UserWarning):
    """As statsmodels and scikit-learn name theirs."""


class Unspeakable(Exception):
    """Can be neither pickled nor printed."""

    def __reduce__(self):
        raise TypeError("cannot be pickled")

    def __str__(self):
        raise ValueError("cannot be printed")


def raises():
    raise RuntimeError("no licence")


def is_unspeakable():
    raise Unspeakable


def leaves():
    sys.exit("enough")


def interrupts():
    raise KeyboardInterrupt


def does_not_converge():
    warnings.warn("no optimum", ConvergenceWarning)


def hangs():
    time.sleep(3600)


def hangs_with_the_interpreter():
    re.match("(a+)+$", "a" * 64 + "b")


def tells_and_waits():
    with open(os.environ["UNRULY_TOLD"], "a") as told:
        print(os.getpid(), file=told)
    time.sleep(2)


def swells():
    held = []
    while True:
        held.append(np.ones(2_000_000))
        time.sleep(0.005)


def grows():
    GROWN.append(np.ones(2_500_000))


def exits():
    os._exit(3)


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def kills_its_worker():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def dies_of_an_unnamed_signal():
    os.kill(os.getpid(), signal.SIGRTMIN + 3)


def crashes():
    ctypes.string_at(0)


def stops():
    os.kill(os.getpid(), signal.SIGSTOP)


def closes_everything():
    os.closerange(0, 1000)


def closes_everything_and_hangs():
    os.closerange(0, 1000)
    time.sleep(3600)


def forks():
    os.fork()


def makes_noise():
    os.write(1, bytes(range(256)) * 1000)
    os.write(2, bytes(range(256)) * 1000)
    print("\\udcff" * 0 + "noise" * 100_000)
    print("noise" * 100_000, file=sys.stderr)


def asks():
    input("how much? ")


def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(3600,)).start()


def starts_children():
    long = f"3600.{os.getpid()}"  # by which they are known
    subprocess.Popen(["sleep", long])
    subprocess.Popen(["sh", "-c", f"sleep {long} & sleep {long}"])
    time.sleep(0.2)


def starts_children_and_exits():
    starts_children()
    os._exit(3)


def leaves_a_copy_behind():
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(3)


def leaves_a_copy_with_a_session_of_its_own():
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        os._exit(0)
    os._exit(3)


class Telling:
    """Forecasts the last value; tells of each fit when it was and of what, and sleeps."""

    def __init__(self, seconds):
        self.seconds = seconds

    def fit(self, y, *, season_length):
        time.sleep(self.seconds)
        with open(os.environ["UNRULY_TOLD"], "a") as told:
            print(time.time(), y[0], len(y), file=told)
        self.last = y[-1]
        return self

    def predict(self, h):
        return np.full(h, self.last)


class Unruly:
    """Forecasts the last value; where a series begins with `on`, or on all, it goes its way.

    It sleeps `seconds` at each fit, and at its import as long as UNRULY_IMPORT_SECONDS says.
    """

    def __init__(self, way="", on=None, since=0, seconds=0.0):
        self.way, self.on, self.since, self.seconds = way, on, since, seconds

    def fit(self, y, *, season_length):
        time.sleep(self.seconds)
        is_on = len(y) >= self.since and self.on in (None, y[0])
        self.last, self.way = y[-1], self.way if is_on else ""
        if self.way in globals():
            globals()[self.way]()
        return self

    def predict(self, h):
        said = {
            "nan": lambda: np.full(h, np.nan),
            "long": lambda: np.zeros(h + 1),
            "huge": lambda: np.zeros(10_000_000),
            "objects": lambda: np.array([object()] * h),
            "threads": lambda: [most_threads()] * h,
            "pid": lambda: [os.getpid()] * h,
        }
        return said.get(self.way, lambda: np.full(h, self.last))()


def most_threads():
    from threadpoolctl import threadpool_info

    np.ones((50, 50)) @ np.ones((50, 50))
    return max(one["num_threads"] for one in threadpool_info())


time.sleep(float(os.environ.get("UNRULY_IMPORT_SECONDS", 0)))
'''


def unruly(way: str = "", **params: float) -> ModelSpec:
    """The model that goes that way, on all series or on those that begin with `on`."""
    return ModelSpec("unruly", "unruly_models:Unruly", params={"way": way, **params})


def question(model: ModelSpec) -> FitConfig:
    """One week ahead."""
    return FitConfig(model, 1, 4)


def panel_of(*values: Sequence[float], n_windows: int = 3) -> tuple[Panel, list[FitUnit]]:
    """A panel of these series, and a unit for each of the last weeks of each."""
    series = make_series(**{f"s{i}": y for i, y in enumerate(values)})
    planned = plan(series, BacktestSettings(n_windows=n_windows))
    units = [
        FitUnit(i, end, ((i, end),)) for i, one in enumerate(planned) for end in one.ends.tolist()
    ]
    return Panel.of(planned), units


def folds(answers: Sequence[FitResult]) -> list[FoldForecast]:
    """The folds of several answers, in order."""
    return [fold for one in answers for fold in one.folds]


def said(answers: Sequence[FitResult]) -> list[float | str]:
    """What each fold said: its first number, or its error."""
    return [
        float(fold.y_hat[0]) if fold.y_hat is not None else str(fold.error)
        for fold in folds(answers)
    ]


def below(pid: int = os.getpid()) -> list[int]:
    """The processes that a process started, and theirs, that have not ended."""
    return [
        one.pid for one in psutil.Process(pid).children(recursive=True) if not has_ended(one.pid)
    ]


@contextmanager
def signalled(signum: int, n: int) -> Iterator[None]:
    """Send a signal to each of the first n processes that go the way "tells_and_waits"."""
    with NamedTemporaryFile() as told, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("UNRULY_TOLD", told.name)

        def send() -> None:
            for i in range(n):
                assert comes_true(lambda i=i: len(told_by()) > i, within=30)
                os.kill(told_by()[i], signum)

        def told_by() -> list[int]:
            return [int(pid) for pid in Path(told.name).read_text().split()]

        thread = threading.Thread(target=send)
        thread.start()
        yield
        thread.join()


def models_below(pid: int = os.getpid()) -> list[int]:
    """The processes below one that models run in."""
    every = [one.pid for one in psutil.Process(pid).children(recursive=True) if is_watched(one)]
    return [one for one in every if not has_ended(one)]


def is_watched(process: psutil.Process) -> bool:
    """Whether models run in it."""
    try:
        return "forecast_assets.backtesting.sandbox_main" in process.cmdline()
    except psutil.Error:
        return False


def left_by(pid: int) -> list[int]:
    """The processes that the way "starts_children" started in a process, and that are there."""
    every = psutil.process_iter(["pid", "cmdline"])
    return [one.info["pid"] for one in every if f"3600.{pid}" in (one.info["cmdline"] or ())]


def has_ended(pid: int) -> bool:
    """Whether a process is no more, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def comes_true(condition: Callable[[], bool], *, within: float = 5.0) -> bool:
    """Wait for a condition."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
