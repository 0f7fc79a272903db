"""Resources: the backtest executor, with its fold cache and its Dask client.

dagster-dask connects when the first chunk of work is sent: a run whose folds are all in the cache
starts no cluster.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.dask_pool import DaskPool, n_workers_here
from forecast_assets.backtesting.executor import BacktestExecutor, prewarm
from forecast_assets.backtesting.vintage_folds import History
from forecast_assets.config.compute_settings import ComputeSettings
from forecast_assets.config.settings import Settings
from forecast_assets.defs.benchmarks import read_forecasts
from forecast_assets.defs.runs import context_of, run_context_of
from forecast_assets.errors import ComputeError, RunRefusedError
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.versions import resolve_inputs

if TYPE_CHECKING:
    from dask.distributed import Client

CONNECT_SECONDS = 20
# An idle local cluster takes 0.5 % of a core with the first three, 4 % without. Its workers are
# threads of this process: after it was suspended they are late, and not lost.
LOCAL_CLUSTER = {
    "distributed.admin.tick.interval": "5s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.worker-ttl": None,
    "distributed.dashboard.link": "http://127.0.0.1:{port}/status",
}


@dg.resource(
    required_resource_keys={"settings", "store", "inputs"},
    description="Runs models over their folds: the fold cache, and Dask workers for missing folds.",
)
def backtest_executor(context: dg.InitResourceContext) -> Iterator[BacktestExecutor]:
    """Provide the executor of one run; close its cluster with the run."""
    settings: Settings = context.resources.settings
    run = context.run
    with ExitStack() as stack:
        pool = DaskPool(lambda: _connect(stack, settings.compute))
        executor = BacktestExecutor(
            settings,
            FoldCache(context.resources.inputs.fold_cache or settings.var / "fold_cache"),
            pool,
            run_id=run.run_id if run else "",
            history=partial(_history, context),
            regressors=partial(_regressors, context),
            benchmarks=partial(_benchmarks, context),
        )
        try:
            if run and context.instance:
                with suppress(RunRefusedError):  # the steps refuse an invalid `as_of`
                    as_of = context_of(run, context.instance).as_of
                    prewarm(settings, context.resources.store, as_of=as_of)
            yield executor
        finally:
            pool.close()  # before the stack closes the cluster


def _history(context: dg.InitResourceContext) -> History | None:
    """Return how the run finds what was known before it."""
    if context.run is None or context.instance is None:
        return None
    run = run_context_of(context.run, context.instance)
    resources = context.resources
    history: History | None = resources.inputs.history(resources.store, resources.settings, run)
    return history


def _regressors(context: dg.InitResourceContext) -> pd.DataFrame | None:
    """Return the table `regressors` of the run, None if the settings have none."""
    settings, store = context.resources.settings, context.resources.store
    if not settings.regressors or context.run is None or context.instance is None:
        return None
    run = run_context_of(context.run, context.instance)
    found = resolve_inputs(store, REGRESSORS, partitions=None, runs=run.runs, as_of=run.as_of)
    table: pd.DataFrame = store.read(found)
    return table


def _benchmarks(context: dg.InitResourceContext) -> pd.DataFrame | None:
    """Return the table `benchmark_forecasts` of the run, None if no benchmark is used."""
    settings, store = context.resources.settings, context.resources.store
    if not settings.used_benchmarks or context.run is None or context.instance is None:
        return None
    return read_forecasts(store, run_context_of(context.run, context.instance))


def _connect(stack: ExitStack, settings: ComputeSettings) -> "Client":
    """Open dagster-dask's resource until the stack is closed. Raises ComputeError."""
    import dask
    from dagster_dask import dask_resource

    if settings.is_local:
        stack.enter_context(dask.config.set(LOCAL_CLUSTER))
    try:
        if settings.dask_address:
            _check_scheduler(settings.dask_address)
        resource = dask_resource.configured(dask_config(settings))
        opened = stack.enter_context(dg.build_resources({"dask": resource}))
    except (dg.DagsterError, OSError, ValueError) as error:
        scheduler = settings.dask_address or f"of {settings.cluster or 'this machine'}"
        cause = error.__cause__ if isinstance(error, dg.DagsterResourceFunctionError) else error
        raise ComputeError(
            f"The Dask scheduler {scheduler} cannot be used: {cause}. No model ran on it; folds"
            f" that were computed before are kept. Check that it is running and that this machine"
            f" can reach it, or remove `dask_address` and `cluster` from [compute] in forecast.toml"
            f" to compute on this machine."
        ) from error
    client: Client = opened.dask.client
    return client


def _check_scheduler(address: str) -> None:
    """Raise OSError where no Dask scheduler answers: Dask's client would wait without end."""
    from dask.distributed import Security
    from distributed.comm.core import connect

    async def greet() -> None:
        options: Any = Security().get_connection_args("client")
        connecting: Any = connect(address, timeout=CONNECT_SECONDS, **options)
        try:
            connection = await asyncio.wait_for(connecting, CONNECT_SECONDS + 1)
        except TimeoutError as error:
            raise OSError(f"no answer within {CONNECT_SECONDS} seconds") from error
        await connection.close()

    # In a thread of its own: a notebook already runs an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, greet()).result()


def dask_config(settings: ComputeSettings) -> dict[str, Any]:
    """Return the configuration of dagster-dask's resource.

    On this machine a worker is a thread that owns a process for its models, so that Dask itself
    needs no second process.
    """
    if settings.dask_address:
        return {"client": {"address": settings.dask_address, "timeout": CONNECT_SECONDS}}
    if settings.cluster:
        return {"cluster": settings.cluster}
    local = {
        "n_workers": n_workers_here(settings),
        "threads_per_worker": 1,
        "processes": False,
        "memory_limit": 0,
        "dashboard_address": "127.0.0.1:0",
    }
    return {"cluster": {"local": local}}
