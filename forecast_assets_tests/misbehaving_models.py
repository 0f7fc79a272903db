"""A user's module with models that misbehave, units of work for them, and their processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil
import pytest

from forecast_assets.backtesting.fitting import FitConfig, FitResult, WorkChunk
from forecast_assets.backtesting.folds import FitUnit, plan
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.models import ModelSpec
from forecast_assets_tests.builders import make_series

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


def misbehave(way):
    match way:
        case "raises":
            raise RuntimeError("no licence")
        case "raises_unprintable":
            raise Unprintable
        case "raises_long_bytes":
            raise OSError("no file \\udcff" + "." * 5000)
        case "raises_system_exit":
            sys.exit("enough")
        case "raises_interrupt":
            raise KeyboardInterrupt
        case "declines":
            raise NotForThisSeries("it goes down")
        case "does_not_converge":
            warnings.warn("no optimum", ConvergenceWarning)
        case "hangs":
            time.sleep(3600)
        case "hangs_with_the_interpreter":
            re.match("(a+)+$", "a" * 64 + "b")
        case "logs_and_waits":
            log(os.getpid())
            time.sleep(0.5)
        case "allocates":
            while True:
                misbehave("leaks")
                time.sleep(0.1)
        case "leaks":
            MEMORY.append(np.ones(5_000_000))
        case "kills_itself":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills_its_worker":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(3600)
        case "crashes":
            ctypes.string_at(0)
        case "forks":
            os.fork()
        case "prints":
            for stream in (sys.stdout, sys.stderr):
                os.write(stream.fileno(), bytes(range(256)) * 1000)
                print("noise" * 100_000, file=stream)
        case "reads_input":
            input("how much? ")
        case "starts_children":
            threading.Thread(target=time.sleep, args=(3600,)).start()
            seconds = f"3600.{os.getpid()}"  # marks the children of this process
            subprocess.Popen(["sh", "-c", f"sleep {seconds} & sleep {seconds}"])
            time.sleep(0.2)
        case "starts_children_and_exits":
            misbehave("starts_children")
            os._exit(3)
        case "starts_children_and_hangs":
            misbehave("starts_children")
            misbehave("hangs_with_the_interpreter")
        case "leaves_a_copy_in_its_own_session":
            if os.fork() == 0:
                os.setsid()
                time.sleep(20)
            os._exit(3)


def log(*values):
    with open(os.environ["MODEL_LOG"], "a") as file:
        print(*values, file=file)


BY_FIRST_VALUE = ["raises", "nan", "long", "text", "does_not_converge", "declines"]


class Misbehaving:
    """Forecasts the last value, unless it misbehaves in a `way`.

    It does so on series that start with `on` (or all), from `since` values on. "by_first_value"
    takes the way from the first value, and "logs" logs the time, the first value and the number of
    values. It sleeps `seconds` in each fit.
    """

    def __init__(self, way="", on=None, since=0, seconds=0.0):
        self.way, self.on, self.since, self.seconds = way, on, since, seconds

    def fit(self, y, *, season_length):
        time.sleep(self.seconds)
        self.last, first, n = y[-1], y[0], len(y)
        if n < self.since or self.on not in (None, first):
            self.way = ""
        if self.way == "by_first_value":
            self.way = dict(enumerate(BY_FIRST_VALUE)).get(first, "")
        y[:] = 0.0
        if self.way == "logs":
            log(time.time(), first, n)
        misbehave(self.way)
        return None if self.way == "returns_nothing" else self

    def predict(self, h):
        if self.way == "does_not_converge_in_predict":
            misbehave("does_not_converge")
        forecasts = {
            "nan": lambda: np.full(h, np.nan),
            "inf": lambda: np.r_[np.zeros(h - 1), np.inf],
            "long": lambda: np.zeros(h + 1),
            "huge": lambda: np.zeros(10_000_000),
            "wide": lambda: np.zeros((1, h)),
            "number": lambda: 5.0,
            "text": lambda: ["much"] * h,
            "pid": lambda: [os.getpid()] * h,
            "fiftyfold": lambda: np.full(h, 50 * self.last),
            "negative": lambda: np.full(h, -self.last),
        }
        return forecasts.get(self.way, lambda: np.full(h, self.last))()


class Anchored:
    """Forecasts 1000 times the number of values in the fit, plus the number since then."""

    min_train_size = 5

    def __init__(self, way=""):
        self.way = way

    def fit(self, y, *, season_length):
        misbehave(self.way)
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
    """Return a model of the module that the fixture `user_models` puts on the path."""
    return ModelSpec("mine", f"user_models:{kind}", params=params, refit_every=refit_every)


def misbehaving(way: str = "", **params: float) -> ModelSpec:
    """Return a model that misbehaves in a way, or else forecasts the last value."""
    return user_model(way=way, **params)


def config_of(model: ModelSpec, *, seconds: float = 20, memory_mb: float = 2000) -> FitConfig:
    """One week ahead, with a season of four weeks."""
    return FitConfig(model, 1, 4, model.fingerprint, seconds, memory_mb)


def make_chunk(model: ModelSpec, units: Sequence[FitUnit], **limits: float) -> WorkChunk:
    """Return a chunk of these units; the limits are `seconds` of a fit and `memory_mb`."""
    return WorkChunk(config_of(model, **limits), units)


def make_units(*values: Sequence[float], n_windows: int = 3) -> tuple[Panel, list[FitUnit]]:
    """Return a panel of these series, and a unit for each of the last weeks of each series."""
    series = make_series(**{f"s{i}": y for i, y in enumerate(values)})
    planned = plan(series, BacktestSettings(n_windows=n_windows))
    folds = [(i, end) for i, item in enumerate(planned) for end in item.ends.tolist()]
    return Panel.of(planned), [FitUnit(i, end, ((i, end),)) for i, end in folds]


def outcomes(results: Sequence[FitResult]) -> list[float | str]:
    """Return the first number of the forecast of each fold, or its error."""
    folds = [fold for result in results for fold in result.folds]
    return [float(fold.y_hat[0]) if fold.y_hat is not None else str(fold.error) for fold in folds]


def child_processes(pid: int = os.getpid()) -> list[int]:
    """Return the running processes that a process started, and theirs."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if not has_ended(child.pid)]


def model_processes(pid: int = os.getpid()) -> list[int]:
    """Return the running processes that a process started for models."""
    running = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # it may have ended
            if "forecast_assets.backtesting.sandbox_main" in child.cmdline():
                running.append(child.pid)
    return running


def started_children(pid: int) -> list[int]:
    """Return the running processes that the way "starts_children" started in a process."""
    processes = psutil.process_iter(["pid", "cmdline"])
    return [item.info["pid"] for item in processes if f"3600.{pid}" in (item.info["cmdline"] or ())]


def has_ended(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def signal_models(*signals: int) -> Iterator[None]:
    """Send the i-th signal to the process of the i-th fit that "logs_and_waits"; 0 is none."""
    with NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MODEL_LOG", file.name)

        def logged() -> list[int]:
            return [int(pid) for pid in Path(file.name).read_text().split()]

        def send() -> None:
            for i, signum in enumerate(signals):
                assert comes_true(lambda i=i: len(logged()) > i, within=30)
                os.kill(logged()[i], signum)

        thread = threading.Thread(target=send)
        thread.start()
        yield
        thread.join()


def comes_true(condition: Callable[[], bool], *, within: float = 20.0) -> bool:
    """Wait for a condition."""
    until, pause = time.monotonic() + within, 0.02
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(1.1 * pause, 0.2)  # what is looked at may be expensive
    return True
