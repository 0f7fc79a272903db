"""Deliver rows to a table of a database, in one transaction.

Only rows of our producer are written. Each row is compared with what the table has, so that the
same version changes nothing, and columns of others keep their values.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from forecast_assets.config.delivery_settings import SqlDelivery
from forecast_assets.config.redaction import redact_url
from forecast_assets.data.sources.request import Deadline
from forecast_assets.data.sources.sql import connected, parse_url, sqlite_file
from forecast_assets.data.sources.sql_errors import error_text, is_transient_error
from forecast_assets.delivery.batch import Batch, Written
from forecast_assets.delivery.sql_table import open_table
from forecast_assets.errors import DeliveryError, DeliveryUnavailable, format_list

# From so many rows on PostgreSQL's COPY is used: 13,000 rows took 2.7 s, with INSERT 4.7 s.
COPIED_ROWS = 1_000
Key = tuple[Any, ...]
Row = tuple[Any, ...]


def write_sql(delivery: SqlDelivery, batch: Batch) -> Written:
    """Replace our rows of the version's `as_of`, and delete those of withdrawn versions.

    Raises DeliveryError if the table has other types or rows of others under a key of ours, and if
    the database refuses or does not answer. The table is then as it was.
    """
    with _transaction(delivery, batch) as connection:
        table = open_table(connection, delivery, batch, is_created=batch.rows is not None)
        if table is None or "producer" not in table.c:
            return Written(_place(delivery))
        is_ours = table.c.producer == delivery.producer
        n_taken_back = _delete_withdrawn(connection, table, is_ours, batch.withdrawn_times)
        if batch.rows is None:
            return Written(_place(delivery), n_taken_back=n_taken_back)
        key_of = _key_getter(batch)
        rows = {key_of(row): row for row in batch.tuples()}
        _refuse_others(connection, table, is_ours, rows.keys(), delivery, batch)
        n_changed = _write_changes(connection, table, is_ours, rows, batch)
        return Written(_place(delivery), len(rows), n_changed, n_taken_back)


def check_sql(delivery: SqlDelivery, batch: Batch) -> str:
    """Connect, compare the table's columns with ours, change nothing; return what was found."""
    url = parse_url(delivery.url, batch.settings)
    file = sqlite_file(url) if url is not None else None
    if file and not file.is_file():
        return f"{file} does not exist yet: the first delivery creates it"
    with _transaction(delivery, batch) as connection:
        table = open_table(connection, delivery, batch, is_created=False)
    if table is None:
        return f"{_place(delivery)} does not exist yet: the first delivery creates it"
    return f"{_place(delivery)} has columns of the right types"


def _place(delivery: SqlDelivery) -> str:
    return f"the table {delivery.table} of {redact_url(delivery.url)}"


@contextmanager
def _transaction(delivery: SqlDelivery, batch: Batch) -> Iterator[sa.Connection]:
    """Commit what the block writes, or nothing of it. Raises DeliveryError."""
    url = parse_url(delivery.url, batch.settings)
    if url is None:
        raise DeliveryError(
            f"`deliver.{batch.name}.url` = {redact_url(delivery.url)} is not a database URL."
            f" Nothing was written. Use SQLAlchemy's form:"
            f" postgresql+psycopg://user:password@host/database, or sqlite:///data/sales.db. Write"
            f" @ in a password as %40."
        )
    deadline = Deadline(delivery.total_seconds)
    try:
        with connected(url, deadline, connect_seconds=delivery.connect_seconds) as connection:
            _begin(connection, delivery)
            yield connection
            connection.commit()
    except (SQLAlchemyError, ImportError, TypeError, ValueError) as error:
        reason = _to_delivery_error(error, url, delivery, batch, is_late=deadline.is_expired)
    else:
        return
    # The database's error may hold a password.
    raise reason from None


