"""A database as a source: a query or a table, read through SQLAlchemy and never written to.

What its refusals mean, and which of them may pass, is for `refusals`.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from forecast_assets.config.redaction import redact, redact_url, resolve_env
from forecast_assets.config.source_settings import SqlSource
from forecast_assets.data.sources.deadline import Deadline, shut_down
from forecast_assets.data.sources.parsing import gc_paused
from forecast_assets.data.sources.request import ByteBudget, FetchRequest
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.data.sources.sql.columns import ColumnBuilder
from forecast_assets.errors import SourceError, SourceUnavailable, format_list

# By SQLSTATE: connections, rollbacks and deadlocks, resources, a server that stops or starts;
# a lock that is held, and a time limit.
PASSING = ("08", "40", "53", "57P0", "55P03", "57014")
# Of sqlite3: what another process holds, what was broken off, a disk.
PASSING_IN_SQLITE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
)
# libpq gives no SQLSTATE where a connection is refused, only what the server or the resolver says.
REFUSED = re.compile(r"FATAL:|\bnot known\b")
FOR_NOW = re.compile(
    r"starting up|shutting down|recovery mode|accepting connections"
    r"|too many (connections|clients)|connection slots|terminating connection"
)
IS_SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)


def refusal(error: Exception, url: sa.URL, *, origin: str) -> SourceError:
    """What to raise instead of an error of SQLAlchemy or a driver: without it, for it tells much.

    SourceUnavailable where it may pass, else SourceError.
    """
    cause = getattr(error, "orig", None) or error
    plain = getattr(getattr(cause, "diag", None), "message_primary", None)  # without the query
    said = _without_secrets(plain or str(cause), url)
    if isinstance(error, ImportError | ArgumentError):
        return SourceError(
            f"{origin} cannot be reached from here: {said}. Nothing was read. Install the driver"
            f" that `source.url` names before its ://, or name one that is there."
        )
    if isinstance(error, DBAPIError) and _may_pass(error):
        return SourceUnavailable(
            f"{origin} did not answer: {said}. Nothing was read; another try may pass."
        )
    return SourceError(
        f"{origin} refuses what it is asked: {said}. Nothing was read, and another try would not"
        f" help. Correct `url`, `query` or `table` in [source] of forecast.toml, or what this user"
        f" may do there."
    )


def _may_pass(error: DBAPIError) -> bool:
    cause = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return str(state).startswith(PASSING)
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in PASSING_IN_SQLITE
    said = str(cause)
    if REFUSED.search(said) and not FOR_NOW.search(said):
        return False
    return isinstance(error, OperationalError) or error.connection_invalidated


def _without_secrets(text: str, url: sa.URL) -> str:
    return " ".join(redact(text, _secrets(url)).split()).rstrip(".?")


def _secrets(url: sa.URL) -> Iterator[str]:
    """Yield the password and the parameters whose name says that they are secret."""
    if url.password:
        yield url.password
    for name, values in url.normalized_query.items():
        if IS_SECRET.search(name):
            yield from values


CHUNK = 10_000  # rows; a chunk is in memory before its bytes are counted
# What drivers call the seconds that a connection may take to be made.
CONNECT = dict.fromkeys(("psycopg", "psycopg2", "pymysql", "mysqldb"), "connect_timeout")
LONGEST = 2**31 - 1  # milliseconds, of PostgreSQL's statement_timeout


def read_sql(source: SqlSource, asked: FetchRequest) -> pd.DataFrame:
    """Read the query or the table: the mapped columns, sorted by time, series and value.

    Of a query that asks for `:last_ds` there may be no rows. Raises SourceError where the database
    cannot be used as it is asked, where there are no rows, and where it does not answer.
    """
    url = _address(source, asked)
    return with_retries(lambda: _read(url, source, asked), source, asked)


def _address(source: SqlSource, asked: FetchRequest) -> sa.URL:
    """The address with its secrets; a database file's made absolute. Raises SourceError."""
    try:
        url = sa.make_url(resolve_env(source.url))
    except (SQLAlchemyError, ValueError):
        url = None  # outside of this block the error, which may hold a password, is forgotten
    if url is None:
        raise SourceError(
            f"`source.url` = {redact_url(source.url)} is no address of a database. Nothing was read."
            f" Write it as SQLAlchemy does: postgresql+psycopg://user:password@host/database, or"
            f" sqlite:///data/sales.db."
        )
    file = url.database or ""
    if url.get_backend_name() != "sqlite" or file in ("", ":memory:") or file.startswith("file:"):
        return url
    path = Path(asked.settings.resolve_path(file))
    if not path.is_file():
        raise SourceError(
            f"There is no database file {path}. Nothing was read, and none was made. Put it there,"
            f" or correct `source.url` (a relative path starts at {asked.settings.root})."
        )
    return url.set(database=str(path))


def _read(url: sa.URL, source: SqlSource, asked: FetchRequest) -> pd.DataFrame:
    deadline = Deadline(source.total_seconds)
    try:
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            hide_parameters=True,
            connect_args=_connect_args(url, source),
            execution_options={"postgresql_readonly": True},
        )
        with engine.connect() as connection, deadline.limit(partial(_interrupt, connection)):
            _prepare(connection, source, asked)
            return _rows(connection, source, asked, deadline)
    except (SQLAlchemyError, ImportError, TypeError, ValueError) as error:
        refused = refusal(error, url, origin=redact_url(source.url))
    raise _too_slow(source) if deadline.is_expired else refused


