"""Where models run: on this machine by default, else on the cluster of the settings."""

import random
import re
import socket
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.settings import ComputeSettings, Settings
from forecast_assets.defs import resources
from forecast_assets.defs.build import build_store
from forecast_assets.defs.resources import dask_config
from forecast_assets.errors import ComputeError
from forecast_assets_tests.builders import make_series, make_settings, walk, week_settings
from forecast_assets_tests.dagster_runs import run_week
from forecast_assets_tests.dask_clusters import Cluster, cluster
from forecast_assets_tests.misbehaving_models import child_processes, comes_true
from forecast_assets_tests.test_week import error_texts, latest, partitions

# Killed workers that a chunk survives: the default of Dask.
MAX_KILLED = 3
# Two series of 14 folds each; "slow" is 4 s of work.
SLOW = {"factory": "user_models:Misbehaving", "params": {"seconds": 0.15}}
MODELS = {"enabled": ["naive", "slow", "theta", "ridge"], "slow": SLOW}
N_FOLDS = 3 * 2 * 14


@contextmanager
def client(**settings: Any) -> Iterator[Any]:
    """A client of the cluster that the settings describe."""
    with ExitStack() as stack:
        yield resources._connect(stack, ComputeSettings(**settings))  # noqa: SLF001 - the resource's


def make_week(folder: Path, **compute: object) -> Settings:
    """A week of two series whose models are fitted."""
    folder.mkdir(exist_ok=True)
    tables = {"models": MODELS, "backtest": {"n_windows": 14}, "compute": compute}
    series = make_series(a=walk(60, seed=1), b=walk(60, seed=2))
    return week_settings(folder, series, **tables)


def predictions(settings: Settings) -> pd.DataFrame:
    """The backtest of a week without its times."""
    return latest(build_store(settings), "backtest_predictions").drop(columns="fit_seconds")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, user_models: Path) -> pd.DataFrame:  # noqa: ARG001 - on the path
    """The backtest of a week on this machine."""
    settings = make_week(tmp_path_factory.mktemp("undisturbed"), workers=2)
    before = set(child_processes())
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_week(settings, instance).success
    assert comes_true(lambda: set(child_processes()) <= before)
    return predictions(settings)


# On this machine
def test_a_local_worker_is_a_thread_that_keeps_a_process():
    assert dask_config(ComputeSettings(workers=3)) == {
        "cluster": {
            "local": {
                "n_workers": 3,
                "threads_per_worker": 1,
                "processes": False,
                "memory_limit": 0,
                "dashboard_address": "127.0.0.1:0",
            }
        }
    }


def test_there_is_a_worker_for_each_core_of_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 5)
    assert dask_config(ComputeSettings())["cluster"]["local"]["n_workers"] == 5


def test_a_local_cluster_has_a_dashboard_and_restores_the_settings_of_dask(
    monkeypatch: pytest.MonkeyPatch,
):
    import dask

    monkeypatch.delenv("no_proxy", raising=False)
    before = dask.config.get("distributed.worker.profile.enabled")
    with client(workers=1) as connected:
        assert dask.config.get("distributed.worker.profile.enabled") is False
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", connected.dashboard_link)
        with urllib.request.urlopen(connected.dashboard_link, timeout=10) as page:  # noqa: S310 - ours
            assert page.status == 200
    assert dask.config.get("distributed.worker.profile.enabled") == before


# On a cluster
def test_a_week_on_a_cluster_gives_the_same_forecasts_to_the_last_bit(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    two_workers: Cluster,
    undisturbed: pd.DataFrame,
):
    settings = make_week(tmp_path, dask_address=two_workers.address)
    assert run_week(settings, instance).success
    pd.testing.assert_frame_equal(predictions(settings), undisturbed, check_exact=True)
    assert undisturbed["error"].isna().all()


def test_a_cluster_of_one_of_dasks_kinds_is_started():
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with client(cluster={"local": options}) as connected:
        assert comes_true(lambda: sum(connected.nthreads().values()) == 1, within=20)


@pytest.mark.parametrize(
    ("table", "config"),
    [
        (
            {"dask_address": "tcp://10.0.0.1:8786"},
            {"client": {"address": "tcp://10.0.0.1:8786", "timeout": 20}},
        ),
        ({"cluster": {"yarn": {"n_workers": 2}}}, {"cluster": {"yarn": {"n_workers": 2}}}),
    ],
)
def test_the_cluster_is_that_of_the_settings(table: Mapping[str, Any], config: Mapping[str, Any]):
    assert dask_config(ComputeSettings(**table)) == config


