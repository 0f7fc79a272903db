"""The backtest as a graph asset: a step for each model, partitioned by model.

`fan` opens one branch a model, `backtest` fills the fold cache and passes on a small record,
`publish` writes the partitions from the cache. Folds and models: `backtest`, `compute`.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.backtesting.model_job import ModelBacktest, Progress
from forecast_assets.config.settings import Settings
from forecast_assets.defs import checks
from forecast_assets.defs.asset_decorator import (
    RETRIES,
    AssetResult,
    fail_fast,
    run_context,
    week_asset,
)
from forecast_assets.defs.console_logger import tell_progress
from forecast_assets.defs.metadata import asset_result, columns_first, first_rows, svg_metadata
from forecast_assets.defs.runs import ONE_PARTITION, RANGE_END, RANGE_START
from forecast_assets.errors import SettingsError, format_list
from forecast_assets.forecasting import leaderboard, selection
from forecast_assets.forecasting import metrics as scoring
from forecast_assets.reporting import plots
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import previous_versions


@week_asset
def metrics(
    backtest_predictions: pd.DataFrame,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """Every candidate's scores on every series: of models that forecast every planned fold."""
    evidence = scoring.collect(backtest_predictions, series, settings)
    measured = scoring.compute(evidence, settings)
    scores = scoring.to_frame(evidence, measured, series, settings)
    metric = settings.selection.metric
    together = leaderboard.leaderboard(
        evidence, measured, metric=metric, overlap=settings.backtest.overlap
    )
    means = together.set_index("model")[metric].dropna()
    return asset_result(
        store.tables["metrics"],
        scores,
        {
            "score_plot": svg_metadata(plots.draw_scores(scores, metric=metric), alt=metric),
            "rows": first_rows(_leaderboard(scores, metric)),
            "over_all_series": first_rows(together),
            "by_weeks_ahead": first_rows(leaderboard.by_horizon(evidence, measured)),
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
    return columns_first(ranked, ["unique_id", "model", metric, "skill_vs_naive"])


@week_asset
def best_model(
    context: dg.AssetExecutionContext,
    metrics: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> AssetResult:
    """The model that forecasts each series, by which rule, and whether that is news."""
    before = previous_versions(
        store,
        "best_model",
        before=run_context(context).as_of,
        input_asset="metrics",
        data_version=store.tables["metrics"].data_version(metrics),
        limit=settings.selection.patience,
    )
    previous = [store.read([commit]) for commit in before]
    choice = selection.choose(metrics, settings, previous=previous)
    metric = settings.selection.metric
    chosen = pd.MultiIndex.from_frame(choice[["unique_id", "model"]])
    scores = metrics.set_index(["unique_id", "model"])[metric].reindex(chosen)
    return asset_result(
        store.tables["best_model"],
        choice,
        {
            "rows": first_rows(columns_first(choice, ["unique_id", "model", "score", "reason"])),
            "policy": settings.selection.policy,
            "n_better_than_naive": int((choice["skill_vs_naive"] > 0).sum()),
            f"mean_{metric}": float(scores.mean()),
            "n_switched": int(choice["switched"].sum()),
            **{f"n_by_{model}": n for model, n in choice["model"].value_counts().items()},
        },
    )


LOGGED_EVERY_SECONDS = 5.0
# A line in the UI's log costs 13 ms.
DASHBOARD_TAG = "forecast_assets/dask_dashboard"
Record = dict[str, Any]


def partition_models(run: dg.DagsterRun, models: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The models that a run is to backtest, in the order of the settings.

    Raises SettingsError where the run's tags ask for other models than Dagster hands it, as it does
    for a reversed range.
    """
    first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    asked = list(keys)
    if first in models and last in models:
        asked = list(models[models.index(first) : models.index(last) + 1])
    if not asked or set(asked) != set(keys):
        raise SettingsError(
            f"This run was asked for the models {first} to {last} ({format_list(asked) or 'none'}) and"
            f" given {format_list(sorted(keys)) or 'none'}. What it would publish is not what its plan"
            f" says, so no model ran. Give the range in the order of `enabled`:"
            f" {format_list(models, limit=40)}."
        )
    return [name for name in models if name in asked]


@dg.op(out=dg.DynamicOut(list, io_manager_key="records"), retry_policy=RETRIES)
def fan(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.DynamicOutput[list[str]]]:
    """Open a branch for each model of this run: it is given its model, and those after it."""
    with fail_fast():
        models = partition_models(context.run, settings.models.enabled, context.partition_keys)
    for i, model in enumerate(models):
        yield dg.DynamicOutput(models[i:], mapping_key=model)


@dg.op(out=dg.Out(dict, io_manager_key="records"), retry_policy=RETRIES)
def backtest(
    context: dg.OpExecutionContext,
    models: list,  # type: ignore[type-arg]  # as above
    series: pd.DataFrame,
    compute: dg.ResourceParam[BacktestExecutor],
) -> Record:
    """Forecast every planned fold with the first model; what fails becomes part of the record.

    Workers that it leaves idle begin with the models after it.
    """
    with fail_fast():
        asked, *ahead = compute.backtests(series, models)
        run = compute.run(asked, ahead=ahead, watch=_Log(context, compute))
    record = {**_record(run), "run_id": compute.run_id}
    context.log.info(
        f"{run.model}: {len(run.folds)} folds, {run.n_fits} fits in {run.seconds:.1f} s of work,"
        f" {record['n_failed']} failed"
    )
    return record


class _Log:
    """Tells how a model goes: every few seconds in the UI's log, at each report to a terminal."""

    def __init__(self, context: dg.OpExecutionContext, compute: BacktestExecutor) -> None:
        self._context, self._compute = context, compute
        self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        tell_progress(progress)
        if time.monotonic() - self._told < LOGGED_EVERY_SECONDS:
            return
        self._told = time.monotonic()
        self._context.log.info(str(progress))
        dashboard = self._compute.dashboard
        if dashboard and DASHBOARD_TAG not in self._context.run_tags:
            self._context.instance.add_run_tags(self._context.run_id, {DASHBOARD_TAG: dashboard})


@dg.op(retry_policy=RETRIES)
def publish(
    context: dg.AssetExecutionContext,
    records: list[dict],  # type: ignore[type-arg]  # Dagster knows no parametrized dict here
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    compute: dg.ResourceParam[BacktestExecutor],
) -> dg.Output[object]:
    """Write each model's predictions as a partition of its own."""
    by_model = {str(record["model"]): record for record in records}
    for model, record in by_model.items():
        if context.run.tags.get(ONE_PARTITION) and record["n_failed"] and not record["n_forecast"]:
            raise dg.Failure(
                f"{model} forecast none of {record['n_folds']} folds; the first said:"
                f" {record['error']}. Nothing was published for it, and its earlier versions stand."
                f" Mend the model, or take it out of `enabled` in forecast.toml.",
                allow_retries=False,
            )
        context.add_asset_metadata(_told(record), partition_key=model)
    spans = [WorkerSpan(*span) for record in records for span in record["spans"]]
    if spans:
        timeline = svg_metadata(plots.draw_timeline(spans), alt="which model ran when, where")
        context.log_event(
            dg.AssetObservation("backtest_predictions", metadata={"timeline": timeline})
        )

    def frame(model: str) -> pd.DataFrame:
        (asked,) = compute.backtests(series, [model])
        run_id = by_model[model]["run_id"]  # an earlier one, where this run carries it on
        return compute.run(asked, run_id=run_id).predictions(settings)

    versions = " ".join(str(by_model[model]["data_version"]) for model in sorted(by_model))
    digest = hashlib.blake2b(versions.encode(), digest_size=16).hexdigest()
    return dg.Output(frame, data_version=dg.DataVersion(digest))


def build_backtest_predictions(models: Sequence[str]) -> dg.AssetsDefinition:
    """The asset `backtest_predictions`, one partition for each of the models."""

    @dg.graph_asset(
        partitions_def=dg.StaticPartitionsDefinition(list(models)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="What every model said at every cutoff; one partition per model.",
    )
    def backtest_predictions(series: pd.DataFrame) -> dg.Output[object]:
        branches = fan().map(lambda models: backtest(models, series))
        return publish(branches.collect(), series)  # type: ignore[no-any-return]

    return backtest_predictions


def _record(run: ModelBacktest) -> Record:
    failures = run.folds.failures
    return {
        "model": run.model,
        "n_folds": len(run.folds),
        "n_forecast": int(run.folds.is_forecast.sum()),
        "n_fits": run.n_fits,
        "n_failed": len(failures),
        "compute_seconds": round(run.seconds, 3),
        "peak_mb": round(run.peak_mb, 1),
        "error": failures[0] if failures else None,
        "data_version": run.data_version,
        "spans": [astuple(span) for span in run.spans],
    }


def _told(record: Record) -> dict[str, str | int | float]:
    """What the partition's page shows of a record; the IO manager adds the data version's rows."""
    hidden = ("model", "data_version", "spans", "run_id")
    return {k: v for k, v in record.items() if v is not None and k not in hidden}
