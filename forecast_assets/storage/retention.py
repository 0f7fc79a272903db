"""Find and delete what can be computed again and has not been needed for long.

That is: rows of superseded backtests and scores, fold caches that no run added to, and values that
the steps of old runs passed to each other. Every forecast and every version's record stays.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Literal

from forecast_assets.errors import StoreError
from forecast_assets.storage import tombstones
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.lineage import ancestors
from forecast_assets.storage.store import Store
from forecast_assets.storage.tombstones import DataFile
from forecast_assets.storage.versions import group_by_partition, select

REPRODUCIBLE = ("backtest_predictions", "metrics")
# The folders that Dagster names after the steps that pass values to each other.
STEP_PREFIX = "backtest_predictions."


@dataclass(frozen=True)
class PruneCandidate:
    """Something that can be computed again, and since when nothing needs it.

    `name` is that of a version, a model's cache or a run. `rows` are the data files of a version,
    `files` are local files.
    """

    kind: Literal["rows", "folds", "records"]
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
    needed = set(_needed(store))
    candidates = [
        *(item for asset in REPRODUCIBLE for item in _versions(store, asset, needed, before)),
        *_folds(fold_cache, before),
        *_records(dagster_home / "storage", before),
    ]
    return sorted(candidates, key=lambda candidate: (candidate.since, candidate.name))


def remove(store: Store, candidates: Sequence[PruneCandidate], *, now: datetime) -> int:
    """Delete the candidates and return the number of deleted files. Raises StoreError.

    Rows are recorded as pruned before the first file is deleted, so after a crash the versions are
    known to be pruned and the next call deletes the rest.
    """
    rows = [file for candidate in candidates for file in candidate.rows]
    recorded = tombstones.read_tombstones(store.uri) if rows else {}
    if new := [file for file in rows if file not in recorded]:
        tombstones.write_tombstones(store.uri, new, now=now)
    n_deleted = sum(tombstones.delete(store.location(file.asset), file.file) for file in rows)
    return n_deleted + sum(_delete(file) for candidate in candidates for file in candidate.files)


def _needed(store: Store) -> Iterator[InputVersion]:
    """Yield the newest version of every partition and all versions it was made from."""
    for asset in store.tables:
        if store.history(asset):
            for commit in select(store, asset):
                yield commit.as_input
                yield from ancestors(store, commit)


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
    location = store.location(asset)
    existing, current = tombstones.list_files(location), tombstones.newest_files(location)
    recorded: dict[tuple[int, str], list[DataFile]] = {}
    for file in tombstones.read_tombstones(store.uri):
        if file.asset == asset:
            recorded.setdefault((file.version, file.seal), []).append(file)
    for commit, since in superseded:
        pruned = recorded.get((commit.version, commit.seal))
        rows = pruned or tombstones.data_files(location, commit)
        remaining = [file for file in rows if file.file in existing]
        is_damaged = pruned is None and len(remaining) < len(rows)  # left for `verify` to report
        if remaining and not is_damaged and current.isdisjoint(file.file for file in rows):
            n_bytes = sum(file.n_bytes for file in remaining)
            name = f"{commit.as_input.label}, version {commit.version}"
            yield PruneCandidate("rows", name, since, n_bytes, rows=tuple(remaining))


def _superseded(commits: Sequence[Commit], before: datetime) -> Iterator[tuple[Commit, datetime]]:
    """Yield versions that a later one of their partition replaced before a time, and when."""
    for versions in group_by_partition(commit for commit in commits if commit.is_ours).values():
        for commit, successor in pairwise(versions):
            if successor.written_at is not None and successor.written_at < before:
                yield commit, successor.written_at


def _folds(folder: Path, before: datetime) -> Iterator[PruneCandidate]:
    """Yield the fold caches of models that no run added a fold to.

    A database precedes its journal: SQLite ignores a journal without a database, but would play
    one into a new database of the same name.
    """
    for file in sorted(folder.glob("*.sqlite")) + sorted(folder.glob("*.damaged")):
        files = [path for path in (file, *sorted(folder.glob(f"{file.name}-*"))) if path.is_file()]
        yield from _if_old("folds", file.name, files, before)


def _records(folder: Path, before: datetime) -> Iterator[PruneCandidate]:
    """Yield the values that the steps of each run passed to each other."""
    for run in sorted(folder.iterdir()) if folder.is_dir() else ():
        steps = sorted(run.glob(f"{STEP_PREFIX}*"))
        files = [file for step in steps for file in sorted(step.rglob("*")) if file.is_file()]
        yield from _if_old("records", run.name, files, before)


def _if_old(
    kind: Literal["folds", "records"], name: str, files: Sequence[Path], before: datetime
) -> Iterator[PruneCandidate]:
    try:
        stats = [file.stat() for file in files]
    except FileNotFoundError:  # another process deletes them
        return
    if not stats:
        return
    last = datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC)
    if last < before:
        n_bytes = sum(stat.st_size for stat in stats)
        yield PruneCandidate(kind, name, last, n_bytes, files=tuple(files))


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
