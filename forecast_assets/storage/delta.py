"""Convert frames to Arrow tables and back, and translate the errors of Delta Lake.

Only this module decides which errors mean that the storage failed or its files are damaged.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import deltalake
import pandas as pd
import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from forecast_assets.errors import StoreError
from forecast_assets.storage.contract import Kind, TableContract

ARROW_TYPES: Mapping[Kind, pa.DataType] = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us", "UTC"),
}
KINDS: Mapping[pa.DataType, Kind] = {arrow: kind for kind, arrow in ARROW_TYPES.items()}
# pyarrow would return these in another unit.
PANDAS_DTYPES: Mapping[Kind, str] = {
    "date": "datetime64[ns]",
    "datetime": "datetime64[ns]",
    "timestamp": "datetime64[ns, UTC]",
}
# The storage refused or failed.
BACKEND_ERRORS = (OSError, DeltaError, pa.ArrowException)
# What reading can raise: parsing damaged bytes raises plain Python errors too.
READ_ERRORS = (*BACKEND_ERRORS, ValueError, TypeError, KeyError)
PROBE = "_written_to_see_whether_it_can_be"


def to_arrow(table: TableContract, frame: pd.DataFrame) -> pa.Table:
    """Convert an arranged frame to the types that the store keeps."""
    schema = pa.schema(
        [pa.field(column.name, ARROW_TYPES[column.kind], nullable=True) for column in table.columns]
    )
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def from_arrow(arrow: pa.Table) -> pd.DataFrame:
    """Convert stored rows to a frame, by their own types rather than by today's contract."""
    frame = arrow.to_pandas(date_as_object=False)
    kinds = kinds_of(arrow).items()
    dtypes = {name: PANDAS_DTYPES[kind] for name, kind in kinds if kind in PANDAS_DTYPES}
    typed: pd.DataFrame = frame.astype(dtypes)
    return typed


def kinds_of(arrow: pa.Table) -> dict[str, Kind]:
    """Return the kind of each stored column. Raises KeyError for a type that no contract has."""
    return {name: KINDS[arrow.field(name).type] for name in arrow.column_names}


@contextmanager
def writing(subject: str, uri: str, *, place: str = "store") -> Iterator[None]:
    """Turn a failed write in the block into a StoreError; `place` is the kind of place."""
    try:
        yield
    except BACKEND_ERRORS as error:
        raise StoreError(
            f"Could not write {subject} in the {place} {uri}: {error_text(error)}. Earlier versions"
            f" are unchanged. Check that the {place} exists, that this user may read and write it"
            f" and that it is not full, then run again."
        ) from error


@contextmanager
def reading(subject: str, uri: str) -> Iterator[None]:
    """Turn a failed read, or damaged files, in the block into a StoreError."""
    try:
        yield
    except READ_ERRORS as error:
        raise StoreError(
            f"Could not read {subject} in the store {uri}: {error_text(error)}. Nothing that needs"
            f" it can be made. Check that the store exists and that this user may read it;"
            f" `forecast-assets verify` lists damaged versions, which only a backup can restore."
        ) from error


def error_text(error: BaseException) -> str:
    """Return an error's message on one line, without colours and without a Rust backtrace."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    message = takewhile(lambda line: not re.match(r"\s*0: ", line), lines)
    return " ".join(" ".join(message).split()).rstrip(".") or type(error).__name__


def try_writing(location: str) -> None:
    """Write to an object store or a folder (or its parent) and clean up. Raises StoreError."""
    with writing("a test file", location):
        if "://" in location:
            rows = pa.table({"written": [True]})
            deltalake.write_deltalake(f"{location}/{PROBE}", rows, mode="append")
            DeltaStorageHandler(location).delete_dir(PROBE)
            return
        path = Path(location)
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