def _begin(connection: sa.Connection, delivery: SqlDelivery) -> None:
    """Begin a transaction that waits for other deliveries to the table."""
    if connection.dialect.name == "sqlite":
        # Python's driver would commit a new table before its rows.
        connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if connection.dialect.name == "postgresql":
        digest = hashlib.blake2b(delivery.table.encode(), digest_size=8).digest()
        lock = int.from_bytes(digest, "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))


def _to_delivery_error(
    error: Exception, url: sa.URL, delivery: SqlDelivery, batch: Batch, *, is_late: bool
) -> DeliveryError:
    """Translate an error of SQLAlchemy or a driver, without the secrets of the URL."""
    origin, text = redact_url(delivery.url), error_text(error, url)
    if is_late:
        return DeliveryUnavailable(
            f"{batch.prefix} was not finished within `total_seconds` = {delivery.total_seconds:g}"
            f" by {origin}. The table is as it was; a retry may succeed. Look for what locks the"
            f" table, or increase `total_seconds`."
        )
    if is_transient_error(error):
        return DeliveryUnavailable(
            f"{batch.prefix} was interrupted: {origin} did not answer: {text}. The table has all of"
            f" its rows or none; a retry may succeed."
        )
    if isinstance(error, ImportError | ArgumentError):
        return DeliveryError(
            f"{batch.prefix} cannot reach {origin}: {text}. Nothing was written. Install the driver"
            f" that `deliver.{batch.name}.url` names before its ://, or name one that is installed."
        )
    return DeliveryError(
        f"{batch.prefix} was refused by {origin}: {text}. Nothing was written. Grant this user the"
        f" rights to create, read and write {_place(delivery)}, or correct"
        f" [deliver.{batch.name}] of forecast.toml."
    )


def _delete_withdrawn(
    connection: sa.Connection,
    table: sa.Table,
    is_ours: sa.ColumnElement[bool],
    times: Sequence[datetime],
) -> int:
    if not times:
        return 0
    return connection.execute(table.delete().where(is_ours, table.c.as_of.in_(times))).rowcount


def _refuse_others(
    connection: sa.Connection,
    table: sa.Table,
    is_ours: sa.ColumnElement[bool],
    keys: Any,
    delivery: SqlDelivery,
    batch: Batch,
) -> None:
    """Raise DeliveryError where a row of another producer has a key of ours."""
    is_other = sa.or_(table.c.producer.is_(None), sa.not_(is_ours))
    columns = [table.c[name] for name in (*batch.key, "producer")]
    statement = sa.select(*columns).where(is_other, table.c.as_of == batch.as_of)
    found = {row[:-1]: row[-1] for row in _rows(connection, statement)}
    taken = {key: producer for key, producer in found.items() if key in keys}
    if taken:
        names = format_list(
            " / ".join(map(str, key[:-1])) + f" by {producer or 'an unnamed producer'}"
            for key, producer in taken.items()
        )
        raise DeliveryError(
            f"{batch.prefix} was refused: {len(taken)} of its {len(keys)} rows are in"
            f" {_place(delivery)} already, written by others: {names}. Nothing was written, because"
            f" rows of others are never changed. Deliver to a table of your own, or agree on who"
            f" writes these rows."
        )


def _write_changes(
    connection: sa.Connection,
    table: sa.Table,
    is_ours: sa.ColumnElement[bool],
    rows: dict[Key, Row],
    batch: Batch,
) -> int:
    """Insert, update and delete until our rows of the time are `rows`; return how many changed."""
    statement = sa.select(*(table.c[name] for name in batch.names))
    is_of_version = sa.and_(is_ours, table.c.as_of == batch.as_of)
    key_of = _key_getter(batch)
    found = _rows(connection, statement.where(is_of_version))
    before = {key_of(row): row for row in found}
    new = [row for key, row in rows.items() if key not in before]
    changed = [row for key, row in rows.items() if key in before and before[key] != row]
    gone = [row for key, row in before.items() if key not in rows]
    is_row = sa.and_(
        is_of_version, *(table.c[name] == sa.bindparam(f"key_{name}") for name in batch.key[:-1])
    )
    if gone:
        connection.execute(table.delete().where(is_row), [*_parameters(gone, batch)])
    if changed:
        values: dict[Any, Any] = {
            table.c[name]: sa.bindparam(f"new_{name}") for name in batch.names
        }
        connection.execute(
            table.update().where(is_row).values(values), [*_parameters(changed, batch)]
        )
    if new:
        _insert(connection, table, new, batch)
    return len(gone) + len(changed) + len(new)


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], batch: Batch) -> None:
    dialect, driver = connection.dialect, connection.connection.driver_connection
    if len(rows) < COPIED_ROWS or dialect.driver != "psycopg" or driver is None:
        connection.execute(table.insert(), [dict(zip(batch.names, r, strict=True)) for r in rows])
        return
    prepare = dialect.identifier_preparer
    columns = ", ".join(map(prepare.quote, batch.names))
    command = f"COPY {prepare.format_table(table)} ({columns}) FROM STDIN"
    error_class = dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                copy.write_row(row)
    except error_class as error:
        raise sa.exc.DBAPIError.instance(
            command, None, error, error_class, hide_parameters=True, dialect=dialect
        ) from None


def _parameters(rows: Sequence[Row], batch: Batch) -> Iterator[dict[str, Any]]:
    for row in rows:
        values = dict(zip(batch.names, row, strict=True))
        keys = {f"key_{name}": values[name] for name in batch.key[:-1]}
        yield keys | {f"new_{name}": value for name, value in values.items()}


def _key_getter(batch: Batch) -> Callable[[Row], Key]:
    """Return the function that gets the key from a row of all columns."""
    return itemgetter(*map(batch.names.index, batch.key))


def _rows(connection: sa.Connection, statement: "sa.Select[Any]") -> list[Row]:
    """Return rows as tuples; times without a zone, as most databases have them, are in UTC."""
    rows = list(map(tuple, connection.execute(statement)))
    if connection.dialect.name == "postgresql":
        return rows
    return [tuple(map(_with_zone, row)) for row in rows]


def _with_zone(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
