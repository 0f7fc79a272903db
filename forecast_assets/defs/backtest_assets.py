"""Dagster assets of the group `backtest`: every model's predictions, their scores, the best model.

`backtest_predictions` is a graph, partitioned by model: `fan` opens a branch for each model,
`backtest` fills the fold cache and returns a small record, and `publish` writes the partitions from
the cache. How folds are computed is in `backtesting`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.backtesting.model_job import ModelBacktest, Progress
from forecast_assets.config.settings import Settings
from forecast_assets.defs import checks, runs
from forecast_assets.defs.asset_decorator import OWNER, RETRIES, AssetResult, fail_fast, week_asset
from forecast_assets.defs.console_logger import report_progress
from forecast_assets.defs.metadata import (
    asset_result,
    first_rows,
    past_week_note,
    svg_metadata,
)
from forecast_assets.defs.run_config import refuse_empty_range, report_refusal
from forecast_assets.errors import format_list
from forecast_assets.forecasting import leaderboard, selection
from forecast_assets.forecasting import metrics as scoring
from forecast_assets.forecasting.eligibility import competing_text, status_of
from forecast_assets.forecasting.regressor_gains import probable_leak, regressor_gains
from forecast_assets.forecasting.twins import twins_of
from forecast_assets.reporting import plots
from forecast_assets.storage.lineage import BACKTEST
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import previous_versions

DASHBOARD_TAG = "forecast_assets/dask_dashboard"
# A line in the UI's log costs 13 ms.
LOG_INTERVAL_SECONDS = 5.0

# What a model's step passes to `publish`, as JSON: also read from runs of earlier versions.
Record = dict[str, Any]
NOT_SHOWN = ("model", "data_version", "spans", "run_id")


# The ops keep their names: Dagster re-executes a run of an earlier version by its step keys.
def _fan_out(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.DynamicOutput[list[str]]]:
    """Open a step for each model of the run, with the model and those after it."""
    with fail_fast(), report_refusal(context.run, context.instance):
        refuse_empty_range(context.run, settings.models.enabled)
    models = [name for name in settings.models.enabled if name in context.partition_keys]
    for i, model in enumerate(models):
        yield dg.DynamicOutput(models[i:], mapping_key=model)


@dg.op(out=dg.Out(dict, io_manager_key="records"), retry_policy=RETRIES)
def backtest(
    context: dg.OpExecutionContext,
    models: list,  # type: ignore[type-arg]  # Dagster 1.13 accepts no parametrized list here
    series: pd.DataFrame,
    compute: dg.ResourceParam[BacktestExecutor],
) -> Record:
    """Forecast every planned fold with the first model; idle workers start on the next ones."""
    with fail_fast():
        request, *ahead = compute.requests(series, models)
        result = compute.run(request, ahead=ahead, on_progress=_progress_logger(context, compute))
    record = {**_record(result), "run_id": compute.run_id}
    context.log.info(
        f"{result.model}: {len(result.folds)} folds, {result.n_fits} fits in {result.seconds:.1f} s"
        f" of work, {record['n_failed']} failed"
    )
    return record


def _progress_logger(
    context: dg.OpExecutionContext, compute: BacktestExecutor
) -> Callable[[Progress], None]:
    """Log a model's progress: every few seconds in the UI, at every report on a terminal."""
    logged_at = time.monotonic()

    def log(progress: Progress) -> None:
        nonlocal logged_at
        report_progress(progress)
        if time.monotonic() - logged_at < LOG_INTERVAL_SECONDS:
            return
        logged_at = time.monotonic()
        context.log.info(str(progress))
        if compute.dashboard and DASHBOARD_TAG not in context.run_tags:
            context.instance.add_run_tags(context.run_id, {DASHBOARD_TAG: compute.dashboard})

    return log


def _publish(
    context: dg.AssetExecutionContext,
    records: list[dict],  # type: ignore[type-arg]  # as above
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    compute: dg.ResourceParam[BacktestExecutor],
    store: dg.ResourceParam[Store],
    **inputs: object,  # noqa: ARG001 - the IO manager records the versions that were read
) -> dg.Output[object]:
    """Write each model's predictions as a partition, and show each model's record."""
    by_model = {str(record["model"]): record for record in records}
    note = past_week_note(BACKTEST, context.run, context.instance, store)
    for model, record in by_model.items():
        if context.run.tags.get(runs.PARTITION_TAG) and not record["n_forecast"]:
            _refuse_without_forecast(record)
        shown = {k: v for k, v in record.items() if v is not None and k not in NOT_SHOWN}
        context.add_asset_metadata({**note, **shown}, partition_key=model)
    spans = [WorkerSpan(*span) for record in records for span in record["spans"]]
    if spans:
        timeline = svg_metadata(plots.draw_timeline(spans), alt="each worker's models over time")
        context.log_event(
            dg.AssetObservation("backtest_predictions", metadata={"timeline": timeline})
        )

    def frame(model: str) -> pd.DataFrame:
        (request,) = compute.requests(series, [model])
        # The run that computed the folds: an earlier one where this run re-executes it.
        return compute.run(request, run_id=by_model[model]["run_id"]).predictions(settings)

    versions = " ".join(str(by_model[model]["data_version"]) for model in sorted(by_model))
    digest = hashlib.blake2b(versions.encode(), digest_size=16).hexdigest()
    return dg.Output(frame, data_version=dg.DataVersion(digest))


