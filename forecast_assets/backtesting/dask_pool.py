"""The workers of a run: chunks go out over Dask, reports come back in the order they are done.

What a chunk is: `chunks`. Which chunks there are: `compute`. How the cluster is made belongs to
whoever hands over `connect`.
"""

import queue
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from forecast_assets.backtesting.chunk import ChunkResult, WorkChunk, close_idle, run_chunk
from forecast_assets.backtesting.folds import Panel
from forecast_assets.backtesting.sandbox import TaskCancelled
from forecast_assets.backtesting.sandbox_main import versions
from forecast_assets.config.settings import ComputeSettings
from forecast_assets.errors import ComputeError

Client = Any  # of dask.distributed, which is imported where it is needed: it takes half a second
Future = Any

WORKERLESS_SECONDS = 60.0  # a cluster may start its workers late, or replace them
ASKED_EVERY_SECONDS = 2.0
ANSWERS_WITHIN_SECONDS = 20.0  # the scheduler, where it is there at all


class DaskPool:
    """A Dask cluster, connected to when the first chunk is sent and not before.

    Raises ComputeError where the cluster cannot be reached, loses all its workers, or has workers
    that cannot run what they are sent. One that could not be reached is not asked again.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._panels: dict[str, Future] = {}
        self._out: dict[Future, Any] = {}
        self._back: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._id, self._n_sent = uuid4().hex, 0
        self._unreached: ComputeError | None = None
        self._asked = self._seen = 0.0
        self._n_threads = 0

    def send(self, tag: Any, panel: Panel, chunk: WorkChunk) -> None:
        """Send a chunk; its report comes back with the tag. The panel travels once a worker."""
        client = self._opened()
        if panel.digest not in self._panels:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                held = client.submit(_itself, panel, key=f"panel-{panel.digest}")
            self._panels[panel.digest] = held
        self._n_sent += 1
        key = f"{chunk.question.model.name}-{self._n_sent}-{self._id}"  # unlike any other run's
        held = self._panels[panel.digest]
        out = client.submit(_reported, held, chunk, versions(), key=key, pure=False)
        self._out[out] = tag
        out.add_done_callback(self._back.put)

    @property
    def n_out(self) -> int:
        """How many chunks are out."""
        return len(self._out)

    @property
    def n_workers(self) -> int:
        """How many chunks can run at once; at least 1. Looked up every few seconds."""
        self._look()
        return max(self._n_threads, 1)

    def receive(self, timeout: float) -> tuple[Any, str, ChunkResult | None, str] | None:
        """Wait for a report: its tag, its worker, itself or why there is none; null after timeout.

        There is none where the worker itself ended, again and again, while it ran the chunk.
        """
        try:
            done = self._back.get(timeout=timeout)
        except queue.Empty:
            self._look()
            return None
        tag = self._out.pop(done)
        try:
            worker, report = self._handed_over(done)
        except ComputeError:
            raise
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                return tag, "", None, "its worker ended, several times, while it ran"
            self._refuse_if_gone()
            raise ComputeError(
                f"The workers could not run the chunk {done.key}: {type(error).__name__}: {error}."
                f" Folds that were computed before are kept. See that the workers have this package"
                f" and its libraries in the same versions, and room to start a process; then run"
                f" again."
            ) from error
        if report.refused:
            raise ComputeError(
                f"The worker {worker} would answer with other code or libraries than this run's:"
                f" {report.refused}. Its numbers would be kept as if they were the same, so nothing"
                f" of it was taken. Install the same versions there, start it anew, and run again."
            )
        return tag, worker, report, ""

    @property
    def dashboard(self) -> str | None:
        """Where Dask shows what its workers do; null before the first chunk and without one."""
        return self._client.dashboard_link if self._client else None

    def close(self) -> None:
        """Let the cluster go: its workers drop what they still run of this."""
        client, self._client = self._client, None
        self._out, self._panels = {}, {}
        if client is not None:
            client.close()
        close_idle()  # where the workers are threads of this process

    def _opened(self) -> Client:
        if self._unreached:
            raise self._unreached
        if self._client is None:
            try:
                self._client, self._seen = self._connect(), time.monotonic()
            except ComputeError as error:
                self._unreached = error
                raise
        return self._client

    def _handed_over(self, done: Future) -> tuple[str, ChunkResult]:
        """Fetch a report; where its worker ended with it, another runs the chunk again."""
        while True:
            try:
                said: tuple[str, ChunkResult] = done.result(timeout=ANSWERS_WITHIN_SECONDS)
            except TimeoutError:
                if done.status == "error":
                    raise  # the chunk's own
                self._look()
            else:
                return said

    def _look(self) -> None:
        """Count the workers' threads now and then. Raises ComputeError where nobody is left."""
        client, now = self._opened(), time.monotonic()
        if now - self._asked < ASKED_EVERY_SECONDS:
            return
        self._asked = now
        self._refuse_if_gone()
        try:
            n_each = client.nthreads(callback_timeout=ANSWERS_WITHIN_SECONDS)
        except OSError as error:  # that it takes too long is one, too
            raise ComputeError(_gone(client, f"{type(error).__name__}: {error}")) from error
        self._n_threads = sum(n_each.values())
        if self._n_threads:
            self._seen = now
        elif now - self._seen > WORKERLESS_SECONDS:
            raise ComputeError(
                f"The Dask scheduler {client.scheduler.address} has had no worker for"
                f" {WORKERLESS_SECONDS:g} seconds. Folds that were computed before are kept. Start"
                f" workers: dask worker {client.scheduler.address}"
            )

    def _refuse_if_gone(self) -> None:
        client = self._opened()
        if client.status != "running":
            raise ComputeError(_gone(client, client.status))


def n_workers_here(settings: ComputeSettings) -> int:
    """How many workers a cluster of this machine has: as many as this process may use cores."""
    from dask import system  # noqa: PLC0415 - only a run that computes needs it

    return settings.workers or int(system.CPU_COUNT)


def _itself(panel: Panel) -> Panel:
    return panel


def _reported(panel: Panel, chunk: WorkChunk, here: Mapping[str, str]) -> tuple[str, ChunkResult]:
    from dask.distributed import Reschedule, Status, get_worker  # noqa: PLC0415 - a worker has it

    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]

    def is_wanted() -> bool:
        is_closing = worker.status in (Status.closing, Status.closed)
        return not is_closing and task.state != "cancelled"

    try:
        return str(worker.name), run_chunk(panel, chunk, versions=here, is_wanted=is_wanted)
    except TaskCancelled:
        raise Reschedule from None  # for whoever wants it after all


def _gone(client: Client, how: str) -> str:
    return (
        f"The Dask scheduler {client.scheduler.address} is gone ({how}). Folds that were computed"
        f" before are kept. Run again when it is back, or take `dask_address` out of forecast.toml"
        f" to compute on this machine."
    )
