"""A user's module with models that misbehave, units of work for them, and their processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil
import pytest

from forecast_assets.backtesting.fitting import FitConfig, FitResult, ResourceLimits, WorkChunk
from forecast_assets.backtesting.folds import FitUnit, Panel, plan
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.models import ModelSpec
from forecast_assets_tests.builders import make_series

AMPLE = ResourceLimits(seconds=20, memory_mb=2000)
Y = [float(week) for week in range(1, 21)]

MODULE = '''
import ctypes
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np

from forecast_assets.models.base import NotForThisSeries

MEMORY = []


class ConvergenceWarning(UserWarning):
    """Named as in statsmodels and scikit-learn."""


class Unprintable(Exception):
    """Can be neither pickled nor printed."""

    def __reduce__(self):
        raise TypeError("cannot be pickled")

    def __str__(self):
        raise ValueError("cannot be printed")


def raises():
    raise RuntimeError("no licence")


def raises_unprintable():
    raise Unprintable


def raises_long_bytes():
    raise OSError("no file \\udcff" + "." * 5000)


def raises_system_exit():
    sys.exit("enough")


def raises_interrupt():
    raise KeyboardInterrupt


def declines():
    raise NotForThisSeries("it goes down")


def does_not_converge():
    warnings.warn("no optimum", ConvergenceWarning)


def hangs():
    time.sleep(3600)


def hangs_with_the_interpreter():
    re.match("(a+)+$", "a" * 64 + "b")


def logs_and_waits():
    with open(os.environ["MODEL_LOG"], "a") as log:
        print(os.getpid(), file=log)
    time.sleep(1)


def allocates():
    arrays = []
    while True:
        arrays.append(np.ones(2_000_000))
        time.sleep(0.005)


def leaks():
    MEMORY.append(np.ones(5_000_000))


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


def prints():
    os.write(1, bytes(range(256)) * 1000)
    os.write(2, bytes(range(256)) * 1000)
    print("noise" * 100_000)
    print("noise" * 100_000, file=sys.stderr)


def reads_input():
    input("how much? ")


def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(3600,)).start()


def starts_children():
    seconds = f"3600.{os.getpid()}"  # marks the children of this process
    subprocess.Popen(["sleep", seconds])
    subprocess.Popen(["sh", "-c", f"sleep {seconds} & sleep {seconds}"])
    time.sleep(0.2)


def starts_children_and_exits():
    starts_children()
    os._exit(3)


def leaves_a_copy_in_its_own_session():
    if os.fork() == 0:
        os.setsid()
        time.sleep(20)
        os._exit(0)
    os._exit(3)


BY_FIRST_VALUE = ["raises", "nan", "long", "text", "does_not_converge", "declines"]


class Misbehaving:
    """Forecasts the last value, unless it misbehaves in a `way`.

    It does so on series that start with `on` (or all), from `since` values on. "by_first_value"
    takes the way from the first value. It sleeps `seconds` in each fit.
    """

    def __init__(self, way="", on=None, since=0, seconds=0.0):
        self.way, self.on, self.since, self.seconds = way, on, since, seconds

    def fit(self, y, *, season_length):
        time.sleep(self.seconds)
        self.last, first = y[-1], y[0]
        if len(y) < self.since or self.on not in (None, first):
            self.way = ""
        if self.way == "by_first_value":
            self.way = dict(enumerate(BY_FIRST_VALUE)).get(first, "")
        y[:] = 0.0
        if self.way in globals():
            globals()[self.way]()
        return None if self.way == "returns_nothing" else self

    def predict(self, h):
        if self.way == "does_not_converge_in_predict":
            does_not_converge()
        forecasts = {
            "nan": lambda: np.full(h, np.nan),
            "inf": lambda: np.r_[np.zeros(h - 1), np.inf],
            "long": lambda: np.zeros(h + 1),
            "huge": lambda: np.zeros(10_000_000),
            "wide": lambda: np.zeros((1, h)),
            "number": lambda: 5.0,
            "text": lambda: ["much"] * h,
            "objects": lambda: np.array([object()] * h),
            "threads": lambda: [most_threads()] * h,
            "pid": lambda: [os.getpid()] * h,
        }
        return forecasts.get(self.way, lambda: np.full(h, self.last))()


def most_threads():
    from threadpoolctl import threadpool_info

    np.ones((50, 50)) @ np.ones((50, 50))
    return max(pool["num_threads"] for pool in threadpool_info())


class Logging(Misbehaving):
    """Logs the time, the first value and the number of values of each fit."""

    def fit(self, y, *, season_length):
        first = y[0]
        super().fit(y, season_length=season_length)
        with open(os.environ["MODEL_LOG"], "a") as log:
            print(time.time(), first, len(y), file=log)
        return self


class Anchored:
    """Forecasts 1000 times the number of values in the fit, plus the number since then."""

    min_train_size = 5

    def __init__(self, way=""):
        self.way = way

    def fit(self, y, *, season_length):
        if self.way in globals():
            globals()[self.way]()
        if self.way == "cannot_be_pickled":
            self.function = lambda: None
        self.n_fitted, self.last, self.n_updated = len(y), y[-1], 0
        return self

    def update(self, y_new):
        self.n_updated, self.last = self.n_updated + len(y_new), y_new[-1]
        return self

    def predict(self, h):
        return np.full(h, 1000.0 * self.n_fitted + self.n_updated)


class Random(Anchored):
    """Forecasts random numbers."""

    def predict(self, h):
        return self.last + np.random.random(h) + random.random()


class Pooled:
    """Global: the last value of each series, + 1e6 times the rows in the fit, + 1e3 those since.

    A series whose last value is negative gets no number.
    """

    is_global = True
    min_train_size = 3

    def __init__(self, way=""):
        self.way = way

    def fit(self, series, *, season_length):
        self.series, self.n_fitted, self.n_updated = series, len(series), 0
        return self

    def update(self, new):
        self.series, self.n_updated = type(new)(np.r_[self.series, new]), self.n_updated + len(new)
        self.series.columns = new.columns
        return self

    def predict(self, h):
        last = self.series.groupby("unique_id")["y"].last().to_numpy(dtype=float)
        y_hat = np.where(last < 0, np.nan, last + 1e6 * self.n_fitted + 1e3 * self.n_updated)
        return np.repeat(y_hat[:, None], h, axis=1)[: -1 if self.way == "too_few_rows" else None]


time.sleep(float(os.environ.get("MODEL_IMPORT_SECONDS", 0)))
'''


def user_model(kind: str = "Misbehaving", *, refit_every: int = 1, **params: Any) -> ModelSpec:
    """A model of the module that the fixture `user_models` puts on the path."""
    return ModelSpec("mine", f"user_models:{kind}", params=params, refit_every=refit_every)


def misbehaving(way: str = "", **params: float) -> ModelSpec:
    """A model that misbehaves in a way, or else forecasts the last value."""
    return user_model(way=way, **params)


def config_of(model: ModelSpec) -> FitConfig:
    """One week ahead, with a season of four weeks."""
    return FitConfig(model, 1, 4, model.fingerprint)


def make_chunk(
    model: ModelSpec, units: Sequence[FitUnit], limits: ResourceLimits = AMPLE
) -> WorkChunk:
    """A chunk of these units."""
    return WorkChunk(config_of(model), units, limits)


def make_units(*values: Sequence[float], n_windows: int = 3) -> tuple[Panel, list[FitUnit]]:
    """A panel of these series, and a unit for each of the last weeks of each series."""
    series = make_series(**{f"s{i}": y for i, y in enumerate(values)})
    planned = plan(series, BacktestSettings(n_windows=n_windows))
    units = [
        FitUnit(i, end, ((i, end),)) for i, one in enumerate(planned) for end in one.ends.tolist()
    ]
    return Panel.of(planned), units


def outcomes(results: Sequence[FitResult]) -> list[float | str]:
    """The first number of the forecast of each fold, or its error."""
    folds = [fold for result in results for fold in result.folds]
    return [float(fold.y_hat[0]) if fold.y_hat is not None else str(fold.error) for fold in folds]


def child_processes(pid: int = os.getpid()) -> list[int]:
    """The running processes that a process started, and theirs."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if not has_ended(child.pid)]


