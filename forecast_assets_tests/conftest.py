"""Fixtures that are expensive to start and shared by many tests."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import dagster as dg
import hypothesis
import pytest
import sqlalchemy
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
from dagster._core.storage.runs.in_memory import InMemoryRunStorage

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets_tests import misbehaving_models
from forecast_assets_tests.browser import find_chromium
from forecast_assets_tests.databases import Server, postgresql
from forecast_assets_tests.worker_builders import local_pool

# The modules of Dagster that keep runs, events and ticks in SQLite.
SQLITE = (
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
)
# Folders without a file that takes long.
QUICK = ("config", "data", "forecasting", "reporting", "storage")
# The same examples in every run, however busy the machine is.
hypothesis.settings.register_profile("ours", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ours")


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def leave_syncing_to_the_system(connection: Any, _: object) -> None:
    """Let SQLite of this process not wait for the disk: Dagster commits 350 times in a week.

    A file then survives the end of a process, as tests of crashes need it, but not a power cut.
    """
    if isinstance(connection, Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of this folder, end with quick ones, so that all workers end at once."""
    tops = {item: item.path.relative_to(Path(__file__).parent).parts[0] for item in items}
    items.sort(key=lambda item: (tops[item] in QUICK, not tops[item].endswith(".py")))


def pytest_collection_finish() -> None:
    """Collect garbage less often, which takes a sixth of the time of a week in this process."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def _one_engine_per_database() -> Iterator[None]:
    """Keep SQLAlchemy's engine of a file: Dagster makes one for each of its 1000 statements a week.

    A new engine compiles its statements again. A connection is still opened for each.
    """
    engines: dict[str, sqlalchemy.Engine] = {}

    def create_engine(url: str, **options: Any) -> sqlalchemy.Engine:
        if url not in engines:
            engines[url] = sqlalchemy.create_engine(url, **options)
        return engines[url]

    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in SQLITE:
            monkeypatch.setattr(f"{module}.create_engine", create_engine)
        yield


def keep_connection(connect: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a `connect` of a storage in memory that uses the connection which the storage holds.

    Another thread, and a block within a block, open one of their own as without this.
    """
    opened_by = threading.get_ident()

    @contextmanager
    def kept(storage: Any) -> Iterator[Any]:
        held = storage._held_conn  # noqa: SLF001 - Dagster has no option for it
        if held.in_transaction() or threading.get_ident() != opened_by:
            with connect(storage) as connection:
                yield connection
        else:
            with getattr(storage, "_db_lock", nullcontext()):
                held.connection.driver_connection.execute("PRAGMA foreign_keys = ON")
                with held.begin():
                    yield held

    return kept


@pytest.fixture(scope="session", autouse=True)
def _one_connection_per_storage_in_memory() -> Iterator[None]:
    """Let Dagster not open 500 connections in a week, with two statements to set up each."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for storage, name in (
            (InMemoryRunStorage, "connect"),
            (InMemoryEventLogStorage, "_connect"),
        ):
            monkeypatch.setattr(storage, name, keep_connection(getattr(storage, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Keep Dagster's 90 scripts of migrations, which it reads several times for an instance."""
    read, scripts = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in scripts:
            scripts[location] = read(config)
        return scripts[location]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(autouse=True)
def _no_wait_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step that failed start its next attempt at once."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0.0)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Start a Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as started:
        yield started


@pytest.fixture(scope="session")
def dask_pool() -> Iterator[DaskPool]:
    """Start two workers; each keeps a process that has imported the models' libraries."""
    with local_pool() as pool:
        yield pool


@pytest.fixture
def object_store() -> Iterator[None]:
    """Make `s3://bucket` an empty bucket of a local server."""
    from forecast_assets_tests.s3_server import bucket

    with bucket():
        yield


@pytest.fixture(scope="session")
def user_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put a user's module with misbehaving models on the path; return its folder."""
    folder = tmp_path_factory.mktemp("user_models")
    (folder / "user_models.py").write_text(misbehaving_models.MODULE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings of proxies and certificates from the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's path, or fail with the way to install it."""
    return find_chromium()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """Yield a PostgreSQL server on loopback."""
    with postgresql() as server:
        yield server
