"""The workers of a run: chunks go out over Dask, reports come back in the order they are done.

What a chunk is: `chunks`. Which chunks there are: `compute`. How the cluster is made belongs to
whoever hands over `connect`.
"""

import itertools
import os
import queue
import time
import warnings
from collections.abc import Callable
from typing import Any

from forecast_assets.chunks import Chunk, Report, close_idle, run_chunk
from forecast_assets.errors import ComputeError, listed
from forecast_assets.panel import Panel

Client = Any  # of dask.distributed, which is imported where it is needed: it takes half a second
Future = Any

WORKERLESS_SECONDS = 60.0  # a cluster may start its workers late, or replace them
ASKED_EVERY_SECONDS = 2.0
SAME_EVERYWHERE = ("python", "dask", "distributed", "numpy", "pandas")

_numbers = itertools.count()


class Crew:
    """A Dask cluster, connected to when the first chunk is sent and not before.

    Raises ComputeError where the cluster cannot be reached, loses all its workers, or has workers
    that cannot run what they are sent.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._panels: dict[str, Future] = {}
        self._out: dict[Future, Any] = {}
        self._back: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._asked = self._n_workers = 0.0
        self._workers: list[str] = []

    def send(self, tag: Any, panel: Panel, chunk: Chunk) -> None:
        """Send a chunk; its report comes back with the tag. The panel travels once a worker."""
        client = self._opened()
        if panel.digest not in self._panels:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                held = client.submit(_itself, panel, key=f"panel-{panel.digest}")
            self._panels[panel.digest] = held
        name = f"{chunk.question.model.name}-{next(_numbers)}-{os.getpid()}"
        out = client.submit(_reported, self._panels[panel.digest], chunk, key=name, pure=False)
        self._out[out] = tag
        out.add_done_callback(self._back.put)

    @property
    def n_out(self) -> int:
        """How many chunks are out."""
        return len(self._out)

    @property
    def n_workers(self) -> int:
        """How many chunks can run at once; at least 1. Looked up every few seconds."""
        if time.monotonic() - self._asked > ASKED_EVERY_SECONDS:
            self._asked = time.monotonic()
            self._n_workers = sum(self._opened().ncores().values())
        return max(int(self._n_workers), 1)

    def receive(self, timeout: float) -> tuple[Any, str, Report | None, str] | None:
        """Wait for a report: its tag, its worker, itself or why there is none; null after timeout.

        There is none where the worker itself ended, again and again, while it ran the chunk.
        """
        try:
            done = self._back.get(timeout=timeout)
        except queue.Empty:
            self._refuse_if_gone()
            return None
        tag = self._out.pop(done)
        if done.status == "finished":
            worker, report = done.result()
            if report.refused:
                raise ComputeError(_other_versions(worker, report.refused))
            return tag, worker, report, ""
        error = done.exception() if done.status == "error" else None
        if type(error).__name__ == "KilledWorker":
            return tag, "", None, "its worker ended, several times, while it ran"
        raise ComputeError(
            f"The workers could not run a chunk of {done.key}: {error or done.status}. Folds that"
            f" were computed before are kept. See that the workers have this package and its"
            f" libraries in the same versions, and room to start a process; then run again."
        ) from error

    @property
    def dashboard(self) -> str | None:
        """Where Dask shows what its workers do; null before the first chunk and without one."""
        return self._client.dashboard_link if self._client else None

    def close(self) -> None:
        """Let the cluster go: nothing of this run stays on it."""
        if self._client is None:
            return
        client, self._client = self._client, None
        client.cancel([*self._out])
        if client.status == "running":
            client.run(close_idle)
        self._out, self._panels = {}, {}
        client.close()

    def _opened(self) -> Client:
        if self._client is None:
            client = self._connect()
            try:
                client.wait_for_workers(1, timeout=WORKERLESS_SECONDS)
            except TimeoutError as error:
                raise ComputeError(_no_workers(client)) from error
            _refuse_other_versions(client)
            self._client, self._seen = client, time.monotonic()
        return self._client

    def _refuse_if_gone(self) -> None:
        client = self._opened()
        if client.status != "running":
            raise ComputeError(
                f"The Dask scheduler {client.scheduler.address} is gone ({client.status}). Folds"
                f" that were computed before are kept. Run again when it is back, or take"
                f" `dask_address` out of forecast.toml to compute on this machine."
            )
        now = time.monotonic()
        if client.ncores():
            self._seen = now
        elif now - self._seen > WORKERLESS_SECONDS:
            raise ComputeError(_no_workers(client))


def _itself(panel: Panel) -> Panel:
    return panel


def _reported(panel: Panel, chunk: Chunk) -> tuple[str, Report]:
    from dask.distributed import get_worker  # noqa: PLC0415 - a worker has it

    return str(get_worker().name), run_chunk(panel, chunk)


def _no_workers(client: Client) -> str:
    return (
        f"The Dask scheduler {client.scheduler.address} has had no worker for"
        f" {WORKERLESS_SECONDS:g} seconds. Folds that were computed before are kept. Start workers:"
        f" dask worker {client.scheduler.address}"
    )


def _other_versions(worker: str, refused: str) -> str:
    return (
        f"The worker {worker} would answer with other code or libraries than this run's: {refused}."
        f" Its numbers would be kept as if they were the same, so nothing of it was taken. Install"
        f" the same versions there, and run again."
    )


def _refuse_other_versions(client: Client) -> None:
    """Raise ComputeError where a worker's versions are not this process's."""
    told = client.get_versions()
    here = told["client"]["packages"]
    others = [
        f"{address} has {name} {worker['packages'].get(name)}, this run {here[name]}"
        for address, worker in told["workers"].items()
        for name in SAME_EVERYWHERE
        if _version(name, worker["packages"].get(name)) != _version(name, here[name])
    ]
    if others:
        raise ComputeError(
            f"{len(others)} times a Dask worker runs another version than this run:"
            f" {listed(others)}. Results could differ or not come at all, so nothing was sent."
            f" Install the same versions there, and run again."
        )


def _version(name: str, said: str | None) -> str | None:
    """What must be the same of a version: of Python's, the first two numbers."""
    return ".".join(said.split(".")[:2]) if said and name == "python" else said
