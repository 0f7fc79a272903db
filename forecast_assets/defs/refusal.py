"""Failures: which errors end a step at once, and which are worth its retries."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from forecast_assets.errors import ForecastAssetsError, SourceUnavailable, StoreError

RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
# The second try comes after about 2 seconds, the third after about 4 more.


class Interrupted(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """Ends the run. Dagster would take an interrupt for a reason to try the step again."""


@contextmanager
def refusing() -> Iterator[None]:
    """End the step at once on an error that trying again cannot mend; let the others through.

    A Ctrl-C, or a termination from the UI, ends the run.
    """
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise Interrupted("The run was interrupted.") from None
    except ForecastAssetsError as error:
        if _may_pass(error):
            raise
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _may_pass(error: ForecastAssetsError) -> bool:
    return isinstance(error, SourceUnavailable) or type(error) is StoreError
