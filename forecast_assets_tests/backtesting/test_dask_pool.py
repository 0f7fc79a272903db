"""Chunks over Dask: real schedulers and workers that are refused, lost, frozen and killed."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.backtesting import dask_pool as dask_pool_module
from forecast_assets.backtesting.chunk import ChunkResult
from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.backtesting.folds import FitUnit
from forecast_assets.backtesting.panel import Panel
from forecast_assets.errors import ComputeError
from forecast_assets.models import MODELS, ModelSpec, find_model
from forecast_assets_tests.builders import walk
from forecast_assets_tests.dask_clusters import ROOT, Cluster, cluster
from forecast_assets_tests.misbehaving_models import (
    Y,
    child_processes,
    comes_true,
    make_chunk,
    make_units,
    misbehaving,
    outcomes,
)
from forecast_assets_tests.worker_builders import local_pool, refuse_to_connect

PANEL, UNITS = make_units(Y)
Received = tuple[Any, str, ChunkResult | None, str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, user_models: Path) -> Iterator[Cluster]:
    """Yield a scheduler that gives up a chunk when a second worker ends with it.

    Tests kill its workers one and two, start others, and at last kill the scheduler.
    """
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(folder, "one", "two", path=[user_models], **allowed) as started:
        yield started


@contextmanager
def pool_of(started: Cluster) -> Iterator[DaskPool]:
    """Yield a pool that is connected to a cluster."""
    from dask.distributed import Client

    pool = DaskPool(lambda: Client(started.address, timeout=20, set_as_default=False))
    try:
        yield pool
    finally:
        pool.close()


def send_each(pool: DaskPool, model: ModelSpec, panel: Panel, units: Sequence[FitUnit]) -> None:
    """Send each unit as a chunk, with its index as tag."""
    for i, unit in enumerate(units):
        pool.send(i, panel, make_chunk(model, [unit]))


def receive(pool: DaskPool) -> Received:
    """Return the next result."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if received := pool.receive(0.2):
            return received
    raise AssertionError("no result in time")


def receive_all(pool: DaskPool) -> dict[Any, list[float | str]]:
    """Return the outcomes of all chunks by their tags."""
    received = {}
    while pool.n_out:
        tag, _, result, _ = receive(pool)
        received[tag] = outcomes(result.results) if result else []
    return received


def refusal(pool: DaskPool) -> str:
    """Return the error with which the next result is refused."""
    with pytest.raises(ComputeError) as raised:
        receive(pool)
    return str(raised.value)


# Chunks and results
@pytest.mark.usefixtures("user_models")
def test_results_return_with_the_tag_of_their_chunk(dask_pool: DaskPool):
    panel, units = make_units(Y, n_windows=8)
    send_each(dask_pool, misbehaving(), panel, units)
    assert dask_pool.n_out == 8
    assert receive_all(dask_pool) == {i: [12.0 + i] for i in range(8)}
    assert dask_pool.n_out == 0
    assert dask_pool.receive(0.1) is None


def test_no_cluster_is_connected_before_the_first_chunk():
    pool = DaskPool(refuse_to_connect)
    assert (pool.n_out, pool.dashboard) == (0, None)
    pool.close()


def test_runs_that_share_a_scheduler_get_their_own_results(running: Cluster):
    other, _ = make_units([week * 100 for week in Y])
    panel, many = make_units(Y, n_windows=8)
    with pool_of(running) as mine, pool_of(running) as yours:
        assert comes_true(lambda: mine.n_workers == 2, within=60)
        send_each(mine, misbehaving(seconds=0.2), panel, many)
        send_each(yours, misbehaving(seconds=0.2), other, UNITS)
        assert {receive(mine)[1] for _ in many} == {"one", "two"}
        assert receive_all(yours) == {0: [1700.0], 1: [1800.0], 2: [1900.0]}


def test_forecasts_are_the_same_here_and_on_a_cluster_to_the_last_bit(
    running: Cluster, dask_pool: DaskPool
):
    panel, units = make_units(walk(60, seed=1), walk(60, seed=2))
    with pool_of(running) as remote:
        for pool in (dask_pool, remote):
            pool.send("", panel, make_chunk(find_model("ridge"), units))
        here = receive_all(dask_pool)
        assert receive_all(remote) == here
    assert all(isinstance(y_hat, float) for y_hat in here[""])


# Cancelled chunks
@pytest.mark.usefixtures("user_models")
def test_closing_kills_fits_that_hang():
    with local_pool(has_dashboard=True) as pool:
        assert pool.dashboard is None
        before = set(child_processes())
        send_each(pool, misbehaving("hangs"), PANEL, UNITS)
        assert re.fullmatch(r"http://[\d.]+:\d+/status", str(pool.dashboard))
        assert comes_true(lambda: len(set(child_processes()) - before) == 2)
    assert comes_true(lambda: set(child_processes()) <= before)


HANGING = """
import pickle, sys, time
from dask.distributed import Client
from forecast_assets.backtesting.dask_pool import DaskPool
pool = DaskPool(lambda: Client(sys.argv[1]))
pool.send("", *pickle.load(sys.stdin.buffer))
time.sleep(3600)
"""


