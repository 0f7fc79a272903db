"""A database as a source: a SQLite file, and PostgreSQL on loopback."""

import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.sql import read_sql, sort, to_frame
from forecast_assets.errors import DataError, SourceError
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.databases import PASSWORD, Server
from forecast_assets_tests.fetch_process import measured_fetches

HOSTILE = "a'; DROP TABLE x;--"
AS_OF = datetime(2026, 1, 5, 5, 30, tzinfo=UTC)
UUID = "6d5c7d3e-53a0-4c6c-9a39-7a3f1b2c0d1e"
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def server(postgresql_server: Server) -> Server:
    """Return the PostgreSQL server, with the table `sales`."""
    postgresql_server.run(
        "DROP TABLE IF EXISTS sales",
        "CREATE TABLE sales (unique_id text, ds date, y numeric, note text)",
        "INSERT INTO sales VALUES ('b', '2026-01-02', 2.5, ''), ('a', '2026-01-09', NULL, ''),"
        " ('a', '2026-01-02', 1, '50 %')",
        "CREATE ROLE reader LOGIN PASSWORD 'reader'",
        "GRANT SELECT ON sales TO reader",
    )
    return postgresql_server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a SQLite file with the table `sales`."""
    path = tmp_path / "sales.db"
    write(
        path,
        "CREATE TABLE sales (unique_id, ds, y)",
        "INSERT INTO sales VALUES ('b', '2026-01-02', 2.5), ('a', '2026-01-09', NULL),"
        " ('a', '2026-01-02', 1)",
    )
    return path


def write(path: Path, *statements: str) -> None:
    """Execute statements in a SQLite file, which is created if absent."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def make_request(
    url: str,
    root: Path = Path("/"),
    *,
    previous: pd.DataFrame | None = None,
    log: Callable[[str], None] = print,
    **source: Any,
) -> FetchRequest:
    """Return a request for rows of a database, with one retry."""
    quick = {"max_retries": 1, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={"kind": "sql", "url": url, **quick, **source})
    return FetchRequest(settings, AS_OF, previous, log=log)


def fetch(url: str, root: Path = Path("/"), **source: Any) -> list[Row]:
    """Fetch rows as tuples, with times as ISO dates and a missing y as None."""
    return rows_of(sources.fetch(make_request(url, root, **source)))


def rows_of(raw: pd.DataFrame) -> list[Row]:
    """Return the rows of raw_data as tuples."""
    y = raw["y"].astype(object).where(raw["y"].notna(), None)
    days = [time.isoformat().removesuffix("T00:00:00") for time in raw["ds"]]
    return list(zip(raw["unique_id"], days, y, strict=True))


def read(url: str, **source: Any) -> pd.DataFrame:
    """Read the columns of a database before they are mapped."""
    request = make_request(url, **source)
    return read_sql(request.settings.source, request)  # type: ignore[arg-type]


def columns_query(column: str, literal: str) -> str:
    """Return a query of one row, with this literal of PostgreSQL in one of its columns."""
    values = {"unique_id": "'a'", "ds": "'2026-01-02'::date", "y": "1", column: literal}
    return "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())


PREVIOUS = pd.DataFrame(
    {
        "unique_id": ["z", "a"],
        "ds": pd.to_datetime(["2025-12-26", "2026-01-02"]).astype("datetime64[ns]"),
        "y": [9.0, 9.0],
        "problem": None,
        "given": None,
    }
)
SALES = [("a", "2026-01-02", 1.0), ("b", "2026-01-02", 2.5), ("a", "2026-01-09", None)]


@pytest.mark.parametrize("source", [{"table": "sales"}, {"query": "SELECT * FROM sales"}])
def test_a_table_or_a_query_is_read_and_sorted(server: Server, file: Path, source: dict[str, str]):
    assert fetch(server.url(), **source) == SALES
    assert fetch(f"sqlite:///{file}", **source) == SALES


