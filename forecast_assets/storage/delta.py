"""Frames to Arrow tables and back, by the kinds of a table's contract."""

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

ARROW: Mapping[Kind, pa.DataType] = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us", "UTC"),
}
PANDAS: Mapping[Kind, str] = {
    "date": "datetime64[ns]",
    "datetime": "datetime64[ns]",
    "timestamp": "datetime64[ns, UTC]",
}  # where pyarrow would give another unit
KINDS: Mapping[pa.DataType, Kind] = {arrow: kind for kind, arrow in ARROW.items()}


def to_arrow(table: TableContract, frame: pd.DataFrame) -> pa.Table:
    """An arranged frame in the types that the store keeps."""
    schema = pa.schema(
        [pa.field(column.name, ARROW[column.kind], nullable=True) for column in table.columns]
    )
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def from_arrow(arrow: pa.Table) -> pd.DataFrame:
    """Stored rows as a frame, each column in its kind's dtype, under whatever contract written."""
    frame = arrow.to_pandas(date_as_object=False)
    times = {name: PANDAS[kind] for name, kind in kinds_of(arrow).items() if kind in PANDAS}
    typed: pd.DataFrame = frame.astype(times)
    return typed


def kinds_of(arrow: pa.Table) -> dict[str, Kind]:
    """The kind of each stored column. Raises KeyError for a type that no contract has."""
    return {name: KINDS[arrow.field(name).type] for name in arrow.column_names}


FAILURES = (OSError, DeltaError, pa.ArrowException)  # what the layers below raise
DAMAGE = (*FAILURES, ValueError, TypeError, KeyError)  # and what damaged bytes make Python raise


@contextmanager
def writing(what: str, uri: str) -> Iterator[None]:
    """Raise a StoreError where the block cannot write to the store at that address."""
    try:
        yield
    except FAILURES as error:
        raise StoreError(
            f"Could not write {what} in the store {uri}: {error_text(error)}. Nothing was"
            f" half-written: every earlier version stands. See that the store is there, that"
            f" this user may read and write it, and that it is not full, then run again."
        ) from error


@contextmanager
def reading(what: str, uri: str) -> Iterator[None]:
    """Raise a StoreError where the block cannot read from the store, or reads damaged bytes."""
    try:
        yield
    except DAMAGE as error:
        raise StoreError(
            f"Could not read {what} in the store {uri}: {error_text(error)}. Reading changes"
            f" nothing, but what needs it cannot be made. See that the store is there and that"
            f" this user may read it; `forecast-assets verify` names the versions that are"
            f" damaged, and a back-up restores them."
        ) from error


def error_text(error: BaseException) -> str:
    """What a layer below said, on one line, without colours and without its own traceback."""
    plain = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = takewhile(lambda line: not re.match(r"\s*0: ", line), plain)
    return " ".join(" ".join(lines).split()).rstrip(".") or type(error).__name__


PROBE = "_written_to_see_whether_it_can_be"


def try_writing(place: str) -> None:
    """Write to a folder, or to an object store's address, and leave nothing. Raises StoreError.

    Of a folder that is not there yet, the one that it would be made in is tried.
    """
    with writing("(as a trial)", place):
        if "://" in place:
            rows = pa.table({"written": [True]})
            deltalake.write_deltalake(f"{place}/{PROBE}", rows, mode="append")
            DeltaStorageHandler(place).delete_dir(PROBE)
            return
        path = Path(place)
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