def test_workers_end_the_fits_of_a_killed_run(running: Cluster):
    def fits() -> set[int]:
        workers = running.workers.values()
        return {pid for worker in workers for pid in child_processes(worker.pid)}

    before, chunk = fits(), make_chunk(misbehaving("hangs"), UNITS, seconds=3600)
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, running.address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
    ) as run:
        try:
            assert run.stdin
            run.stdin.write(pickle.dumps((PANEL, chunk)))
            run.stdin.flush()
            assert comes_true(lambda: len(fits() - before) == 1, within=60)
        finally:
            run.kill()
    assert comes_true(lambda: fits() <= before)


# Lost workers
def test_chunks_of_lost_workers_are_run_by_others(running: Cluster):
    panel, units = make_units(Y, n_windows=6)
    with pool_of(running) as pool:
        assert comes_true(lambda: pool.n_workers == 2, within=60)
        running.kill_worker("one")
        assert comes_true(lambda: pool.n_workers == 1, within=60)
        # A result that is lost with the only worker is computed again.
        pool.send("lost", PANEL, make_chunk(misbehaving(), UNITS))
        (future,) = pool._tags  # noqa: SLF001 - finished, and not fetched yet
        assert comes_true(lambda: future.status == "finished", within=60)
        running.kill_worker("two")
        running.start_worker("b")
        running.start_worker("c")
        assert receive_all(pool) == {"lost": [17.0, 18.0, 19.0]}
        # Chunks that wait for a lost worker are run by another one.
        assert comes_true(lambda: pool.n_workers == 2, within=60)
        send_each(pool, misbehaving(seconds=0.2), panel, units)
        tag, _, result, _ = receive(pool)
        assert result
        running.kill_worker("b")
        received = {tag: outcomes(result.results)} | receive_all(pool)
        assert received == {i: [14.0 + i] for i in range(6)}
        # A chunk that ends two workers is an error of its folds.
        running.start_worker("d")
        pool.send("bad", PANEL, make_chunk(misbehaving("kills_its_worker"), UNITS))
        error = "the worker ended several times during the fit"
        assert receive(pool) == ("bad", "", None, error)


def test_a_cluster_without_workers_is_refused_after_a_while(
    running: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dask_pool_module, "NO_WORKER_SECONDS", 1.0)
    monkeypatch.setattr(dask_pool_module, "CHECK_INTERVAL_SECONDS", 0.5)
    with pool_of(running) as pool:
        pool.send("", PANEL, make_chunk(MODELS["naive"], UNITS))
        assert pool.n_workers == 1
        error = refusal(pool)
    assert f"scheduler {running.address} has had no worker for 1 seconds. Folds" in error


# Workers that would compute something else
def changed_copy(folder: Path, file: str) -> Path:
    """Copy the package to a folder and change one file."""
    for source in (ROOT / "forecast_assets").rglob("*.py"):
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    with (folder / "forecast_assets" / file).open("a") as changed:
        changed.write("\n# changed\n")
    return folder


OTHER_VERSIONS = """
from importlib import metadata
original = metadata.version
other = {"dask": "2020.1.1", "numpy": "1.0"}
metadata.version = lambda name: other.get(name) or original(name)
"""


def test_a_worker_with_other_code_and_libraries_that_joins_late_is_refused(
    tmp_path: Path, running: Cluster
):
    folder = changed_copy(tmp_path / "other", "models/by_statsforecast.py")
    (folder / "sitecustomize.py").write_text(OTHER_VERSIONS)
    with pool_of(running) as pool:
        pool.send("", PANEL, make_chunk(MODELS["naive"], UNITS))
        with running.running_workers("other", path=[folder]):
            error = refusal(pool)
    assert "The worker other has other code or libraries than this run: forecast_assets" in error
    assert re.search(r"is \w+, not \w+, dask is 2020\.1\.1, not .*, numpy is 1\.0, not ", error)


@pytest.mark.usefixtures("user_models")
def test_a_worker_that_can_start_no_process_is_an_error(
    dask_pool: DaskPool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    dask_pool.send("", PANEL, make_chunk(misbehaving("without a process"), UNITS))
    error = refusal(dask_pool)
    assert re.search(r"run the chunk mine-\w+: ProcessStartError: .*'/no/such/python'", error)


# The last test: it kills the scheduler of the others
def test_a_scheduler_that_is_frozen_or_killed_is_named(
    running: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dask_pool_module, "SCHEDULER_SECONDS", 2.0)
    with running.running_workers("one"), pool_of(running) as pool:
        send_each(pool, misbehaving(seconds=0.5), PANEL, UNITS)
        receive(pool)
        os.kill(running.scheduler.pid, signal.SIGSTOP)
        assert "is gone (TimeoutError" in refusal(pool)
        os.kill(running.scheduler.pid, signal.SIGCONT)
        running.scheduler.kill()
        for _ in range(2):
            error = refusal(pool)
            assert f"scheduler {running.address} is gone (" in error
            assert "remove `dask_address` from forecast.toml" in error
