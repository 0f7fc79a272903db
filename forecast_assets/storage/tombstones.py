"""Record which versions had their rows deleted, and list and delete data files.

Deltalake's own vacuum adds entries to a table's log, and versions are numbered by these entries;
therefore files are listed and deleted here. `retention` decides which ones may go.
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

# The name of the record's table, below the store's address.
NAME = "pruned"
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

    The version's seal tells it from the same version number in a table that was replaced.
    """

    asset: str
    version: int
    seal: str
    file: str
    n_bytes: int


def read_tombstones(uri: str) -> dict[DataFile, datetime]:
    """Return every file marked for deletion and the first time that it was.

    After a crash a marked file may still exist.
    """
    with reading("the record of pruned versions", uri):
        try:
            rows = deltalake.DeltaTable(f"{uri}/{NAME}").to_pyarrow_table().to_pylist()
        except TableNotFoundError:
            return {}
    rows.sort(key=lambda row: row["pruned_at"], reverse=True)  # the dict keeps the earliest
    return {DataFile(**row): time for row in rows if (time := row.pop("pruned_at"))}


def write_tombstones(uri: str, files: Iterable[DataFile], *, now: datetime) -> None:
    """Record that the files are about to be deleted, in one commit."""
    rows = [{**asdict(file), "pruned_at": now} for file in files]
    with writing("the record of pruned versions", uri):
        deltalake.write_deltalake(
            f"{uri}/{NAME}", pa.Table.from_pylist(rows, schema=SCHEMA), mode="append"
        )


def data_files(location: str, commit: Commit) -> list[DataFile]:
    """List the files that a version added.

    The log entry is parsed here because opening a table at a version takes 50 ms.
    """
    with reading(f"version {commit.version} of {commit.asset}", location):
        entry = f"_delta_log/{commit.version:020}.json"
        with _filesystem(location).open_input_stream(entry) as stream:
            actions = [json.loads(line) for line in stream.read().decode().splitlines()]
        return [
            DataFile(commit.asset, commit.version, commit.seal, unquote(add["path"]), add["size"])
            for action in actions
            if (add := action.get("add"))
        ]


def newest_files(location: str) -> set[str]:
    """List the files of the table's newest snapshot."""
    with reading("the newest version", location):
        adds = pa.table(deltalake.DeltaTable(location).get_add_actions())
    return set(adds.column("path").to_pylist())


def list_files(location: str) -> set[str]:
    """List all files below a table except its log."""
    with reading("the files", location):
        infos = _filesystem(location).get_file_info(FileSelector("", recursive=True))
    return {info.path for info in infos if info.is_file and not info.path.startswith("_delta_log")}


def delete(location: str, file: str) -> int:
    """Delete a file and return 1, or 0 if another process had deleted it."""
    with writing(f"(delete) {file}", location):
        try:
            _filesystem(location).delete_file(file)
        except FileNotFoundError:
            return 0
    return 1


def _filesystem(location: str) -> PyFileSystem:
    """Open the file system of a table, with the table's folder as its root."""
    return PyFileSystem(DeltaStorageHandler(location))
