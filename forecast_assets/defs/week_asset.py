"""What every asset of the week has in common: retries, a check of its own, a place in any run."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.defs import checks
from forecast_assets.defs.moment import Moment, moment_of
from forecast_assets.defs.refusal import RETRIES, refusing

Frame = dg.MaterializeResult[pd.DataFrame]


def week_asset(function: Callable[..., Frame]) -> dg.AssetsDefinition:
    """An asset of the week: retried where that can help, checked, and part of any one run."""

    @functools.wraps(function)
    def refused(*args: Any, **kwargs: Any) -> Frame:
        with refusing():
            return function(*args, **kwargs)

    # Beside a check Dagster takes this annotation for a tuple's; without one it takes any value.
    signature = inspect.signature(function)
    refused.__signature__ = signature.replace(return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
    check = checks.CHECKS.get(function.__name__)
    asset: dg.AssetsDefinition = dg.asset(
        retry_policy=RETRIES,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[check] if check else None,
    )(refused)
    return asset


def its_moment(context: dg.AssetExecutionContext) -> Moment:
    """The moment of the run that an asset is made in."""
    return moment_of(context.run, context.instance)
