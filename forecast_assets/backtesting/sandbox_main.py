"""The process that models run in: asked over a line, it answers until the other side is gone.

Whoever starts it and watches it: `runner`. What it computes: `fitting`.
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

from forecast_assets.backtesting.fitting import FitConfig, FitResult, run_unit
from forecast_assets.backtesting.folds import FitUnit, Panel

TOLD_EVERY_SECONDS = 0.05  # answers travel in batches: one at a time costs more than a cheap fit
NICENESS = 5  # whoever hands out work, or shows it, comes first
IDLE_SECONDS = 30.0  # then it ends itself: its worker may have no more for it
LIBRARIES = ("dask", "distributed", "numpy", "pandas")
FILES = ("folds.py", "fitting.py", "sandbox_main.py")  # that an answer passes through
PLACE = struct.Struct("qq")  # the unit at hand, -1 while its model is made; the steps so far
LOADING = -1


@functools.cache
def versions() -> dict[str, str]:
    """What must be the same wherever a model runs, apart from what its fingerprint covers."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in FILES)
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "forecast_assets": hashlib.blake2b(code, digest_size=4).hexdigest(),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def main(line: int, place: int) -> None:
    """The watched side: answer question after question until the other side is gone."""
    _end_with_the_watcher()
    os.nice(NICENESS)
    with suppress(OSError):  # where memory runs out, this process is to go first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    there, at = Connection(line), mmap.mmap(place, PLACE.size)
    there.send(versions())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # what models print is theirs
    panel: Panel | None = None
    try:
        while there.poll(IDLE_SECONDS):
            question, fingerprint, units, new = there.recv()
            panel = new or panel
            _answer_all(there, at, question, fingerprint, units, panel)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    finally:
        os._exit(1)  # whatever threads a model has left


def _answer_all(
    there: Connection,
    at: mmap.mmap,
    question: FitConfig,
    fingerprint: str,
    units: Sequence[FitUnit],
    panel: Any,
) -> None:
    steps, told, process = 0, time.monotonic(), os.getpid()
    done: list[FitResult] = []
    with suppress(BaseException):  # where it cannot be imported or made, each answer says so
        if question.model.fingerprint != fingerprint:
            there.send_bytes(pickle.dumps(f"{question.model.name} is {question.model.identity}"))
            return
        with _lean_imports() if question.model.is_packaged else nullcontext():
            question.model.make()  # its imports, before the first fit is timed
    for place, unit in enumerate(units):

        def tick(place: int = place) -> None:
            nonlocal steps
            steps += 1
            at[:] = PLACE.pack(place, steps)

        tick()
        done.append(run_unit(question, unit, panel, tick))
        if time.monotonic() - told > TOLD_EVERY_SECONDS or place == len(units) - 1:
            if os.getpid() != process:
                os._exit(1)  # a copy that the model made of us: one answer a unit
            there.send_bytes(pickle.dumps(done))
            done, told = [], time.monotonic()


@contextmanager
def _lean_imports() -> Iterator[None]:
    """Keep Dask's frames out, which libraries load where they can: 0.8 of 1.8 seconds."""
    frames = "dask.dataframe"
    is_new = frames not in sys.modules
    if is_new:
        sys.modules[frames] = None  # type: ignore[assignment]  # an import of it fails
    try:
        yield
    finally:
        if is_new:
            del sys.modules[frames]


def _end_with_the_watcher() -> None:
    """End this process and all that it starts when the other side is gone, whatever it is doing."""
    lifeline = os.dup(sys.stdin.fileno())
    os.dup2(
        os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno()
    )  # nobody answers a model's input()
    if sys.platform == "linux":  # its kernel does so even where a model holds the interpreter
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
