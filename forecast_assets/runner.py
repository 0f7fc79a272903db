"""A process that runs models, and whoever watches it: a fit that hangs, swells or dies is ended.

The process is a child of a worker and holds nothing that matters: it can be killed at any moment,
and the next one carries on. What it computes: `fitting`.
"""

import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

from forecast_assets.fitting import Answer, Question, answer
from forecast_assets.panel import Panel, Unit

TOLD_EVERY_SECONDS = 0.05  # answers travel in batches: one at a time costs more than a cheap fit
LOADING_SECONDS = 120.0  # for the imports of a model, which are not its fits
LOOKED_AT_EVERY_SECONDS = 0.1
ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "VECLIB_MAXIMUM", "BLIS", "POLARS_MAX")
PLACE = struct.Struct("qq")  # the unit at hand, -1 while its model is made; the steps so far
LOADING = -1


@dataclass(frozen=True)
class Budget:
    """What one step of a model may take: seconds, and megabytes of its process's memory."""

    seconds: float
    memory_mb: float


class Ended(Exception):
    """The process was ended, or ended itself, at a unit of its work."""

    def __init__(self, said: str, *, unit: int, seconds: float, is_death: bool) -> None:
        super().__init__(said)
        self.unit, self.seconds, self.is_death = unit, seconds, is_death


class CannotStart(Exception):
    """A process for models cannot be started here."""


class Runner:
    """The watching side."""

    def __init__(self) -> None:
        self._here, there = Pipe()
        self._place, self._said = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._place.write(PLACE.pack(LOADING, 0))
        self._place.flush()
        self._at = mmap.mmap(self._place.fileno(), PLACE.size)
        self._panel = ""
        self.peak_mb = 0.0
        given = (there.fileno(), self._place.fileno())
        paths = [path for path in sys.path if path]
        self._process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-m", __name__, *map(str, given)],
            env={
                **os.environ,
                **{f"{name}_NUM_THREADS": "1" for name in ONE_THREAD},
                "PYTHONPATH": os.pathsep.join(paths),
            },
            stdin=subprocess.PIPE,  # it ends itself when this side is gone
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            pass_fds=given,
            start_new_session=True,  # with all that it starts, it can be ended
        )
        there.close()
        try:
            self._here.recv()
        except EOFError:
            self._process.wait()
            self._said.seek(0)
            text = self._said.read().decode(errors="replace").strip()
            self.close()
            raise CannotStart(text[-2000:] or "it ended without a word") from None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def run(
        self, question: Question, units: Sequence[Unit], panel: Panel, budget: Budget
    ) -> Iterator[tuple[int, Answer]]:
        """Yield each unit's place and answer. Raises Ended where the process is no more."""
        began = time.monotonic()
        self._at[:] = PLACE.pack(LOADING, 0)
        try:
            is_known = self._panel == panel.digest
            self._here.send((question, tuple(units), None if is_known else panel))
            self._panel = panel.digest
            n_left = len(units)
            while n_left:
                for place, one in self._told(budget, began):
                    n_left -= 1
                    yield place, one
        except (EOFError, ConnectionError):
            code = self._process.wait()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            unit, _ = PLACE.unpack(self._at)
            raise Ended(
                f"the model's process ended with {how}",
                unit=max(unit, 0),
                seconds=time.monotonic() - began,
                is_death=True,
            ) from None

    def _told(self, budget: Budget, began: float) -> list[tuple[int, Answer]]:
        """Wait for the next batch of answers, looking after the process meanwhile."""
        place, since = PLACE.unpack(self._at), time.monotonic()
        while True:
            is_told = self._here.poll(LOOKED_AT_EVERY_SECONDS)
            now, memory_mb = time.monotonic(), self._memory_mb()
            self.peak_mb = max(self.peak_mb, memory_mb)
            if PLACE.unpack(self._at) != place:
                place, since = PLACE.unpack(self._at), now
            allowed = LOADING_SECONDS if place[0] == LOADING else budget.seconds
            if memory_mb > budget.memory_mb:
                said = f"took more than {budget.memory_mb:g} MB of memory"
            elif is_told:
                break
            elif now - since > allowed:
                said = f"took more than {allowed:g} seconds"
            else:
                continue
            self.close()
            raise Ended(said, unit=max(place[0], 0), seconds=now - began, is_death=False)
        answers: list[tuple[int, Answer]] = pickle.loads(self._here.recv_bytes())  # noqa: S301 - ours
        return answers

    def _memory_mb(self) -> float:
        import psutil  # noqa: PLC0415 - only where models run

        try:
            return float(psutil.Process(self.pid).memory_info().rss) / 1e6
        except psutil.NoSuchProcess:
            return 0.0  # its end shows on the pipe

    def close(self) -> None:
        """End the process and all that it started, at once."""
        with suppress(ProcessLookupError):  # it has ended itself
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._here.close()
        self._at.close()
        self._place.close()
        self._said.close()


def main(pipe: int, place: int) -> None:
    """The watched side: answer question after question until the other side is gone."""
    threading.Thread(target=_end_with_the_watcher, daemon=True).start()
    there = Connection(pipe)
    at = mmap.mmap(place, PLACE.size)
    there.send("ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # what models print is theirs
    panel: Panel | None = None
    while True:
        try:
            question, units, new = there.recv()
        except EOFError:
            return
        panel = new or panel
        _answer_all(there, at, question, units, panel)


def _answer_all(
    there: Connection, at: mmap.mmap, question: Question, units: Sequence[Unit], panel: Any
) -> None:
    steps, told = 0, time.monotonic()
    done: list[tuple[int, Answer]] = []
    with suppress(Exception):  # where it cannot be made, each answer says so
        question.model.make()  # its imports, before the first fit is timed
    for place, unit in enumerate(units):

        def tick(place: int = place) -> None:
            nonlocal steps
            steps += 1
            at[:] = PLACE.pack(place, steps)

        tick()
        done.append((place, answer(question, unit, panel, tick)))
        if time.monotonic() - told > TOLD_EVERY_SECONDS or place == len(units) - 1:
            there.send_bytes(pickle.dumps(done))
            done, told = [], time.monotonic()


def _end_with_the_watcher() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
