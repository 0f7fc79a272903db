"""What is dear to start and shared by many tests."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import hypothesis
import pytest

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets_tests import misbehaving_models, object_store
from forecast_assets_tests.browser import find_chromium
from forecast_assets_tests.worker_builders import ODD_MODELS, local_crew

# The same examples in every run, however busy the machine is.
hypothesis.settings.register_profile("ours", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ours")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(scope="session")
def crew() -> Iterator[DaskPool]:
    """Two workers; each keeps a process that has the models' libraries imported."""
    with local_crew() as found:
        yield found


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
def odd_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module of the user's own on the path, with models that misbehave."""
    folder = tmp_path_factory.mktemp("own_models")
    (folder / "odd_models.py").write_text(ODD_MODELS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield


@pytest.fixture(scope="session")
def unruly_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a module whose model ends its process, on the path here and there."""
    folder = tmp_path_factory.mktemp("unruly")
    (folder / "unruly_models.py").write_text(misbehaving_models.MODULE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield folder


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
