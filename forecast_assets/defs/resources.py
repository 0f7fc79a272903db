"""Resources: where models run. Dask by dagster-dask's own resource, connected at the first chunk.

A run that has nothing to fit starts no cluster. What runs on it: `crew` and `compute`.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import dagster as dg

from forecast_assets.backtesting.cache import FoldCache
from forecast_assets.backtesting.dask_pool import DaskPool, n_workers_here
from forecast_assets.backtesting.executor import BacktestExecutor, prewarm
from forecast_assets.config.settings import ComputeSettings, Settings
from forecast_assets.defs.runs import run_context_of
from forecast_assets.errors import ComputeError, SettingsError

if TYPE_CHECKING:
    from dask.distributed import Client


CONNECTING_SECONDS = 20
LOCAL_CLUSTER = {
    "distributed.admin.tick.interval": "5s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.worker.profile.enabled": False,
    "distributed.dashboard.link": "http://127.0.0.1:{port}/status",  # where it listens
}
# Measured on a local cluster with nothing to do: 0.5 % of a core, 4 % without the first three.


@dg.resource(
    required_resource_keys={"settings", "store"},
    description="Models over their folds: the fold cache, and Dask's workers for what it lacks.",
)
def compute(context: dg.InitResourceContext) -> Iterator[BacktestExecutor]:
    """Answer folds for one run; the cluster it needed is let go with the run."""
    settings: Settings = context.resources.settings
    run = context.run
    with ExitStack() as stack:
        crew = DaskPool(lambda: _client(stack, settings.compute))
        cache = FoldCache(settings.var / "fold_cache")
        answers = BacktestExecutor(settings, cache, crew, run_id=run.run_id if run else "")
        try:
            if run and context.instance:
                with suppress(SettingsError):  # a moment that cannot be is refused by the steps
                    moment = run_context_of(run, context.instance)
                    prewarm(settings, context.resources.store, as_of=moment.as_of)
            yield answers
        finally:
            crew.close()  # while the cluster is still there


def _client(stack: ExitStack, settings: ComputeSettings) -> "Client":
    """Open dagster-dask's resource until the stack unwinds. Raises ComputeError."""
    import dask  # noqa: PLC0415 - only a run that computes needs it
    from dagster_dask import dask_resource  # noqa: PLC0415 - takes two seconds

    if settings.is_local:
        stack.enter_context(dask.config.set(LOCAL_CLUSTER))
    try:
        if settings.dask_address:
            _refuse_silence(settings.dask_address)
        resource = dask_resource.configured(dask_config(settings))
        opened = stack.enter_context(dg.build_resources({"dask": resource}))
    except (dg.DagsterError, OSError, ValueError) as error:
        where = settings.dask_address or f"of {settings.cluster or 'this machine'}"
        why = error.__cause__ if isinstance(error, dg.DagsterResourceFunctionError) else error
        raise ComputeError(
            f"The Dask scheduler {where} cannot be used: {why}. No model ran on it, and folds that"
            f" were computed before are kept. See that it is up and that this machine may reach it,"
            f" or take `dask_address` and `cluster` out of [compute] in forecast.toml to compute"
            f" here."
        ) from error
    client: Client = opened.dask.client
    return client


def _refuse_silence(address: str) -> None:
    """Raise OSError where nobody answers in Dask's words: its client would wait for ever."""
    from dask.distributed import Security  # noqa: PLC0415 - as above
    from distributed.comm.core import connect  # noqa: PLC0415

    async def greet() -> None:
        given: Any = Security().get_connection_args("client")
        connected: Any = connect(address, timeout=CONNECTING_SECONDS, **given)
        try:
            comm = await asyncio.wait_for(connected, CONNECTING_SECONDS + 1)
        except TimeoutError as error:
            raise OSError(f"no word within {CONNECTING_SECONDS} seconds") from error
        await comm.close()

    with ThreadPoolExecutor(1) as pool:  # a notebook has a loop of its own in this thread
        pool.submit(asyncio.run, greet()).result()


def dask_config(settings: ComputeSettings) -> dict[str, Any]:
    """The configuration of dagster-dask's resource.

    On this machine a worker is a thread that keeps a process for its models: the models are apart
    from each other and from the run without a second process for Dask itself.
    """
    if settings.dask_address:
        return {"client": {"address": settings.dask_address, "timeout": CONNECTING_SECONDS}}
    if settings.cluster:
        return {"cluster": settings.cluster}
    here = {
        "n_workers": n_workers_here(settings),
        "threads_per_worker": 1,
        "processes": False,
        "memory_limit": 0,
        "dashboard_address": "127.0.0.1:0",
    }
    return {"cluster": {"local": here}}
