"""A process that runs models, and whoever watches it: a fit that hangs, swells or dies is ended.

The process is a child of a worker and holds nothing that matters: it can be killed at any moment,
and the next one carries on. What it does itself: `watched`.
"""

import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import psutil

from forecast_assets.backtesting import sandbox_main
from forecast_assets.backtesting.fitting import FitConfig, FitResult
from forecast_assets.backtesting.folds import FitUnit, Panel
from forecast_assets.backtesting.sandbox_main import LOADING, PLACE

LOADING_SECONDS = 120.0  # for the imports of a model, which are not its fits
LOOKED_AT_EVERY_SECONDS = 0.1
ENDING_SECONDS = 1.0  # from the line's end to the process's
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS"),
)


@dataclass(frozen=True)
class ResourceLimits:
    """What one step of a model may take: seconds, and megabytes of its process's memory."""

    seconds: float
    memory_mb: float


class ProcessTerminated(Exception):
    """The process was ended, or ended itself, at a unit of its work.

    `may_pass`: the unit may not be to blame, since others can kill a process, and fits before it
    can fill its memory.
    """

    def __init__(self, said: str, *, unit: int, seconds: float, may_pass: bool) -> None:
        super().__init__(said)
        self.unit, self.seconds, self.may_pass = unit, seconds, may_pass


class ProcessStartError(Exception):
    """A process for models cannot be started here."""


class EnvironmentMismatch(Exception):
    """The answers would not be those of the code and libraries that whoever asks has."""


class TaskCancelled(Exception):
    """Nobody waits for the answers any more."""


class ModelProcess:
    """The watching side."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._line, there = socket.socketpair()
        self._open.enter_context(self._line)
        self._here = self._open.enter_context(Connection(os.dup(self._line.fileno())))
        place = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is one
        self._said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is one
        place.truncate(PLACE.size)
        self._at = self._open.enter_context(mmap.mmap(place.fileno(), PLACE.size))
        self._panel, self._since = "", 0.0
        self._verdict: ProcessTerminated | TaskCancelled | None = None
        self.peak_mb = 0.0
        with there:
            try:
                process = _started(there.fileno(), place.fileno(), self._said)
            except OSError as error:
                self._open.close()
                raise ProcessStartError(str(error)) from error
        self._process = self._open.enter_context(process)
        self._seen = psutil.Process(process.pid)
        self.versions = self._first_word()

    @property
    def pid(self) -> int:
        """The process's number, and its group's."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is there. A dead one keeps its number until it is closed."""
        return not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def run(
        self,
        question: FitConfig,
        units: Sequence[FitUnit],
        panel: Panel,
        budget: ResourceLimits,
        *,
        fingerprint: str,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Iterator[FitResult]:
        """Yield the units' answers in order.

        Raises Ended where the process is no more, NotWanted where it was ended for that, and
        Refused where the model's fingerprint is another one there. A runner that is left half
        read is good for nothing but to be closed.
        """
        self._at[:] = PLACE.pack(LOADING, 0)
        self.peak_mb, self._verdict, self._since = 0.0, None, time.monotonic()
        is_done = threading.Event()
        watch = threading.Thread(
            target=self._watch, args=(budget, is_wanted, is_done), name="watch", daemon=True
        )
        watch.start()
        try:
            is_known = self._panel == panel.digest
            self._here.send((question, fingerprint, tuple(units), None if is_known else panel))
            self._panel = panel.digest
            n_left = len(units)
            while n_left:
                told: list[FitResult] | str = pickle.loads(self._here.recv_bytes())  # noqa: S301 - ours
                if isinstance(told, str):
                    raise EnvironmentMismatch(told)
                n_left -= len(told)
                yield from told
        except (EOFError, OSError):
            pass
        else:
            self.peak_mb = max(self.peak_mb, self._memory_mb())
            return
        finally:
            is_done.set()
            watch.join()
        raise self._verdict or self._death()

    def _watch(
        self, budget: ResourceLimits, is_wanted: Callable[[], bool], is_done: threading.Event
    ) -> None:
        """Look after the process while it runs, and end it where it must not go on."""
        place = PLACE.unpack(self._at)
        while not is_done.wait(LOOKED_AT_EVERY_SECONDS):
            now = time.monotonic()
            if PLACE.unpack(self._at) != place:
                place, self._since = PLACE.unpack(self._at), now
            self._verdict = self._judged(budget, place[0]) if is_wanted() else TaskCancelled()
            if self._verdict or not self.is_alive:
                self._kill()
                return

    def _judged(self, budget: ResourceLimits, unit: int) -> ProcessTerminated | None:
        """What the process did wrong, if anything."""
        memory_mb, seconds = self._memory_mb(), time.monotonic() - self._since
        self.peak_mb = max(self.peak_mb, memory_mb)
        allowed = LOADING_SECONDS if unit == LOADING else budget.seconds
        if memory_mb > budget.memory_mb:
            said, may_pass = f"took more than {budget.memory_mb:g} MB of memory", True
        elif seconds > allowed:
            is_frozen = self._seen.status() == psutil.STATUS_STOPPED
            said, may_pass = f"took more than {allowed:g} seconds", is_frozen
        else:
            return None
        return ProcessTerminated(said, unit=unit, seconds=seconds, may_pass=may_pass)

    def _memory_mb(self) -> float:
        try:
            return float(self._seen.memory_info().rss) / 1e6
        except psutil.NoSuchProcess:  # its end shows elsewhere
            return 0.0

    def _death(self) -> ProcessTerminated:
        """How the process ended that said no more."""
        until = time.monotonic() + ENDING_SECONDS
        while self.is_alive and time.monotonic() < until:
            time.sleep(0.01)
        is_mute = self.is_alive
        self._kill()
        code = self._process.wait()
        signals = {int(one): one.name for one in signal.Signals}
        how = f"signal {signals.get(-code, -code)}" if code < 0 else f"exit code {code}"
        said = f"the model's process {'closed its line' if is_mute else f'ended with {how}'}"
        unit, _ = PLACE.unpack(self._at)
        seconds = time.monotonic() - self._since
        return ProcessTerminated(said, unit=unit, seconds=seconds, may_pass=True)

    def _first_word(self) -> dict[str, str]:
        """The versions there, which it says when it is ready. Raises CannotStart."""
        with suppress(EOFError, OSError):
            if self._here.poll(LOADING_SECONDS):
                word: dict[str, str] = self._here.recv()
                return word
        self._kill()
        code = self._process.wait()
        self._said.seek(0)
        text = self._said.read().decode(errors="replace").strip()
        self._open.close()
        raise ProcessStartError(text[-2000:] or f"it ended with code {code} and without a word")

    def close(self) -> None:
        """End the process and all that it started, at once."""
        self._kill()
        self._open.close()

    def _kill(self) -> None:
        if self._process.returncode is None:  # else its number may be another's
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):  # of a line that has ended already
            self._line.shutdown(socket.SHUT_RDWR)  # a process that left the group may hold it open


def _started(line: int, place: int, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    paths = [str(Path(path).absolute()) for path in sys.path]
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", sandbox_main.__name__, str(line), str(place)],
        env={
            **os.environ,
            **dict.fromkeys(ONE_THREAD, "1"),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        stdin=subprocess.PIPE,  # closed when this side is gone
        stdout=subprocess.DEVNULL,
        stderr=said,
        pass_fds=(line, place),
        start_new_session=True,  # with all that it starts, it can be ended
    )
