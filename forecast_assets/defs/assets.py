"""Assets that lead to the choice: data, scores, best model; each one pure call and what to see.

The backtest, a graph of a step for each model: `bake_off`; what is made of the choice:
`publication`. Contracts, owners and groups are filled in by `build`, the same way for all.
"""

from random import Random

import dagster as dg
import pandas as pd

from forecast_assets import metrics as scoring
from forecast_assets import pictures, selection, sources, standings
from forecast_assets import series as weekly
from forecast_assets.defs import checks, data_checks
from forecast_assets.defs.holding import mark_held
from forecast_assets.defs.metadata import first_rows, picture, published, told_first
from forecast_assets.defs.moment import ACCEPT_TAG, YES
from forecast_assets.defs.week_asset import Frame, Told, its_moment, week_asset
from forecast_assets.errors import DataError
from forecast_assets.judging import rows_before, version_before
from forecast_assets.settings import Settings
from forecast_assets.sources.asked import Asked
from forecast_assets.store import Store
from forecast_assets.verdict import held, in_a_line, judge, refusal
from forecast_assets.versions import earlier


@week_asset
def raw_data(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Frame:
    """The source's rows as published: mapped to `unique_id, ds, y`, nothing else changed."""
    as_of = its_moment(context).as_of
    before = rows_before(store, settings, as_of=as_of)
    rng = Random(context.run.run_id)  # noqa: S311 - it spreads waits, of each run in its own way
    asked = Asked(settings, as_of, before=before, say=context.log.warning, rng=rng)
    rows = sources.fetch(asked)
    aside = rows.loc[rows["problem"].notna(), ["problem", "given"]]
    return published(
        store.tables["raw_data"],
        rows,
        {
            "source": sources.described(settings),
            "n_series": rows["unique_id"].nunique(),
            "first": str(rows["ds"].min().date()),
            "last": str(rows["ds"].max().date()),
            "n_rows_set_aside": len(aside),
            **({"rows_set_aside": first_rows(aside)} if len(aside) else {}),
        },
    )


@week_asset
def series(
    context: dg.AssetExecutionContext,
    raw_data: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Told:
    """One value for each series and finished week, without gaps; held back where it is odd."""
    moment = its_moment(context)
    weeks = weekly.to_weeks(raw_data, settings, as_of=moment.as_of)
    before = version_before(store, settings, as_of=moment.as_of, runs=moment.runs)
    findings = judge(raw_data, weeks.frame, before, settings, as_of=moment.as_of)
    is_accepted = context.run.tags.get(ACCEPT_TAG) == YES
    yield checks.series_can_be_backtested(weeks.frame, horizon=settings.backtest.horizon)
    yield from data_checks.results(findings, is_accepted=is_accepted)
    if held(findings) and not is_accepted:
        content = store.tables["raw_data"].data_version(raw_data)
        mark_held(context.run, context.instance, content=content)
        raise DataError(refusal(findings))
    yield published(
        store.tables["series"],
        weeks.frame,
        {
            "series_plot": picture(pictures.draw_series(weeks.frame), alt="every series"),
            "rows": first_rows(weeks.frame.groupby("unique_id").tail(1)),
            "n_series": weeks.frame["unique_id"].nunique(),
            "last_week": str(weeks.frame["ds"].max().date()),
            "n_weeks_filled": weeks.n_filled,
            "n_weeks_left_out": weeks.n_part,
            "n_rows_of_unfinished_weeks": weeks.n_unfinished,
            "verdict": in_a_line(findings),
        },
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
    return told_first(ranked, ["unique_id", "model", metric, "skill_vs_naive"])


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
        before=its_moment(context).as_of,
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
            "rows": first_rows(told_first(choice, ["unique_id", "model", "score", "reason"])),
            "policy": settings.selection.policy,
            "n_better_than_naive": int((choice["skill_vs_naive"] > 0).sum()),
            f"mean_{metric}": float(scores.mean()),
            "n_switched": int(choice["switched"].sum()),
            **{f"n_by_{model}": n for model, n in choice["model"].value_counts().items()},
        },
    )


ASSETS = (raw_data, series, metrics, best_model)
