"""The logger for a person at a terminal: how the week goes, a line a step."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import dagster as dg

from forecast_assets.backtesting.model_job import Progress

TELLER = "forecast_assets.week"
STDERR = 2


@dg.logger(None, "Tells a person at a terminal how the week goes, a line a step.")
def teller(_: dg.InitLoggerContext) -> logging.Logger:
    """The logger that hands Dagster's events to whoever listens in this process."""
    logger = logging.getLogger(TELLER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


@contextmanager
def console_progress(say: Callable[[str], None]) -> Iterator[None]:
    """Give `say` each line while the block runs."""
    with os.fdopen(os.dup(STDERR), "w") as terminal:  # a step redirects the original
        logger, listener = logging.getLogger(TELLER), _ConsoleHandler(say, terminal)
        logger.addHandler(listener)
        try:
            yield
        finally:
            logger.removeHandler(listener)


def tell_progress(progress: Progress) -> None:
    """Tell whoever listens how far a model is."""
    logging.getLogger(TELLER).debug("%s", progress, extra={"progress": progress})


class _ConsoleHandler(logging.Handler):
    """Turns Dagster's log records into lines: one for each step that ended, each failure whole."""

    def __init__(self, say: Callable[[str], None], terminal: TextIO) -> None:
        super().__init__()
        self._say, self._terminal = say, terminal
        self._bar: Any = None

    def _draw(self, progress: Progress) -> None:
        """Draw the model's bar, on a terminal; it goes when the step's line comes."""
        if not self._terminal.isatty():
            return
        from tqdm import tqdm  # noqa: PLC0415 - only a terminal needs it

        if self._bar is None or self._bar.desc != progress.model:
            self._bar = tqdm(
                total=progress.n_planned,
                desc=progress.model,
                file=self._terminal,
                leave=False,
                bar_format="  {desc:<24} {bar:20} {n_fmt} of {total_fmt} folds{postfix}",
            )
        self._bar.n = progress.n_done
        self._bar.set_postfix_str(
            f"{progress.fits_per_second:.0f} fits/s, {progress.seconds_left:.0f} s left"
        )

    def emit(self, record: logging.LogRecord) -> None:
        progress: Progress | None = getattr(record, "progress", None)
        if progress is not None:
            self._draw(progress)
        event: dg.DagsterEvent | None = getattr(record, "dagster_event", None)
        if event is None:
            return
        if self._bar is not None and (event.is_step_success or event.is_step_failure):
            self._bar.close()
            self._bar = None
        if event.is_step_success:
            seconds = event.step_success_data.duration_ms / 1000
            self._say(f"  {event.step_key:<48} {seconds:6.1f} s")
        elif event.is_step_failure or event.is_step_up_for_retry:
            word = "failed" if event.is_step_failure else "failed, and will be tried again"
            self._say(f"  {event.step_key} {word}: {cause_of(event)}")


def cause_of(event: dg.DagsterEvent) -> str:
    """What a failed step said, or the first cause of what it raised."""
    error = getattr(event.event_specific_data, "error", None)
    said = getattr(event.event_specific_data, "user_failure_data", None)
    if said is not None and said.description:
        return str(said.description)
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "for no stated reason"