def test_a_table_may_have_a_schema_and_the_url_may_be_in_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OUR_DATABASE", server.url(user="reader", password="reader"))  # noqa: S106
    assert fetch("env:OUR_DATABASE", table="public.sales") == SALES


def test_names_with_sql_in_them_are_quoted(server: Server, tmp_path: Path):
    path = tmp_path / "hostile.db"
    quoted, value = f'"{HOSTILE}"', HOSTILE.replace("'", "''")
    statements = (
        f'CREATE TABLE {quoted} ({quoted} text, "select" text, "Y%(y)s" numeric)',
        f"INSERT INTO {quoted} VALUES ('{value}', '2026-01-02', 1)",  # noqa: S608 - ours
    )
    write(path, *statements)
    server.run("CREATE TABLE x ()", *statements)
    columns = {"unique_id": HOSTILE, "ds": "select", "y": "Y%(y)s"}
    for url in (server.url(), f"sqlite:///{path}"):
        assert fetch(url, table=HOSTILE, **columns) == [(HOSTILE, "2026-01-02", 1.0)]
    server.run(f"SELECT * FROM {quoted}, x")  # noqa: S608 - ours


@pytest.mark.parametrize(
    ("column", "literal", "expected"),
    [
        ("unique_id", "7", "7"),
        ("unique_id", "7::numeric", "7"),
        ("unique_id", "'0007'::varchar", "0007"),
        ("unique_id", f"'{UUID}'::uuid", UUID),
        ("ds", "'2026-01-02 12:00'::timestamp", "2026-01-02T12:00:00"),
        ("ds", "'2026-01-02T23:30Z'::timestamptz", "2026-01-03T00:30:00"),
        ("ds", "'2026-01-02'::text", "2026-01-02"),
        ("y", "1e300::float8", 1e300),
        ("y", "'-0.5'::text", -0.5),
        ("y", "12345678901234567890.5::numeric", 12345678901234567890.5),
        ("y", "9007199254740993::bigint", 9007199254740992.0),
        ("y", "'NaN'::numeric", None),
    ],
)
def test_usual_types_become_ids_times_or_numbers(
    server: Server, column: str, literal: str, expected: Any
):
    [row] = fetch(server.url(), query=columns_query(column, literal), timezone="Europe/Vienna")
    assert row[("unique_id", "ds", "y").index(column)] == expected


@pytest.mark.parametrize(
    ("column", "literal", "message"),
    [
        ("unique_id", "'a'::bytea", r"hold no name for a series: row 1: b'a'"),
        ("unique_id", "NULL", r"hold no series \(the id is missing\)"),
        ("unique_id", "'{}'::json", r"hold no name for a series: row 1: \{\}"),
        ("ds", "5", r"hold a bare number for a time"),
        (
            "ds",
            "'9999-12-31'::date",
            r"hold a date that stands for a missing one, outside the years",
        ),
        ("ds", "'infinity'::date", r"refused the request: date too large"),
        ("y", "'a'::bytea", r"hold no number"),
        ("y", "'Infinity'::float8", r"hold an infinite number"),
    ],
)
def test_other_types_are_refused(server: Server, column: str, literal: str, message: str):
    with pytest.raises((DataError, SourceError), match=message):
        fetch(server.url(), query=columns_query(column, literal))


def test_a_query_may_use_as_of_and_last_ds(server: Server, file: Path):
    text = "SELECT unique_id, ds, y FROM sales WHERE ds {} :last_ds AND ds < :as_of"
    for url, last in ((server.url(), ":last_ds"), (f"sqlite:///{file}", "date(:last_ds)")):
        since = text.format(">=").replace(":last_ds", last)
        assert read(url, previous=PREVIOUS, query=text.format(">")).empty
        assert read(url, previous=PREVIOUS, query=since)["unique_id"].tolist() == ["a", "b"]
        assert fetch(url, query=text.format(">")) == SALES[:2]


