"""Run a chunk of fits on a worker, in a child process that is kept for the next chunk.

`dask_pool` spreads chunks over workers; `sandbox` watches the process.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from forecast_assets.backtesting.fitting import FitConfig, FitResult, WorkChunk
from forecast_assets.backtesting.folds import FitUnit, FoldForecast
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.sandbox import (
    EnvironmentMismatch,
    ModelProcess,
    ProcessStartError,
    ProcessTerminated,
)
from forecast_assets.backtesting.sandbox_main import LOADING

# Attempts to start a process with its model, and to run a unit at which the process ended.
MAX_STARTS, MAX_ATTEMPTS = 4, 2
# The kind of the processes that all models of the package share.
PACKAGED = ""


@dataclass(frozen=True)
class ChunkResult:
    """The results of the first units of a chunk; the units after a killed fit have none yet.

    `killed` is the reason for a killed fit, by series. `refused` is the reason why nothing was run.
    `began` is in seconds since 1970 of the worker's clock.
    """

    results: Sequence[FitResult]
    killed: Mapping[int, str]
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
    """Run the units in order, up to the first one at which the process has to be killed.

    A unit at which the process ended is tried once more, because something else may have killed it.
    `versions` are those of the sender; a worker with others returns no results, since they would be
    cached as if they were the same. Raises ProcessStartError, and TaskCancelled as soon as
    `is_wanted` returns False.
    """
    began, started = time.time(), time.perf_counter()
    results: list[FitResult] = []
    killed: dict[int, str] = {}
    n_ends: Counter[int] = Counter()
    peak_mb, stop, last_end = 0.0, len(chunk.units), None
    while len(results) < stop:
        first = len(results)
        rest = replace(chunk, units=chunk.units[first:stop])
        try:
            with _process(chunk.config) as process:
                _check_versions(versions, process.versions)
                results.extend(process.run(rest, panel, is_wanted=is_wanted))
        except EnvironmentMismatch as error:
            return ChunkResult((), {}, began, 0.0, refused=str(error))
        except ProcessTerminated as end:
            index = LOADING if end.unit == LOADING else max(first + end.unit, len(results))
            n_ends[index] += 1
            limit = MAX_STARTS if index == LOADING else MAX_ATTEMPTS
            if n_ends[index] == limit or not end.is_retryable:
                stop, last_end = max(index, len(results)), end
        peak_mb = max(peak_mb, process.peak_mb)
    if last_end:
        unit = chunk.units[stop]
        results.append(failed_result(unit, str(last_end), last_end.seconds))
        killed[unit.series] = str(last_end)
    return ChunkResult(results, killed, began, time.perf_counter() - started, peak_mb)


def failed_result(unit: FitUnit, error: str, seconds: float = 0.0) -> FitResult:
    """Return the result of a unit that failed as a whole."""
    fold = FoldForecast(None, seconds / len(unit.folds), error)
    return FitResult([fold] * len(unit.folds), seconds)


def _check_versions(sender: Mapping[str, str], worker: Mapping[str, str]) -> None:
    """Raise EnvironmentMismatch if the worker has other versions."""
    differing = [name for name in sender if sender[name] != worker[name]]
    if differing:
        raise EnvironmentMismatch(
            ", ".join(f"{name} is {worker[name]}, not {sender[name]}" for name in differing)
        )


_idle: list[tuple[str, ModelProcess]] = []
_starting: list[threading.Thread] = []
_lock = threading.Lock()


@contextmanager
def _process(config: FitConfig) -> Iterator[ModelProcess]:
    """Take an idle process or start one; keep it afterwards, unless the block raises.

    Each user's model has a process of its own, because it may corrupt the state of its process.
    """
    kind = PACKAGED if config.model.is_packaged else config.fingerprint
    while not (process := _take_idle(kind)) and kind == PACKAGED and _starting:
        with suppress(IndexError):  # another thread waits for it
            _starting.pop().join()
    process = process or _start_process()
    try:
        yield process
    except BaseException:
        process.close()
        raise
    with _lock:
        _idle.append((kind, process))


def _start_process() -> ModelProcess:
    """Start a process. Try again if it does not start: something else may have killed it."""
    for _ in range(MAX_STARTS - 1):
        with suppress(ProcessStartError):
            return ModelProcess()
    return ModelProcess()


def _take_idle(kind: str) -> ModelProcess | None:
    """Remove and return an idle process of the kind; close those that have ended."""
    with _lock:
        ended = [entry for entry in _idle if not entry[1].is_alive]
        usable = [entry for entry in _idle if entry[0] == kind and entry not in ended][:1]
        _idle[:] = [entry for entry in _idle if entry not in ended and entry not in usable]
    for _, process in ended:
        process.close()
    return usable[0][1] if usable else None


def start_processes(config: FitConfig, *, n_processes: int) -> None:
    """Start processes in the background and import the libraries of a packaged model there.

    Processes that exist or are being started count.
    """

    def load() -> None:
        with suppress(ProcessStartError):  # the first chunk reports it
            process = ModelProcess()
            with suppress(ProcessTerminated):  # as above
                list(process.run(WorkChunk(config, ()), Panel.of([])))
            with _lock:
                _idle.append((PACKAGED, process))

    with _lock:
        n_started = len(_starting) + sum(kind == PACKAGED for kind, _ in _idle)
    for _ in range(n_processes - n_started):
        _starting.append(threading.Thread(target=load, name="prewarm", daemon=True))
        _starting[-1].start()


def close_idle() -> None:
    """Close the idle processes of this process."""
    while _starting:
        _starting.pop().join()
    with _lock:
        idle, _idle[:] = [*_idle], []
    for _, process in idle:
        process.close()
