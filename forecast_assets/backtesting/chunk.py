"""A chunk of fits as a worker takes it: run in a watched process, the failures of a model as data.

Spreading chunks over workers: `crew`. The process and its watcher: `runner`.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from forecast_assets.backtesting.fitting import FitConfig, FitResult
from forecast_assets.backtesting.folds import FitUnit, FoldForecast, Panel
from forecast_assets.backtesting.sandbox import (
    LOADING_SECONDS,
    EnvironmentMismatch,
    ModelProcess,
    ProcessStartError,
    ProcessTerminated,
    ResourceLimits,
)
from forecast_assets.backtesting.sandbox_main import LOADING

STARTS, TRIES = 4, 2  # of a process, until it has its model; of a unit that it dies at
PACKAGED = ""  # the package's own models share a process


@dataclass(frozen=True)
class WorkChunk:
    """Fits of one model for one worker. `fingerprint`: the model as the sender knows it."""

    question: FitConfig
    fingerprint: str
    units: Sequence[FitUnit]
    budget: ResourceLimits


@dataclass(frozen=True)
class ChunkResult:
    """What came of a chunk: answers for its first units, and why the model was ended, by series.

    The units after a model's end have no answer yet. `refused` says why the chunk was not run at
    all. Times are of the worker's own clock.
    """

    answers: Sequence[FitResult]
    ended: Mapping[int, str]
    began: float
    seconds: float
    peak_mb: float = 0.0
    refused: str = ""


def run_chunk(
    panel: Panel,
    chunk: WorkChunk,
    *,
    versions: Mapping[str, str],
    is_wanted: Callable[[], bool] = lambda: True,
) -> ChunkResult:
    """Run the units in order, up to the first at which the model has to be ended.

    A unit that its process died at is tried once more, in a new one: others can kill a process too.
    `versions` are the sender's: what others answer would be kept as if it were the same.

    Raises CannotStart, and NotWanted as soon as `is_wanted` says no.
    """
    began, started = time.time(), time.perf_counter()
    answers: list[FitResult] = []
    ended: dict[int, str] = {}
    deaths: Counter[int] = Counter()
    peak_mb, stop, last = 0.0, len(chunk.units), None
    while len(answers) < stop:
        first = len(answers)
        try:
            with _process(chunk) as runner:
                _refuse_other(versions, runner.versions)
                answers.extend(  # up to the process's end
                    runner.run(
                        chunk.question,
                        chunk.units[first:stop],
                        panel,
                        chunk.budget,
                        fingerprint=chunk.fingerprint,
                        is_wanted=is_wanted,
                    )
                )
        except EnvironmentMismatch as refused:
            return ChunkResult((), {}, began, 0.0, refused=str(refused))
        except ProcessTerminated as end:
            at = LOADING if end.unit == LOADING else max(first + end.unit, len(answers))
            deaths[at] += 1
            most = STARTS if at == LOADING else TRIES
            if deaths[at] == most or not end.may_pass:
                stop, last = max(at, len(answers)), end
        peak_mb = max(peak_mb, runner.peak_mb)
    if last:
        answers.append(failed_result(chunk.units[stop], str(last), last.seconds))
        ended[chunk.units[stop].series] = str(last)
    return ChunkResult(answers, ended, began, time.perf_counter() - started, peak_mb)


def failed_result(unit: FitUnit, said: str, seconds: float = 0.0) -> FitResult:
    """The answer of a unit that gave none."""
    share = seconds / len(unit.folds)
    return FitResult([FoldForecast(None, share, said)] * len(unit.folds), seconds)


def not_tried(said: str) -> str:
    """The error of a fold that was not tried, for what another one of its series did."""
    return f"not tried: at another cutoff it {said}"


def _refuse_other(here: Mapping[str, str], there: Mapping[str, str]) -> None:
    others = [name for name in here if here[name] != there[name]]
    if others:
        raise EnvironmentMismatch(
            ", ".join(f"{name} is {there[name]}, not {here[name]}" for name in others)
        )


_idle: list[tuple[str, ModelProcess]] = []
_warming: list[threading.Thread] = []
_lock = threading.Lock()


@contextmanager
def _process(chunk: WorkChunk) -> Iterator[ModelProcess]:
    """An idle process that ran models of this kind, or a new one; kept where nothing went wrong.

    A model of the user's own has a process to itself: what it does to it is its own affair.
    """
    kind = PACKAGED if chunk.question.model.is_packaged else chunk.fingerprint
    while not (runner := _taken(kind)) and kind == PACKAGED and _warming:
        with suppress(IndexError):  # another chunk waits for it already
            _warming.pop().join()
    runner = runner or _new()
    try:
        yield runner
    except BaseException:
        runner.close()
        raise
    with _lock:
        _idle.append((kind, runner))


def _new() -> ModelProcess:
    """Start a process, and another where one does not start: others can kill it there, too."""
    for _ in range(STARTS - 1):
        with suppress(ProcessStartError):
            return ModelProcess()
    return ModelProcess()


def _taken(kind: str) -> ModelProcess | None:
    """Take an idle process of the kind out, and those that have ended."""
    with _lock:
        ended = [one for one in _idle if not one[1].is_alive]
        fitting = [one for one in _idle if one[0] == kind and one not in ended][:1]
        _idle[:] = [one for one in _idle if one not in ended and one not in fitting]
    for _, runner in ended:
        runner.close()
    return fitting[0][1] if fitting else None


def start_processes(question: FitConfig, *, n_processes: int) -> None:
    """See that processes load what a model of the package needs, beside whatever else goes on.

    The import of a library takes seconds, which are half of a short run's. Processes that are there
    already, or begun, count.
    """
    fingerprint = question.model.fingerprint

    def load() -> None:
        nothing, budget = Panel.of([]), ResourceLimits(LOADING_SECONDS, math.inf)
        with suppress(ProcessStartError):  # if it is to be said, a chunk says it
            runner = ModelProcess()
            with suppress(ProcessTerminated):
                list(runner.run(question, (), nothing, budget, fingerprint=fingerprint))
            with _lock:
                _idle.append((PACKAGED, runner))

    with _lock:
        n_there = len(_warming) + sum(kind == PACKAGED for kind, _ in _idle)
    for _ in range(n_processes - n_there):
        thread = threading.Thread(target=load, name="warm up", daemon=True)
        thread.start()
        _warming.append(thread)


def close_idle() -> None:
    """End the processes that wait for work in this process."""
    while _warming:
        _warming.pop().join()
    with _lock:
        idle, _idle[:] = [*_idle], []
    for _, runner in idle:
        runner.close()
