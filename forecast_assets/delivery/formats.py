"""Encode rows as CSV, Parquet or Excel, and read who delivered a file, and as of when.

The same rows always give the same bytes.
"""

import csv
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecast_assets.delivery.columns import by_value
from forecast_assets.delivery.excel import encode_excel, read_properties
from forecast_assets.delivery.safe_text import safe_cell
from forecast_assets.storage.contract import Kind
from forecast_assets.storage.delta import ARROW_TYPES

Kinds = Mapping[str, Kind]
# Cells of CSV.
CELLS: Mapping[Kind, Callable[[Any], Any]] = {
    "string": safe_cell,
    "float": float,
    "int": int,
    "bool": bool,
    "date": lambda time: time.date().isoformat(),
    "datetime": lambda time: time.isoformat(),
    "timestamp": lambda time: time.isoformat(),
}


class Mark(NamedTuple):
    """The producer of a file's rows and the time as of which they are, both of the first row."""

    producer: str | None
    as_of: datetime | None


def encode_csv(kinds: Kinds, rows: pd.DataFrame) -> bytes:
    """Return CSV in UTF-8 with ISO 8601 times; no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(safe_cell, kinds))
    cells = [by_value(rows[name], CELLS[kind]) for name, kind in kinds.items()]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue().encode()


def encode_parquet(kinds: Kinds, rows: pd.DataFrame) -> bytes:
    """Return Parquet with the types of the store."""
    schema = pa.schema([pa.field(name, ARROW_TYPES[kind]) for name, kind in kinds.items()])
    table = pa.Table.from_pandas(rows[[*kinds]], schema=schema, preserve_index=False)
    body = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), body)
    return body.getvalue()


def _read_csv(body: bytes) -> tuple[Any, Any]:
    lines = csv.reader(io.StringIO(body.decode()))
    header = next(lines, [])
    row = dict(zip(header, next(lines, [""] * len(header)), strict=True))
    return row["producer"], row["as_of"]


def _read_parquet(body: bytes) -> tuple[Any, Any]:
    rows = pq.read_table(io.BytesIO(body), columns=["producer", "as_of"]).slice(0, 1).to_pydict()
    producers, times = rows["producer"], rows["as_of"]
    return (producers[0], times[0]) if producers else (None, None)


def read_mark(suffix: str, body: bytes) -> Mark | None:
    """Return who delivered a file and as of when; None for a file that no delivery wrote."""
    try:
        producer, as_of = READERS[suffix](body)
        if isinstance(as_of, str):
            as_of = datetime.fromisoformat(as_of) if as_of else None
        if not isinstance(as_of, datetime | None):
            return None
    except (ValueError, KeyError, pa.ArrowException):
        return None
    return Mark(producer, as_of.astimezone(UTC) if as_of else None)


ENCODERS: Mapping[str, Callable[[Kinds, pd.DataFrame], bytes]] = {
    ".csv": encode_csv,
    ".parquet": encode_parquet,
    ".xlsx": encode_excel,
}
READERS: Mapping[str, Callable[[bytes], tuple[Any, Any]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".xlsx": read_properties,
}
