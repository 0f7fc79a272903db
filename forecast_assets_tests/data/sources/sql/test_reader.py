"""A database as a source: SQLite in a file, and PostgreSQL on loopback."""

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.sql.columns import ColumnBuilder
from forecast_assets.data.sources.sql.reader import read_sql
from forecast_assets.errors import DataError, SourceError
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.databases import PASSWORD, Server, postgresql

HOSTILE = "a'; DROP TABLE x;--"
AS_OF = datetime(2026, 1, 5, 5, 30, tzinfo=UTC)
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server with the table `sales`."""
    with postgresql() as found:
        found.run(
            "CREATE TABLE sales (unique_id text, ds date, y numeric, note text)",
            "INSERT INTO sales VALUES ('b', '2026-01-02', 2.5, ''), ('a', '2026-01-09', NULL, ''),"
            " ('a', '2026-01-02', 1, '50 %')",
            "CREATE ROLE reader LOGIN PASSWORD 'reader'",
            "GRANT SELECT ON sales TO reader",
        )
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite file with the table `sales`."""
    path = tmp_path / "sales.db"
    write(
        path,
        "CREATE TABLE sales (unique_id, ds, y)",
        "INSERT INTO sales VALUES ('b', '2026-01-02', 2.5), ('a', '2026-01-09', NULL),"
        " ('a', '2026-01-02', 1)",
    )
    return path