# Clusters that cannot be used
@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "CONNECT_SECONDS", 1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.usefixtures("_impatient")
def test_a_server_that_is_silent_is_refused_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(ComputeError, match=f"{address} cannot be used: .* within 1 seconds"),
            client(dask_address=address),
        ):
            pass


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"dask_address": "nosuch://127.0.0.1:1"}, "unknown address scheme 'nosuch'"),
        ({"cluster": {"nosuch": {}}}, r'Error in config [\s\S]* unexpected config entry "nosuch"'),
        ({"cluster": {"yarn": {}}}, "No module named 'dask_yarn'"),
    ],
)
def test_a_cluster_that_cannot_exist_is_refused(table: Mapping[str, Any], reason: str):
    with pytest.raises(ComputeError, match=f"cannot be used: {reason}"), client(**table):
        pass


@pytest.mark.usefixtures("_impatient", "user_models")
def test_a_week_without_its_scheduler_fails_by_name_and_waits_for_it_once(
    tmp_path: Path, instance: dg.DagsterInstance
):
    settings = make_week(tmp_path, dask_address=f"tcp://127.0.0.1:{free_port()}")
    began = time.monotonic()
    result = run_week(settings, instance)
    assert time.monotonic() - began < 60
    assert not result.success
    assert error_texts(result).count("Timed out trying to connect") >= 3  # once per model
    assert "`dask_address` and `cluster`" in error_texts(result)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def n_cached(settings: Settings) -> int:
    """How many folds the fold cache holds."""
    n_folds = 0
    for file in (settings.var / "fold_cache").glob("*.sqlite"):
        with closing(sqlite3.connect(file, timeout=60)) as connection, suppress(sqlite3.Error):
            n_folds += connection.execute("SELECT count(*) FROM fold").fetchone()[0]
    return n_folds


def test_a_week_that_loses_its_scheduler_keeps_its_folds_for_the_next(
    tmp_path: Path, instance: dg.DagsterInstance, user_models: Path, undisturbed: pd.DataFrame
):
    with cluster(tmp_path / "cluster", "one", "two", path=[user_models]) as lost:
        settings = make_week(tmp_path / "week", dask_address=lost.address)

        def kill() -> None:
            assert comes_true(lambda: n_cached(settings) > 0, within=60)
            lost.scheduler.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        result = run_week(settings, instance)
        killer.join()
    assert not result.success
    assert f"The Dask scheduler {lost.address} " in error_texts(result)
    n_kept = n_cached(settings)
    again = run_week(settings.model_copy(update={"compute": ComputeSettings()}), instance)
    assert again.success
    pd.testing.assert_frame_equal(predictions(settings), undisturbed, check_exact=True)
    assert 0 < n_kept < N_FOLDS
    n_fits = [int(page["n_fits"].value) for page in partitions(again).values()]
    assert sum(n_fits) == N_FOLDS - n_kept


def test_a_week_whose_workers_are_killed_gives_the_same_forecasts(
    tmp_path: Path, instance: dg.DagsterInstance, user_models: Path, undisturbed: pd.DataFrame
):
    """Workers are killed at random times, and nannies replace them."""
    rng, is_over, n_killed = random.Random(42), threading.Event(), 0  # noqa: S311 - times
    with (
        cluster(tmp_path / "cluster", path=[user_models]) as running,
        running.running_workers("one", "two", has_nannies=True),
    ):
        settings = make_week(tmp_path / "week", dask_address=running.address)

        def kill() -> None:
            nonlocal n_killed
            while not is_over.wait(rng.uniform(0.5, 2.0)) and n_killed < MAX_KILLED:
                running.kill_worker(rng.choice(["one", "two"]))
                n_killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        result = run_week(settings, instance)
        is_over.set()
        killer.join()
    assert result.success
    assert n_killed > 0
    pd.testing.assert_frame_equal(predictions(settings), undisturbed, check_exact=True)


def test_the_resource_is_available_without_a_run(tmp_path: Path):
    settings = make_settings(tmp_path)
    given = {
        "settings": settings,
        "store": build_store(settings),
        "compute": resources.backtest_executor,
    }
    with dg.build_resources(given) as built:
        assert isinstance(built.compute, BacktestExecutor)
        assert built.compute.dashboard is None
