"""The table that rows are delivered to: create it, add our columns, refuse other types."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from forecast_assets.config.delivery_settings import SqlDelivery
from forecast_assets.config.redaction import redact_url
from forecast_assets.delivery.batch import Batch
from forecast_assets.errors import DeliveryError, format_list
from forecast_assets.storage.contract import Column, Kind

# Some databases have keys of texts of a limited length only, and times in whole seconds.
_LIMITED = ("mysql", "mariadb", "mssql", "oracle")
_MICROSECONDS = mysql.DATETIME(fsp=6)
TYPES: dict[Kind, Any] = {
    "string": sa.Text(),
    "float": sa.Double(),
    "int": sa.BigInteger(),
    "bool": sa.Boolean(),
    "date": sa.Date(),
    "datetime": sa.DateTime().with_variant(_MICROSECONDS, "mysql", "mariadb"),
    "timestamp": sa.DateTime(timezone=True).with_variant(_MICROSECONDS, "mysql", "mariadb"),
}
FITTING: dict[Kind, type[Any]] = {
    "string": sa.String,
    "float": sa.Float,
    "int": sa.Integer,
    "bool": sa.Boolean,
    "date": sa.Date,
    "datetime": sa.DateTime,
    "timestamp": sa.DateTime,
}
KEY_TEXT = sa.Text().with_variant(sa.String(255), *_LIMITED)


def open_table(
    connection: sa.Connection, delivery: SqlDelivery, batch: Batch, *, is_created: bool
) -> sa.Table | None:
    """Return the table with our columns; None if it is absent and not created.

    With `is_created` an absent table is created, and columns of ours that it lacks are added.
    Raises DeliveryError if a column of the key is absent, or a column of ours has another type.
    """
    schema, _, name = delivery.table.rpartition(".")
    table = sa.Table(
        name,
        sa.MetaData(),
        *(_define(column, batch) for column in batch.columns),
        schema=schema or None,
    )
    inspector = sa.inspect(connection)
    if not inspector.has_table(name, schema or None):
        if not is_created:
            return None
        table.create(connection)
        return table
    found = {column["name"]: column["type"] for column in inspector.get_columns(name, table.schema)}
    _check_columns(found, connection, delivery, batch)
    absent = [column for column in table.columns if column.name not in found]
    for column in absent if is_created else ():
        _add(connection, table, column)
    if absent and not is_created:
        present = [_define(column, batch) for column in batch.columns if column.name in found]
        return sa.Table(name, sa.MetaData(), *present, schema=table.schema)
    return table


def _define(column: Column, batch: Batch) -> "sa.Column[Any]":
    is_key = column.name in batch.key
    type_ = KEY_TEXT if is_key and column.kind == "string" else TYPES[column.kind]
    is_nullable = not is_key and column.name != "producer"
    # The comment of a column would need a statement of its own.
    return sa.Column(
        column.name, type_, primary_key=is_key, autoincrement=False, nullable=is_nullable
    )


def _add(connection: sa.Connection, table: sa.Table, column: "sa.Column[Any]") -> None:
    """Add a column, which is null in the rows that exist."""
    prepare = connection.dialect.identifier_preparer
    definition = sa.Column(column.name, column.type)
    text = sa.schema.CreateColumn(definition).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {prepare.format_table(table)} ADD {text}")


def _check_columns(
    found: dict[str, Any], connection: sa.Connection, delivery: SqlDelivery, batch: Batch
) -> None:
    place = f"the table {delivery.table} of {redact_url(delivery.url)}"
    absent = [name for name in batch.key if name not in found]
    if absent:
        raise DeliveryError(
            f"{batch.prefix} was refused: {place} exists and has no column {format_list(absent)},"
            f" so it is not a table of these rows; it has {format_list(found, limit=20)}. Nothing"
            f" was written. Set `deliver.{batch.name}.table` to another name: a table that does not"
            f" exist is created."
        )
    others = [
        f"{column.name} is {found[column.name]}, and {_name(column, batch, connection)} is needed"
        for column in batch.columns
        if column.name in found and not _fits(found[column.name], column.kind, connection.dialect)
    ]
    if others:
        raise DeliveryError(
            f"{batch.prefix} was refused: {len(others)} columns of {place} have other types:"
            f" {format_list(others)}. Nothing was written, because values would be changed. Alter"
            f" the columns, or set `deliver.{batch.name}.table` to another name."
        )


def _name(column: Column, batch: Batch, connection: sa.Connection) -> str:
    return str(_define(column, batch).type.compile(dialect=connection.dialect))


def _fits(found: Any, kind: Kind, dialect: sa.Dialect) -> bool:
    """Return whether a column of a database keeps every value of a kind as it is."""
    if kind == "float" and isinstance(found, sa.REAL):
        return dialect.name == "sqlite"  # elsewhere of single precision
    if kind == "bool" and not dialect.supports_native_boolean:
        return isinstance(found, sa.Boolean | sa.Integer)
    if kind in ("datetime", "timestamp") and dialect.name == "postgresql":
        return isinstance(found, sa.DateTime) and found.timezone == (kind == "timestamp")
    return isinstance(found, FITTING[kind])