def write(path: Path, *statements: str) -> None:
    """Execute statements in a SQLite file, which is made where it is not there."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def asked(
    url: str,
    root: Path = Path("/"),
    *,
    before: pd.DataFrame | None = None,
    say: Callable[[str], None] = print,
    **source: Any,
) -> FetchRequest:
    """What is asked of a database, once more where it may pass."""
    quick = {"max_retries": 1, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={"kind": "sql", "url": url, **quick, **source})
    return FetchRequest(settings, AS_OF, before, log=say)


def fetch(url: str, root: Path = Path("/"), **source: Any) -> list[Row]:
    """The rows of raw_data that a database gives: a missing y as None, times as ISO dates."""
    return rows_of(sources.fetch(asked(url, root, **source)))


def rows_of(raw: pd.DataFrame) -> list[Row]:
    """The rows of raw_data."""
    y = raw["y"].astype(object).where(raw["y"].notna(), None)
    days = [one.isoformat().removesuffix("T00:00:00") for one in raw["ds"]]
    return list(zip(raw["unique_id"], days, y, strict=True))


def read(url: str, **source: Any) -> pd.DataFrame:
    """The columns of a database as they come, before they are mapped."""
    given = asked(url, **source)
    return read_sql(given.settings.source, given)  # type: ignore[arg-type]


def chain(error: BaseException | None) -> str:
    """All that an error and those behind it say."""
    return f"{error} {error!r} {chain(error.__cause__ or error.__context__)}" if error else ""


BEFORE = pd.DataFrame(
    {
        "unique_id": ["z", "a"],
        "ds": pd.to_datetime(["2025-12-26", "2026-01-02"]).astype("datetime64[ns]"),
        "y": [9.0, 9.0],
        "problem": None,
        "given": None,
    }
)
SALES = [("a", "2026-01-02", 1.0), ("b", "2026-01-02", 2.5), ("a", "2026-01-09", None)]


@pytest.mark.parametrize("what", [{"table": "sales"}, {"query": "SELECT * FROM sales"}])
def test_a_table_or_a_query_is_read_from_either_database(
    server: Server, file: Path, what: dict[str, str]
):
    assert fetch(server.url(), **what) == SALES
    assert fetch(f"sqlite:///{file}", **what) == SALES


def test_a_table_may_lie_in_a_schema_and_an_address_in_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OUR_DATABASE", server.url(user="reader", password="reader"))  # noqa: S106
    assert fetch("env:OUR_DATABASE", table="public.sales") == SALES


def test_a_database_file_lies_beside_the_settings(file: Path):
    assert fetch("sqlite:///sales.db", file.parent, table="sales") == SALES


def test_hostile_names_arrive_whole_and_do_nothing(server: Server, tmp_path: Path):
    path = tmp_path / "hostile.db"
    quoted, value = f'"{HOSTILE}"', HOSTILE.replace("'", "''")
    made = (
        f'CREATE TABLE {quoted} ({quoted} text, "select" text, "Y%(y)s" numeric)',
        f"INSERT INTO {quoted} VALUES ('{value}', '2026-01-02', 1)",  # noqa: S608 - ours
    )
    write(path, *made)
    server.run("CREATE TABLE x ()", *made)
    columns = {"unique_id": HOSTILE, "ds": "select", "y": "Y%(y)s"}
    for url in (server.url(), f"sqlite:///{path}"):
        assert fetch(url, table=HOSTILE, **columns) == [(HOSTILE, "2026-01-02", 1.0)]
    server.run(f"SELECT * FROM {quoted}, x")  # noqa: S608 - ours


@pytest.mark.parametrize(
    ("column", "literal", "found"),
    [
        ("unique_id", "7", "7"),
        ("unique_id", "7::numeric", "7"),
        ("unique_id", "'0007'::varchar", "0007"),
        ("unique_id", "'6d5c7d3e-53a0-4c6c-9a39-7a3f1b2c0d1e'::uuid", None),
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
def test_every_usual_type_becomes_an_id_a_time_or_a_number(
    server: Server, column: str, literal: str, found: Any
):
    one = {"unique_id": "'a'", "ds": "'2026-01-02'::date", "y": "1", column: literal}
    query = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in one.items())
    [row] = fetch(server.url(), query=query, timezone="Europe/Vienna")
    expected = literal.split("'")[1] if "uuid" in literal else found
    assert row[list(one).index(column)] == expected


@pytest.mark.parametrize(
    ("column", "literal", "said"),
    [
        ("unique_id", "'a'::bytea", r"hold no name for a series: row 1: b'a'"),
        ("unique_id", "NULL", r"hold no series \(the id is missing\)"),
        ("unique_id", "'{}'::json", r"holds values of the type 'dict', which are no names, times"),
        ("ds", "5", r"hold a bare number for a time"),
        ("ds", "'9999-12-31'::date", r"hold a time outside the years 1678 to 2261"),
        ("ds", "'infinity'::date", r"refuses what it is asked: date too large"),
        ("y", "'a'::bytea", r"hold no number"),
        ("y", "'Infinity'::float8", r"hold an infinite number"),
    ],
)
def test_what_is_no_id_time_or_number_is_refused(
    server: Server, column: str, literal: str, said: str
):
    one = {"unique_id": "'a'", "ds": "'2026-01-02'::date", "y": "1", column: literal}
    query = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in one.items())
    with pytest.raises((DataError, SourceError), match=said):
        fetch(server.url(), query=query)


def test_a_query_is_told_for_when_and_what_was_last(server: Server, file: Path):
    text = "SELECT unique_id, ds, y FROM sales WHERE ds {} :last_ds AND ds < :as_of"
    for url, last in ((server.url(), ":last_ds"), (f"sqlite:///{file}", "date(:last_ds)")):
        since = text.format(">=").replace(":last_ds", last)
        assert read(url, before=BEFORE, query=text.format(">")).empty
        assert read(url, before=BEFORE, query=since)["unique_id"].tolist() == ["a", "b"]
        assert fetch(url, query=text.format(">")) == SALES[:2]


def test_new_rows_are_put_into_those_that_were_fetched_before(server: Server):
    query = "SELECT * FROM sales WHERE ds >= :last_ds"
    found = fetch(server.url(), before=BEFORE, query=query)
    assert found == [("z", "2025-12-26", 9.0), *SALES]
    nothing_new = f"{query} AND y > 100"
    assert fetch(server.url(), before=BEFORE, query=nothing_new) == rows_of(BEFORE)
    with pytest.raises(SourceError, match="has no column sold; it has unique_id, ds, y, note"):
        fetch(server.url(), before=BEFORE, query=nothing_new, y="sold")


def test_as_of_is_a_moment_and_last_ds_a_time_of_the_sources_zone(server: Server):
    query = (
        "SELECT pg_typeof(:as_of)::text AS unique_id, :as_of AS ds, 1 AS y"
        " UNION ALL SELECT pg_typeof(:last_ds)::text, CAST(:last_ds AS timestamptz), 2"
    )
    given = read(server.url(), before=BEFORE, query=query, timezone="America/New_York")
    assert given["unique_id"].tolist() == [
        "timestamp without time zone",
        "timestamp with time zone",
    ]
    assert [one.isoformat() for one in given["ds"]] == [
        "2026-01-02T00:00:00-05:00",
        "2026-01-05T00:30:00-05:00",
    ]


def test_in_sqlite_they_are_texts_as_its_own_functions_write_them(file: Path):
    query = "SELECT 'a' AS unique_id, :as_of AS ds, :last_ds = datetime('2026-01-02') AS y"
    found = read(f"sqlite:///{file}", before=BEFORE, query=query, timezone="America/New_York")
    assert found.to_numpy().tolist() == [["a", "2026-01-05 00:30:00", 1]]


def test_a_colon_and_a_percent_sign_mean_what_they_do_in_sql(server: Server):
    query = (
        "SELECT unique_id || '12:30' AS unique_id, ds::date, y FROM sales WHERE note LIKE '50 \\%'"
    )
    assert fetch(server.url(), query=query) == [("a12:30", "2026-01-02", 1.0)]


def test_a_query_that_asks_for_something_else_is_refused(file: Path):
    with pytest.raises(
        SourceError,
        match=r"`source\.query` asks for :cutoff, and there are :as_of and :last_ds alone\. Nothing"
        r" was read\. Correct it; a colon that asks for nothing is written \\:\.",
    ):
        fetch(f"sqlite:///{file}", query="SELECT * FROM sales WHERE ds > :cutoff")


def test_no_rows_are_refused_but_of_an_incremental_query(file: Path):
    query = "SELECT * FROM sales WHERE ds > '2027'"
    with pytest.raises(SourceError, match=r"sales\.db gives no rows\. A week without data cannot"):
        read(f"sqlite:///{file}", query=query)
    found = read(f"sqlite:///{file}", query=f"{query} AND ds > :last_ds")
    assert (len(found), list(found.columns)) == (0, ["unique_id", "ds", "y"])


def test_a_table_that_is_not_there_is_refused_with_those_that_are(server: Server, file: Path):
    with pytest.raises(
        SourceError,
        match=r"^sqlite://\S+/sales\.db has no table sale; it has sales\. Nothing was read\."
        r" Correct `source\.table`, or let this user see it\.$",
    ):
        fetch(f"sqlite:///{file}", table="sale")
    with pytest.raises(SourceError, match=r"/postgres has no table other\.sales; it has none\. "):
        fetch(server.url(), table="other.sales")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(server: Server, file: Path):
    for url in (server.url(), f"sqlite:///{file}"):
        for what in ({"table": "sales"}, {"query": "SELECT * FROM sales"}):
            with pytest.raises(SourceError, match=r"has no column sold; it has unique_id, ds, y"):
                fetch(url, y="sold", **what)
    with pytest.raises(SourceError, match=r"has more than one column ds\. "):
        fetch(server.url(), query="SELECT *, ds FROM sales")


def test_a_database_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path):
    with pytest.raises(
        SourceError,
        match=r"^There is no database file \S+/no\.db\. Nothing was read, and none was made\. Put"
        r" it there, or correct `source\.url` \(a relative path starts at \S+\)\.$",
    ):
        fetch("sqlite:///no.db", tmp_path, table="sales")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", r"^`source\.url` = \*\*\* is no address of a database\. Nothing was read\. W"),
        ("nope://u:%s@h/d", r"^nope://h/d cannot be reached from here: Can't load plugin: "),
        ("mysql+pymysql://u:%s@h/d", r"cannot be reached from here: No module named 'pymysql'\. N"),
        (
            "postgresql://u:%s@127.0.0.1/d?nope=1",
            r"^postgresql://127.0.0.1/d refuses what it is asked: invalid co",
        ),
        (
            "postgresql://u:%s/w@127.0.0.1/d?nope=1",
            r"^postgresql://\*\*\* refuses what it is asked: ",
        ),
        ("postgresql://u:%s@h:port/d", r"^`source\.url` = postgresql://\*\*\* is no address of a"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str, said: str):
    secret = "s3cr3t"  # noqa: S105 - of nobody
    with pytest.raises(SourceError, match=said) as raised:
        fetch(url.replace("%s", secret), table="sales")
    assert secret not in chain(raised.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": "s3cr3t-and-wrong"}, r"password authentication failed for user"),
        ({"of": "nobody"}, r'database "nobody" does not exist'),
    ],
)
def test_who_is_not_let_in_is_refused_at_once(server: Server, changed: dict[str, str], said: str):
    told: list[str] = []
    with pytest.raises(
        SourceError, match=rf"refuses what it is asked: .*{said}.* Nothing"
    ) as error:
        fetch(server.url(**changed), table="sales", say=told.append)
    assert told == []
    assert "s3cr3t" not in chain(error.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", r'syntax error at or near "SELEC"'),
        ("SELECT sold FROM sales", r'column "sold" does not exist'),
        ("SELECT * FROM sale", r'relation "sale" does not exist'),
        ("SELECT 1/0 AS unique_id", "division by zero"),
    ],
)
def test_a_query_that_is_wrong_is_refused_at_once_in_the_databases_words(
    server: Server, query: str, said: str
):
    told: list[str] = []
    with pytest.raises(
        SourceError,
        match=rf"^postgresql\+psycopg://127\.0\.0\.1:{server.port}/postgres refuses what it is"
        rf" asked: {said}\. Nothing was read, and another try would not help\. Correct `url`,"
        r" `query` or `table` in \[source\] of forecast\.toml, or what this user may do there\.$",
    ) as error:
        fetch(server.url(), query=query, say=told.append)
    assert told == []
    assert PASSWORD not in chain(error.value)


def test_a_role_that_may_not_read_is_refused_at_once(server: Server):
    server.run("CREATE TABLE wages (unique_id text, ds date, y numeric)")
    with pytest.raises(SourceError, match="asked: permission denied for table wages"):
        fetch(server.url(user="reader", password="reader"), table="wages")  # noqa: S106


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO sales SELECT * FROM sales",
        "DELETE FROM sales RETURNING unique_id, ds, y",
        "WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone",
        "SELECT unique_id, ds, y FROM sales; COMMIT; DELETE FROM sales",
        "SELECT emptied(), unique_id, ds, y FROM sales",
    ],
)
def test_a_query_that_writes_is_refused_and_nothing_is_written(
    server: Server, file: Path, query: str
):
    server.run(
        "CREATE OR REPLACE FUNCTION emptied() RETURNS int LANGUAGE sql AS"
        " 'DELETE FROM sales RETURNING 1'"
    )
    for url in (server.url(), f"sqlite:///{file}"):
        with pytest.raises(SourceError, match="refuses what it is asked"):
            fetch(url, query=query)
        assert fetch(url, table="sales") == SALES


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path):
    (tmp_path / "a.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SourceError, match=r"a\.db refuses what it is asked: file is not a databas"):
        fetch("sqlite:///a.db", tmp_path, table="sales")


def test_a_locked_file_is_read_when_it_is_free_again(file: Path):
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    def free(said: str) -> None:
        assert "sales.db did not answer: database is locked. Nothing was read; another" in said
        holder.execute("ROLLBACK")

    assert fetch(f"sqlite:///{file}?timeout=0.05", table="sales", say=free) == SALES
    holder.close()


def test_a_server_that_is_down_is_read_when_it_is_up_again(server: Server):
    server.kill()

    def start(said: str) -> None:
        assert "did not answer: connection failed: " in said
        server.start()

    assert fetch(server.url(), table="sales", say=start) == SALES


def test_a_server_that_dies_midway_is_read_from_the_start_again(server: Server):
    def start(said: str) -> None:
        assert "did not answer: " in said
        assert PASSWORD not in said
        server.start()

    with server.connected() as connection:
        began = "pg_postmaster_start_time() = '{}'".format(
            *connection.execute("SELECT pg_postmaster_start_time()").fetchone()
        )
    dying = threading.Thread(target=lambda: (asleep(server), server.kill()))
    dying.start()
    query = f"SELECT *, CASE WHEN {began} THEN pg_sleep(60) END FROM sales"  # noqa: S608 - ours
    assert fetch(server.url(), query=query, say=start) == SALES
    dying.join()


def asleep(server: Server) -> None:
    """Return once somebody's statement sleeps on the server."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with server.connected() as connection:
        for _ in range(1500):
            if connection.execute(waiting).fetchall() != [(0,)]:
                return
            time.sleep(0.02)
    raise TimeoutError("nobody's statement sleeps")


