"""Send chunks to the workers of a Dask cluster, and receive their results as they finish.

`chunk` runs on the workers. `defs.resources` decides which cluster it is.
"""

import queue
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from forecast_assets.backtesting.chunk import ChunkResult, close_idle, run_chunk
from forecast_assets.backtesting.fitting import WorkChunk
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.sandbox import TaskCancelled
from forecast_assets.backtesting.sandbox_main import versions
from forecast_assets.config.compute_settings import ComputeSettings
from forecast_assets.errors import ComputeError

Client = Any  # of dask.distributed, which is imported late because the import takes half a second
Future = Any

# A cluster may start its workers late, or replace them.
NO_WORKER_SECONDS = 60.0
CHECK_INTERVAL_SECONDS = 2.0
# Time for an answer of the scheduler, after which it counts as gone.
SCHEDULER_SECONDS = 20.0


class DaskPool:
    """A Dask cluster; the first chunk connects to it.

    Methods raise ComputeError if the cluster cannot be reached, has lost all its workers, or has
    workers that cannot run a chunk. After a failed connection there is no second attempt.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._panels: dict[str, Future] = {}
        self._tags: dict[Future, Any] = {}
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._connection_error: ComputeError | None = None
        self._checked_at = self._worker_seen_at = 0.0
        self._n_threads = 0

    def send(self, tag: Any, panel: Panel, chunk: WorkChunk) -> None:
        """Send a chunk; its result returns with the tag. Each worker gets a panel once."""
        client = self._connected()
        if panel.digest not in self._panels:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                shared = client.submit(_identity, panel, key=f"panel-{panel.digest}")
            self._panels[panel.digest] = shared
        key = f"{chunk.config.model.name}-{uuid4().hex}"
        shared = self._panels[panel.digest]
        future = client.submit(_run_on_worker, shared, chunk, versions(), key=key, pure=False)
        self._tags[future] = tag
        future.add_done_callback(self._done.put)

    @property
    def n_out(self) -> int:
        """The number of chunks without a result yet."""
        return len(self._tags)

    @property
    def n_workers(self) -> int:
        """The number of chunks that can run at the same time, at least 1."""
        self._check()
        return max(self._n_threads, 1)

    def receive(self, timeout: float) -> tuple[Any, str, ChunkResult | None, str] | None:
        """Wait for a result: tag, worker, result and error; None if there is none in time.

        The error stands in place of the result of a chunk that ended several workers.
        """
        try:
            future = self._done.get(timeout=timeout)
        except queue.Empty:
            self._check()
            return None
        tag = self._tags.pop(future)
        try:
            worker, result = self._fetch_result(future)
        except ComputeError:
            raise
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                return tag, "", None, "the worker ended several times during the fit"
            self._check_scheduler()
            raise ComputeError(
                f"The workers could not run the chunk {future.key}: {type(error).__name__}:"
                f" {error}. Folds computed so far are kept. Check that the workers have this"
                f" package and its libraries in the same versions, and enough memory to start a"
                f" process. Then run again."
            ) from error
        if result.refused:
            raise ComputeError(
                f"The worker {worker} has other code or libraries than this run: {result.refused}."
                f" Its forecasts would differ, so none was used. Install the same versions there,"
                f" restart the worker, and run again."
            )
        return tag, worker, result, ""

    @property
    def dashboard(self) -> str | None:
        """The address of Dask's dashboard; None before the first chunk, or if there is none."""
        return self._client.dashboard_link if self._client else None

    def close(self) -> None:
        """Disconnect; the workers drop the chunks of this pool."""
        client, self._client = self._client, None
        self._tags, self._panels = {}, {}
        if client is not None:
            client.close()
        close_idle()  # if the workers are threads of this process

    def _connected(self) -> Client:
        if self._connection_error:
            raise self._connection_error
        if self._client is None:
            try:
                self._client, self._worker_seen_at = self._connect(), time.monotonic()
            except ComputeError as error:
                self._connection_error = error
                raise
        return self._client

    def _fetch_result(self, future: Future) -> tuple[str, ChunkResult]:
        """Fetch a result. If its worker ended with it, another worker runs the chunk again."""
        while True:
            try:
                result: tuple[str, ChunkResult] = future.result(timeout=SCHEDULER_SECONDS)
            except TimeoutError:
                if future.status == "error":
                    raise  # the TimeoutError is that of the chunk
                self._check()
            else:
                return result

    def _check(self) -> None:
        """Count the workers' threads every few seconds. Raises ComputeError if all are gone."""
        client, now = self._connected(), time.monotonic()
        if now - self._checked_at < CHECK_INTERVAL_SECONDS:
            return
        self._checked_at = now
        self._check_scheduler()
        try:
            n_threads = client.nthreads(callback_timeout=SCHEDULER_SECONDS)
        except OSError as error:  # TimeoutError is one
            raise _scheduler_gone(client, f"{type(error).__name__}: {error}") from error
        self._n_threads = sum(n_threads.values())
        if self._n_threads:
            self._worker_seen_at = now
        elif now - self._worker_seen_at > NO_WORKER_SECONDS:
            raise ComputeError(
                f"The Dask scheduler {client.scheduler.address} has had no worker for"
                f" {NO_WORKER_SECONDS:g} seconds. Folds computed so far are kept. Start a worker"
                f" with: dask worker {client.scheduler.address}"
            )

    def _check_scheduler(self) -> None:
        client = self._connected()
        if client.status != "running":
            raise _scheduler_gone(client, client.status)


def n_workers_here(settings: ComputeSettings) -> int:
    """Return the number of workers on this machine: one for each core of this process."""
    from dask import system

    return settings.workers or int(system.CPU_COUNT)


def _identity(panel: Panel) -> Panel:
    return panel


def _run_on_worker(
    panel: Panel, chunk: WorkChunk, sender: Mapping[str, str]
) -> tuple[str, ChunkResult]:
    from dask.distributed import Reschedule, Status, get_worker

    worker = get_worker()
    task = worker.state.tasks[worker.get_current_task()]

    def is_wanted() -> bool:
        is_closing = worker.status in (Status.closing, Status.closed)
        return not is_closing and task.state != "cancelled"

    try:
        return str(worker.name), run_chunk(panel, chunk, versions=sender, is_wanted=is_wanted)
    except TaskCancelled:
        raise Reschedule from None  # in case that another worker should run it


def _scheduler_gone(client: Client, reason: str) -> ComputeError:
    return ComputeError(
        f"The Dask scheduler {client.scheduler.address} is gone ({reason}). Folds computed so far"
        f" are kept. Run again when it is back, or remove `dask_address` from forecast.toml to"
        f" compute on this machine."
    )
