"""Dagster asset `benchmark_forecasts` of the group `data`, where the settings have benchmarks.

What is read belongs to `data.benchmarks`, scores to `forecasting.benchmark_scores`.
"""

from datetime import datetime

import dagster as dg
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.benchmarks import KEY, known_forecasts, merge_benchmark
from forecast_assets.defs import checks
from forecast_assets.defs.asset_decorator import AssetOutputs, week_asset
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.metadata import asset_result, first_rows
from forecast_assets.defs.runs import RunContext, now, run_context_of
from forecast_assets.errors import DataError, SourceError
from forecast_assets.forecasting.benchmark_scores import (
    compare_benchmark,
    gap_problems,
    score_benchmarks,
    series_problems,
    spans_table,
)
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest, resolve_inputs


@week_asset(group="data", kind="pandas")
def benchmark_forecasts(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    inputs: dg.ResourceParam[RunInputs],
) -> AssetOutputs:
    """Read the forecasts that others made until now, and keep each as it was first seen."""
    as_of = run_context_of(context.run, context.instance).as_of
    before = _seen_before(store, inputs, as_of=as_of)
    frames, problems = [before[~before["benchmark"].isin(list(settings.benchmark))]], list[str]()
    for name in settings.benchmark:
        own = before[before["benchmark"] == name]
        try:
            rows = inputs.read_benchmark(name, settings, as_of, log=context.log.warning)
            merged = merge_benchmark(own, known_forecasts(rows, as_of))
        except (SourceError, DataError) as error:  # the week goes on
            problems.append(f"Benchmark {name} was not read; what was seen before counts. {error}")
            frames.append(own)
            continue
        problems += [f"Benchmark {name}: {text}." for text in merged.problems]
        frames.append(merged.rows)
    table = store.tables[BENCHMARK_FORECASTS]
    every = pd.concat([frame for frame in frames if len(frame)] or [before], ignore_index=True)
    rows = every.reindex(columns=table.names)
    yield checks.benchmarks_read(problems)
    newest_first = rows.sort_values(["made_on", "ds"], ascending=False, kind="stable")
    yield asset_result(
        table,
        rows,
        {
            "rows": first_rows(newest_first),
            **{f"n_of_{name}": n for name, n in rows["benchmark"].value_counts().items()},
        },
    )


def _seen_before(store: Store, inputs: RunInputs, *, as_of: datetime) -> pd.DataFrame:
    """Return the forecasts made until a time that any run has seen; a replay adds those of weeks.

    Who saw a forecast first has its value: it counts, and not what the source holds now.
    """
    table = store.tables[BENCHMARK_FORECASTS]
    others = [known for known in inputs.vintage_stores or () if known.uri != store.uri]
    stores = [*others, store]
    found = [(known, newest(known.history(BENCHMARK_FORECASTS), as_of=now())) for known in stores]
    frames = [known.read([last]).reindex(columns=table.names) for known, last in found if last]
    known = [frame[frame["made_on"] <= pd.Timestamp(as_of)] for frame in frames]
    if not any(len(frame) for frame in known):
        return table.empty()
    rows = pd.concat([frame for frame in known if len(frame)], ignore_index=True)
    return rows.groupby(KEY, sort=True).first().reset_index().reindex(columns=table.names)


def read_forecasts(store: Store, run: RunContext) -> pd.DataFrame:
    """Return the version of `benchmark_forecasts` that belongs to a run."""
    found = resolve_inputs(
        store, BENCHMARK_FORECASTS, partitions=None, runs=run.runs, as_of=run.as_of
    )
    return store.read(found).reindex(columns=store.tables[BENCHMARK_FORECASTS].names)


def with_benchmarks(
    scored: pd.DataFrame, published: pd.DataFrame, settings: Settings, store: Store, run: RunContext
) -> pd.DataFrame:
    """Return rows of forecast_accuracy with the scores of the benchmarks of the settings."""
    if not settings.benchmark or scored.empty:
        return scored
    return score_benchmarks(
        scored,
        published,
        read_forecasts(store, run),
        settings.benchmark_quantiles,
        levels=settings.forecast.levels,
        quantiles=settings.forecast.quantiles,
    )


def comparison_metadata(
    scored: pd.DataFrame, series: pd.DataFrame, settings: Settings
) -> dict[str, dg.MetadataValue]:
    """Return the comparison of each benchmark with ours, for the UI; empty without any."""
    compared = [compare_benchmark(scored, series, name) for name in settings.benchmark]
    tables = [spans_table(comparison) for comparison in compared if comparison]
    return {"by_benchmark": first_rows(pd.concat(tables))} if tables else {}


def find_problems(
    scored: pd.DataFrame, series: pd.DataFrame, settings: Settings, store: Store, run: RunContext
) -> list[str]:
    """Return why benchmarks cannot be compared as they should, in sentences."""
    if not settings.benchmark:
        return []
    forecasts = read_forecasts(store, run)
    return [
        f"Benchmark {name}: {text}."
        for name in settings.benchmark
        for text in (
            *series_problems(forecasts, series, name),
            *gap_problems(scored, forecasts, name),
        )
    ]
