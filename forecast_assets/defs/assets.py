"""Assets: the unpartitioned tables of the week, each one pure call and what a person wants to see.

The backtest, a graph of a step for each model: `bake_off`. Contracts, owners and groups are filled
in by `build`, the same way for all.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets import accuracy, fans, pictures, report, selection, sources, standings
from forecast_assets import forecast as forecasting
from forecast_assets import metrics as scoring
from forecast_assets import series as weekly
from forecast_assets.commits import distinct, newest
from forecast_assets.compute import Compute
from forecast_assets.defs import checks
from forecast_assets.defs.metadata import first_rows, picture, published
from forecast_assets.defs.moment import Moment, moment_of
from forecast_assets.defs.refusal import RETRIES, refusing
from forecast_assets.ladder import CHAMPION
from forecast_assets.settings import Settings
from forecast_assets.store import Store
from forecast_assets.tables import interval_columns
from forecast_assets.versions import earlier

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


def _moment(context: dg.AssetExecutionContext) -> Moment:
    return moment_of(context.run, context.instance)


@week_asset
def raw_data(settings: dg.ResourceParam[Settings], store: dg.ResourceParam[Store]) -> Frame:
    """The source's rows as published: mapped to `unique_id, ds, y`, nothing else changed."""
    rows = sources.fetch(settings)
    return published(
        store.tables["raw_data"],
        rows,
        {
            "source": sources.described(settings),
            "n_series": rows["unique_id"].nunique(),
            "first": str(rows["ds"].min().date()),
            "last": str(rows["ds"].max().date()),
        },
    )


