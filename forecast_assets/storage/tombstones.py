"""Versions whose rows were deleted: the record of it, in a table beside the assets', and the files.

Deltalake's own vacuum writes entries into a table's log, by which versions are numbered; so files
are listed and deleted here. Which ones may go: `prune`.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from forecast_assets.storage.commit import Commit
from forecast_assets.storage.delta import reading, writing

NAME = "pruned"  # of the record's table, below the store's address
SCHEMA = pa.schema(
    [
        ("asset", pa.string()),
        ("version", pa.int64()),
        ("seal", pa.string()),
        ("file", pa.string()),
        ("n_bytes", pa.int64()),
        ("pruned_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class DataFile:
    """A file that holds rows of one version; its path starts at the asset's table.

    The seal is the version's own: a table that replaced another one has the same numbers.
    """

    asset: str
    version: int
    seal: str
    file: str
    n_bytes: int


def recorded(uri: str) -> dict[DataFile, datetime]:
    """Every file that was to be deleted, and since when; it may still be there after a crash."""
    with reading("the record of what was pruned", uri):
        try:
            rows = deltalake.DeltaTable(f"{uri}/{NAME}").to_pyarrow_table().to_pylist()
        except TableNotFoundError:
            return {}
    rows.sort(key=lambda row: row["pruned_at"], reverse=True)  # of equal files the first one counts
    return {DataFile(**row): at for row in rows if (at := row.pop("pruned_at"))}


def record(uri: str, files: Iterable[DataFile], *, now: datetime) -> None:
    """Record that the files are about to be deleted: all of them, or none."""
    rows = [{**asdict(one), "pruned_at": now} for one in files]
    with writing("the record of what is pruned", uri):
        deltalake.write_deltalake(
            f"{uri}/{NAME}", pa.Table.from_pylist(rows, schema=SCHEMA), mode="append"
        )


def data_files(location: str, commit: Commit) -> list[DataFile]:
    """The files that a version added, by its entry in the log.

    The entry is read as a file: opening the table at a version takes 50 ms, for each of hundreds.
    """
    with reading(f"version {commit.version} of {commit.asset}", location):
        entry = f"_delta_log/{commit.version:020}.json"
        with _files(location).open_input_stream(entry) as stream:
            actions = [json.loads(line) for line in stream.read().decode().splitlines()]
        return [
            DataFile(commit.asset, commit.version, commit.seal, unquote(add["path"]), add["size"])
            for action in actions
            if (add := action.get("add"))
        ]


def newest_files(location: str) -> set[str]:
    """The files that the table holds as it stands now."""
    with reading("the newest version", location):
        adds = pa.table(deltalake.DeltaTable(location).get_add_actions())
    return set(adds.column("path").to_pylist())


def list_files(location: str) -> set[str]:
    """The paths of all files below a table, its log aside."""
    with reading("the files", location):
        found = _files(location).get_file_info(FileSelector("", recursive=True))
    return {info.path for info in found if info.is_file and not info.path.startswith("_delta_log")}


def delete(location: str, file: str) -> int:
    """Delete a file; how many went: none where another process was faster."""
    with writing(f"(delete) {file}", location):
        try:
            _files(location).delete_file(file)
        except FileNotFoundError:
            return 0
    return 1


def _files(location: str) -> PyFileSystem:
    """The files of a table, wherever it is kept; its own path is the root."""
    return PyFileSystem(DeltaStorageHandler(location))
