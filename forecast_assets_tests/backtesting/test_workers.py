"""Where models run: on this machine by default, else on the cluster that the settings name."""

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
from forecast_assets_tests.dask_clusters import Cluster, cluster
from forecast_assets_tests.misbehaving_models import below, comes_true
from forecast_assets_tests.test_week import failures, fits, latest, run_week

N_OUTLIVED = 3  # workers whose end a chunk outlives: Dask's own measure
MODELS = {"enabled": ["naive", "theta", "auto_ets", "auto_arima", "ridge"]}
SERIES = {"a": walk(60, seed=1), "b": walk(60, seed=2)}


@contextmanager
def client(**settings: Any) -> Iterator[Any]:
    """A client of the workers that the settings name."""
    with ExitStack() as stack:
        yield resources._connect(stack, ComputeSettings(**settings))  # noqa: SLF001 - the resource's


def week(folder: Path, **tables: Mapping[str, object]) -> Settings:
    """A week of two series whose models are fitted."""
    folder.mkdir(exist_ok=True)
    few = {"models": MODELS, "backtest": {"n_windows": 6}}
    return week_settings(folder, make_series(**SERIES), **{**few, **tables})


def said(settings: Settings) -> pd.DataFrame:
    """What the models of a week said."""
    return latest(build_store(settings), "backtest_predictions").drop(columns="fit_seconds")


# On this machine
def test_a_worker_here_is_a_thread_that_keeps_a_process():
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


def test_there_is_a_worker_for_each_core_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 5)
    assert dask_config(ComputeSettings())["cluster"]["local"]["n_workers"] == 5


def test_the_dashboard_of_workers_here_is_where_it_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("no_proxy", raising=False)
    with client(workers=1) as found:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", found.dashboard_link)
        with urllib.request.urlopen(found.dashboard_link, timeout=10) as page:  # noqa: S310 - ours
            assert page.status == 200


def test_a_run_leaves_daskes_own_settings_as_they_were():
    import dask  # noqa: PLC0415 - half a second

    before = dask.config.get("distributed.worker.profile.enabled")
    with client(workers=1):
        assert dask.config.get("distributed.worker.profile.enabled") is False
    assert dask.config.get("distributed.worker.profile.enabled") == before


def test_a_week_leaves_no_process_behind(tmp_path: Path, instance: dg.DagsterInstance):
    before = set(below())
    assert run_week(week(tmp_path, compute={"workers": 2}), instance).success
    assert comes_true(lambda: set(below()) <= before)


