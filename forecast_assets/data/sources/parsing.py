"""Parse csv, json, json lines and parquet, and keep only the mapped columns.

Opening and decompressing a body belongs to its reader.
"""

import csv
import io
import json
import lzma
import re
import zlib
from collections.abc import Sequence
from typing import IO, Any

import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from forecast_assets.config.source_settings import Format
from forecast_assets.data.sources.request import ByteBudget
from forecast_assets.errors import SourceError

BLOCK_BYTES = 1 << 20
# Keeps each distinct text of a column once.
TEXTS = pa.dictionary(pa.int32(), pa.string())
# What pyarrow tells of a row after the number of its columns.
VALUES_IN_ERROR = re.compile(r"(columns, got \d+):.*", re.DOTALL)
# Errors of pandas, pyarrow, json and the decompressors for a body that they cannot read.
UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    RecursionError,
    lzma.LZMAError,
    zlib.error,
    pa.ArrowException,
)


def parse_file(
    kind: Format, body: IO[bytes], *, name: str, columns: Sequence[str], budget: ByteBudget
) -> pd.DataFrame:
    """Read a file as `parse` does; `name` names it in errors.

    Raises SourceError if it cannot be parsed, has no rows, or exceeds the budget. Connection errors
    of the file system pass.
    """
    try:
        frame = parse(kind, body, name=name, columns=columns, budget=budget)
    except (ConnectionError, TimeoutError):
        raise
    except UNREADABLE as error:
        raise SourceError(
            f"{name} does not have the format of its suffix, or is empty: {error}. None of its rows"
            f" were used. Check the file; if it was cut off, write it again."
        ) from error
    if frame.empty and set(columns) <= set(frame.columns):
        raise SourceError(f"{name} has no rows. Nothing was published. Check what writes the file.")
    return frame


def parse(
    kind: Format, body: IO[bytes], *, name: str, columns: Sequence[str], budget: ByteBudget
) -> pd.DataFrame:
    """Return `columns` of a body, texts as categories; a column of JSON may be a dotted path.

    If a column is absent or occurs twice, the frame has no rows and all columns of the body. Raises
    one of UNREADABLE if the body is invalid, and SourceError if it exceeds the budget.
    """
    if kind == "parquet":
        return _parse_parquet(body, columns, budget, name)
    lines = io.BufferedReader(_CountingReader(body, budget, name), BLOCK_BYTES)
    if kind == "csv":
        return _parse_csv(lines, columns)
    if kind == "json":
        return records_frame(load_json(lines.read()), columns)
    return records_frame([load_json(line) for line in lines if line.strip()], columns)


class _CountingReader(io.RawIOBase):
    """A body whose bytes are counted against a budget as they are read."""

    def __init__(self, body: IO[bytes], budget: ByteBudget, name: str) -> None:
        self._body, self._budget, self._name = body, budget, name

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read and count at most one block."""
        block = self._body.read(min(len(buffer), BLOCK_BYTES))
        self._budget.take(len(block), of=self._name)
        buffer[: len(block)] = block
        return len(block)


def _parse_csv(file: "io.BufferedReader[Any]", columns: Sequence[str]) -> pd.DataFrame:
    start = io.TextIOWrapper(io.BytesIO(file.peek(BLOCK_BYTES)), "utf-8-sig", "replace", newline="")
    header = next(csv.reader(start), [])
    if header and not has_each_once(header, columns):
        return pd.DataFrame(columns=header)
    try:
        return _to_frame(_read_csv(file, columns))
    except pa.ArrowInvalid as error:
        reason = VALUES_IN_ERROR.sub(r"\1", str(error))
    # Raised here, because the error of pyarrow may hold personal data.
    raise ValueError(reason)


def _read_csv(file: "io.BufferedReader[Any]", columns: Sequence[str]) -> pa.Table:
    return arrow_csv.read_csv(
        file,
        read_options=arrow_csv.ReadOptions(use_threads=False),  # as fast; its errors name the row
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(dict.fromkeys(columns)),
            column_types=dict.fromkeys(columns, TEXTS),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _parse_parquet(
    body: IO[bytes], columns: Sequence[str], budget: ByteBudget, name: str
) -> pd.DataFrame:
    file = parquet.ParquetFile(body)
    names = file.schema_arrow.names
    if not has_each_once(names, columns):
        return pd.DataFrame(columns=names)
    # A run of equal values is a few bytes in the file, and eight bytes a row in memory.
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    n_bytes = sum(group.total_byte_size for group in groups)
    budget.take(max(n_bytes, 8 * len(columns) * file.metadata.num_rows), of=name)
    # An index that pandas wrote is an ordinary column here.
    return _to_frame(file.read(columns=list(dict.fromkeys(columns))))


def load_json(text: bytes) -> Any:
    """Parse JSON, and NaN, which Python writes although JSON lacks it. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # knows NaN; its error has the position


def get_path(value: Any, path: str | None) -> Any:
    """Return the value at a dotted path in JSON. Raises ValueError if there is none."""
    for key in path.split(".") if path else ():
        if not isinstance(value, dict) or key not in value:
            keys = ", ".join(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ValueError(f"`{path}` does not exist: instead of {key} there is {keys}")
        value = value[key]
    return value


def records_frame(rows: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a list of objects, as `parse` does. Raises TypeError for other JSON."""
    if not isinstance(rows, list):
        raise TypeError(f"expected a list of rows, not a {type(rows).__name__}")
    if not all(isinstance(row, dict) for row in rows):
        raise TypeError("not every row is an object")
    frame = {column: _column(rows, column) for column in columns}
    if any(values is None for values in frame.values()):
        return pd.DataFrame(columns=list(dict.fromkeys(key for row in rows[:1000] for key in row)))
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in frame.items()})


def _column(rows: Sequence[dict[str, Any]], column: str) -> list[Any] | None:
    """Return the values of a column; None if no row has it."""
    if any(column in row for row in rows) or not rows:
        return [row.get(column) for row in rows]
    parent, dot, child = column.partition(".")
    values = [row.get(parent) for row in rows]
    objects = [value if isinstance(value, dict) else {} for value in values]
    return _column(objects, child) if dot and any(objects) else None


def has_each_once(names: Sequence[str], columns: Sequence[str]) -> bool:
    """Return whether each of the columns occurs exactly once."""
    return all(list(names).count(column) == 1 for column in columns)


def _to_frame(table: pa.Table) -> pd.DataFrame:
    """Return the table with texts as categories, the same for all chunks of a column."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(i, field.name, table.column(i).dictionary_encode())
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(ignore_metadata=True)
    return frame
