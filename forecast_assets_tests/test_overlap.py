"""Two runs of the week at once, in processes of their own, on one store."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.loader import load
from forecast_assets.config.settings import ROOT
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.cli_runner import configure, run_process

OLDER, NEWER = "2024-09-16", "2024-10-07"  # three weeks apart, both within the source


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """What two whole weeks left that ran at once, from the command line, which knows no queue."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(tmp_path_factory.mktemp("overlap"), monkeypatch)
        with ThreadPoolExecutor(2) as pool:
            # The newer first: the older one, begun with it, has as good a chance to end last.
            weeks = [pool.submit(run_process, "run", "--as-of", week) for week in (NEWER, OLDER)]
            for week in weeks:
                assert week.result().returncode == 0, week.result().stderr.decode()
        yield build_store(load())


def runs(store: Store) -> set[str]:
    return {commit.run_id for commit in store.history("raw_data")}


def test_their_results_do_not_mix(store: Store):
    assert len(runs(store)) == 2
    for asset in ASSETS:
        for commit in store.history(asset):
            assert {store.commit(one).run_id for one in commit.inputs} <= {commit.run_id}
            assert {store.commit(one).as_of for one in commit.inputs} <= {commit.as_of}


def test_the_older_week_does_not_replace_the_newer(store: Store):
    def newest(asset: str) -> list[Commit]:
        return select(store, asset)

    for asset in ASSETS:
        assert {str(commit.as_of.date()) for commit in newest(asset)} == {NEWER}
    forecast = store.read(newest("next_week_forecast"))
    assert set(forecast["cutoff"].dt.strftime("%Y-%m-%d")) == {"2024-10-04"}


def test_both_weeks_are_whole_and_sound(store: Store):
    for run_id in runs(store):
        for asset in ASSETS:
            assert len(select(store, asset, run_id=run_id)) == (2 if "backtest" in asset else 1)


def test_the_queue_lets_one_week_run_at_a_time(tmp_path: Path):
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        limits = {one["key"]: one["limit"] for one in queue.tag_concurrency_limits}
    job = build_defs(make_settings(tmp_path)).resolve_job_def("weekly_forecast")
    assert {key for key, limit in limits.items() if limit == 1} <= set(job.tags)
    assert "forecast_assets/week" in limits
