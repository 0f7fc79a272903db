"""Find and delete what can be computed again and has not been needed for long.

That is: rows of superseded backtests and scores, fold caches that no run added to, values that the
steps of old runs passed to each other, and pages that are derived from the store. Every forecast
and every version's record stays.

Deltalake's own vacuum adds entries to a table's log, and versions are numbered by these entries;
therefore data files are listed and deleted here.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from forecast_assets.errors import StoreError
from forecast_assets.storage.commit import Commit, DataFile, InputVersion, mark_pruned, read_pruned
from forecast_assets.storage.delta import reading, writing
from forecast_assets.storage.lineage import ancestors
from forecast_assets.storage.report_files import REPORTS, derived_files
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import group_by_partition, newest_of_each

REPRODUCIBLE = ("backtest_predictions", "metrics")
# A kind, a name and the files that are deleted together.
Group = tuple[Literal["folds", "records", "pages"], str, Sequence[Path]]
# The folders that Dagster names after the steps that pass values to each other.
STEP_PREFIX = "backtest_predictions."


@dataclass(frozen=True)
class PruneCandidate:
    """Something that can be computed again, and since when nothing needs it.

    `name` is that of a version, a model's cache or a run. `rows` are the data files of a version,
    `files` are local files.
    """

    kind: Literal["rows", "folds", "records", "pages"]
    name: str
    since: datetime
    n_bytes: int
    rows: tuple[DataFile, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def n_files(self) -> int:
        """Count the files."""
        return len(self.rows) + len(self.files)


def find_prunable(
    store: Store, *, fold_cache: Path, dagster_home: Path, before: datetime
) -> list[PruneCandidate]:
    """Find what was last needed before a time, the oldest first.

    A version counts from when it was superseded in its partition, a fold cache from its last new
    fold, the records of a run from the last of them. The newest version by `as_of`, the rows of
    the newest snapshot, and all inputs of the newest version of any asset are never returned.
    Raises StoreError if the store cannot be read.
    """
    newest = [commit for asset in store.tables for commit in newest_of_each(store, asset)]
    needed = {source for c in newest for source in (c.as_input, *ancestors(store, c))}
    candidates = [
        *(item for asset in REPRODUCIBLE for item in _versions(store, asset, needed, before)),
        *_old_files(_folds(fold_cache), before),
        *_old_files(_records(dagster_home / "storage"), before),
        *_old_files([("pages", REPORTS, derived_files(store.var))], before),
    ]
    return sorted(candidates, key=lambda candidate: (candidate.since, candidate.name))


def remove(store: Store, candidates: Sequence[PruneCandidate], *, now: datetime) -> int:
    """Delete the candidates and return the number of deleted files. Raises StoreError.

    Rows are recorded as pruned before the first file is deleted, so after a crash the versions are
    known to be pruned and the next call deletes the rest.
    """
    rows = [file for candidate in candidates for file in candidate.rows]
    recorded = read_pruned(store.uri) if rows else {}
    if new := [file for file in rows if file not in recorded]:
        mark_pruned(store.uri, new, now=now)
    n_deleted = sum(_delete_rows(store, file) for file in rows)
    return n_deleted + sum(_delete(file) for candidate in candidates for file in candidate.files)


def _versions(
    store: Store, asset: str, needed: Collection[InputVersion], before: datetime
) -> Iterator[PruneCandidate]:
    """Yield superseded versions that nothing needs and that still have rows."""
    superseded = [
        (commit, since)
        for commit, since in _superseded(store.history(asset), before)
        if commit.as_input not in needed
    ]
    if not superseded:
        return
    existing, current = _list_files(store, asset)
    recorded: dict[tuple[int, str], list[DataFile]] = {}
    for file in read_pruned(store.uri):
        if file.asset == asset:
            recorded.setdefault((file.version, file.seal), []).append(file)
    for commit, since in superseded:
        pruned = recorded.get((commit.version, commit.seal))
        rows = pruned or _added_files(store, commit)
        remaining = [file for file in rows if file.file in existing]
        is_damaged = pruned is None and len(remaining) < len(rows)  # left for `verify` to report
        if remaining and not is_damaged and current.isdisjoint(file.file for file in rows):
            n_bytes = sum(file.n_bytes for file in remaining)
            name = f"{commit.as_input.label}, version {commit.version}"
            yield PruneCandidate("rows", name, since, n_bytes, rows=tuple(remaining))


def _list_files(store: Store, asset: str) -> tuple[set[str], set[str]]:
    """List all data files of an asset, and those of its newest snapshot."""
    location = store.location(asset)
    with reading(f"the files of {asset}", location):
        infos = _filesystem(location).get_file_info(FileSelector("", recursive=True))
        adds = pa.table(deltalake.DeltaTable(location).get_add_actions())
    existing = {info.path for info in infos if info.is_file}
    return existing, set(adds.column("path").to_pylist())


def _added_files(store: Store, commit: Commit) -> list[DataFile]:
    """List the files that a version added.

    The log entry is parsed here because opening a table at a version takes 50 ms.
    """
    location = store.location(commit.asset)
    with reading(f"version {commit.version} of {commit.asset}", location):
        entry = f"_delta_log/{commit.version:020}.json"
        with _filesystem(location).open_input_stream(entry) as stream:
            actions = [json.loads(line) for line in stream.read().decode().splitlines()]
        return [
            DataFile(commit.asset, commit.version, commit.seal, unquote(add["path"]), add["size"])
            for action in actions
            if (add := action.get("add"))
        ]


def _delete_rows(store: Store, file: DataFile) -> int:
    """Delete a data file; return how many files were deleted."""
    location = store.location(file.asset)
    with writing(f"(delete) {file.file}", location):
        try:
            _filesystem(location).delete_file(file.file)
        except FileNotFoundError:  # another process deleted it
            return 0
    return 1


def _filesystem(location: str) -> PyFileSystem:
    """Open the file system of a table, with the table's folder as its root."""
    return PyFileSystem(DeltaStorageHandler(location))


