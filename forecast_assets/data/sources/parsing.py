"""Parse csv, Excel, json, json lines and parquet, and keep only the mapped columns.

Opening and decompressing a body belongs to its reader, how CSV is written to `csv_text`.
"""

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from forecast_assets.config.source_settings import Format
from forecast_assets.data.sources.csv_text import BLOCK_BYTES, parse_csv, to_frame
from forecast_assets.data.sources.excel import parse_excel
from forecast_assets.data.sources.request import ByteBudget, ParseOptions, has_each_once
from forecast_assets.errors import SourceError

# The first bytes of other formats, and what to do with a file that has them.
OTHER_FORMATS = {
    b"PK\x03\x04": ("a zip archive or an Excel file", "unpack it, or name it .xlsx"),
    b"\x1f\x8b": ("compressed with gzip", "add .gz to its name"),
    b"BZh": ("compressed with bzip2", "add .bz2 to its name"),
    b"\xfd7zXZ": ("compressed with xz", "add .xz to its name"),
    b"PAR1": ("a Parquet file", "name it .parquet"),
    b"\xd0\xcf\x11\xe0": ("an Excel file of before 2007", "save it as .xlsx"),
    b"<!doctype html": ("a web page", "save the table itself"),
    b"<html": ("a web page", "save the table itself"),
}
TAIL_BYTES = 1 << 16  # in which lines after the last row are looked for
# Errors of pandas, pyarrow, json, openpyxl and the decompressors for a body that they cannot read.
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    RecursionError,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
    pa.ArrowException,
)


def parse_file(
    kind: Format, body: IO[bytes], *, name: str, options: ParseOptions, budget: ByteBudget
) -> pd.DataFrame:
    """Read a file as `parse` does; `name` names it in errors.

    Raises SourceError if it cannot be parsed, has no rows, or exceeds the budget. Connection errors
    of the file system pass.
    """
    try:
        frame = parse(kind, body, name=name, options=options, budget=budget)
    except (ConnectionError, TimeoutError):
        raise
    except UNREADABLE as error:
        raise SourceError(
            f"{name} does not have the format of its suffix, or is empty: {error}. None of its rows"
            f" were used. Check the file; if it was cut off, write it again."
        ) from error
    if frame.empty and has_each_once(list(frame.columns), options.columns):
        raise SourceError(f"{name} has no rows. Nothing was published. Check what writes the file.")
    return frame


def parse(
    kind: Format, body: IO[bytes], *, name: str, options: ParseOptions, budget: ByteBudget
) -> pd.DataFrame:
    """Return the columns of a body, texts as categories; a column of JSON may be a dotted path.

    If a column is absent or occurs twice, the frame has no rows and all columns of the body. Raises
    one of UNREADABLE if the body is invalid, and SourceError if it exceeds the budget.
    """
    if kind == "parquet":
        return _parse_parquet(body, options, budget, name)
    if kind == "xlsx":
        return parse_excel(body, options, name=name, budget=budget)
    counted = _CountingReader(body, budget, name)
    lines = io.BufferedReader(counted, BLOCK_BYTES)
    _check_format(lines.peek(BLOCK_BYTES), kind, name)
    if kind == "csv":
        return parse_csv(lines, options, name=name, tail=lambda: counted.tail)
    if kind == "json":
        return records_frame(load_json(lines.read()), options)
    return records_frame([load_json(line) for line in lines if line.strip()], options)


def _check_format(start: bytes, kind: Format, name: str) -> None:
    """Raise SourceError if the first bytes are those of another format than text."""
    for magic, (what, remedy) in OTHER_FORMATS.items():
        if start[: len(magic)].lower() == magic.lower():
            raise SourceError(
                f"{name} is {what}, and not {kind.upper()}. None of its rows were used. At the"
                f" source, {remedy}."
            )


class _CountingReader(io.RawIOBase):
    """A body whose bytes are counted against a budget as they are read; `tail` has the last."""

    def __init__(self, body: IO[bytes], budget: ByteBudget, name: str) -> None:
        self._body, self._budget, self._name = body, budget, name
        self.tail = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read and count at most one block."""
        block = self._body.read(min(len(buffer), BLOCK_BYTES))
        self._budget.take(len(block), of=self._name)
        buffer[: len(block)] = block
        self.tail = (self.tail + block[-TAIL_BYTES:])[-TAIL_BYTES:]
        return len(block)


def _parse_parquet(
    body: IO[bytes], options: ParseOptions, budget: ByteBudget, name: str
) -> pd.DataFrame:
    file = parquet.ParquetFile(body)
    names = file.schema_arrow.names
    if not has_each_once(names, options.columns):
        return pd.DataFrame(columns=names)
    columns = options.selected(names)
    # A run of equal values is a few bytes in the file, and eight bytes a row in memory.
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    n_bytes = sum(group.total_byte_size for group in groups)
    budget.take(max(n_bytes, 8 * len(columns) * file.metadata.num_rows), of=name)
    # An index that pandas wrote is an ordinary column here.
    return to_frame(file.read(columns=columns))


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


def records_frame(rows: Any, options: ParseOptions) -> pd.DataFrame:
    """Return the columns of a list of objects, as `parse` does. Raises TypeError for other JSON."""
    if not isinstance(rows, list):
        raise TypeError(f"expected a list of rows, not a {type(rows).__name__}")
    if not all(isinstance(row, dict) for row in rows):
        raise TypeError("not every row is an object")
    names = list(dict.fromkeys(key for row in rows[:1000] for key in row))
    frame = {column: _column(rows, column) for column in options.selected(names)}
    if any(values is None for values in frame.values()):
        return pd.DataFrame(columns=names)
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in frame.items()})


def _column(rows: Sequence[dict[str, Any]], column: str) -> list[Any] | None:
    """Return the values of a column; None if no row has it."""
    if any(column in row for row in rows) or not rows:
        return [row.get(column) for row in rows]
    parent, dot, child = column.partition(".")
    values = [row.get(parent) for row in rows]
    objects = [value if isinstance(value, dict) else {} for value in values]
    return _column(objects, child) if dot and any(objects) else None
