"""Dagster assets of the groups `forecast` and `report`: what people read.

The choice of models is in `backtest_assets`.
"""

import functools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import dagster as dg
import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import with_is_filled
from forecast_assets.defs import benchmarks, checks, notifications
from forecast_assets.defs.asset_decorator import AssetOutputs, AssetResult, week_asset
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.metadata import (
    asset_result,
    first_rows,
    svg_metadata,
    with_intervals,
)
from forecast_assets.defs.runs import (
    HELD_TAG,
    RunContext,
    accepted_version,
    now,
    run_context_of,
)
from forecast_assets.defs.schedules import last_tick, refuse_withdrawn
from forecast_assets.errors import DataError, VersionPrunedError
from forecast_assets.forecasting import forecast, held_forecast, live_accuracy, moves, overrides
from forecast_assets.reporting import plots, stored_weeks
from forecast_assets.storage import tables
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import BACKTEST
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import CHOSEN
from forecast_assets.storage.versions import (
    latest_per_content,
    newest,
    resolve_inputs,
    valid_versions,
)


@week_asset(group="forecast", kind="numpy", code_version="2")
def next_week_forecast(
    context: dg.AssetExecutionContext,
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    backtest_predictions: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    compute: dg.ResourceParam[BacktestExecutor],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetOutputs:
    """Forecast next week's value of every series by its chosen model; held back if implausible."""
    run = run_context_of(context.run, context.instance)
    refuse_withdrawn(context.run, run.as_of, store, settings)
    week = forecast.forecast(
        best_model,
        series,
        backtest_predictions,
        settings,
        executor=compute,
        as_of=run.as_of,
        made_at=run.made_at,
    )
    table, levels = store.tables["next_week_forecast"], settings.forecast.levels
    policy = settings.data_quality.implausible_forecast
    version = table.data_version(table.arrange(week.rows))
    accepted = accepted_version(context.run, context.instance)
    is_accepted = version in {accepted, *_versions_before(store, run)} if week.is_held else True
    if week.is_held and not is_accepted and not inputs.is_replay:
        sources = _inputs(store, settings, run)
        held_forecast.write_held(store, week.rows, run.runs[0], as_of=run.as_of, inputs=sources)
        context.instance.add_run_tags(context.run.run_id, {HELD_TAG: version})
        yield checks.champions_used(week.rows, best_model, policy=policy, is_held=True)
        raise DataError(held_forecast.hold_message(week.rows, best_model, data_version=version))
    published = week.rows if week.is_held else week.published
    before = moves.previous_forecast(store, week=tables.target_week(published), as_of=run.as_of)
    moved = moves.with_moves(published, week.newest_folds, before, settings)
    rows = overrides.with_overrides(moved, store)
    is_given = "override" in rows and bool(rows["override"].notna().any())
    given = ["override"] if is_given else []
    intervals = [f"{column_suffix(level)} %" for level in levels]
    columns = ["unique_id", "y_hat", *given, *intervals][:4]
    fan_chart = plots.draw_forecast(rows, series, levels=levels)
    yield asset_result(
        table,
        rows,
        {
            "forecast_plot": svg_metadata(fan_chart, alt="each series and its forecast"),
            "rows": first_rows(with_intervals(rows, levels)[columns]),
            "week": str(tables.target_week(rows)),
            "n_series": rows["unique_id"].nunique(),
            "n_not_champion": int((~rows["rung"].isin(CHOSEN)).sum()),
            "n_left_out": best_model["unique_id"].nunique() - rows["unique_id"].nunique(),
            **({"n_overridden": int(rows["override"].notna().sum())} if given else {}),
            **_reconciliation(week.reconciliation),
            **_moves(rows),
        },
        check=checks.champions_used(rows, best_model, policy=policy),
    )


def _reconciliation(evidence: pd.DataFrame | None) -> dict[str, dg.MetadataValue]:
    """Return the past errors by level, and the method they speak for; empty without totals."""
    return {} if evidence is None else {"reconciliation": first_rows(evidence)}


def _moves(rows: pd.DataFrame) -> dict[str, dg.MetadataValue]:
    """Return the three largest parts of what moved the forecasts, the furthest first."""
    largest = moves.largest_moves(rows)
    size = largest[[name for name in moves.COLUMNS if name != moves.MOVED_FROM]].abs().sum()
    parts = size[size > 0].sort_values(ascending=False).index[:3]
    table = first_rows(largest[["unique_id", "change", *parts]])
    return {} if largest.empty else {"what_moved": table}


def _versions_before(store: Store, run: RunContext) -> list[str]:
    """Return the data version of the forecast before, as its models made it.

    What was accepted once is not held again in a rerun of the same week.
    """
    before = newest(valid_versions(store, tables.FORECAST, as_of=run.as_of))
    if before is None:
        return []
    table = store.tables[tables.FORECAST]
    rows = store.read([before]).reindex(columns=table.names)
    return [table.data_version(table.arrange(overrides.without_overrides(rows)))]


def _inputs(store: Store, settings: Settings, run: RunContext) -> list[Commit]:
    """Return the versions that this run's forecast is made from."""
    partitions = {"best_model": None, "series": None, BACKTEST: sorted(settings.models.enabled)}
    return [
        commit
        for asset, names in partitions.items()
        for commit in resolve_inputs(store, asset, partitions=names, runs=run.runs, as_of=run.as_of)
    ]


def build_forecast_accuracy(*, after: Sequence[str] = ()) -> dg.AssetsDefinition:
    """Build the asset `forecast_accuracy`, which waits for the assets `after`."""
    decorate = week_asset(group="forecast", kind="pandas", code_version="2", after=after)
    return decorate(forecast_accuracy)


def forecast_accuracy(
    context: dg.AssetExecutionContext,
    next_week_forecast: pd.DataFrame,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """Compare every published forecast whose week is over with the actual value."""
    run = run_context_of(context.run, context.instance)
    as_of = run.as_of
    forecasts, scores = (
        [commit for commit in valid_versions(store, asset) if commit.as_of < as_of]
        for asset in ("next_week_forecast", "forecast_accuracy")
    )
    published = [
        store.read([commit]).assign(series_version=source.version if source else np.nan)
        for commit in latest_per_content(forecasts)
        for source in [commit.input_of("series")]
    ]
    previous = newest(scores)
    levels = settings.forecast.levels
    rows = pd.concat([*published, next_week_forecast], ignore_index=True)
    own = live_accuracy.score_published(
        rows,
        series,
        levels=levels,
        before=_scores_of(store, previous, settings) if previous else None,
        read_version=functools.partial(_read_series, store),
    )
    scored = benchmarks.with_benchmarks(own, rows, settings, store, run)
    problems = benchmarks.find_problems(scored, series, settings, store, run)
    summarize = functools.partial(live_accuracy.summary, scored, series, levels=levels)
    overall = summarize().drop(columns=["of", "n"]).dropna(axis="columns").to_dict("records")
    by_quarter = live_accuracy.rolling_summary(scored, series, levels=levels)
    check = live_accuracy.check_accuracy(scored, series, levels=levels)
    return asset_result(
        store.tables["forecast_accuracy"],
        scored,
        {
            "n_forecasts_due": len(scored),
            **{f"live_{name}": value for row in overall for name, value in row.items()},
            "by_series": first_rows(summarize(by="unique_id")),
            "by_model": first_rows(summarize(by="model")),
            **_by_person(scored, series),
            **benchmarks.comparison_metadata(scored, series, settings),
            "rolling_quarter": first_rows(by_quarter),
            "rows": first_rows(
                scored.sort_values("ds", ascending=False, kind="stable"),
                ["unique_id", "ds", "y", "y_hat", "error"],
            ),
        },
        check=checks.intervals_and_skill(check, benchmarks=problems),
    )


def _by_person(scored: pd.DataFrame, series: pd.DataFrame) -> dict[str, dg.MetadataValue]:
    """Return the comparison of people with the models that they overrode; empty without any."""
    people = overrides.override_summary(scored, live_accuracy.weekly_change(series))
    return {} if people.empty else {"by_person": first_rows(people)}


def _read_series(store: Store, version: int) -> pd.DataFrame | None:
    """Return the values of a version of `series`, None if they were pruned."""
    with suppress(VersionPrunedError):
        commit = store.history("series")[version]
        return store.read([commit], columns=["unique_id", "ds", "y"])
    return None


def _scores_of(store: Store, commit: Commit, settings: Settings) -> pd.DataFrame:
    """Return a version of forecast_accuracy, without the filled weeks that version 0.1 scored."""
    scores, source = store.read([commit]), commit.input_of("series")
    if commit.code_version != "1" or source is None:
        return scores
    series = with_is_filled(store.read([store.commit(source)]), settings)
    return scores.merge(series.loc[~series["is_filled"], ["unique_id", "ds"]])


@week_asset(group="report", kind="html")
def weekly_report(
    context: dg.AssetExecutionContext,
    next_week_forecast: pd.DataFrame,
    best_model: pd.DataFrame,
    metrics: pd.DataFrame,
    series: pd.DataFrame,
    forecast_accuracy: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetOutputs:
    """Report the week on pages for readers without this UI, and send them its first page."""
    run = run_context_of(context.run, context.instance)
    tables_read = {
        "next_week_forecast": next_week_forecast,
        "best_model": best_model,
        "metrics": metrics,
        "series": series,
        "forecast_accuracy": forecast_accuracy,
    }
    sources = {
        asset: resolve_inputs(store, asset, partitions=None, runs=run.runs, as_of=run.as_of)[0]
        for asset in ("next_week_forecast", "series")
    }
    report = stored_weeks.compose(store, settings, tables_read, sources)
    problems = benchmarks.find_problems(report.accuracy, series, settings, store, run)
    week = notifications.with_problems(replace(report, benchmark_problems=problems), settings)
    folder_name = f"{tables.target_week(next_week_forecast)}_{context.run.run_id[:8]}"
    folder = f"reports/{folder_name}"
    # Not the run's start: a run that re-executes another may have begun weeks ago.
    at = now()
    pages = stored_weeks.write_pages(
        store, settings, week, folder=folder, as_of=run.as_of, now=at, has_site=not inputs.is_replay
    )
    files = [pages.files]
    addressed: Sequence[notifications.Addressed] = ()
    # The report of a past week is not sent.
    if run.as_of >= last_tick(settings, until=at):
        addressed, partial = notifications.report_notifications(
            week,
            store,
            settings,
            folder=folder,
            version=sources["next_week_forecast"].data_version,
            has_files=len(pages.files) > 0,
        )
        files += partial
    places = {
        "report": dg.MetadataValue.url(settings.report.link_to(f"{folder_name}/report.html")),
        "file": dg.MetadataValue.path(store.var / folder / "report.html"),
    }
    yield checks.pages_written(pages.problems)
    yield asset_result(
        store.tables["weekly_report"],
        pd.concat(files, ignore_index=True),
        {
            **(places if len(pages.files) else {}),
            "report_text": dg.MetadataValue.md(pages.texts["report.md"]),
        },
        check=notifications.send_reports(addressed, settings, now=at),
    )
