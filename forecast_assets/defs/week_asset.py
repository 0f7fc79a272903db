"""What every asset of the week has in common: retries, a check of its own, a place in any run."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.defs import checks
from forecast_assets.defs.moment import Moment, moment_of
from forecast_assets.defs.refusal import RETRIES, refusing

Frame = dg.MaterializeResult[pd.DataFrame]
Told = Iterator[dg.AssetCheckResult | Frame]


def week_asset(function: Callable[..., Frame | Told]) -> dg.AssetsDefinition:
    """An asset of the week: retried where that can help, checked, and part of any one run.

    Its function returns the frame. One that may refuse it after its checks yields those first:
    what a step has yielded stays where it fails.
    """

    @functools.wraps(function)
    def refused(*args: Any, **kwargs: Any) -> Told:
        with refusing():
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


def its_moment(context: dg.AssetExecutionContext) -> Moment:
    """The moment of the run that an asset is made in."""
    return moment_of(context.run, context.instance)