def test_new_rows_are_upserted_into_the_previous_ones(server: Server):
    query = "SELECT * FROM sales WHERE ds >= :last_ds"
    raw = fetch(server.url(), previous=PREVIOUS, query=query)
    assert raw == [("z", "2025-12-26", 9.0), *SALES]
    nothing_new = f"{query} AND y > 100"
    assert fetch(server.url(), previous=PREVIOUS, query=nothing_new) == rows_of(PREVIOUS)
    with pytest.raises(SourceError, match="has no column sold; it has unique_id, ds, y, note"):
        fetch(server.url(), previous=PREVIOUS, query=nothing_new, y="sold")


def test_as_of_has_a_time_zone_and_last_ds_is_a_wall_clock_time(server: Server):
    query = (
        "SELECT pg_typeof(:as_of)::text AS unique_id, :as_of AS ds, 1 AS y"
        " UNION ALL SELECT pg_typeof(:last_ds)::text, CAST(:last_ds AS timestamptz), 2"
    )
    frame = read(server.url(), previous=PREVIOUS, query=query, timezone="America/New_York")
    assert frame["unique_id"].tolist() == [
        "timestamp without time zone",
        "timestamp with time zone",
    ]
    assert [time.isoformat() for time in frame["ds"]] == [
        "2026-01-02T00:00:00-05:00",
        "2026-01-05T00:30:00-05:00",
    ]


def test_sqlite_gets_times_as_texts_of_its_own_functions(file: Path):
    query = "SELECT 'a' AS unique_id, :as_of AS ds, :last_ds = datetime('2026-01-02') AS y"
    frame = read(f"sqlite:///{file}", previous=PREVIOUS, query=query, timezone="America/New_York")
    assert frame.to_numpy().tolist() == [["a", "2026-01-05 00:30:00", 1]]


def test_colons_and_percent_signs_keep_their_meaning_in_sql(server: Server):
    query = (
        "SELECT unique_id || '12:30' AS unique_id, ds::date, y FROM sales WHERE note LIKE '50 \\%'"
    )
    assert fetch(server.url(), query=query) == [("a12:30", "2026-01-02", 1.0)]


@pytest.mark.parametrize(
    ("url", "source", "message"),
    [
        (
            "sqlite:///sales.db",
            {"query": "SELECT * FROM sales WHERE ds > :cutoff"},
            r"`source\.query` has the parameter :cutoff; only :as_of and :last_ds exist\. Nothing",
        ),
        (
            "sqlite:///sales.db",
            {"table": "sale"},
            r"\S+sales\.db has no table sale; it has sales\. N",
        ),
        (
            "sqlite:///no.db",
            {"table": "sales"},
            r"The database file \S+/no\.db does not exist\. No",
        ),
        ("sqlite:///bad.db", {"table": "x"}, r"\S+bad\.db refused the request: file is not a data"),
    ],
)
def test_a_request_that_does_not_fit_the_file_is_refused(
    file: Path, url: str, source: dict[str, str], message: str
):
    """A relative path is below the settings, and an absent file is not created."""
    (file.parent / "bad.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SourceError, match=f"^{message}"):
        fetch(url, file.parent, **source)
    assert sorted(path.name for path in file.parent.iterdir()) == ["bad.db", "sales.db"]
    assert fetch("sqlite:///sales.db", file.parent, table="sales") == SALES


def test_only_an_incremental_query_may_have_no_rows(file: Path):
    query = "SELECT * FROM sales WHERE ds > '2027'"
    with pytest.raises(SourceError, match=r"sales\.db has no rows\. Nothing was published\. Check"):
        read(f"sqlite:///{file}", query=query)
    frame = read(f"sqlite:///{file}", query=f"{query} AND ds > :last_ds")
    assert (len(frame), list(frame.columns)) == (0, ["unique_id", "ds", "y"])


def test_an_absent_column_is_refused_with_the_columns_that_exist(server: Server, file: Path):
    with pytest.raises(SourceError, match=r"/postgres has no table other\.sales; it has none\. "):
        fetch(server.url(), table="other.sales")
    for url in (server.url(), f"sqlite:///{file}"):
        for source in ({"table": "sales"}, {"query": "SELECT * FROM sales"}):
            with pytest.raises(SourceError, match=r"has no column sold; it has unique_id, ds, y"):
                fetch(url, y="sold", **source)
    with pytest.raises(SourceError, match=r"has several columns named ds, "):
        fetch(server.url(), query="SELECT *, ds FROM sales")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", r"^`source\.url` = \*\*\* is not a database URL\. Nothing was read\. U"),
        ("postgresql://u:a@%s@h/d", r"^`source\.url` = .* is not a database .* password as %40\.$"),
        ("nope://u:%s@h/d", r"^nope://h/d cannot be reached: Can't load plugin: "),
        ("mysql+pymysql://u:%s@h/d", r"cannot be reached: No module named 'pymysql'\. N"),
        (
            "postgresql://u:%s@127.0.0.1/d?nope=1",
            r"^postgresql://127.0.0.1/d refused .*: invalid c",
        ),
        ("postgresql://u:%s/w@127.0.0.1/d?nope=1", r"^postgresql://\*\*\* refused the request: "),
        ("postgresql://u:%s@127.0.0.1/d?sslmode=no", "/d refused .* invalid sslmode value: .no"),
        ("postgresql://u:%s@h:port/d", r"^`source\.url` = postgresql://\*\*\* is not a database U"),
    ],
)
def test_an_unusable_url_is_refused_without_its_password(url: str, message: str):
    secret = "s3cr3t"  # noqa: S105 - of nobody
    with pytest.raises(SourceError, match=message) as raised:
        fetch(url.replace("%s", secret), table="sales")
    assert secret not in "".join(format_exception(raised.value))


