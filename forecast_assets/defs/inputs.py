"""Dagster resource: where a run takes its rows from, and what it knows of the past.

A run of the week fetches the source and reads its own store; a replay takes both from the past.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd

from forecast_assets.backtesting.folds import SeriesFolds, latest_folds
from forecast_assets.backtesting.known_folds import as_known
from forecast_assets.backtesting.vintage_folds import History
from forecast_assets.config.settings import Settings
from forecast_assets.data import benchmarks
from forecast_assets.data.hierarchy import without_totals
from forecast_assets.data.published import has_publication_times
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.vintages import (
    Vintage,
    published_vintages,
    stored_vintages,
    week_ticks,
    with_present_exclusions,
    with_present_totals,
)
from forecast_assets.defs.runs import RunContext, now
from forecast_assets.defs.schedules import next_tick
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import ancestors
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts
from forecast_assets.storage.versions import resolve_inputs


@dataclass(frozen=True)
class RunInputs:
    """How a run gets its rows, which stores hold vintages, and whether it is a replay."""

    fetch: Callable[[FetchRequest], pd.DataFrame] = fetch.fetch
    read_benchmark: Callable[..., pd.DataFrame] = benchmarks.read_benchmark
    vintage_stores: Sequence[Store] | None = None  # None: its own
    has_vintages: bool = True
    is_replay: bool = False
    fold_cache: Path | None = None  # None: the cache of the settings' folder

    def history(self, store: Store, settings: Settings, run: RunContext) -> History | None:
        """Return how a run finds what was known before it; None if it is not to know."""
        if not self.has_vintages:
            return None

        def find(ticks: Sequence[datetime]) -> list[Vintage]:
            stores = self.vintage_stores or [store]
            raw = _published_rows(store, settings, run)
            if raw is not None:
                vintages = published_vintages(raw, settings, ticks, as_of=run.as_of)
            else:
                stored = stored_vintages(stores, ticks, as_of=run.as_of, now=now())
                vintages = with_present_exclusions(stored, settings)
            if not settings.hierarchy.is_set:
                return vintages
            return with_present_totals(vintages, settings, _source_ids(store, run))

        ticks = partial(week_ticks, settings=settings, next_tick=partial(next_tick, settings))
        return History(run.as_of, ticks, find, settings.forecast.correct_revisions)


def build_store(settings: Settings) -> Store:
    """Return the store that the settings name."""
    contracts = table_contracts(
        settings.forecast.levels, settings.forecast.quantiles, settings.benchmark_quantiles
    )
    return Store(settings.store_uri, contracts, var=settings.var)


def as_scored(
    folds: Sequence[SeriesFolds],
    series: pd.DataFrame,
    settings: Settings,
    stores: Sequence[Store],
    scored: Commit,
) -> Sequence[SeriesFolds]:
    """Return past folds of `series` with what each saw, as for a version of `metrics`.

    The first store has that version; all of them have vintages.
    """
    store, run = stores[0], RunContext(scored.as_of, scored.as_of, (scored.run_id,))

    def regressors() -> pd.DataFrame | None:
        read = [source for source in ancestors(store, scored) if source.asset == REGRESSORS]
        newest = max(read, key=lambda source: source.version, default=None)
        return store.read([store.commit(newest)]) if newest else None

    history = RunInputs(vintage_stores=stores).history(store, settings, run)
    return as_known(folds, latest_folds(series), settings, history=history, regressors=regressors)[
        0
    ]


def _source_ids(store: Store, run: RunContext) -> list[str]:
    """Return the names of the run's series that come from the source."""
    found = resolve_inputs(store, "series", partitions=None, runs=run.runs, as_of=run.as_of)
    return list(without_totals(store.read(found))["unique_id"].unique())


def _published_rows(store: Store, settings: Settings, run: RunContext) -> pd.DataFrame | None:
    """Return the run's rows if they say when they were published, else None."""
    if not settings.source.published:
        return None
    (series,) = resolve_inputs(store, "series", partitions=None, runs=run.runs, as_of=run.as_of)
    rows = series.input_of("raw_data")
    raw = store.read([store.commit(rows)]) if rows else None
    return raw if raw is not None and has_publication_times(raw) else None
