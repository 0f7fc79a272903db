"""What every asset of the week has in common: retries, a check of its own, a place in any run."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.defs import checks
from forecast_assets.defs.runs import RunContext, run_context_of
from forecast_assets.errors import ForecastAssetsError, SourceUnavailable, StoreError

RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
# The second try comes after about 2 seconds, the third after about 4 more.


class Interrupted(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """Ends the run. Dagster would take an interrupt for a reason to try the step again."""


@contextmanager
def fail_fast() -> Iterator[None]:
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


AssetResult = dg.MaterializeResult[pd.DataFrame]
AssetOutputs = Iterator[dg.AssetCheckResult | AssetResult]


def week_asset(function: Callable[..., AssetResult | AssetOutputs]) -> dg.AssetsDefinition:
    """An asset of the week: retried where that can help, checked, and part of any one run.

    Its function returns the frame. One that may refuse it after its checks yields those first:
    what a step has yielded stays where it fails.
    """

    @functools.wraps(function)
    def refused(*args: Any, **kwargs: Any) -> AssetOutputs:
        with fail_fast():
            made = function(*args, **kwargs)
            yield from [made] if isinstance(made, dg.MaterializeResult) else made

    # Beside a check Dagster takes this annotation for a tuple's; without one it takes any value.
    signature = inspect.signature(function)
    refused.__signature__ = signature.replace(return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
    asset: dg.AssetsDefinition = dg.asset(
        retry_policy=RETRIES,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=checks.specs_of(function.__name__),
    )(refused)
    return asset


def run_context(context: dg.AssetExecutionContext) -> RunContext:
    """The moment of the run that an asset is made in."""
    return run_context_of(context.run, context.instance)