def test_too_many_connections_pass(server: Server):
    server.run("CREATE ROLE crowd LOGIN PASSWORD 'of many' CONNECTION LIMIT 0")
    server.run("GRANT SELECT ON sales TO crowd")

    def leave(said: str) -> None:
        assert 'too many connections for role "crowd"' in said
        server.run("ALTER ROLE crowd CONNECTION LIMIT 1")

    assert fetch(server.url(user="crowd", password="of many"), table="sales", say=leave) == SALES  # noqa: S106


def test_a_deadlock_and_a_lock_that_is_held_pass(server: Server):
    """They are told by their SQLSTATE: 40P01 and 55P03."""
    server.run(
        "CREATE SEQUENCE tries",
        "CREATE OR REPLACE FUNCTION unlucky(state text) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'held up' USING ERRCODE = state; END $$",
    )
    for state, may_pass in (("40P01", True), ("55P03", True), ("57P03", True), ("42P01", False)):
        told: list[str] = []
        with pytest.raises(SourceError, match="held up"):
            fetch(server.url(), query=f"SELECT unlucky('{state}')", say=told.append)
        assert len(told) == may_pass


TOO_SLOW = (
    r"^postgresql\S+ gave no whole answer within `source\.total_seconds` = 1\. What came was thrown"
    r" away; another try may pass\. Ask for less, or give it longer\. Attempt 1 of 1 failed"
)
ENDLESS = {"query": "SELECT *, pg_sleep(60) FROM sales", "total_seconds": 1, "max_retries": 0}


