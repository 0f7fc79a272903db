"""The decorator of the assets: retries, checks, backfill in one run; the retry policy of a step."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.defs import checks
from forecast_assets.defs.metadata import past_week_note
from forecast_assets.errors import (
    DeliveryUnavailable,
    ForecastAssetsError,
    SourceUnavailable,
    StoreError,
)

OWNER = "team:forecast"
# The second attempt follows about 2 s after the first, the third about 4 s later.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

AssetResult = dg.MaterializeResult[pd.DataFrame]
AssetOutputs = Iterator[dg.AssetCheckResult | AssetResult]


class Interrupted(dg.DagsterError, dg.DagsterExecutionInterruptedError):
    """End the run. Dagster would retry the step after an interrupt."""


@contextmanager
def fail_fast(*, n_retries: int = 0) -> Iterator[None]:
    """Fail the step at once on Ctrl-C, a termination, or an error that a retry cannot help.

    After the last retry, `n_retries`, it also fails with the message of the error, which the UI
    shows above its traceback.
    """
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise Interrupted("The run was interrupted.") from None
    except ForecastAssetsError as error:
        # The subclasses of StoreError are about versions that a retry would not find either.
        can_pass = isinstance(error, SourceUnavailable | DeliveryUnavailable)
        can_pass = can_pass or type(error) is StoreError
        if can_pass and n_retries < RETRIES.max_retries:
            raise
        raise dg.Failure(description=str(error), allow_retries=False) from None


def week_asset(
    *, group: str, kind: str, code_version: str = "1", after: Sequence[str] = ()
) -> Callable[[Callable[..., AssetResult | AssetOutputs]], dg.AssetsDefinition]:
    """Decorate a function that returns an asset's frame, or yields its checks and then the frame.

    A check that is yielded before the function raises is recorded all the same. The asset waits
    for the assets `after`, which the function reads itself. Metadata of a past week begin with a
    note that it is none of the newest.
    """

    def decorate(function: Callable[..., AssetResult | AssetOutputs]) -> dg.AssetsDefinition:
        @functools.wraps(function)
        def run_asset(*args: Any, **kwargs: Any) -> AssetOutputs:
            context, store = args[0], kwargs["store"]
            with fail_fast(n_retries=context.retry_number):
                outputs = function(*args, **kwargs)
                for output in [outputs] if isinstance(outputs, dg.MaterializeResult) else outputs:
                    if isinstance(output, dg.MaterializeResult):
                        note = past_week_note(
                            function.__name__, context.run, context.instance, store
                        )
                        yield output._replace(metadata={**note, **(output.metadata or {})})
                    else:
                        yield output

        # With checks Dagster reads this annotation as that of a tuple of outputs.
        signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
        run_asset.__signature__ = signature  # type: ignore[attr-defined]
        asset: dg.AssetsDefinition = dg.asset(
            deps=after,
            group_name=group,
            kinds={"deltalake", kind},
            owners=[OWNER],
            code_version=code_version,
            retry_policy=RETRIES,
            backfill_policy=dg.BackfillPolicy.single_run(),
            check_specs=checks.specs_of(function.__name__),
        )(run_asset)
        return asset

    return decorate