# On a cluster
@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that no test harms."""
    with cluster(tmp_path_factory.mktemp("cluster"), "one", "two") as made:
        yield made


def test_a_week_on_a_cluster_says_the_same_as_here_to_the_last_bit(
    tmp_path: Path, instance: dg.DagsterInstance, two_workers: Cluster
):
    here, there = (
        week(tmp_path / "here"),
        week(tmp_path / "there", compute={"dask_address": two_workers.address}),
    )
    results = [run_week(settings, instance) for settings in (here, there)]
    assert [result.success for result in results] == [True, True]
    pd.testing.assert_frame_equal(said(there), said(here), check_exact=True)
    assert said(here)["error"].isna().all()


def test_a_cluster_of_daskes_own_kinds_is_started_for_the_run(
    tmp_path: Path, instance: dg.DagsterInstance
):
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    settings = week(tmp_path, compute={"cluster": {"local": options}})
    assert run_week(settings, instance).success
    assert said(settings)["error"].isna().all()


@pytest.mark.parametrize(
    ("given", "config"),
    [
        (
            {"dask_address": "tcp://10.0.0.1:8786"},
            {"client": {"address": "tcp://10.0.0.1:8786", "timeout": 20}},
        ),
        ({"cluster": {"yarn": {"n_workers": 2}}}, {"cluster": {"yarn": {"n_workers": 2}}}),
    ],
)
def test_what_the_settings_name_is_what_is_connected_to(
    given: Mapping[str, Any], config: Mapping[str, Any]
):
    assert dask_config(ComputeSettings(**given)) == config


# What cannot be used
@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds to connect in."""
    monkeypatch.setattr(resources, "CONNECT_SECONDS", 2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.usefixtures("impatient")
def test_a_scheduler_that_is_not_there_is_refused_in_time():
    address = f"tcp://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with (
        pytest.raises(
            ComputeError,
            match=f"The Dask scheduler {address} cannot be used: Timed out trying to connect",
        ),
        client(dask_address=address),
    ):
        pass
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_nothing_is_refused_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with (
            pytest.raises(ComputeError, match="cannot be used: no answer within 2 seconds"),
            client(dask_address=address),
        ):
            pass
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"dask_address": "nosuch://127.0.0.1:1"}, "unknown address scheme 'nosuch'"),
        ({"cluster": {"nosuch": {}}}, r'Error in config [\s\S]* unexpected config entry "nosuch"'),
        ({"cluster": {"yarn": {}}}, "No module named 'dask_yarn'"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(given: Mapping[str, Any], why: str):
    with pytest.raises(ComputeError, match=f"cannot be used: {why}"), client(**given):
        pass


@pytest.mark.usefixtures("impatient")
def test_a_week_without_its_scheduler_fails_by_name_and_waits_for_it_once(
    tmp_path: Path, instance: dg.DagsterInstance
):
    settings = week(tmp_path, compute={"dask_address": f"tcp://127.0.0.1:{free_port()}"})
    began = time.monotonic()
    result = run_week(settings, instance)
    assert time.monotonic() - began < 60
    assert not result.success
    told = failures(result)
    assert told.count("Timed out trying to connect") >= 4  # each model's step says so
    assert "take `dask_address` and `cluster` out of [compute] in forecast.toml" in told
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def kept(settings: Settings) -> int:
    """How many folds the fold cache holds."""
    n_folds = 0
    for file in (settings.var / "fold_cache").glob("*.sqlite"):
        with closing(sqlite3.connect(file, timeout=60)) as connection, suppress(sqlite3.Error):
            n_folds += connection.execute("SELECT count(*) FROM fold").fetchone()[0]
    return n_folds


@pytest.mark.parametrize("lost", ["scheduler", "workers"])
def test_a_week_that_loses_its_cluster_keeps_its_folds_for_the_next(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    unruly_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
):
    monkeypatch.setattr("forecast_assets.backtesting.dask_pool.WORKERLESS_SECONDS", 3.0)
    slow = {"factory": "unruly_models:Unruly", "params": {"seconds": 0.15}}
    models = {"enabled": ["naive", "slow", "theta"], "slow": slow}
    with cluster(tmp_path / "it", "one", "two", path=(unruly_models,)) as made:
        there, calm = (
            week(tmp_path / name, models=models, backtest={"n_windows": 25}, compute=compute)
            for name, compute in (("there", {"dask_address": made.address}), ("calm", {}))
        )

        def lose() -> None:
            assert comes_true(lambda: kept(there) > 0, within=60)
            if lost == "scheduler":
                made.scheduler.kill()
            for name in ("one", "two") if lost == "workers" else ():
                made.kill_worker(name)

        thread = threading.Thread(target=lose)
        thread.start()
        result = run_week(there, instance)
        thread.join()
    assert not result.success
    assert f"The Dask scheduler {made.address} " in failures(result)
    n_kept = kept(there)
    there = there.model_copy(update={"compute": ComputeSettings()})
    again = run_week(there, instance)
    assert again.success
    assert run_week(calm, instance).success
    pd.testing.assert_frame_equal(said(there), said(calm), check_exact=True)
    assert 0 < n_kept < 100
    assert sum(map(int, fits(again).values())) == 100 - n_kept


def test_a_week_whose_workers_are_killed_again_and_again_says_the_same(
    tmp_path: Path, instance: dg.DagsterInstance, unruly_models: Path
):
    """Nannies put new workers in the place of those that are killed at random moments."""
    slow = {"factory": "unruly_models:Unruly", "params": {"seconds": 0.3}}  # 7 s of work for two
    fitted = {"enabled": ["naive", "slow", "theta", "auto_ets", "mstl_ets"], "slow": slow}
    tables = {"models": fitted, "backtest": {"n_windows": 25}}
    calm = week(tmp_path / "calm", **tables)
    assert run_week(calm, instance).success
    rng, is_over, n_killed = random.Random(42), threading.Event(), 0  # noqa: S311 - moments
    nannies: dict[str, Any] = {"has_nannies": True, "path": (unruly_models,)}
    with cluster(tmp_path / "it", "one", "two", **nannies) as made:
        there = week(tmp_path / "there", compute={"dask_address": made.address}, **tables)

        def kill() -> None:
            nonlocal n_killed
            while not is_over.wait(rng.uniform(0.5, 2.5)) and n_killed < N_OUTLIVED:
                made.kill_worker(rng.choice(["one", "two"]))
                n_killed += 1

        thread = threading.Thread(target=kill)
        thread.start()
        result = run_week(there, instance)
        is_over.set()
        thread.join()
    assert result.success
    assert n_killed == N_OUTLIVED
    pd.testing.assert_frame_equal(said(there), said(calm), check_exact=True)


def test_the_resource_can_be_had_without_a_run(tmp_path: Path):
    settings = make_settings(tmp_path)
    given = {
        "settings": settings,
        "store": build_store(settings),
        "compute": resources.backtest_executor,
    }
    with dg.build_resources(given) as found:
        assert isinstance(found.compute, BacktestExecutor)
        assert found.compute.dashboard is None
