"""Run chunks of a few fits in a child process of this one, without a Dask cluster.

It has the methods of `dask_pool.DaskPool`, which is for many fits.
"""

from collections import deque
from typing import Any

from forecast_assets.backtesting.chunk import ChunkResult, close_idle, run_chunk
from forecast_assets.backtesting.fitting import WorkChunk
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.sandbox import ProcessStartError
from forecast_assets.backtesting.sandbox_main import versions
from forecast_assets.errors import ComputeError


class LocalPool:
    """One worker, which runs a chunk when its result is received."""

    n_workers = 1
    dashboard: str | None = None

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Panel, WorkChunk]] = deque()

    @property
    def n_out(self) -> int:
        """The number of chunks without a result yet."""
        return len(self._waiting)

    def send(self, tag: Any, panel: Panel, chunk: WorkChunk) -> None:
        """Keep a chunk; its result returns with the tag."""
        self._waiting.append((tag, panel, chunk))

    def receive(self, _: float) -> tuple[Any, str, ChunkResult | None, str] | None:
        """Run the next chunk: tag, worker, result and no error; None if there is none."""
        if not self._waiting:
            return None
        tag, panel, chunk = self._waiting.popleft()
        try:
            return tag, "this machine", run_chunk(panel, chunk, versions=versions()), ""
        except ProcessStartError as error:
            raise ComputeError(
                f"No process for models can be started on this machine: {error}. Nothing was"
                f" fitted. Free memory or raise the limit of processes, and try again."
            ) from error

    def close(self) -> None:
        """End the process."""
        self._waiting.clear()
        close_idle()
