"""Assets that people read: the forecast, how the past ones turned out, and the report.

What comes before them: `assets`.
"""

import functools

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.baseline import evaluate_stored
from forecast_assets.defs import checks, notifications
from forecast_assets.defs.asset_decorator import AssetResult, run_context, week_asset
from forecast_assets.defs.metadata import asset_result, columns_first, first_rows, svg_metadata
from forecast_assets.defs.runs import now
from forecast_assets.defs.schedules import last_tick
from forecast_assets.forecasting import forecast, live_accuracy
from forecast_assets.reporting import plots, render, summary
from forecast_assets.storage import tables
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import CHAMPION, interval_columns
from forecast_assets.storage.versions import latest_per_content, newest, resolve_inputs


@week_asset
def next_week_forecast(
    context: dg.AssetExecutionContext,
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    backtest_predictions: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    compute: dg.ResourceParam[BacktestExecutor],
) -> AssetResult:
    """Next week's value of every series, with intervals, and the model that made it."""
    moment = run_context(context)
    made = forecast.forecast(
        best_model,
        series,
        backtest_predictions,
        settings,
        executor=compute,
        as_of=moment.as_of,
        made_at=moment.made_at,
    )
    ends = interval_columns(settings.forecast.levels)
    fan = plots.draw_forecast(made, series, levels=settings.forecast.levels)
    return asset_result(
        store.tables["next_week_forecast"],
        made,
        {
            "forecast_plot": svg_metadata(fan, alt="every series' last half year and its forecast"),
            "rows": first_rows(
                columns_first(made.drop(columns="members"), ["unique_id", "y_hat", "model", *ends])
            ),
            "week": str(tables.target_week(made)),
            "n_series": made["unique_id"].nunique(),
            "n_forecasts_not_by_champion": int((made["rung"] != CHAMPION).sum()),
        },
        check=checks.champions_forecast(made),
    )


@week_asset
def forecast_accuracy(
    context: dg.AssetExecutionContext,
    next_week_forecast: pd.DataFrame,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """Every forecast published so far whose week is over, against what came."""
    as_of = run_context(context).as_of
    known = [one for one in store.history("next_week_forecast") if one.as_of < as_of]
    published_before = [store.read([commit]) for commit in latest_per_content(known)]
    scores_before = newest(one for one in store.history("forecast_accuracy") if one.as_of < as_of)
    levels = settings.forecast.levels
    scored = live_accuracy.score_published(
        pd.concat([*published_before, next_week_forecast], ignore_index=True),
        series,
        levels=levels,
        before=store.read([scores_before]) if scores_before else None,
    )
    told = functools.partial(live_accuracy.summary, scored, series, levels=levels)
    over_all = told().drop(columns=["of", "n"]).dropna(axis="columns").to_dict("records")
    return asset_result(
        store.tables["forecast_accuracy"],
        scored,
        {
            "n_forecasts_due": len(scored),
            **{f"live_{name}": value for one in over_all for name, value in one.items()},
            "by_series": first_rows(told(by="unique_id")),
            "by_model": first_rows(told(by="model")),
            "rolling_quarter": first_rows(
                live_accuracy.rolling_summary(scored, series, levels=levels)
            ),
            "rows": first_rows(scored.sort_values("ds", ascending=False, kind="stable")),
        },
        check=checks.live_forecasts_keep_their_promise(
            live_accuracy.check_accuracy(scored, series, levels=levels)
        ),
    )


@week_asset
def weekly_report(
    context: dg.AssetExecutionContext,
    next_week_forecast: pd.DataFrame,
    best_model: pd.DataFrame,
    metrics: pd.DataFrame,
    series: pd.DataFrame,
    forecast_accuracy: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """The week on one page, for people who never open this one; sent to whom it concerns."""
    moment = run_context(context)
    commit, data = (
        resolve_inputs(store, asset, partitions=None, runs=moment.runs, as_of=moment.as_of)[0]
        for asset in ("next_week_forecast", "series")
    )
    week = notifications.with_problems(
        summary.WeeklyReport(
            forecast=next_week_forecast,
            series=series,
            best_model=best_model,
            metrics=metrics,
            accuracy=forecast_accuracy,
            levels=settings.forecast.levels,
            run_id=context.run.run_id,
            units=settings.series.units,
            findings=evaluate_stored(store, data, settings),
            made_from=f"next_week_forecast {commit.version}, made from {commit.made_from}",
        ),
        settings,
    )
    folder = f"reports/{tables.target_week(next_week_forecast)}_{context.run.run_id[:8]}"
    texts = render.render(week)
    files = [store.write_report_files(folder, texts)]
    at = now()  # a run that carries on an older one began long ago
    if moment.as_of >= last_tick(settings, until=at):  # a replay is news to nobody
        files += notifications.send_report(
            week, store, settings, folder=folder, version=commit.data_version, at=at
        )
    return asset_result(
        store.tables["weekly_report"],
        pd.concat(files, ignore_index=True),
        {
            "report": dg.MetadataValue.path(store.var / folder / "report.html"),
            "report_text": dg.MetadataValue.md(texts["report.md"]),
        },
        check=checks.everyone_was_told(notifications.undelivered(settings, at=at)),
    )


PUBLICATION = (next_week_forecast, forecast_accuracy, weekly_report)
