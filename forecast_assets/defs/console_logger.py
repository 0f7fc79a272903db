"""The Dagster logger of a run in this process: a line for each step, a progress bar for each model.

The UI's log is Dagster's own.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import dagster as dg

from forecast_assets.backtesting.model_job import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as ProgressBar

LOGGER = "forecast_assets.week"
STDERR = 2


@dg.logger(None, "Shows the progress of a run in a terminal, a line for each step.")
def console_progress_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger that passes Dagster's events to the handler of `console_progress`."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


@contextmanager
def console_progress(write_line: Callable[[str], None]) -> Iterator[None]:
    """Call `write_line` with a line for each step that ends while the block runs."""
    # A copy of the terminal's descriptor: Dagster redirects the original while a step runs.
    with os.fdopen(os.dup(STDERR), "w") as terminal:
        logger, handler = logging.getLogger(LOGGER), _ConsoleHandler(write_line, terminal)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()


def report_progress(progress: Progress) -> None:
    """Show a model's progress where `console_progress` is active."""
    logging.getLogger(LOGGER).debug("%s", progress, extra={"progress": progress})


class _ConsoleHandler(logging.Handler):
    """Turn log records into lines, and into a progress bar where the output is a terminal."""

    def __init__(self, write_line: Callable[[str], None], terminal: TextIO) -> None:
        super().__init__()
        self._write_line, self._terminal = write_line, terminal
        self._bar: ProgressBar | None = None

    def emit(self, record: logging.LogRecord) -> None:
        progress: Progress | None = getattr(record, "progress", None)
        if progress is not None and self._terminal.isatty():
            self._draw(progress)
        event: dg.DagsterEvent | None = getattr(record, "dagster_event", None)
        if event is None:
            return
        if event.is_step_success:
            self._clear()
            seconds = event.step_success_data.duration_ms / 1000
            self._write_line(f"  {event.step_key:<48} {seconds:6.1f} s")
        elif event.is_step_failure or event.is_step_up_for_retry:
            self._clear()
            outcome = "failed" if event.is_step_failure else "failed and will be retried"
            self._write_line(f"  {event.step_key} {outcome}: {failure_cause(event)}")

    def close(self) -> None:
        """Remove the bar and end the handler."""
        self._clear()
        super().close()

    def _draw(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import Progress as ProgressBar

        if self._bar is None:
            console = Console(file=self._terminal)
            self._bar = ProgressBar(
                console=console, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._task = self._bar.add_task("", total=progress.n_planned)
            self._bar.start()
        done = f"{progress.n_done} of {progress.n_planned} folds"
        self._bar.update(
            self._task,
            description=f"  {progress.model:<24} {done}, {progress.fits_per_second:.0f} fits/s",
            completed=progress.n_done,
            total=progress.n_planned,
        )

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def failure_cause(event: dg.DagsterEvent) -> str:
    """Return the description of a step's failure, or the message of its first cause."""
    failure = getattr(event.event_specific_data, "user_failure_data", None)
    if failure is not None and failure.description:
        return str(failure.description)
    error = getattr(event.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no reason was given"
