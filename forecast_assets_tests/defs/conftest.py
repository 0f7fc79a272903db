"""A week that is published once and copied by the tests that continue it."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets_tests.dagster_runs import run_week, small_week


@pytest.fixture(scope="session")
def published_week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish the week of `small_week` as of a day in 2024: only copy its folder."""
    folder = tmp_path_factory.mktemp("published")
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"forecast_assets/as_of": "2024-12-02"}
        assert run_week(small_week(folder), instance, **tags).success
    return folder


@pytest.fixture
def published(published_week: Path, tmp_path: Path) -> Settings:
    """Return the settings of a copy of the published week in `tmp_path`."""
    shutil.copytree(published_week / "var", tmp_path / "var")
    return small_week(tmp_path)
