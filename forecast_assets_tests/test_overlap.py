"""Two runs of the week at once, in processes of their own, on one store."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import ROOT
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.cli_runner import COMMAND, configure, output_of
from forecast_assets_tests.misbehaving_models import comes_true

OLDER, NEWER = "2024-09-16", "2024-10-07"  # three weeks apart, both within the source


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Yield the store after two whole weeks ran at once, without a queue."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = configure(tmp_path_factory.mktemp("overlap"), monkeypatch)
        with subprocess.Popen([*COMMAND, "run", "--as-of", NEWER]) as newer:
            # This process follows when the other one begins, and so the older week may end last.
            assert comes_true((folder / "dagster").exists, within=60)
            output_of("run", "--as-of", OLDER)
            assert newer.wait() == 0
        yield build_store(load())


def test_each_run_reads_its_own_versions_and_completes_every_table(store: Store):
    run_ids = {commit.run_id for commit in store.history("raw_data")}
    assert len(run_ids) == 2
    for asset in ASSETS:
        for commit in store.history(asset):
            inputs = [store.commit(read) for read in commit.inputs]
            assert {read.run_id for read in inputs} <= {commit.run_id}
            assert {read.as_of for read in inputs} <= {commit.as_of}
        n_partitions = 2 if asset == "backtest_predictions" else 1
        for run_id in run_ids:
            assert len(select(store, asset, run_id=run_id)) == n_partitions


def test_the_older_week_does_not_replace_the_newer(store: Store):
    for asset in ASSETS:
        assert {str(commit.as_of.date()) for commit in select(store, asset)} == {NEWER}
    forecast = store.read(select(store, "next_week_forecast"))
    assert set(forecast["cutoff"].dt.strftime("%Y-%m-%d")) == {"2024-10-04"}


def test_the_queue_runs_one_week_at_a_time(tmp_path: Path):
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
    job = build_defs(make_settings(tmp_path)).resolve_job_def("weekly_forecast")
    assert {key for key, limit in limits.items() if limit == 1} <= set(job.tags)
    assert "forecast_assets/week" in limits