@pytest.mark.parametrize(
    ("changed", "query", "message"),
    [
        ({"password": "s3cr3t"}, "SELECT 1", 'password authentication failed for user "postgres"'),
        ({"of": "nobody"}, "SELECT 1", 'database "nobody" does not exist'),
        ({}, "SELEC 1", 'syntax error at or near "SELEC"'),
        ({}, "SELECT sold FROM sales", 'column "sold" does not exist'),
        ({}, "SELECT * FROM sale", 'relation "sale" does not exist'),
        ({}, "SELECT 1/0 AS unique_id", "division by zero"),
        ({"user": "reader", "password": "reader"}, "TABLE wages", "permission denied for table wa"),
    ],
)
def test_a_wrong_login_or_query_is_refused_at_once_with_the_databases_message(
    server: Server, changed: dict[str, str], query: str, message: str
):
    server.run("CREATE TABLE IF NOT EXISTS wages (unique_id text, ds date, y numeric)")
    log: list[str] = []
    with pytest.raises(
        SourceError,
        match=rf"^postgresql\+psycopg://127\.0\.0\.1:{server.port}/\w+ refused the request: .*"
        rf"{message}.*\. Nothing was read, and a retry would not help\. Correct `url`, `query` or"
        r" `table` in \[source\] of forecast\.toml, or the rights of this user\.$",
    ) as error:
        fetch(server.url(**changed), query=query, log=log.append)
    assert log == []
    text = "".join(format_exception(error.value))
    assert not any(secret in text for secret in ("s3cr3t", PASSWORD))


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO sales SELECT * FROM sales",
        "DELETE FROM sales RETURNING unique_id, ds, y",
        "WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone",
        "SELECT unique_id, ds, y FROM sales; COMMIT; DELETE FROM sales",
        "SELECT emptied(), unique_id, ds, y FROM sales",
        "ATTACH 'FILE.new' AS new",
        "VACUUM INTO 'FILE.new'",
        "PRAGMA Journal_Mode = WAL",
    ],
)
def test_a_query_that_writes_is_refused_and_writes_nothing(server: Server, file: Path, query: str):
    server.run(
        "CREATE OR REPLACE FUNCTION emptied() RETURNS int LANGUAGE sql AS"
        " 'DELETE FROM sales RETURNING 1'"
    )
    for url in (server.url(), f"sqlite:///{file}"):
        with pytest.raises(SourceError, match="refused the request"):
            fetch(url, query=query.replace("FILE", str(file)))
        assert fetch(url, table="sales") == SALES
    assert list(file.parent.iterdir()) == [file]


