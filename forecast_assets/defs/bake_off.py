"""The backtest as a graph asset: a step for each model, partitioned by model.

`fan` opens one branch a model, `backtest` fills the fold cache and passes on a small record,
`publish` writes the partitions from the cache. Folds and models: `backtest`, `compute`.
"""

import hashlib
from collections.abc import Iterator, Sequence

import dagster as dg
import pandas as pd

from forecast_assets.backtest import plan
from forecast_assets.compute import ModelRun, run_model
from forecast_assets.defs.moment import ONE_PARTITION, RANGE_END, RANGE_START
from forecast_assets.defs.refusal import RETRIES, refusing
from forecast_assets.errors import SettingsError, listed
from forecast_assets.fold_cache import FoldCache
from forecast_assets.models import find
from forecast_assets.settings import Settings

Record = dict[str, str | int | float | None]


def asked_models(run: dg.DagsterRun, models: Sequence[str], keys: Sequence[str]) -> list[str]:
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
            f"This run was asked for the models {first} to {last} ({listed(asked) or 'none'}) and"
            f" given {listed(sorted(keys)) or 'none'}. What it would publish is not what its plan"
            f" says, so no model ran. Give the range in the order of `enabled`:"
            f" {listed(models, most=40)}."
        )
    return [name for name in models if name in asked]


@dg.op(out=dg.DynamicOut(str, io_manager_key="records"), retry_policy=RETRIES)
def fan(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.DynamicOutput[str]]:
    """Open a branch for each model of this run."""
    with refusing():
        models = asked_models(context.run, settings.models.enabled, context.partition_keys)
    for model in models:
        yield dg.DynamicOutput(model, mapping_key=model)


@dg.op(out=dg.Out(dict, io_manager_key="records"), retry_policy=RETRIES)
def backtest(
    context: dg.OpExecutionContext,
    model: str,
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    fold_cache: dg.ResourceParam[FoldCache],
) -> Record:
    """Forecast every planned fold with one model; what fails becomes part of the record."""
    with refusing():
        run = _run(model, series, settings, fold_cache)
    record = _record(run)
    context.log.info(
        f"{model}: {len(run.folds)} folds, {run.n_computed} computed in {run.seconds:.2f} s,"
        f" {len(run.errors)} failed"
    )
    return record


@dg.op(retry_policy=RETRIES)
def publish(
    context: dg.AssetExecutionContext,
    records: list[dict],  # type: ignore[type-arg]  # Dagster knows no parametrized dict here
    series: pd.DataFrame,
    settings: dg.ResourceParam[Settings],
    fold_cache: dg.ResourceParam[FoldCache],
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

    def frame(model: str) -> pd.DataFrame:
        return _run(model, series, settings, fold_cache).predictions(settings)

    versions = " ".join(str(by_model[model]["data_version"]) for model in sorted(by_model))
    digest = hashlib.blake2b(versions.encode(), digest_size=16).hexdigest()
    return dg.Output(frame, data_version=dg.DataVersion(digest))


def build_bake_off(models: Sequence[str]) -> dg.AssetsDefinition:
    """The asset `backtest_predictions`, one partition for each of the models."""

    @dg.graph_asset(
        partitions_def=dg.StaticPartitionsDefinition(list(models)),
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="What every model said at every cutoff; one partition per model.",
    )
    def backtest_predictions(series: pd.DataFrame) -> dg.Output[object]:
        branches = fan().map(lambda model: backtest(model, series))
        return publish(branches.collect(), series)  # type: ignore[no-any-return]

    return backtest_predictions


def _run(model: str, series: pd.DataFrame, settings: Settings, cache: FoldCache) -> ModelRun:
    planned = plan(series, settings.backtest)
    return run_model(find(model, settings), planned, settings=settings, cache=cache)


def _record(run: ModelRun) -> Record:
    return {
        "model": run.model,
        "n_folds": len(run.folds),
        "n_forecast": sum(fold.y_hat is not None for fold in run.folds),
        "n_computed": run.n_computed,
        "n_failed": len(run.errors),
        "compute_seconds": round(run.seconds, 3),
        "error": run.errors[0] if run.errors else None,
        "data_version": run.data_version,
    }


def _told(record: Record) -> dict[str, str | int | float]:
    """What the partition's page shows of a record; the IO manager adds the data version's rows."""
    hidden = ("model", "data_version")
    return {k: v for k, v in record.items() if v is not None and k not in hidden}