def build_backtest_predictions(
    models: Sequence[str], *, after: Sequence[str] = ()
) -> dg.AssetsDefinition:
    """Build the asset `backtest_predictions` with a partition for each of the models.

    The executor reads the assets `after`, too, so that it waits for them and records their version.
    """
    fan_out = dg.op(
        name="fan",
        # Of `series` it needs no value; it is skipped where that failed.
        ins={name: dg.In(dg.Nothing) for name in ("series", *after)},
        out=dg.DynamicOut(list, io_manager_key="records"),
        retry_policy=RETRIES,
    )(_fan_out)
    publish = dg.op(
        name="publish", ins={name: dg.In(pd.DataFrame) for name in after}, retry_policy=RETRIES
    )(_publish)

    def backtest_predictions(series: pd.DataFrame, **others: object) -> dg.Output[object]:
        branches = fan_out(series=series, **others).map(lambda models: backtest(models, series))
        return publish(branches.collect(), series, **others)  # type: ignore[no-any-return]

    decorate = dg.graph_asset(
        name="backtest_predictions",
        ins={name: dg.AssetIn() for name in after},
        partitions_def=dg.StaticPartitionsDefinition(list(models)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="Forecast every planned fold with every model; one partition per model.",
        group_name="backtest",
        kinds={"deltalake", "numpy"},
        owners=[OWNER],
        code_version="1",
    )
    return decorate(backtest_predictions)


def _record(result: ModelBacktest) -> Record:
    failures, ends = result.folds.failures, np.cumsum([len(each.ends) for each in result.planned])
    by_series = np.split(result.folds.errors, ends[:-1])
    return {
        "model": result.model,
        "competed": competing_text([status_of(errors) for errors in by_series if len(errors)]),
        "n_folds": len(result.folds),
        "n_forecast": int(result.folds.is_forecast.sum()),
        "n_fits": result.n_fits,
        "n_failed": len(failures),
        "compute_seconds": round(result.seconds, 3),
        "peak_mb": round(result.peak_mb, 1),
        "error": failures[0] if failures else None,
        "data_version": result.data_version,
        "spans": [astuple(span) for span in result.spans],
    }


def _refuse_without_forecast(record: Record) -> None:
    if record["n_failed"]:
        raise dg.Failure(
            f"{record['model']} forecast none of {record['n_folds']} folds. The first error:"
            f" {record['error']}. Nothing was published for it; its earlier versions are kept."
            f" Correct the model, or remove it from `enabled` in forecast.toml.",
            allow_retries=False,
        )


@week_asset(group="backtest", kind="numpy")
def metrics(
    context: dg.AssetExecutionContext,
    backtest_predictions: pd.DataFrame,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    compute: dg.ResourceParam[BacktestExecutor],
) -> AssetResult:
    """Score every model and ensemble on every series over the planned folds."""
    planned = compute.plan(series).planned
    results = scoring.collect(backtest_predictions, series, settings, planned=planned)
    computed = scoring.compute(results, settings)
    scores = scoring.to_frame(results, computed)
    metric = settings.selection.metric
    overall = leaderboard.leaderboard(scores, metric=metric)
    pooled = leaderboard.pooled_statistics(results, computed, overlap=settings.backtest.overlap)
    ranked = scores.sort_values(["unique_id", metric], kind="stable")
    twins = twins_of(overall["model"], settings)
    gains, leak = regressor_gains(scores, twins, metric=metric), probable_leak(scores, settings)
    if leak:
        context.log.warning(leak)
    return asset_result(
        store.tables["metrics"],
        scores,
        {
            "overall": first_rows(
                overall.merge(pooled, on="model"),
                [metric, "model", "skill_vs_naive", "wins", "may_be_best_overall"],
            ),
            "score_plot": svg_metadata(plots.draw_scores(scores, metric=metric), alt=metric),
            "rows": first_rows(ranked[[metric, "unique_id", "model"]]),
            "by_week": first_rows(
                leaderboard.by_horizon(results, computed), ["mase", "model", "h", "bias"]
            ),
            **({"regressors": first_rows(gains)} if len(gains) else {}),
            **({"probable_leak": leak} if leak else {}),
            "n_vintages": sum(len(folds.vintage_ends) for folds in planned),
            "n_scored": int((scores["status"] == "scored").sum()),
            "n_failed": int((scores["status"] == "failed").sum()),
            "n_ineligible": int((scores["status"] == "ineligible").sum()),
            "n_too_few": int((scores["status"] == "too_few").sum()),
        },
        check=checks.models_complete(scores),
    )


@week_asset(group="backtest", kind="pandas")
def best_model(
    context: dg.AssetExecutionContext,
    metrics: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """Choose a model for each series; record the reason and the model chosen before."""
    before = previous_versions(
        store,
        "best_model",
        before=runs.run_context_of(context.run, context.instance).as_of,
        input_asset="metrics",
        data_version=store.tables["metrics"].data_version(metrics),
        limit=settings.selection.patience,
    )
    previous = [store.read([commit]) for commit in before]
    choice = selection.choose(metrics, settings, previous=previous)
    metric = settings.selection.metric
    chosen = pd.MultiIndex.from_frame(choice[["unique_id", "model"]])
    scores = metrics.set_index(["unique_id", "model"])[metric].reindex(chosen)
    counts = choice["model"].value_counts()
    return asset_result(
        store.tables["best_model"],
        choice,
        {
            f"mean_{metric}": float(scores.mean()),
            "rows": first_rows(choice[["score", "unique_id", "model"]]),
            "policy": settings.selection.policy,
            "n_beat_naive": int((choice["skill_vs_naive"] > 0).sum()),
            "n_switched": int(choice["switched"].sum()),
            "models": format_list((f"{name} {n}" for name, n in counts.items()), limit=40),
        },
    )