def test_a_locked_file_is_read_once_it_is_unlocked(file: Path):
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    def unlock(message: str) -> None:
        assert "sales.db did not answer: database is locked. Nothing was read; a retry" in message
        holder.execute("ROLLBACK")

    assert fetch(f"sqlite:///{file}?timeout=0.05", table="sales", log=unlock) == SALES
    holder.close()


def test_a_server_that_is_down_is_read_once_it_has_started(server: Server):
    server.kill()

    def start(message: str) -> None:
        assert "did not answer: connection failed: " in message
        server.start()

    assert fetch(server.url(), table="sales", log=start) == SALES


def test_a_query_is_repeated_if_the_server_dies_midway(server: Server):
    def start(message: str) -> None:
        assert "did not answer: " in message
        assert PASSWORD not in message
        server.start()

    with server.connected() as connection:
        is_old_server = "pg_postmaster_start_time() = '{}'".format(
            *connection.execute("SELECT pg_postmaster_start_time()").fetchone()
        )
    killing = threading.Thread(target=lambda: (wait_for_sleep(server), server.kill()))
    killing.start()
    query = f"SELECT *, CASE WHEN {is_old_server} THEN pg_sleep(60) END FROM sales"  # noqa: S608 - ours
    assert fetch(server.url(), query=query, log=start) == SALES
    killing.join()


def wait_for_sleep(server: Server) -> None:
    """Return once a statement sleeps on the server."""
    n_sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with server.connected() as connection:
        for _ in range(1500):
            if connection.execute(n_sleeping).fetchall() != [(0,)]:
                return
            time.sleep(0.02)
    raise TimeoutError("no statement sleeps")


def test_too_many_connections_are_retried(server: Server):
    server.run("CREATE ROLE crowd LOGIN PASSWORD 'of many' CONNECTION LIMIT 0")
    server.run("GRANT SELECT ON sales TO crowd")

    def raise_limit(message: str) -> None:
        assert 'too many connections for role "crowd"' in message
        server.run("ALTER ROLE crowd CONNECTION LIMIT 1")

    url = server.url(user="crowd", password="of many")  # noqa: S106
    assert fetch(url, table="sales", log=raise_limit) == SALES


@pytest.mark.parametrize(
    ("sqlstate", "n_retries"), [("40P01", 1), ("55P03", 1), ("57P03", 1), ("42P01", 0)]
)
def test_only_transient_sqlstates_are_retried(server: Server, sqlstate: str, n_retries: int):
    """Deadlock, held lock and a starting server; not an absent table."""
    server.run(
        "CREATE OR REPLACE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'held up' USING ERRCODE = state; END $$"
    )
    log: list[str] = []
    with pytest.raises(SourceError, match="held up"):
        fetch(server.url(), query=f"SELECT fail('{sqlstate}')", log=log.append)
    assert len(log) == n_retries


TOO_SLOW = (
    r"^postgresql\S+ did not answer completely within `source\.total_seconds` = 0\.5\. The rows so"
    r" far were discarded; a retry may succeed\. Ask for fewer rows, or increase `total_seconds`\."
    r" Attempt 1 of 1 failed"
)
ENDLESS = {"query": "SELECT *, pg_sleep(60) FROM sales", "total_seconds": 0.5, "max_retries": 0}