def model_processes(pid: int = os.getpid()) -> list[int]:
    """The running processes below a process in which models run."""

    def runs_models(pid: int) -> bool:
        try:
            return "forecast_assets.backtesting.sandbox_main" in psutil.Process(pid).cmdline()
        except psutil.Error:
            return False

    return [child for child in child_processes(pid) if runs_models(child)]


def started_children(pid: int) -> list[int]:
    """The running processes that the way "starts_children" started in a process."""
    processes = psutil.process_iter(["pid", "cmdline"])
    return [one.info["pid"] for one in processes if f"3600.{pid}" in (one.info["cmdline"] or ())]


def has_ended(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def signal_models(signum: int, n: int) -> Iterator[None]:
    """Send a signal to each of the first n processes in which a model "logs_and_waits"."""
    with NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MODEL_LOG", file.name)

        def logged() -> list[int]:
            return [int(pid) for pid in Path(file.name).read_text().split()]

        def send() -> None:
            for i in range(n):
                assert comes_true(lambda i=i: len(logged()) > i, within=30)
                os.kill(logged()[i], signum)

        thread = threading.Thread(target=send)
        thread.start()
        yield
        thread.join()


def comes_true(condition: Callable[[], bool], *, within: float = 5.0) -> bool:
    """Wait for a condition."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
