"""Rows in a table of a database: a SQLite file, and PostgreSQL on loopback."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
import sqlalchemy as sa

from forecast_assets.delivery.batch import Written
from forecast_assets.delivery.sql import check_sql, write_sql
from forecast_assets.errors import DeliveryError, DeliveryUnavailable
from forecast_assets.storage.commit import Commit
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.databases import PASSWORD, Server
from forecast_assets_tests.delivery.delivery_builders import (
    batch_of,
    deliver_settings,
    open_store,
    withdraw_week,
    write_forecast,
)
from forecast_assets_tests.store_builders import make_commit, make_scores

TABLE = "forecasts"


class Target:
    """A database, and a store with versions to deliver to its table."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.store = open_store(folder)
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)

    def run(self, *statements: str) -> None:
        """Execute statements in a transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def rows(self, columns: str = "unique_id, y_hat, producer") -> list[tuple[Any, ...]]:
        """Return rows of the table, by time and series."""
        query = f"SELECT {columns} FROM {TABLE} ORDER BY as_of, unique_id, ds"  # noqa: S608 - ours
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def deliver(self, commit: Commit | None, **delivery: Any) -> Written:
        """Deliver a version, or take withdrawn ones back."""
        given = {"kind": "sql", "url": self.url, "table": TABLE, **delivery}
        settings = deliver_settings(self.folder, erp=given)
        return write_sql(settings.deliver["erp"], batch_of(settings, self.store, commit))  # type: ignore[arg-type]

    def check(self, **delivery: Any) -> str:
        """Try what a delivery needs."""
        given = {"kind": "sql", "url": self.url, "table": TABLE, **delivery}
        settings = deliver_settings(self.folder, erp=given)
        return check_sql(settings.deliver["erp"], batch_of(settings, self.store, None))  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "sqlite":
        return Target(f"sqlite:///{tmp_path / 'numbers.db'}", tmp_path)
    server: Server = request.getfixturevalue("postgresql_server")
    server.run(f"DROP TABLE IF EXISTS {TABLE}")
    return Target(server.url(), tmp_path)


@pytest.fixture
def server(postgresql_server: Server) -> Server:
    postgresql_server.run(f"DROP TABLE IF EXISTS {TABLE}")
    return postgresql_server


def naive(time: Any) -> datetime:
    """Return a time in UTC without its zone; SQLite returns a text."""
    read = datetime.fromisoformat(time) if isinstance(time, str) else time
    return read.astimezone(UTC).replace(tzinfo=None) if read.tzinfo else read


def test_a_version_is_delivered_once_and_a_newer_one_of_its_time_replaces_its_rows(target: Target):
    first = write_forecast(target.store, 1.5, 2.5)
    written = target.deliver(first)
    assert (written.n_rows, written.n_changed) == (2, 2)
    assert target.rows() == [("a", 1.5, "forecast_assets"), ("b", 2.5, "forecast_assets")]
    times = {tuple(map(naive, row)) for row in target.rows("as_of, made_at")}
    assert times == {(naive(AS_OF), naive(AS_OF.replace(hour=1)))}
    assert target.deliver(first).text.endswith("nothing changed.")
    assert target.deliver(write_forecast(target.store, 1.5, 3.5)).n_changed == 1
    assert target.deliver(write_forecast(target.store, 4.5)).n_changed == 2  # b is left out
    assert target.rows() == [("a", 4.5, "forecast_assets")]
    target.deliver(write_forecast(target.store, 7.0, n_weeks=1, h=2))
    assert [row[1] for row in target.rows()] == [4.5, 7.0, 7.0]
    assert [row[0] for row in target.rows("h")] == [1, 1, 2]
    assert target.deliver(first).n_changed == 2  # an old version on request


def test_scores_and_metrics_are_delivered_with_their_times(tmp_path: Path):
    target = Target(f"sqlite:///{tmp_path / 'numbers.db'}", tmp_path)
    metrics = target.store.write(make_scores(), make_commit("metrics"))
    assert target.deliver(metrics, asset="metrics").n_changed == 1
    assert target.deliver(metrics, asset="metrics").n_changed == 0
    with target.engine.connect() as connection:
        (row,) = connection.exec_driver_sql(f"SELECT * FROM {TABLE}").mappings()  # noqa: S608 - ours
        key = sa.inspect(connection).get_pk_constraint(TABLE)["constrained_columns"]
    assert (row["model"], row["producer"]) == ("naive", "forecast_assets")
    assert naive(row["as_of"]) == naive(AS_OF)
    assert row["made_at"] is not None
    assert key == ["unique_id", "model", "as_of"]
    empty = target.store.tables["forecast_accuracy"].empty()
    scores = target.store.write(empty, make_commit("forecast_accuracy"))
    assert target.deliver(scores, asset="forecast_accuracy", table="scores").n_rows == 0


def test_rows_and_columns_of_others_are_left_alone(target: Target):
    commit = write_forecast(target.store, 1.0, 2.0)
    target.deliver(commit)
    target.run(
        f"ALTER TABLE {TABLE} ADD approved integer",
        f"UPDATE {TABLE} SET approved = 1",  # noqa: S608 - ours
        f"INSERT INTO {TABLE} (unique_id, ds, as_of, producer, y_hat, h, model, rung, cutoff,"  # noqa: S608 - ours
        f" made_at) SELECT 'z', ds, as_of, 'planner', 9, h, model, rung, cutoff, made_at"
        f" FROM {TABLE} WHERE unique_id = 'a'",
    )
    target.deliver(write_forecast(target.store, 1.0, 5.0))
    assert target.rows("unique_id, y_hat, producer, approved") == [
        ("a", 1.0, "forecast_assets", 1),
        ("b", 5.0, "forecast_assets", 1),
        ("z", 9.0, "planner", None),
    ]


@pytest.mark.parametrize("producer", ["'planner'", "NULL"])
def test_a_row_of_another_producer_under_our_key_refuses_the_delivery(
    target: Target, producer: str
):
    target.deliver(write_forecast(target.store, 1.0, 2.0))
    if producer == "NULL":
        producer = "''"  # a column that we create has no null
    target.run(f"UPDATE {TABLE} SET producer = {producer}, y_hat = 8 WHERE unique_id = 'b'")  # noqa: S608 - ours
    before = target.rows()
    message = r"erp was refused: 1 of its 2 rows are in the table forecasts of \S+ already, written"
    with pytest.raises(DeliveryError, match=f"{message} by others: b / 2024-01-12 by"):
        target.deliver(write_forecast(target.store, 3.0, 4.0))
    assert target.rows() == before
    target.deliver(write_forecast(target.store, 3.0))  # without a row under its key


def test_columns_that_the_table_lacks_are_added(target: Target):
    target.deliver(write_forecast(target.store, 1.0))
    target.run(f"ALTER TABLE {TABLE} DROP COLUMN hi_95", f"ALTER TABLE {TABLE} DROP COLUMN rung")
    target.deliver(write_forecast(target.store, 1.0, n_weeks=1))
    assert target.rows("hi_95, rung") == [(None, None), (3.0, "champion")]
    assert "columns of the right types" in target.check()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id integer, name text", r"exists and has no column unique_id, ds, as_of, so it is not a"),
        (
            "unique_id text, ds date, as_of {timestamp}, y_hat text, h {timestamp}",
            r"2 columns of the table forecasts of \S+ have other types: h is \w+, and BIGINT is n",
        ),
    ],
)
def test_a_table_with_other_columns_or_types_is_refused(target: Target, columns: str, message: str):
    kind = "timestamptz" if target.url.startswith("postgresql") else "datetime"
    target.run(f"CREATE TABLE {TABLE} ({columns.format(timestamp=kind)})")
    commit = write_forecast(target.store, 1.0)
    for attempt in (lambda: target.deliver(commit), target.check):
        with pytest.raises(DeliveryError, match=message):
            attempt()
    with target.engine.connect() as connection:
        assert "producer" not in {c["name"] for c in sa.inspect(connection).get_columns(TABLE)}


def test_postgresql_keeps_single_precision_and_times_without_a_zone_out(
    server: Server, tmp_path: Path
):
    target = Target(server.url(), tmp_path)
    target.run(f"CREATE TABLE {TABLE} (unique_id text, ds date, as_of timestamp, y_hat real)")
    types = "y_hat is REAL, and DOUBLE PRECISION is needed, as_of is TIMESTAMP, and TIMESTAMP WITH"
    with pytest.raises(DeliveryError, match=types):
        target.deliver(write_forecast(target.store, 1.0))


def test_withdrawn_rows_are_taken_back_and_with_them_no_others(target: Target):
    for n_weeks in (0, 1):
        target.deliver(write_forecast(target.store, 1.0 + n_weeks, n_weeks=n_weeks))
    withdraw_week(target.store, 1)
    taken = target.deliver(None)
    assert (taken.n_taken_back, taken.n_changed) == (1, 0)
    assert [row[1] for row in target.rows()] == [1.0]
    again = target.deliver(write_forecast(target.store, 5.0, n_weeks=1))
    assert (again.n_taken_back, [row[1] for row in target.rows()]) == (0, [1.0, 5.0])


def test_nothing_is_taken_back_where_nothing_was_delivered(target: Target):
    assert target.deliver(None).n_taken_back == 0
    assert "the first delivery creates it" in target.check()
    with target.engine.connect() as connection:
        assert not sa.inspect(connection).has_table(TABLE)


@contextmanager
def before_rows(call: Any) -> Iterator[None]:
    """Call a function once, right before the first row is inserted."""
    calls = [call]

    def intercept(*event: Any) -> None:
        if calls and event[2].startswith("INSERT"):
            calls.pop()()

    sa.event.listen(sa.Engine, "before_cursor_execute", intercept)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", intercept)


def test_a_server_that_dies_midway_leaves_the_table_as_it_was(server: Server, tmp_path: Path):
    target = Target(server.url(), tmp_path)
    target.deliver(write_forecast(target.store, 1.0))
    newer = write_forecast(target.store, 2.0, 3.0)
    with before_rows(server.kill), pytest.raises(DeliveryUnavailable) as raised:
        target.deliver(newer)
    message = str(raised.value)
    assert re.match(
        r"The delivery erp was interrupted: postgresql\+psycopg://127\.0\.0\.1:\d+/po", message
    )
    assert PASSWORD not in "".join(format_exception(raised.value))
    server.start()
    assert target.rows() == [("a", 1.0, "forecast_assets")]
    assert target.deliver(newer).n_changed == 2


def test_a_failed_insert_leaves_no_empty_table(tmp_path: Path):
    target = Target(f"sqlite:///{tmp_path / 'numbers.db'}", tmp_path)

    def interrupt() -> None:
        raise sqlite3.OperationalError("interrupted")

    with before_rows(interrupt), pytest.raises(DeliveryError):
        target.deliver(write_forecast(target.store, 1.0))
    with target.engine.connect() as connection:
        assert not sa.inspect(connection).has_table(TABLE)


def test_a_locked_database_is_waited_for_and_then_named(tmp_path: Path):
    target = Target(f"sqlite:///{tmp_path / 'numbers.db'}?timeout=0.1", tmp_path)
    commit = write_forecast(target.store, 1.0)
    holder = sqlite3.connect(tmp_path / "numbers.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DeliveryUnavailable, match="did not answer: database is locked"):
        target.deliver(commit)
    holder.close()
    assert target.deliver(commit).n_changed == 1


def test_a_slow_database_is_given_up_in_time(server: Server, tmp_path: Path):
    target = Target(server.url(), tmp_path)
    target.deliver(write_forecast(target.store, 1.0))
    with server.connected() as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {TABLE}")
        with pytest.raises(
            DeliveryUnavailable, match=r"not finished within `total_seconds` = 0\.3"
        ):
            target.deliver(write_forecast(target.store, 2.0), total_seconds=0.3)
    assert target.rows() == [("a", 1.0, "forecast_assets")]


def test_a_user_without_rights_is_named(server: Server, tmp_path: Path):
    target = Target(server.url(), tmp_path)
    target.deliver(write_forecast(target.store, 1.0))
    server.run(
        "DROP ROLE IF EXISTS onlooker",
        "CREATE ROLE onlooker LOGIN PASSWORD 'onlooker'",
        f"GRANT SELECT ON {TABLE} TO onlooker",
    )
    url = server.url(user="onlooker", password="onlooker")  # noqa: S106
    for table, message in {
        TABLE: "permission denied for table forecasts",
        "other": "permission denied for schema public",
    }.items():
        with pytest.raises(DeliveryError, match=f"{message}.*Grant this user the rights to create"):
            target.deliver(write_forecast(target.store, 2.0), url=url, table=table)
    server.run("DROP OWNED BY onlooker", "DROP ROLE onlooker")


def rejected(tmp_path: Path, urls: Sequence[tuple[str, str]]) -> None:
    target = Target("sqlite://", tmp_path)
    for url, message in urls:
        with pytest.raises(DeliveryError, match=message) as raised:
            target.deliver(None, url=url)
        assert "s3cr3t" not in "".join(format_exception(raised.value))


def test_an_unusable_url_is_refused_without_its_password(tmp_path: Path):
    rejected(
        tmp_path,
        [
            ("nonsense", r"`deliver\.erp\.url` = \*\*\* is not a database URL\. Nothing was wri"),
            ("nope://u:s3cr3t@h/d", r"erp cannot reach nope://h/d: Can't load plugin: .* Install"),
            (
                f"sqlite:///{tmp_path}/absent/x.db",
                r"refused by sqlite:\S+: unable to open database",
            ),
        ],
    )
