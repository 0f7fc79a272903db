"""The decorator of the assets: retries, checks, backfill in one run; the retry policy of a step."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.defs import checks
from forecast_assets.errors import ForecastAssetsError, SourceUnavailable, StoreError

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
def fail_fast() -> Iterator[None]:
    """Fail the step at once on Ctrl-C, a termination, or an error that a retry cannot help."""
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise Interrupted("The run was interrupted.") from None
    except ForecastAssetsError as error:
        # The subclasses of StoreError are about versions that a retry would not find either.
        if isinstance(error, SourceUnavailable) or type(error) is StoreError:
            raise
        raise dg.Failure(description=str(error), allow_retries=False) from error


def week_asset(
    *, group: str, kind: str, code_version: str = "1", after: Sequence[str] = ()
) -> Callable[[Callable[..., AssetResult | AssetOutputs]], dg.AssetsDefinition]:
    """Decorate a function that returns an asset's frame, or yields its checks and then the frame.

    A check that is yielded before the function raises is recorded all the same. The asset waits
    for the assets `after`, which the function reads itself.
    """

    def decorate(function: Callable[..., AssetResult | AssetOutputs]) -> dg.AssetsDefinition:
        @functools.wraps(function)
        def run_asset(*args: Any, **kwargs: Any) -> AssetOutputs:
            with fail_fast():
                outputs = function(*args, **kwargs)
                yield from [outputs] if isinstance(outputs, dg.MaterializeResult) else outputs

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