def test_a_query_that_hangs_is_ended(server: Server):
    with pytest.raises(SourceError, match=TOO_SLOW):
        fetch(server.url(), **ENDLESS)


def test_a_server_that_hangs_is_left(server: Server):
    """It answers nothing any more, not even to a cancellation."""
    stopping = threading.Thread(target=lambda: (asleep(server), server.pause()))
    stopping.start()
    try:
        with pytest.raises(SourceError, match=TOO_SLOW):
            fetch(server.url(), **ENDLESS)
    finally:
        stopping.join()
        server.resume()
    assert fetch(server.url(), table="sales") == SALES


def test_a_server_that_never_says_a_word_is_left():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://u:s3cr3t@127.0.0.1:{silent.getsockname()[1]}/d"
        with pytest.raises(SourceError, match=r"/d did not answer: connection timeout expired\. "):
            fetch(url, table="sales", connect_seconds=2, max_retries=0)


def test_a_query_that_hangs_in_a_file_is_ended(file: Path):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    with pytest.raises(SourceError, match=r"sales\.db gave no whole answer within .* = 0\.2\. "):
        fetch(f"sqlite:///{file}", query=endless, total_seconds=0.2, max_retries=0)


def test_more_bytes_than_allowed_are_not_read(server: Server):
    with pytest.raises(SourceError, match=r"gives more than `source\.max_bytes` = 1,000,000 bytes"):
        fetch(
            server.url(),
            query="SELECT repeat('a', 1000) AS unique_id, now() AS ds, i AS y"
            " FROM generate_series(1, 10000000) AS i",
            max_bytes=1_000_000,
        )


