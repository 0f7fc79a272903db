"""What can be made again and has not been needed for long: found, told, and deleted.

Rows of old backtests and their scores, folds that no run has added to, and what the steps of old
runs passed each other. Every forecast, and every record of who wrote what, stays. The record of
deleted rows, and their files: `pruned`.
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
from forecast_assets.storage.versions import select

MADE_AGAIN = ("backtest_predictions", "metrics")
STEP = "backtest_predictions."  # so begin the names of steps that pass each other records


@dataclass(frozen=True)
class PruneCandidate:
    """Something that can be made again: what it is, and since when nothing needs it.

    `name` tells it from others of its kind: a version, a model, a run. Its files are those of a
    version's rows, or local ones.
    """

    kind: Literal["rows", "folds", "records"]
    name: str
    since: datetime
    n_bytes: int
    rows: tuple[DataFile, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def n_files(self) -> int:
        """How many files it has."""
        return len(self.rows) + len(self.files)


def find_prunable(
    store: Store, *, fold_cache: Path, dagster_home: Path, before: datetime
) -> list[PruneCandidate]:
    """Everything that can be made again and was last needed before a moment, the oldest first.

    A version counts from when another took its place in its partition; the newest by `as_of`, the
    one that stands in the table, and what the newest of any asset was made from are never found. A
    fold cache counts from its last new fold, the records of a run from the last of them.

    Raises StoreError where the store cannot be read.
    """
    needed = set(_needed(store))
    found = [
        *(stale for asset in MADE_AGAIN for stale in _versions(store, asset, needed, before)),
        *_folds(fold_cache, before),
        *_records(dagster_home / "storage", before),
    ]
    return sorted(found, key=lambda stale: (stale.since, stale.name))


def remove(store: Store, found: Sequence[PruneCandidate], *, now: datetime) -> int:
    """Delete what was found, and say how many files went.

    Rows are recorded as pruned before the first of them goes: where this ends in between, their
    versions are pruned, and the next time deletes the rest. Raises StoreError.
    """
    rows = [one for stale in found for one in stale.rows]
    known = tombstones.recorded(store.uri) if rows else {}
    if fresh := [one for one in rows if one not in known]:
        tombstones.record(store.uri, fresh, now=now)
    n_gone = sum(tombstones.delete(store.location(one.asset), one.file) for one in rows)
    return n_gone + sum(_delete(file) for stale in found for file in stale.files)


def _needed(store: Store) -> Iterator[InputVersion]:
    """The newest versions of every partition, and all that they were made from."""
    for asset in store.tables:
        if store.history(asset):
            for commit in select(store, asset):
                yield commit.as_input
                yield from ancestors(store, commit)


def _versions(
    store: Store, asset: str, needed: Collection[InputVersion], before: datetime
) -> Iterator[PruneCandidate]:
    """Superseded versions that nothing needs, and that have rows to delete."""
    old = [
        (commit, since)
        for commit, since in _superseded(store.history(asset), before)
        if commit.as_input not in needed
    ]
    if not old:
        return
    location = store.location(asset)
    there, stands = tombstones.list_files(location), tombstones.newest_files(location)
    marked: dict[tuple[int, str], list[DataFile]] = {}
    for one in tombstones.recorded(store.uri):
        if one.asset == asset:
            marked.setdefault((one.version, one.seal), []).append(one)
    for commit, since in old:
        known = marked.get((commit.version, commit.seal))
        rows = known or tombstones.data_files(location, commit)
        left = [one for one in rows if one.file in there]
        is_lost = known is None and len(left) < len(rows)  # that is for `verify` to name
        if left and not is_lost and stands.isdisjoint(one.file for one in rows):
            n_bytes = sum(one.n_bytes for one in left)
            name = f"{commit.as_input.label}, version {commit.version}"
            yield PruneCandidate("rows", name, since, n_bytes, rows=tuple(left))


def _superseded(commits: Sequence[Commit], before: datetime) -> Iterator[tuple[Commit, datetime]]:
    """The versions of which another one of the same partition took the place before a moment."""
    by_partition: dict[str | None, list[Commit]] = {}
    for commit in commits:
        if commit.is_ours:
            by_partition.setdefault(commit.partition, []).append(commit)
    for some in by_partition.values():
        for commit, after in pairwise(some):
            if after.written_at is not None and after.written_at < before:
                yield commit, after.written_at


def _folds(folder: Path, before: datetime) -> Iterator[PruneCandidate]:
    """The fold caches of models that no run has added a fold to, oldest name first.

    Sorted, a database goes before its journal: SQLite drops a journal that has no database, and
    would play it into a database that is new.
    """
    for file in sorted(folder.glob("*.sqlite")) + sorted(folder.glob("*.damaged")):
        beside = [path for path in (file, *sorted(folder.glob(f"{file.name}-*"))) if path.is_file()]
        yield from _if_old("folds", file.name, beside, before)


def _records(folder: Path, before: datetime) -> Iterator[PruneCandidate]:
    """What the steps of each run passed each other."""
    for run in sorted(folder.iterdir()) if folder.is_dir() else ():
        steps = sorted(run.glob(f"{STEP}*"))
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
    """Delete a file, and the folders of a step that it leaves empty; how many files went."""
    try:
        file.unlink()
    except FileNotFoundError:  # another process was faster
        return 0
    except OSError as error:
        raise StoreError(
            f"Could not delete {file}: {error}. What was deleted before it is gone as asked, and"
            f" nothing else changed. Give this user the right to, and prune again."
        ) from error
    for folder in takewhile(lambda folder: STEP in str(folder), file.parents):
        with suppress(OSError):  # it holds more
            folder.rmdir()
    return 1