def _connect_args(url: sa.URL, source: SqlSource) -> Mapping[str, Any]:
    name = CONNECT.get(url.get_driver_name())
    return {name: max(1, round(source.connect_seconds))} if name and name not in url.query else {}


def _interrupt(connection: sa.Connection) -> None:
    """Break off what a connection waits for, from another thread."""
    driver: Any = connection.connection.driver_connection
    if hasattr(driver, "interrupt"):  # sqlite3
        with suppress(connection.dialect.loaded_dbapi.Error):
            driver.interrupt()
    elif hasattr(driver, "fileno"):  # a server that hangs does not react to a cancellation
        with suppress(OSError, connection.dialect.loaded_dbapi.Error):
            shut_down(driver.fileno())


def _prepare(connection: sa.Connection, source: SqlSource, asked: FetchRequest) -> None:
    """Take the right to write away, and let times be read in the source's zone."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    if connection.dialect.name == "postgresql":
        milliseconds = min(LONGEST, max(1, round(source.total_seconds * 1000)))
        connection.execute(
            sa.select(
                sa.func.set_config("TimeZone", str(asked.local_as_of.tzinfo), True),  # noqa: FBT003 - SQL
                sa.func.set_config("statement_timeout", str(milliseconds), True),  # noqa: FBT003
            )
        )


def _rows(
    connection: sa.Connection, source: SqlSource, asked: FetchRequest, deadline: Deadline
) -> pd.DataFrame:
    columns = list(dict.fromkeys((source.unique_id, source.ds, source.y)))
    origin = redact_url(source.url)
    if source.table is None:
        asks: sa.Executable = _query(str(source.query), connection, asked)
    else:
        asks = _columns_of(source.table, columns, connection, origin)
    n_rows, budget = 0, ByteBudget(source.max_bytes)
    streamed = connection.execution_options(stream_results=True, max_row_buffer=CHUNK)
    with streamed.execute(asks) as result, gc_paused():
        names = list(result.keys())
        if any(names.count(column) != 1 for column in columns):
            return pd.DataFrame(columns=names)  # which column is wanting, the mapping says
        places = [names.index(column) for column in columns]
        gathered = ColumnBuilder(columns, ids=source.unique_id, origin=origin)
        for chunk in result.partitions(CHUNK):
            if deadline.is_expired:
                raise _too_slow(source)
            values = list(zip(*chunk, strict=True))
            budget.take(gathered.add([values[i] for i in places]), of=origin)
            n_rows += len(chunk)
    if not n_rows and not source.is_incremental:
        raise SourceError(
            f"{origin} gives no rows. A week without data cannot be forecast, so nothing was"
            f" published. Look at what fills the database, and at `query` or `table` in [source] of"
            f" forecast.toml."
        )
    return gathered.frame(by=(source.ds, source.unique_id, source.y))


def _query(text: str, connection: sa.Connection, asked: FetchRequest) -> sa.TextClause:
    """The query with what it asks for: `:as_of` and `:last_ds`. Raises SourceError for others."""
    query = sa.text(text)
    # SQLite has no times, only texts: these are as its own `datetime()` writes them.
    is_text = connection.dialect.name == "sqlite"
    known = {
        name: f"{moment:%Y-%m-%d %H:%M:%S}" if is_text else moment
        for name, moment in {"as_of": asked.local_as_of, "last_ds": asked.last_ds}.items()
    }
    names = query.compile().params
    if unknown := [f":{name}" for name in names if name not in known]:
        raise SourceError(
            f"`source.query` asks for {format_list(unknown)}, and there are :as_of and :last_ds alone."
            f" Nothing was read. Correct it; a colon that asks for nothing is written \\:."
        )
    # Without a type, so that the driver sends a time with its zone, and not SQLAlchemy without.
    asked_for = [sa.bindparam(name, known[name], type_=sa.types.NullType()) for name in names]
    return query.bindparams(*asked_for)


def _columns_of(
    name: str, columns: Sequence[str], connection: sa.Connection, origin: str
) -> sa.Executable:
    """The mapped columns of a table; of one that has not all of them, every column and no row."""
    schema, _, short = name.rpartition(".")
    inspector = sa.inspect(connection)
    if not inspector.has_table(short, schema or None):
        every = [
            *inspector.get_table_names(schema or None),
            *inspector.get_view_names(schema or None),
        ]
        raise SourceError(
            f"{origin} has no table {name}; it has {format_list(sorted(every), limit=20) or 'none'}."
            f" Nothing was read. Correct `source.table`, or let this user see it."
        )
    table = sa.table(short, schema=schema or None)
    every_column: sa.ColumnElement[Any] = sa.literal_column("*")
    nothing = sa.select(every_column).select_from(table).where(sa.false())
    if set(columns) - set(connection.execute(nothing).keys()):
        return nothing
    return sa.select(*(sa.column(column) for column in columns)).select_from(table)


def _too_slow(source: SqlSource) -> SourceUnavailable:
    return SourceUnavailable(
        f"{redact_url(source.url)} gave no whole answer within `source.total_seconds` ="
        f" {source.total_seconds:g}. What came was thrown away; another try may pass. Ask for less,"
        f" or give it longer."
    )
