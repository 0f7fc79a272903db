"""Run models in a child process; kill it on timeout, on too much memory, or on request.

The process keeps nothing that matters: after its end the next one goes on. Its own side is
`sandbox_main`.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import psutil

from forecast_assets.backtesting import sandbox_main
from forecast_assets.backtesting.fitting import FitConfig, FitResult, WorkChunk
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.sandbox_main import LOADING, POSITION

# Time for the imports of a model, which do not count as time of its first fit.
LOADING_SECONDS = 120.0
WATCH_INTERVAL_SECONDS = 0.1
# A model uses one thread: there is a worker for each core.
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS"),
)


class ProcessTerminated(Exception):
    """The process ended, or was killed, at a unit of its chunk.

    `is_retryable`: the unit may not be the cause. Something else may have killed the process, or
    the fits before it filled its memory.
    """

    def __init__(self, message: str, *, unit: int, seconds: float, is_retryable: bool) -> None:
        super().__init__(message)
        self.unit, self.seconds, self.is_retryable = unit, seconds, is_retryable


class ProcessStartError(Exception):
    """A process for models cannot be started on this machine."""


class EnvironmentMismatch(Exception):
    """The process has other code or libraries than the sender of the chunk."""


class TaskCancelled(Exception):
    """The sender of the chunk no longer waits for its results."""


class ModelProcess:
    """The parent side of a process that runs models."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._socket, child_socket = socket.socketpair()
        self._open.enter_context(self._socket)
        self._connection = self._open.enter_context(Connection(os.dup(self._socket.fileno())))
        position = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is one
        self._stderr = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is one
        position.truncate(POSITION.size)
        self._position = self._open.enter_context(mmap.mmap(position.fileno(), POSITION.size))
        self._panel_digest, self._step_began = "", 0.0
        self._killed_for: ProcessTerminated | TaskCancelled | None = None
        self.peak_mb = 0.0
        with child_socket:
            try:
                process = _start(child_socket.fileno(), position.fileno(), self._stderr)
            except OSError as error:
                self._open.close()
                raise ProcessStartError(str(error)) from error
        self._process = self._open.enter_context(process)
        self._usage = psutil.Process(process.pid)
        self.versions = self._receive_versions()

    @property
    def pid(self) -> int:
        """The ID of the process and of its process group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs. The ID of an ended one is not reused before `close`."""
        return not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def run(
        self, chunk: WorkChunk, panel: Panel, *, is_wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[FitResult]:
        """Yield the results of the units in order.

        Raises ProcessTerminated if the process ended or broke a limit, TaskCancelled when
        `is_wanted` returned False, and EnvironmentMismatch if the model has another fingerprint
        there. After an exception, or if not read to its end, the process must be closed.
        """
        self._position[:] = POSITION.pack(LOADING, 0)
        self.peak_mb, self._killed_for, self._step_began = 0.0, None, time.monotonic()
        is_done = threading.Event()
        watch = threading.Thread(
            target=self._watch, args=(chunk.config, is_wanted, is_done), name="watch", daemon=True
        )
        watch.start()
        try:
            has_panel = self._panel_digest == panel.digest
            self._connection.send((chunk.config, tuple(chunk.units), None if has_panel else panel))
            self._panel_digest = panel.digest
            n_left = len(chunk.units)
            while n_left:
                reply: list[FitResult] | str = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - ours
                if isinstance(reply, str):
                    raise EnvironmentMismatch(reply)
                n_left -= len(reply)
                yield from reply
        except (EOFError, OSError):
            pass
        else:
            self.peak_mb = max(self.peak_mb, self._memory_mb())
            return
        finally:
            is_done.set()
            watch.join()
        raise self._killed_for or self._unexpected_end()

    def _watch(
        self, config: FitConfig, is_wanted: Callable[[], bool], is_done: threading.Event
    ) -> None:
        """Kill the process when it breaks a limit or nobody waits for it."""
        position = POSITION.unpack(self._position)
        while not is_done.wait(WATCH_INTERVAL_SECONDS):
            now = time.monotonic()
            if POSITION.unpack(self._position) != position:
                position, self._step_began = POSITION.unpack(self._position), now
            end = self._broken_limit(config, position[0])
            self._killed_for = end if is_wanted() else TaskCancelled()
            if self._killed_for or not self.is_alive:
                self._kill()
                return

    def _broken_limit(self, config: FitConfig, unit: int) -> ProcessTerminated | None:
        memory_mb, seconds = self._memory_mb(), time.monotonic() - self._step_began
        self.peak_mb = max(self.peak_mb, memory_mb)
        max_seconds = LOADING_SECONDS if unit == LOADING else config.max_seconds
        if memory_mb > config.max_memory_mb:
            message, is_retryable = f"took more than {config.max_memory_mb:g} MB of memory", True
        elif seconds > max_seconds:
            message = f"took more than {max_seconds:g} seconds"
            is_retryable = self._usage.status() == psutil.STATUS_STOPPED
        else:
            return None
        return ProcessTerminated(message, unit=unit, seconds=seconds, is_retryable=is_retryable)

    def _memory_mb(self) -> float:
        try:
            return float(self._usage.memory_info().rss) / 1e6
        except psutil.NoSuchProcess:  # `run` sees its end
            return 0.0

    def _unexpected_end(self) -> ProcessTerminated:
        """Describe how a process ended that was not killed by `_watch`."""
        self._kill()
        code = self._process.wait()
        names = {int(signum): signum.name for signum in signal.Signals}
        how = f"signal {names.get(-code, -code)}" if code < 0 else f"exit code {code}"
        unit, _ = POSITION.unpack(self._position)
        seconds = time.monotonic() - self._step_began
        message = f"the model's process ended with {how}"
        return ProcessTerminated(message, unit=unit, seconds=seconds, is_retryable=True)

    def _receive_versions(self) -> dict[str, str]:
        """Return the versions that a started process sends. Raises ProcessStartError."""
        with suppress(EOFError, OSError):
            if self._connection.poll(LOADING_SECONDS):
                versions: dict[str, str] = self._connection.recv()
                return versions
        self._kill()
        code = self._process.wait()
        self._stderr.seek(0)
        output = self._stderr.read().decode(errors="replace").strip()
        self._open.close()
        raise ProcessStartError(output[-2000:] or f"it ended with code {code} and without output")

    def close(self) -> None:
        """Kill the process and everything that it started."""
        self._kill()
        self._open.close()

    def _kill(self) -> None:
        if self._process.returncode is None:  # else the ID may belong to another process
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(OSError):  # the connection may have ended already
            # A process that left the group may still hold the socket open.
            self._socket.shutdown(socket.SHUT_RDWR)


def _start(connection: int, position: int, stderr: IO[bytes]) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", sandbox_main.__name__, str(connection), str(position)],
        env={**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": path},
        stdin=subprocess.PIPE,  # it closes when this process ends
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=(connection, position),
        start_new_session=True,  # a process group, to kill what the process starts as well
    )
