"""Read a query or a table of a database through SQLAlchemy, without writing anything.

Rows come in chunks, which become columns that need little memory.
"""

import gc
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from forecast_assets.config.redaction import redact_url, resolve_env
from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import SqlSource
from forecast_assets.data.sources.request import (
    ByteBudget,
    Deadline,
    FetchRequest,
    has_each_once,
    shut_down,
)
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.data.sources.sql_errors import to_source_error, too_slow_error
from forecast_assets.errors import SourceError, format_list

# Rows; a chunk is in memory before its bytes are counted.
CHUNK_ROWS = 10_000
# Of a number or a time in memory; a text takes its length more.
VALUE_BYTES = 8
NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "empty")
# Drivers that name the seconds that connecting may take `connect_timeout`.
HAVE_CONNECT_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")


def read_sql(source: SqlSource, request: FetchRequest) -> pd.DataFrame:
    """Read the mapped columns of the query or table, sorted by time, series and value.

    Only a query with `:last_ds` may have no rows. Raises SourceError if the settings do not fit
    the database, if there are no rows, and if the database does not answer.
    """
    url = _database_url(source, request)
    return with_retries(lambda: _read(url, source, request), source, request)


def _database_url(source: SqlSource, request: FetchRequest) -> sa.URL:
    """Return the URL with its secrets and an absolute path to a SQLite file."""
    url = parse_url(source.url, request.settings)
    if url is None:
        raise SourceError(
            f"`source.url` = {redact_url(source.url)} is not a database URL. Nothing was read. Use"
            f" SQLAlchemy's form: postgresql+psycopg://user:password@host/database, or"
            f" sqlite:///data/sales.db. Write @ in a password as %40."
        )
    if (file := sqlite_file(url)) and not file.is_file():
        raise SourceError(
            f"The database file {file} does not exist. Nothing was read, and no file was created."
            f" Copy it there, or correct `source.url` (a relative path starts at"
            f" {request.settings.root})."
        )
    return url


def parse_url(given: str, settings: Settings) -> sa.URL | None:
    """Return a database URL with its secrets and an absolute path to a SQLite file.

    None where it is no URL: its parser's error, which may hold a password, is not passed on.
    """
    try:
        url = sa.make_url(resolve_env(given))
    except (SQLAlchemyError, ValueError):
        return None
    if "@" in (url.host or ""):  # the rest of a password
        return None
    file = sqlite_file(url)
    return url.set(database=settings.resolve_path(str(file))) if file else url


def sqlite_file(url: sa.URL) -> Path | None:
    """Return the file of a SQLite database; None for any other database."""
    file = url.database or ""
    is_file = file not in ("", ":memory:") and not file.startswith("file:")
    return Path(file) if url.get_backend_name() == "sqlite" and is_file else None


@contextmanager
def connected(
    url: sa.URL, deadline: Deadline, *, connect_seconds: float, **options: Any
) -> Iterator[sa.Connection]:
    """Connect to a database for at most the time of the deadline; `options` are of execution."""
    seconds = {"connect_timeout": max(1, round(min(connect_seconds, deadline.seconds)))}
    has_timeout = url.get_driver_name() in HAVE_CONNECT_TIMEOUT
    engine = sa.create_engine(
        url,
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args=seconds if has_timeout and not url.query.keys() & seconds else {},
        execution_options=options,
    )
    # First, because SQLAlchemy's own first statements may hang too.
    drivers: list[Any] = []
    sa.event.listen(engine, "connect", lambda new, _: drivers.append(new), insert=True)
    interrupt = partial(_interrupt, drivers, engine.dialect.loaded_dbapi.Error)
    with deadline.limit(interrupt), engine.connect() as connection:
        yield connection


def _read(url: sa.URL, source: SqlSource, request: FetchRequest) -> pd.DataFrame:
    deadline = Deadline(source.total_seconds)
    try:
        with connected(
            url, deadline, connect_seconds=source.connect_seconds, postgresql_readonly=True
        ) as connection:
            _prepare(connection, source, request)
            return _read_rows(connection, source, request, deadline)
    except (SQLAlchemyError, ImportError, TypeError, ValueError) as error:
        reason = to_source_error(error, url, origin=redact_url(source.url))
    # Raised here, because the database's error may hold a password.
    raise too_slow_error(source) if deadline.is_expired else reason


def _interrupt(drivers: Sequence[Any], error: type[Exception]) -> None:
    """Break off what the driver's connections wait for, from another thread."""
    for driver in drivers:
        with suppress(OSError, error):
            if hasattr(driver, "interrupt"):  # sqlite3
                driver.interrupt()
            elif hasattr(driver, "fileno"):  # a server that hangs does not react to a cancellation
                shut_down(driver.fileno())


