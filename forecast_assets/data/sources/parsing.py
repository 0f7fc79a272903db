"""Bodies to rows: csv, json, json lines and parquet, of which only the mapped columns are kept.

Where a body comes from, and how it was packed, does not belong here.
"""

import csv
import gc
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from forecast_assets.config.source_settings import Format
from forecast_assets.data.sources.request import ByteBudget
from forecast_assets.errors import SourceError

BLOCK = 1 << 20  # bytes
TEXTS = pa.dictionary(pa.int32(), pa.string())  # a column of few texts, each of them kept once
# What pandas, pyarrow, json and the decompressors raise of a body that they cannot read.
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


def parse(
    kind: Format,
    body: IO[bytes],
    *,
    name: str,
    columns: Sequence[str],
    budget: ByteBudget,
    records: str | None = None,
) -> pd.DataFrame:
    """Read a body of the kind; `name` is what it is called in errors.

    The frame has `columns`, those of text as categories; where one of them is absent or there
    twice, it has no rows and every column that there is. `records` is the dotted path to the rows
    of a JSON body. A column's name may be such a path too, into the objects of JSON.

    Raises SourceError where the body is not of the kind or has no rows, and where it takes more
    than the budget. Errors of a connection or a file system pass through.
    """
    counted: Any = body if kind == "parquet" else CountingReader(body, budget, name)
    try:
        frame = PARSERS[kind](counted, columns, budget, name, records)
    except (ConnectionError, TimeoutError):  # the file system's, not the file's
        raise
    except UNREADABLE as error:
        raise SourceError(
            f"{name} is not what its ending says, or it is empty: {error}. No row of it was used."
            f" Look at the file; write it again where it was cut off."
        ) from error
    if frame.empty and set(columns) <= set(frame.columns):
        raise SourceError(
            f"{name} holds no rows. A week without data cannot be forecast, so nothing was"
            f" published. Look at what writes the file."
        )
    return frame


class CountingReader(io.RawIOBase):
    """A body that counts what is read of it against a budget."""

    def __init__(self, body: IO[bytes], budget: ByteBudget, name: str) -> None:
        self._body, self._budget, self._name = body, budget, name

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, into: Any) -> int:
        """Read a block, and count it."""
        block = self._body.read(min(len(into), BLOCK))
        self._budget.take(len(block), of=self._name)
        into[: len(block)] = block
        return len(block)


def _parse_csv(
    body: IO[bytes], columns: Sequence[str], _: ByteBudget, __: str, ___: str | None
) -> pd.DataFrame:
    file = io.BufferedReader(body, BLOCK)  # type: ignore[type-var]
    start = io.TextIOWrapper(io.BytesIO(file.peek(BLOCK)), "utf-8-sig", "replace", newline="")
    header = next(csv.reader(start), [])
    if header and not _has_each_once(header, columns):
        return pd.DataFrame(columns=header)
    table = arrow_csv.read_csv(
        file,
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(dict.fromkeys(columns)),
            column_types=dict.fromkeys(columns, TEXTS),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return _frame(table)


def _parse_parquet(
    body: IO[bytes], columns: Sequence[str], budget: ByteBudget, name: str, _: str | None
) -> pd.DataFrame:
    file = parquet.ParquetFile(body)
    names = file.schema_arrow.names
    if not _has_each_once(names, columns):
        return pd.DataFrame(columns=names)
    # A run of one value takes some bytes in the file, and eight a row when it is read.
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    budget.take(max(unpacked, 8 * len(columns) * file.metadata.num_rows), of=name)
    # What pandas wrote as an index is a column here like any other.
    return _frame(file.read(columns=list(dict.fromkeys(columns))))


def _parse_json(
    body: IO[bytes], columns: Sequence[str], _: ByteBudget, __: str, records: str | None
) -> pd.DataFrame:
    with gc_paused():
        return records_frame(get_path(load_json(body.read()), records), columns)


def _parse_json_lines(
    body: IO[bytes], columns: Sequence[str], _: ByteBudget, __: str, ___: str | None
) -> pd.DataFrame:
    with gc_paused():
        lines = io.BufferedReader(body, BLOCK)  # type: ignore[type-var]
        return records_frame([load_json(line) for line in lines if line.strip()], columns)


PARSERS: Mapping[str, Callable[..., pd.DataFrame]] = {
    "csv": _parse_csv,
    "parquet": _parse_parquet,
    "json": _parse_json,
    "jsonl": _parse_json_lines,
}


def load_json(text: bytes) -> Any:
    """Read JSON, and NaN, which it has not and Python writes. Raises ValueError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # who knows NaN, and says where the fault is


def get_path(value: Any, path: str | None) -> Any:
    """What is at a dotted path in JSON. Raises ValueError where the path leads nowhere."""
    for key in path.split(".") if path else ():
        if not isinstance(value, dict) or key not in value:
            has = ", ".join(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ValueError(f"nothing is at `{path}`: where {key} should be there is {has}")
        value = value[key]
    return value


def records_frame(rows: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Take the columns of a list of objects, as `parse` does. Raises TypeError where it is none."""
    if not isinstance(rows, list):
        raise TypeError(f"there is a {type(rows).__name__} where the list of rows should be")
    if not all(isinstance(row, dict) for row in rows):
        raise TypeError("not every row is an object")
    found = {column: _column(rows, column) for column in columns}
    if any(values is None for values in found.values()):
        return pd.DataFrame(columns=list(dict.fromkeys(key for row in rows[:1000] for key in row)))
    return pd.DataFrame({c: pd.Series(values, dtype=object) for c, values in found.items()})


def _column(rows: Sequence[dict[str, Any]], column: str) -> list[Any] | None:
    """The values of one column; None where no row has it."""
    if any(column in row for row in rows) or not rows:
        return [row.get(column) for row in rows]
    first, dot, rest = column.partition(".")
    inner = [row.get(first) for row in rows]
    objects = [one if isinstance(one, dict) else {} for one in inner]
    return _column(objects, rest) if dot and any(objects) else None


def _has_each_once(names: Sequence[str], columns: Sequence[str]) -> bool:
    return all(list(names).count(column) == 1 for column in columns)


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table with its texts as categories, one set for all of a column's chunks."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(i, field.name, table.column(i).dictionary_encode())
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas(ignore_metadata=True)
    return frame


@contextmanager
def gc_paused() -> Iterator[None]:
    """Keep the collector out while millions of small objects are made, none of them garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
