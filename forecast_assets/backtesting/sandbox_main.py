"""The child process that runs models: it serves chunks from a connection until the parent is gone.

`sandbox` starts and watches it; `fitting` does the work.
"""

import fcntl
import functools
import hashlib
import mmap
import os
import pickle
import platform
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from forecast_assets import models
from forecast_assets.backtesting.fitting import FitConfig, FitResult, run_unit
from forecast_assets.backtesting.folds import FitUnit
from forecast_assets.backtesting.panel import Panel

# Results are sent in batches: a message for each one costs more than a cheap fit.
BATCH_SECONDS = 0.05
# The process that sends chunks and the UI have priority over the models.
NICENESS = 5
# A process without work ends after this time; its worker may have no more chunks for it.
IDLE_SECONDS = 30.0
LIBRARIES = ("dask", "distributed", "numpy", "pandas")
# Files of this package that decide a result; a sender and its workers must have the same ones.
FILES = ("folds.py", "fold_data.py", "fitting.py", "regressors.py", "sandbox_main.py")
# Shared with the parent: the index of the current unit, and the number of steps so far.
POSITION = struct.Struct("qq")
# The unit while the model is imported and made.
LOADING = -1


@functools.cache
def versions() -> dict[str, str]:
    """Return what a sender and its workers must have in common beside the model's fingerprint."""
    files = [Path(__file__).with_name(name) for name in FILES]
    files += sorted(Path(models.__file__).parent.glob("*.py"))
    code = b"".join(file.read_bytes() for file in files)
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "forecast_assets": hashlib.blake2b(code, digest_size=4).hexdigest(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def main(connection_fd: int, position_fd: int) -> None:
    """Serve chunks until the parent is gone or sends none for IDLE_SECONDS."""
    _end_with_parent()
    os.nice(NICENESS)
    with suppress(OSError):  # when memory runs out, the kernel kills this process first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    connection, position = Connection(connection_fd), mmap.mmap(position_fd, POSITION.size)
    connection.send(versions())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # discard what models print
    panel: Panel | None = None
    try:
        while connection.poll(IDLE_SECONDS):
            config, units, new_panel = connection.recv()
            panel = new_panel or panel
            _serve(connection, position, config, units, panel)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    finally:
        os._exit(1)  # whatever threads a model has left


def _serve(
    connection: Connection,
    position: mmap.mmap,
    config: FitConfig,
    units: Sequence[FitUnit],
    panel: Any,
) -> None:
    n_steps, sent_at, process = 0, time.monotonic(), os.getpid()
    results: list[FitResult] = []
    with suppress(BaseException):  # if it cannot be imported or made, each result says so
        if config.model.fingerprint != config.fingerprint:
            message = f"{config.model.name} is {config.model.fingerprint_inputs}"
            connection.send_bytes(pickle.dumps(message))
            return
        with _no_dask_frames() if config.model.is_packaged else nullcontext():
            config.model.make()  # import its libraries before the first fit is timed
    for index, unit in enumerate(units):

        def tick(index: int = index) -> None:
            nonlocal n_steps
            n_steps += 1
            position[:] = POSITION.pack(index, n_steps)

        tick()
        results.append(run_unit(config, unit, panel, tick))
        if time.monotonic() - sent_at > BATCH_SECONDS or index == len(units) - 1:
            if os.getpid() != process:
                os._exit(1)  # a fork that the model made: only the original sends results
            connection.send_bytes(pickle.dumps(results))
            results, sent_at = [], time.monotonic()


@contextmanager
def _no_dask_frames() -> Iterator[None]:
    """Keep libraries from importing dask.dataframe, which would take 0.8 of 1.8 seconds."""
    module = "dask.dataframe"
    is_missing = module not in sys.modules
    if is_missing:
        sys.modules[module] = None  # type: ignore[assignment]  # an import of it fails
    try:
        yield
    finally:
        if is_missing:
            del sys.modules[module]


def _end_with_parent() -> None:
    """Kill this process and all that it starts as soon as the parent is gone."""
    lifeline = os.dup(sys.stdin.fileno())
    # A model that calls input() gets an error.
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    if sys.platform == "linux":  # the kernel does it even while a model holds the interpreter lock
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