def _prepare(connection: sa.Connection, source: SqlSource, request: FetchRequest) -> None:
    """Forbid writing, limit the time of a statement and set the source's time zone."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.connection.set_authorizer(_authorize)
    if connection.dialect.name == "postgresql":
        milliseconds = max(1, round(source.total_seconds * 1000))
        zone = str(request.local_as_of.tzinfo)
        for name, value in {"TimeZone": zone, "statement_timeout": str(milliseconds)}.items():
            for_transaction = sa.true()
            connection.execute(sa.select(sa.func.set_config(name, value, for_transaction)))


def _authorize(action: int, name: str | None, *_: object) -> int:
    """Deny SQLite what `query_only` allows although it writes: VACUUM INTO attaches a file too."""
    is_write = action == sqlite3.SQLITE_PRAGMA and str(name).lower() == "journal_mode"
    return sqlite3.SQLITE_DENY if is_write or action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


def _read_rows(
    connection: sa.Connection, source: SqlSource, request: FetchRequest, deadline: Deadline
) -> pd.DataFrame:
    columns: Sequence[str] = source.columns
    origin, budget = redact_url(source.url), ByteBudget(source.max_bytes)
    if source.table is None:
        statement: sa.Executable = _bind_parameters(str(source.query), connection, request)
    else:
        needed = () if request.every_column else columns
        statement = _select_columns(source.table, needed, connection, origin)

    def count_bytes(n_bytes: int) -> None:
        if deadline.is_expired:
            raise too_slow_error(source)
        budget.take(n_bytes, of=origin)

    streaming = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS)
    with streaming.execute(statement) as result:
        names = list(result.keys())
        if not has_each_once(names, columns):
            return pd.DataFrame(columns=names)  # the mapping refuses these columns
        if request.every_column:
            columns = [name for name in names if names.count(name) == 1]
        chunks = result.columns(*map(names.index, columns)).partitions(CHUNK_ROWS)
        frame = to_frame(chunks, columns, ids=source.ids, count_bytes=count_bytes)
    if frame.empty and not source.is_incremental:
        raise SourceError(
            f"{origin} has no rows. Nothing was published. Check what fills the database, and"
            f" `query` or `table` in [source] of forecast.toml."
        )
    return sort(frame, (source.ds, *source.ids, source.y))


def _bind_parameters(text: str, connection: sa.Connection, request: FetchRequest) -> sa.TextClause:
    """Return the query with values for `:as_of` and `:last_ds`; refuse other parameters."""
    query = sa.text(text)
    values: dict[str, Any] = {"as_of": request.local_as_of, "last_ds": request.last_ds}
    if connection.dialect.name == "sqlite":  # has no times; its datetime() writes texts like these
        values = {name: f"{time:%Y-%m-%d %H:%M:%S}" for name, time in values.items()}
    names = query.compile().params
    if unknown := [f":{name}" for name in names if name not in values]:
        raise SourceError(
            f"`source.query` has the parameter {format_list(unknown)}; only :as_of and :last_ds"
            f" exist. Nothing was read. Correct the query; write a literal colon as \\:."
        )
    # Without a type, so that the driver sends a time with its zone: SQLAlchemy would drop it.
    parameters = [sa.bindparam(name, values[name], type_=sa.types.NullType()) for name in names]
    return query.bindparams(*parameters)


def _select_columns(
    name: str, columns: Sequence[str], connection: sa.Connection, origin: str
) -> sa.Executable:
    """Select columns of a table, or all; all and no rows if one of them does not exist."""
    schema, _, short_name = name.rpartition(".")
    inspector = sa.inspect(connection)
    if not inspector.has_table(short_name, schema or None):
        tables = inspector.get_table_names(schema or None)
        tables += inspector.get_view_names(schema or None)
        available = format_list(sorted(tables), limit=20) or "none"
        raise SourceError(
            f"{origin} has no table {name}; it has {available}. Nothing was read. Correct"
            f" `source.table`, or grant this user access to it."
        )
    table = sa.table(short_name, schema=schema or None)
    all_columns: sa.ColumnElement[Any] = sa.literal_column("*")
    everything = sa.select(all_columns).select_from(table)
    no_rows = everything.where(sa.false())
    if set(columns) - set(connection.execute(no_rows).keys()):
        return no_rows
    if not columns:
        return everything
    return sa.select(*(sa.column(column) for column in columns)).select_from(table)


def to_frame(
    chunks: Iterable[Sequence[Sequence[Any]]],
    columns: Sequence[str],
    *,
    ids: Collection[str],
    count_bytes: Callable[[int], None],
) -> pd.DataFrame:
    """Return the rows of all chunks; a row has one value per column, `ids` names the id columns.

    Numbers and times become arrays; equal ids, texts and other values are kept once. The bytes of
    each chunk are passed to `count_bytes`.
    """
    parts: dict[str, list[pd.Series]] = {name: [] for name in columns}
    kept: dict[str, dict[Any, Any]] = {name: {} for name in columns}
    # The collector finds no garbage among the rows: without it, 1.5 million take 3.8 s, not 6.1 s.
    gc.disable()
    try:
        for rows in chunks:
            for name, values in zip(columns, zip(*rows, strict=True), strict=True):
                series = None if name in ids else _to_array(values)
                if series is None:
                    series = _deduplicate(values, kept[name])
                    count_bytes(sum(len(text) for text in values if isinstance(text, str | bytes)))
                parts[name].append(series)
            count_bytes(VALUE_BYTES * len(rows) * len(columns))
    finally:
        gc.enable()
    empty = [pd.Series(dtype="float64")]
    return pd.DataFrame(
        {name: pd.concat(series or empty, ignore_index=True) for name, series in parts.items()}
    )


def _to_array(values: Sequence[Any]) -> pd.Series | None:
    """Return numbers and times in their own type; None for other values."""
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "date":
        days: pd.Series = pa.array(values, pa.date32()).to_pandas(date_as_object=False)
        return days
    column = pd.Series(values, dtype=object)
    if kind in NUMBERS:
        return pd.to_numeric(column)
    return column.infer_objects() if kind == "datetime" else None


def _deduplicate(values: Sequence[Any], kept: dict[Any, Any]) -> pd.Series:
    with suppress(TypeError):  # JSON and arrays are not hashable; the mapping refuses them
        values = [kept.setdefault(value, value) for value in values]
    return pd.Series(values, dtype=object)


def sort(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Sort rows by their values alone, so that the order in which they came does not matter."""

    def key(column: pd.Series) -> pd.Series:
        is_mixed = column.dtype == object  # its values are compared by their texts
        return column.map(str, na_action="ignore").astype("category") if is_mixed else column

    return frame.sort_values(list(by), key=key, kind="stable", ignore_index=True)
