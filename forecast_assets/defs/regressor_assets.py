"""Dagster asset `regressors` of the group `data`, where the settings have `[regressors.NAME]`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.folds import latest_folds, plan
from forecast_assets.backtesting.regressor_folds import with_regressors
from forecast_assets.backtesting.regressor_problems import RegressorProblem, find_problems
from forecast_assets.config.settings import Settings
from forecast_assets.data.hierarchy import is_computed
from forecast_assets.data.regressors import Previous, changed_values, read_regressors
from forecast_assets.data.vintages import week_ticks
from forecast_assets.defs import checks
from forecast_assets.defs.asset_decorator import AssetOutputs, week_asset
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.metadata import asset_result, first_rows
from forecast_assets.defs.runs import now, run_context_of
from forecast_assets.defs.schedules import next_tick
from forecast_assets.errors import DataError
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest, valid_versions


@week_asset(group="data", kind="pandas")
def regressors(
    context: dg.AssetExecutionContext,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetOutputs:
    """Read what is known of each week, and since when; refuse missing values."""
    as_of, log = run_context_of(context.run, context.instance).as_of, context.log.warning
    stores = inputs.vintage_stores if inputs.is_replay else None
    table = read_table(
        settings, stores[-1] if stores else store, as_of=as_of, is_replay=inputs.is_replay, log=log
    )
    problems = problems_of(table, series, settings)
    yield checks.known_ahead(problems)
    if blocking := [problem for problem in problems if problem.is_blocking]:
        raise DataError(_missing_message(blocking))
    for problem in problems:
        log(problem.text)
    yield asset_result(
        store.tables[REGRESSORS],
        table,
        {
            "rows": first_rows(table.drop_duplicates("regressor", keep="last")),
            "n_regressors": table["regressor"].nunique(),
            "n_changed": len(changed_values(table)),
        },
    )


def read_table(
    settings: Settings,
    store: Store,
    *,
    as_of: datetime,
    is_replay: bool = False,
    log: Callable[[str], None],
) -> pd.DataFrame:
    """Read the table `regressors` as known at a time, knowing what the runs of a store read.

    A replay, and a week that is older than the newest version, reads what these runs saw by then
    and no later change. Raises SourceError and DataError.
    """
    last = newest(valid_versions(store, REGRESSORS, as_of=now()))
    return read_regressors(
        settings,
        as_of=as_of,
        before=Previous(store.read([last]), last.as_of) if last else None,
        changed_at=now() if is_replay or (last and last.as_of > as_of) else None,
        log=log,
    )


def problems_of(
    table: pd.DataFrame, series: pd.DataFrame, settings: Settings
) -> list[RegressorProblem]:
    """Find what is wrong with the table `regressors` for the folds of the series and the future."""
    folds, latest = with_regressors(
        plan(series, settings.backtest),
        latest_folds(series),
        settings,
        table=table,
        week_ticks=partial(week_ticks, settings=settings, next_tick=partial(next_tick, settings)),
    )
    is_sum = set(series["unique_id"][is_computed(series)])  # which has no regressors of its own
    folds, latest = ([f for f in each if f.unique_id not in is_sum] for each in (folds, latest))
    return find_problems(folds, latest, table, settings)


def _missing_message(problems: Sequence[RegressorProblem]) -> str:
    texts = " ".join(problem.text for problem in problems)
    names = sorted({problem.regressor.partition(".")[0] for problem in problems})
    settings = ", ".join(f'`regressors.{name}.fallback = "without"`' for name in names)
    return (
        f"{texts} No model ran, and the forecast stays as it was. Deliver the values and run the"
        f" week again, or set {settings} to publish without them until they are there."
    )
