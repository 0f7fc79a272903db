"""The console logger: a progress bar for a model in a terminal, nothing in a file."""

import io
import logging

from forecast_assets.backtesting.model_job import Progress
from forecast_assets.defs.console_logger import LOGGER, _ConsoleHandler, report_progress

HALF_DONE = Progress("theta", n_done=8, n_planned=16, fits_per_second=4.0, seconds_left=2.0)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return that this is a terminal."""
        return True


def output_of_progress(stream: io.StringIO) -> str:
    """Report progress to a handler of the stream, and return what was written."""
    logger, handler = logging.getLogger(LOGGER), _ConsoleHandler(print, stream)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        report_progress(HALF_DONE)
    finally:
        logger.removeHandler(handler)
        handler.close()
    return stream.getvalue()


def test_a_terminal_shows_a_bar_for_the_model_and_a_file_none():
    output = output_of_progress(Terminal())
    assert "theta" in output
    assert "8 of 16 folds, 4 fits/s" in output
    assert output_of_progress(io.StringIO()) == ""
