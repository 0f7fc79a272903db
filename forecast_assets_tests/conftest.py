"""What is dear to start and shared by many tests."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import hypothesis
import pytest

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets_tests import misbehaving_models, object_store
from forecast_assets_tests.browser import find_chromium
from forecast_assets_tests.dask_clusters import Cluster, cluster
from forecast_assets_tests.worker_builders import local_pool

# The same examples in every run, however busy the machine is.
hypothesis.settings.register_profile("ours", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ours")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(scope="session")
def dask_pool() -> Iterator[DaskPool]:
    """Two workers; each keeps a process that has the models' libraries imported."""
    with local_pool() as pool:
        yield pool


@pytest.fixture
def object_store_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty object store, where `s3://bucket` leads."""
    with object_store.running() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for name, value in {
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "user",
            "AWS_SECRET_ACCESS_KEY": "password",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield address


@pytest.fixture(scope="session")
def user_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a user's module with models that misbehave, on the path."""
    folder = tmp_path_factory.mktemp("user_models")
    (folder / "user_models.py").write_text(misbehaving_models.MODULE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory, user_models: Path) -> Iterator[Cluster]:
    """A Dask cluster in processes of its own, which no test harms."""
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(folder, "one", "two", path=[user_models]) as running:
        yield running


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies and certificates of its own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser: without it the tests that look at pages fail, and say how to get it."""
    return find_chromium()