@week_asset
def series(
    context: dg.AssetExecutionContext,
    raw_data: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Frame:
    """One value for each series and finished week, without gaps."""
    weeks = weekly.to_weeks(raw_data, settings, as_of=_moment(context).as_of)
    return published(
        store.tables["series"],
        weeks.frame,
        {
            "series_plot": picture(pictures.draw_series(weeks.frame), alt="every series"),
            "rows": first_rows(weeks.frame.groupby("unique_id").tail(1)),
            "n_series": weeks.frame["unique_id"].nunique(),
            "last_week": str(weeks.frame["ds"].max().date()),
            "n_weeks_filled": weeks.n_filled,
            "n_rows_of_unfinished_weeks": weeks.n_unfinished,
        },
        check=checks.series_can_be_backtested(weeks.frame, horizon=settings.backtest.horizon),
    )


@week_asset
def metrics(
    backtest_predictions: pd.DataFrame,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Frame:
    """Every candidate's scores on every series: of models that forecast every planned fold."""
    evidence = scoring.gather(backtest_predictions, series, settings)
    measured = scoring.measure(evidence, settings)
    scores = scoring.table(evidence, measured, series, settings)
    metric = settings.selection.metric
    together = standings.over_all(
        evidence, measured, metric=metric, overlap=settings.backtest.behind
    )
    means = together.set_index("model")[metric].dropna()
    return published(
        store.tables["metrics"],
        scores,
        {
            "score_plot": picture(pictures.draw_scores(scores, metric=metric), alt=metric),
            "rows": first_rows(_leaderboard(scores, metric)),
            "over_all_series": first_rows(together),
            "by_weeks_ahead": first_rows(standings.by_weeks_ahead(evidence, measured)),
            "n_scored": int((scores["status"] == "scored").sum()),
            "n_failed": int((scores["status"] == "failed").sum()),
            "n_ineligible": int((scores["status"] == "ineligible").sum()),
            **{f"{metric}_of_{model}": float(mean) for model, mean in means.items()},
        },
        check=checks.no_model_failed(scores),
    )


def _leaderboard(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The scores as a person reads them: series by series, the best model first."""
    ranked = scores.sort_values(["unique_id", metric], kind="stable")
    return _told_first(ranked, ["unique_id", "model", metric, "skill_vs_naive"])


def _told_first(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The frame with these columns first: a page of the UI shows three or four."""
    return frame[[*names, *frame.columns.difference(names, sort=False)]]


@week_asset
def best_model(
    context: dg.AssetExecutionContext,
    metrics: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Frame:
    """The model that forecasts each series, by which rule, and whether that is news."""
    before = earlier(
        store,
        "best_model",
        before=_moment(context).as_of,
        made_from="metrics",
        other_than=store.tables["metrics"].data_version(metrics),
        most=settings.selection.patience,
    )
    previous = [store.read([commit]) for commit in before]
    choice = selection.choose(metrics, settings, previous=previous)
    metric = settings.selection.metric
    chosen = pd.MultiIndex.from_frame(choice[["unique_id", "model"]])
    scores = metrics.set_index(["unique_id", "model"])[metric].reindex(chosen)
    return published(
        store.tables["best_model"],
        choice,
        {
            "rows": first_rows(_told_first(choice, ["unique_id", "model", "score", "reason"])),
            "policy": settings.selection.policy,
            "n_better_than_naive": int((choice["skill_vs_naive"] > 0).sum()),
            f"mean_{metric}": float(scores.mean()),
            "n_switched": int(choice["switched"].sum()),
            **{f"n_by_{model}": n for model, n in choice["model"].value_counts().items()},
        },
    )


@week_asset
def next_week_forecast(
    context: dg.AssetExecutionContext,
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    backtest_predictions: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    compute: dg.ResourceParam[Compute],
) -> Frame:
    """Next week's value of every series, with intervals, and the model that made it."""
    moment = _moment(context)
    made = forecasting.forecast(
        best_model,
        series,
        backtest_predictions,
        settings,
        compute=compute,
        as_of=moment.as_of,
        made_at=moment.made_at,
    )
    ends = interval_columns(settings.forecast.levels)
    fan = fans.draw_forecast(made, series, levels=settings.forecast.levels)
    return published(
        store.tables["next_week_forecast"],
        made,
        {
            "forecast_plot": picture(fan, alt="every series' last half year and its forecast"),
            "rows": first_rows(_told_first(made, ["unique_id", "y_hat", "model", *ends])),
            "week": str(forecasting.week_of(made)),
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
) -> Frame:
    """Every forecast published so far whose week is over, against what came."""
    as_of = _moment(context).as_of
    known = [one for one in store.history("next_week_forecast") if one.as_of < as_of]
    published_before = [store.read([commit]) for commit in distinct(known)]
    scores_before = [one for one in store.history("forecast_accuracy") if one.as_of < as_of]
    levels = settings.forecast.levels
    scored = accuracy.score_published(
        pd.concat([*published_before, next_week_forecast], ignore_index=True),
        series,
        levels=levels,
        before=store.read([newest(scores_before)]) if scores_before else None,
    )
    told = functools.partial(accuracy.summary, scored, series, levels=levels)
    over_all = told().drop(columns=["of", "n"]).dropna(axis="columns").to_dict("records")
    return published(
        store.tables["forecast_accuracy"],
        scored,
        {
            "n_forecasts_due": len(scored),
            **{f"live_{name}": value for one in over_all for name, value in one.items()},
            "by_series": first_rows(told(by="unique_id")),
            "by_model": first_rows(told(by="model")),
            "rolling_quarter": first_rows(accuracy.rolling(scored, series, levels=levels)),
            "rows": first_rows(scored.sort_values("ds", ascending=False, kind="stable")),
        },
        check=checks.live_forecasts_keep_their_promise(
            accuracy.judge(scored, series, levels=levels)
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
) -> Frame:
    """The week on one page, for people who never open this one."""
    week = report.Week(
        forecast=next_week_forecast,
        series=series,
        best_model=best_model,
        metrics=metrics,
        accuracy=forecast_accuracy,
        levels=settings.forecast.levels,
        run_id=context.run.run_id,
        units=settings.series.units,
    )
    folder = f"reports/{forecasting.week_of(next_week_forecast)}_{context.run.run_id[:8]}"
    texts = report.render(week)
    files = store.keep_files(folder, texts)
    return published(
        store.tables["weekly_report"],
        files,
        {
            "report": dg.MetadataValue.path(store.var / folder / "report.html"),
            "report_text": dg.MetadataValue.md(texts["report.md"]),
        },
    )


ASSETS = (
    raw_data,
    series,
    metrics,
    best_model,
    next_week_forecast,
    forecast_accuracy,
    weekly_report,
)
