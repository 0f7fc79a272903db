"""Executors with a local Dask pool, or with one that must not be used."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import plan
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import Settings
from forecast_assets.defs.resources import LOCAL_CLUSTER
from forecast_assets.models import ModelSpec, find_model


@contextmanager
def local_pool(n_workers: int = 2, *, has_dashboard: bool = False) -> Iterator[DaskPool]:
    """Workers in this process, started with the first chunk; the dashboard takes a second more."""
    with ExitStack() as stack:

        def connect() -> Any:
            import dask
            from dask.distributed import Client, LocalCluster

            with dask.config.set(LOCAL_CLUSTER):  # read at the start
                cluster = LocalCluster(
                    processes=False,
                    n_workers=n_workers,
                    threads_per_worker=1,
                    memory_limit=0,
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": has_dashboard},
                )
            stack.enter_context(cluster)
            return stack.enter_context(Client(cluster, set_as_default=False))

        pool = DaskPool(connect)
        try:
            yield pool
        finally:
            pool.close()


def refuse_to_connect() -> Any:
    """Fail where no cluster is needed."""
    raise AssertionError("a cluster was connected")


def make_executor(
    settings: Settings, pool: DaskPool | None = None, *, run_id: str = "run"
) -> BacktestExecutor:
    """Return the executor of a run, with the fold cache in `cache_folder`."""
    pool = pool or DaskPool(refuse_to_connect)
    return BacktestExecutor(settings, FoldCache(cache_folder(settings)), pool, run_id=run_id)


def cache_folder(settings: Settings) -> Path:
    """Return the folder of the fold cache."""
    return settings.var / "fold_cache"


def make_request(
    model: ModelSpec | str, series: pd.DataFrame, settings: Settings
) -> BacktestRequest:
    """Return the request of a backtest."""
    planned = plan(series, settings.backtest)
    spec = find_model(model, settings) if isinstance(model, str) else model
    return BacktestRequest(spec, planned, Panel.of(planned))


def run_backtest(
    model: ModelSpec | str,
    series: pd.DataFrame,
    settings: Settings,
    pool: DaskPool | None = None,
    *,
    run_id: str = "run",
) -> ModelBacktest:
    """Run the backtest of one model in a run of its own."""
    executor = make_executor(settings, pool, run_id=run_id)
    return executor.run(make_request(model, series, settings))