def test_a_query_that_hangs_is_interrupted(server: Server):
    """Also if the server does not even react to a cancellation."""
    pausing = threading.Thread(target=lambda: (wait_for_sleep(server), server.pause()))
    pausing.start()
    try:
        with pytest.raises(SourceError, match=TOO_SLOW):
            fetch(server.url(), **ENDLESS)
    finally:
        pausing.join()
        server.resume()
    with pytest.raises(SourceError, match=TOO_SLOW):
        fetch(server.url(), **ENDLESS)
    assert fetch(server.url(), table="sales") == SALES


def test_a_server_that_hangs_right_after_the_login_is_interrupted(server: Server):
    def pause(*_: object) -> None:
        server.pause()

    sa.event.listen(sa.pool.Pool, "connect", pause)
    try:
        with pytest.raises(SourceError, match=TOO_SLOW):
            fetch(server.url(), table="sales", total_seconds=0.5, max_retries=0)
    finally:
        sa.event.remove(sa.pool.Pool, "connect", pause)
        server.resume()


def test_a_server_that_never_answers_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://u:s3cr3t@127.0.0.1:{silent.getsockname()[1]}/d"
        with pytest.raises(SourceError, match=r"/d did not answer: connection timeout expired\. "):
            fetch(url, table="sales", connect_seconds=2, max_retries=0)
        started = time.monotonic()
        with pytest.raises(SourceError, match=r"`source\.total_seconds` = 1\. "):
            fetch(url, table="sales", total_seconds=1, max_retries=0)
        assert time.monotonic() - started < 5


def test_a_query_of_a_file_that_hangs_is_interrupted(file: Path):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    with pytest.raises(SourceError, match=r"sales\.db did not answer completely within .* 0\.2\. "):
        fetch(f"sqlite:///{file}", query=endless, total_seconds=0.2, max_retries=0)


def test_reading_stops_at_the_limit_of_bytes(server: Server):
    with pytest.raises(SourceError, match=r"gives more than `source\.max_bytes` = 1,000,000 bytes"):
        fetch(
            server.url(),
            query="SELECT repeat('a', 1000) AS unique_id, now() AS ds, i AS y"
            " FROM generate_series(1, 100000) AS i",
            max_bytes=1_000_000,
        )


def test_rows_are_streamed(server: Server):
    """These rows take 70 MB as Python objects."""
    query = (
        "SELECT 'a series of long name ' || i % 2000 AS unique_id, i * 0.5 AS y, '' AS note,"
        " '2020-01-03'::date + 7 * (i / 2000) AS ds FROM generate_series(0, 249999) AS i"
    )
    source = {"kind": "sql", "url": server.url()}
    few, many = {**source, "table": "sales"}, {**source, "query": query}
    ((n_rows, kilobytes),) = measured_fetches(few, many)
    assert n_rows == 250_000
    assert kilobytes < 50_000


ROWS = st.tuples(
    st.none() | st.integers(-2, 2) | st.sampled_from(["", "1", "a", HOSTILE]),
    st.none() | st.sampled_from(["2026-01-02", "2026-01-09", ""]),
    st.none() | st.integers(-2, 2) | st.sampled_from([0.5, 1e300]),
)


@hypothesis_settings(max_examples=40)
@given(rows=st.lists(ROWS, max_size=9), data=st.data())
def test_the_order_and_the_chunks_of_rows_do_not_matter(rows: list[Row], data: st.DataObject):
    names = ("ds", "unique_id", "y")

    def to_texts(rows: list[Row], n_first: int) -> str:
        chunks = [chunk for chunk in (rows[:n_first], rows[n_first:]) if chunk]
        frame = to_frame(chunks, ("unique_id", "ds", "y"), ids="unique_id", count_bytes=int)
        texts = sort(frame, names).astype({"y": float}).astype({"unique_id": str, "ds": str})
        return str(texts.replace("nan", "None").to_numpy().tolist())

    n_first = data.draw(st.integers(0, len(rows)))
    shuffled = data.draw(st.permutations(rows))
    assert to_texts(rows, n_first) == to_texts(shuffled, len(rows))
