"""A week that is published once and copied by the tests that continue it."""

import fcntl
import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets_tests.dagster_runs import run_week, small_week


@pytest.fixture(scope="session")
def published_week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish the week of `small_week` as of a day in 2024, once for all workers: only copy it."""
    base = tmp_path_factory.getbasetemp()
    # The folders of the workers of pytest-xdist lie in one.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "published_week"
    folder.mkdir(exist_ok=True)
    done = folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with dg.DagsterInstance.ephemeral() as instance:
                tags = {"forecast_assets/as_of": "2024-12-02"}
                assert run_week(small_week(folder), instance, **tags).success
            done.touch()
    return folder


@pytest.fixture
def published(published_week: Path, tmp_path: Path) -> Settings:
    """Return the settings of a copy of the published week in `tmp_path`."""
    shutil.copytree(published_week / "var", tmp_path / "var")
    return small_week(tmp_path)
