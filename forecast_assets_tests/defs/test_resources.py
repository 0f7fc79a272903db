"""Where models run: on this machine by default, else on the cluster of the settings."""

import re
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.config.compute_settings import ComputeSettings
from forecast_assets.config.settings import Settings
from forecast_assets.defs import resources
from forecast_assets.defs.build import build_store
from forecast_assets.defs.inputs import RunInputs
from forecast_assets.defs.resources import dask_config
from forecast_assets.defs.schedules import all_models_tags
from forecast_assets.errors import ComputeError
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.dagster_runs import PANEL, materialize, small_week
from forecast_assets_tests.dask_clusters import Cluster, cluster
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.test_week import error_texts, latest, partitions

N_WINDOWS = 8
N_FOLDS = len(PANEL) * N_WINDOWS


@contextmanager
def client(**settings: Any) -> Iterator[Any]:
    """Yield a client of the cluster that the settings describe."""
    with ExitStack() as stack:
        yield resources._connect(stack, ComputeSettings(**settings))  # noqa: SLF001 - the resource's


def slow_week(folder: Path, **compute: object) -> Settings:
    """Return a week with a model that forecasts as naive does, in 3 seconds of work."""
    params = {"way": "logs", "seconds": 0.12}
    slow = {"factory": "user_models:Misbehaving", "params": params}
    models = {"enabled": ["naive", "slow"], "slow": slow}
    backtest = {"n_windows": N_WINDOWS}
    return small_week(folder, models=models, backtest=backtest, compute=compute)


def run_backtest(settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Run the assets up to the backtest of all models."""
    return materialize(settings, instance, *ASSETS[:3], **all_models_tags(settings))


def check_forecasts(settings: Settings) -> None:
    """Check that the slow model forecast every fold to the last bit as naive did."""
    rows = latest(build_store(settings), "backtest_predictions")
    naive, slow = (
        rows[rows["model"] == model].drop(columns=["model", "fit_seconds"]).reset_index(drop=True)
        for model in ("naive", "slow")
    )
    pd.testing.assert_frame_equal(naive, slow, check_exact=True)
    assert (len(slow), slow["error"].count()) == (N_FOLDS, 0)


@contextmanager
def during(begun: Callable[[], bool], action: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as a condition comes true while the block runs."""

    def wait() -> None:
        if comes_true(begun, within=120):
            action()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


# On this machine
def test_there_is_a_worker_for_each_core_of_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 5)
    local = dask_config(ComputeSettings())["cluster"]["local"]
    assert (local["n_workers"], local["threads_per_worker"], local["processes"]) == (5, 1, False)


def test_a_local_cluster_has_a_dashboard_and_restores_the_settings_of_dask(
    monkeypatch: pytest.MonkeyPatch,
):
    import dask
    import distributed  # noqa: F401 - it sets its defaults

    monkeypatch.delenv("no_proxy", raising=False)
    before = dask.config.get("distributed.worker.profile.enabled")
    with client(workers=1) as connected:
        assert dask.config.get("distributed.worker.profile.enabled") is False
        # A suspended machine, which sends no heartbeats, loses no worker.
        assert connected.cluster.scheduler.worker_ttl is None
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", connected.dashboard_link)
        with urllib.request.urlopen(connected.dashboard_link, timeout=10) as page:  # noqa: S310 - ours
            assert page.status == 200
    assert dask.config.get("distributed.worker.profile.enabled") == before


# On a cluster
@pytest.fixture(scope="module")
def harmed(
    tmp_path_factory: pytest.TempPathFactory, user_models: Path
) -> Iterator[tuple[Cluster, Path]]:
    """Yield a cluster, whose worker and then scheduler tests kill, and its log of fits."""
    folder = tmp_path_factory.mktemp("cluster")
    log = folder / "fits"
    log.touch()
    with cluster(folder, "one", "two", path=[user_models], MODEL_LOG=str(log)) as running:
        yield running, log


def test_a_backtest_whose_worker_is_killed_gives_the_same_forecasts(
    tmp_path: Path, instance: dg.DagsterInstance, harmed: tuple[Cluster, Path]
):
    running, log = harmed
    settings = slow_week(tmp_path, dask_address=running.address)
    with during(lambda: log.read_text().count("\n") > 3, running.workers["one"].kill):
        assert run_backtest(settings, instance).success
    assert running.workers["one"].poll() is not None
    check_forecasts(settings)


def n_cached(settings: Settings) -> int:
    """Count the folds in the fold cache."""
    n_folds = 0
    for file in (settings.var / "fold_cache").glob("*.sqlite"):
        with closing(sqlite3.connect(file, timeout=60)) as connection, suppress(sqlite3.Error):
            n_folds += connection.execute("SELECT count(*) FROM fold").fetchone()[0]
    return n_folds


def test_a_backtest_that_loses_its_scheduler_keeps_its_folds_for_the_next(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    harmed: tuple[Cluster, Path],
    monkeypatch: pytest.MonkeyPatch,
):
    running, log = harmed
    monkeypatch.setattr("forecast_assets.backtesting.executor.SAVE_INTERVAL_SECONDS", 0.1)
    monkeypatch.setenv("MODEL_LOG", str(log))
    settings = slow_week(tmp_path, dask_address=running.address)
    with during(lambda: n_cached(settings) > 0, running.scheduler.kill):
        result = run_backtest(settings, instance)
    assert not result.success
    assert f"The Dask scheduler {running.address} " in error_texts(result)
    n_kept = n_cached(settings)
    again = run_backtest(settings.model_copy(update={"compute": ComputeSettings()}), instance)
    assert again.success
    check_forecasts(settings)
    assert 0 < n_kept < N_FOLDS
    assert partitions(again)["slow"]["n_fits"].value == N_FOLDS - n_kept


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
def test_a_backtest_without_its_scheduler_fails_by_name_without_retry(
    tmp_path: Path, instance: dg.DagsterInstance
):
    settings = slow_week(tmp_path, dask_address=f"tcp://127.0.0.1:{free_port()}")
    result = run_backtest(settings, instance)
    assert not result.success
    assert "Timed out trying to connect" in error_texts(result)
    assert "`dask_address` and `cluster`" in error_texts(result)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_the_resource_is_available_without_a_run(tmp_path: Path):
    settings = make_settings(tmp_path)
    given = {
        "settings": settings,
        "store": build_store(settings),
        "inputs": RunInputs(),
        "compute": resources.backtest_executor,
    }
    with dg.build_resources(given) as built:
        assert isinstance(built.compute, BacktestExecutor)
        assert built.compute.dashboard is None