def _superseded(commits: Sequence[Commit], before: datetime) -> Iterator[tuple[Commit, datetime]]:
    """Yield versions that a later one of their partition replaced before a time, and when."""
    for versions in group_by_partition(commit for commit in commits if commit.is_ours).values():
        for commit, successor in pairwise(versions):
            if successor.written_at is not None and successor.written_at < before:
                yield commit, successor.written_at


def _folds(folder: Path) -> Iterator[Group]:
    """Yield the fold cache of each model.

    A database precedes its journal: SQLite ignores a journal without a database, but would play
    one into a new database of the same name.
    """
    for file in sorted(folder.glob("*.sqlite")) + sorted(folder.glob("*.damaged")):
        yield "folds", file.name, [file, *sorted(folder.glob(f"{file.name}-*"))]


def _records(folder: Path) -> Iterator[Group]:
    """Yield the values that the steps of each run passed to each other."""
    for run in sorted(folder.glob("*")):
        steps = sorted(run.glob(f"{STEP_PREFIX}*"))
        yield "records", run.name, [file for step in steps for file in sorted(step.rglob("*"))]


def _old_files(groups: Iterable[Group], before: datetime) -> Iterator[PruneCandidate]:
    """Yield the groups of files of which none was written since a time."""
    for kind, name, paths in groups:
        files = tuple(path for path in paths if path.is_file())
        try:
            stats = [file.stat() for file in files]
        except FileNotFoundError:  # another process deletes them
            continue
        times = [datetime.fromtimestamp(stat.st_mtime, UTC) for stat in stats]
        if times and max(times) < before:
            n_bytes = sum(stat.st_size for stat in stats)
            yield PruneCandidate(kind, name, max(times), n_bytes, files=files)


def _delete(file: Path) -> int:
    """Delete a file and the step folders that become empty; return how many files were deleted."""
    try:
        file.unlink()
    except FileNotFoundError:  # another process deleted it
        return 0
    except OSError as error:
        raise StoreError(
            f"Could not delete {file}: {error}. Files before it were deleted, the others are"
            f" unchanged. Allow this user to delete it, then prune again."
        ) from error
    for folder in takewhile(lambda folder: STEP_PREFIX in str(folder), file.parents):
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    return 1
