"""Give back what the run of a stored forecast knew: its values as models saw them, its executor.

It stands in for the Dagster resource `compute` of that run (see `resources`); no run is started.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds, latest_folds
from forecast_assets.backtesting.local_pool import LocalPool
from forecast_assets.backtesting.vintage_folds import KnownValues, with_correction
from forecast_assets.config.settings import Settings
from forecast_assets.defs.benchmarks import read_forecasts
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.runs import RunContext
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import resolve_inputs


class PastWeek:
    """The run that wrote a forecast, as far as a model's forecast depends on it."""

    def __init__(self, store: Store, forecast: Commit, pool: LocalPool, cache: Path) -> None:
        self._store, self._pool, self._cache = store, pool, FoldCache(cache)
        self._run = RunContext(forecast.as_of, forecast.as_of, [forecast.run_id])

    def executor(self, settings: Settings) -> BacktestExecutor:
        """Return an executor that knows what the run knew; it fits on this machine."""
        return BacktestExecutor(
            settings,
            self._cache,
            self._pool,
            run_id=f"explain-{self._run.runs[0]}",
            history=partial(RunInputs().history, self._store, settings, self._run),
            regressors=self._regressors(settings),
            benchmarks=lambda: read_forecasts(self._store, self._run),
        )

    def newest_folds(self, series: pd.DataFrame, settings: Settings) -> list[SeriesFolds]:
        """Return the folds that the run forecast the future from; raises StoreError."""
        if settings.has_regressors:
            return list(self.executor(settings).plan(series).latest)
        latest = latest_folds(series)
        history = RunInputs().history(self._store, settings, self._run)
        if history is None or not latest:
            return latest
        return with_correction(latest, latest, KnownValues.of(latest, history))[1]

    def _regressors(self, settings: Settings) -> Callable[[], pd.DataFrame | None]:
        def read() -> pd.DataFrame | None:
            if not settings.regressors:
                return None
            found = resolve_inputs(
                self._store,
                REGRESSORS,
                partitions=None,
                runs=self._run.runs,
                as_of=self._run.as_of,
            )
            return self._store.read(found)

        return read