READ_A_MILLION = """
import resource, sys
from forecast_assets_tests.test_sql import read

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

read(sys.argv[1], table="sales")
before = peak()
rows = read(sys.argv[1], query=sys.argv[2])
print(len(rows), peak() - before)
"""


def test_a_million_rows_are_streamed(server: Server):
    """As Python's objects they would be 300 MB; as they are kept, 20."""
    query = (
        "SELECT 'a series of long name ' || i % 2000 AS unique_id, y, 'for nothing' AS note,"
        " '2020-01-03'::date + 7 * (i / 2000) AS ds"
        " FROM generate_series(0, 999999) AS i, LATERAL (SELECT i * 0.5 AS y) AS halves"
    )
    answer = subprocess.run(
        [sys.executable, "-c", READ_A_MILLION, server.url(), query],
        check=True,
        capture_output=True,
        text=True,
    )
    n_rows, kilobytes = map(int, answer.stdout.split())
    assert n_rows == 1_000_000
    assert kilobytes < 150_000


ROWS = st.tuples(
    st.none() | st.integers(-2, 2) | st.sampled_from(["", "1", "a", HOSTILE]),
    st.none() | st.sampled_from(["2026-01-02", "2026-01-09", ""]),
    st.none() | st.integers(-2, 2) | st.sampled_from([0.5, 1e300]),
)


@given(rows=st.lists(ROWS, max_size=9), data=st.data())
def test_the_same_rows_give_the_same_frame_in_whatever_order_and_chunks(
    rows: list[Row], data: st.DataObject
):
    def frame(rows: list[Row], n_first: int) -> list[list[str]]:
        gathered = ColumnBuilder(["unique_id", "ds", "y"], ids="unique_id", origin="a test")
        for chunk in (rows[:n_first], rows[n_first:]):
            gathered.add([[row[i] for row in chunk] for i in range(3)])
        found = gathered.frame(by=("ds", "unique_id", "y"))
        return [[str(i), str(ds), float(y)] for i, ds, y in found.astype({"y": float}).to_numpy()]

    n_first = data.draw(st.integers(0, len(rows)))
    first, second = frame(rows, n_first), frame(data.draw(st.permutations(rows)), n_first)
    assert str(first) == str(second)
