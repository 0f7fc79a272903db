"""Dagster assets of the group `data`: the source's rows, and the weekly series made of them.

`build` adds the contracts, in the same way for all assets.
"""

from random import Random

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data import weekly
from forecast_assets.data.hierarchy import check_children, is_computed
from forecast_assets.data.quality.evaluate import (
    blocking,
    evaluate,
    hold_message,
    published_line,
)
from forecast_assets.data.quality.stored_versions import (
    is_same_fetch,
    previous_rows,
    previous_series,
    write_findings,
)
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.defs import checks
from forecast_assets.defs.asset_decorator import AssetOutputs, AssetResult, week_asset
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.metadata import asset_result, first_rows, svg_metadata
from forecast_assets.defs.run_config import (
    refuse_before_data,
    refuse_empty_range,
    report_refusal,
)
from forecast_assets.defs.runs import HELD_TAG, accepted_version, now, run_context_of
from forecast_assets.errors import DataError
from forecast_assets.reporting import plots
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import future_forecasts, resolve_inputs


@week_asset(group="data", kind="pandas")
def raw_data(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetResult:
    """Fetch the source's rows, mapped to `unique_id, ds, y` and otherwise as they came."""
    as_of = run_context_of(context.run, context.instance).as_of
    with report_refusal(context.run, context.instance):  # before anything is written
        refuse_before_data(as_of, store)
        refuse_empty_range(context.run, settings.models.enabled)
    before = previous_rows(store, settings, as_of=as_of)
    rng = Random(context.run.run_id)  # noqa: S311 - spreads the waits between retries
    notes: list[str] = []
    request = FetchRequest(
        settings, as_of, previous=before, log=context.log.warning, note=notes.append, rng=rng
    )
    rows = inputs.fetch(request)
    if read_as := "; ".join(dict.fromkeys(notes)):
        context.log.info(f"How the source is read: {read_as}.")
    aside = rows.loc[rows["problem"].notna(), ["problem", "given"]]
    return asset_result(
        store.tables["raw_data"],
        rows,
        {
            "source": fetch.display_name(settings),
            **({"read_as": read_as} if read_as else {}),
            "n_series": rows["unique_id"].nunique(),
            "first": str(rows["ds"].min().date()),
            "last": str(rows["ds"].max().date()),
            "n_set_aside": len(aside),
            **({"set_aside": first_rows(aside)} if len(aside) else {}),
        },
    )


@week_asset(group="data", kind="pandas", code_version="3")
def series(
    context: dg.AssetExecutionContext,
    raw_data: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetOutputs:
    """One value for each series and finished week, without gaps; held back if implausible."""
    run = run_context_of(context.run, context.instance)
    as_of = run.as_of
    weeks = weekly.to_weeks(raw_data, settings, as_of=as_of)
    check_children(weeks.frame, settings.hierarchy)
    before = previous_series(store, settings, as_of=as_of, runs=run.runs)
    future = [commit.as_of for commit in future_forecasts(store, now=now())]
    findings = evaluate(raw_data, weeks.frame, before, settings, as_of=as_of, future=future)
    (rows,) = resolve_inputs(store, "raw_data", partitions=None, runs=run.runs, as_of=as_of)
    write_findings(store, findings, fetch=rows, run_id=context.run.run_id, as_of=as_of)
    accepted = accepted_version(context.run, context.instance)
    is_accepted = bool(blocking(findings)) and (
        inputs.is_replay
        or is_same_fetch(store, rows, weeks.frame, settings, data_version=accepted, as_of=as_of)
    )
    yield checks.long_enough(weeks.frame, horizon=settings.backtest.horizon)
    yield from checks.data_checks(findings, is_accepted=is_accepted)
    if blocking(findings) and not is_accepted:
        context.instance.add_run_tags(context.run.run_id, {HELD_TAG: rows.data_version})
        raise DataError(hold_message(findings, data_version=rows.data_version))
    n_totals = int(weeks.frame["unique_id"][is_computed(weeks.frame)].nunique())
    plot = plots.draw_series(weeks.frame, excluded=settings.series.excluded)
    yield asset_result(
        store.tables["series"],
        weeks.frame,
        {
            "series_plot": svg_metadata(plot, alt="every series"),
            "rows": first_rows(weeks.frame.groupby("unique_id").tail(1)),
            "n_series": weeks.frame["unique_id"].nunique(),
            **({"n_totals": n_totals} if n_totals else {}),
            "last_week": str(weeks.frame["ds"].max().date()),
            "n_filled": weeks.n_filled,
            **({"n_excluded": weeks.n_excluded} if weeks.n_excluded else {}),
            "n_partial": weeks.n_partial,
            "n_left_out": weeks.n_left_out,
            "n_unfinished": weeks.n_unfinished,
            "data_quality": published_line(findings),
        },
    )
