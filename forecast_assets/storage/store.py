"""Every version of every table, on Delta Lake: written once, never overwritten.

One Delta table an asset below the store's address, one commit for each materialization of each
partition. A commit says who wrote it, for when, and from which versions. Dagster does not belong
here: who reads what in which run is for `defs`.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import deltalake
import pandas as pd
import pyarrow as pa
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from forecast_assets.errors import StoreError, VersionNotFoundError, VersionPrunedError, format_list
from forecast_assets.storage import tombstones
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.contract import TableContract, digest
from forecast_assets.storage.delta import DAMAGE, from_arrow, kinds_of, reading, to_arrow, writing

KEPT_FOR_EVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
# Delta's own default drops log entries after 30 days, and with them the way to old versions.
TRIES = 20
# Four writers of one partition, 25 commits each, lost the race at most 9 times in a row.


class Store:
    """The versions of all tables below one address (a folder, or an object store's URL)."""

    def __init__(self, uri: str, tables: Mapping[str, TableContract], *, var: Path) -> None:
        self.uri = uri.rstrip("/")
        self.tables = tables
        self.var = var
        self._deltas: dict[str, deltalake.DeltaTable] = {}
        self._histories: dict[str, list[Commit]] = {}
        self._alone = threading.RLock()  # the daemon's sensors share one store, a thread each

    def location(self, asset: str) -> str:
        """Where an asset's table is. Raises UnknownVersion where there is no such asset."""
        if asset not in self.tables:
            raise VersionNotFoundError(
                f"There is no asset {asset!r}, so no version of it. The assets are"
                f" {format_list(self.tables, limit=20)}."
            )
        return f"{self.uri}/{asset}"

    def write(self, frame: pd.DataFrame, commit: Commit) -> Commit:
        """Write one version and return it as committed: all of its rows, or none.

        The commit's data version, content hash, row count and version number are filled in here.
        Raises DataError where the rows break the table's contract or are not of the partition, and
        StoreError where the store cannot be written; earlier versions stand in either case.
        """
        self.location(commit.asset)
        table = self.tables[commit.asset]
        checked = table.check(frame)
        table.check_partition(checked, commit.partition)
        whole = replace(
            commit,
            data_version=table.data_version(checked),
            content=digest(checked, {column.name: column.kind for column in table.columns}),
            n_rows=len(checked),
        )
        before = len(self._histories.get(commit.asset, []))  # what others wrote since is not ours
        self._commit(table, to_arrow(table, checked), whole)
        ours = [c for c in self._all(commit.asset)[before:] if _is_same_write(c, commit)]
        return ours[-1]

    def history(self, asset: str, *, partition: str | None = None) -> list[Commit]:
        """Every version, oldest first; those of one partition where it is named."""
        commits = self._all(asset)
        if partition is None:
            return list(commits)
        found = [commit for commit in commits if commit.partition == partition]
        if not found:
            known = sorted({str(commit.partition) for commit in commits if commit.partition})
            raise VersionNotFoundError(
                f"{asset} has no version of a partition {partition!r}; it has versions of"
                f" {format_list(known, limit=40) or 'no partition'}. Run `forecast-assets history"
                f" {asset}` to see them."
            )
        return found

    def write_report_files(self, folder: str, files: Mapping[str, str]) -> pd.DataFrame:
        """Write text files below `var`, each whole or not at all: rows of weekly_report."""
        rows = []
        with writing(f"the files of {folder}", self.uri):
            (self.var / folder).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                path, data = self.var / folder / name, text.encode()
                unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
                unfinished.write_bytes(data)
                unfinished.replace(path)
                digest = hashlib.sha256(data).hexdigest()
                rows.append({"file": f"{folder}/{name}", "sha256": digest, "n_bytes": len(data)})
        return pd.DataFrame(rows)

    def read(self, commits: Sequence[Commit]) -> pd.DataFrame:
        """The rows of one asset's versions, in one frame, in the order of the table's key.

        Rows come back as they were written, also under an older form of the contract. Raises
        PrunedVersion where they were deleted, StoreError where files are gone or damaged.
        """
        table = self.tables[commits[0].asset]
        snapshot = max(commits, key=lambda commit: commit.version)
        self.commit(snapshot.as_input)  # another process may have written it
        if all(self._stands(commit, snapshot) for commit in commits):
            return table.sort_rows(self._frame(snapshot, commits))
        frames = [self._frame(commit, [commit]) for commit in commits]
        return table.sort_rows(pd.concat(frames, ignore_index=True))

    def commit(self, one: InputVersion) -> Commit:
        """The commit of a version that was read. Raises UnknownVersion where it is not there."""
        known = self._histories.get(one.asset, [])
        commits = known if one.version < len(known) else self._all(one.asset)
        if one.version >= len(commits):
            raise VersionNotFoundError(
                f"{one.asset} has no version {one.version}, though another table was made from it:"
                f" the table {self.location(one.asset)} was deleted or replaced. What was made from"
                f" it cannot be checked; run the week again."
            )
        return commits[one.version]

    def _stands(self, commit: Commit, snapshot: Commit) -> bool:
        """Whether a version is still what its partition holds in a later snapshot."""
        later = self._histories[commit.asset][commit.version + 1 : snapshot.version + 1]
        return all(one.partition != commit.partition for one in later)

    def content(self, commit: Commit) -> str:
        """The hash of what a version holds now, to compare with `commit.content`."""
        with self._unless_pruned([commit]):
            arrow = self._arrow(commit, [commit])
            return digest(self.tables[commit.asset].sort_rows(from_arrow(arrow)), kinds_of(arrow))

    def pruned(self, asset: str) -> dict[int, datetime]:
        """The versions of an asset whose rows were deleted, and since when."""
        seals = {commit.version: commit.seal for commit in self._all(asset)}
        every = tombstones.recorded(self.uri).items()
        return {
            one.version: since
            for one, since in every
            if one.asset == asset and seals.get(one.version) == one.seal
        }

    def first_unreadable(self, asset: str) -> int:
        """The first version whose entry in the log is gone or damaged."""
        version = 0
        while self._has_entry(asset, version):
            version += 1
        return version

    def _has_entry(self, asset: str, version: int) -> bool:
        try:
            delta = deltalake.DeltaTable(self.location(asset), version=version)
            Commit.from_metadata(asset, version, delta.history(1)[-1])
        except DAMAGE:
            return False
        return True

    def _frame(self, snapshot: Commit, commits: Sequence[Commit]) -> pd.DataFrame:
        with self._unless_pruned(commits):
            return from_arrow(self._arrow(snapshot, commits))

    @contextmanager
    def _unless_pruned(self, commits: Sequence[Commit]) -> Iterator[None]:
        """Raise PrunedVersion where the block cannot read rows because they were deleted."""
        asset, snapshot = commits[0].asset, max(commit.version for commit in commits)
        try:
            with reading(f"version {snapshot} of {asset}", self.uri):
                yield
        except StoreError as error:
            gone = self.pruned(asset)
            absent = [commit for commit in commits if commit.version in gone]
            if not absent:
                raise
            names = format_list(f"{one.version} of {one.as_input.label}" for one in absent)
            raise VersionPrunedError(
                f"Pruned on {gone[absent[0].version]:%Y-%m-%d}: version {names}. The rows were"
                f" deleted and the record stays, so `forecast-assets history {asset}` still lists"
                f" it. To have them made again, from what the source says now: `forecast-assets"
                f" run --as-of {absent[0].as_of.isoformat()}`."
            ) from error

    def _arrow(self, snapshot: Commit, commits: Sequence[Commit]) -> pa.Table:
        """The rows of the commits' partitions, as they stand in the table's snapshot."""
        by = self.tables[snapshot.asset].partition_by
        wanted = [(by, "in", [commit.partition for commit in commits])] if by else None
        delta = self._deltas.get(snapshot.asset)
        if delta is None or delta.version() != snapshot.version:
            delta = deltalake.DeltaTable(self.location(snapshot.asset), version=snapshot.version)
        return delta.to_pyarrow_table(filters=wanted)

    def _open(self, asset: str) -> deltalake.DeltaTable | None:
        """The asset's table as it stands now; null where nothing was written yet."""
        location = self.location(asset)
        try:
            delta = self._deltas.get(asset)
            if delta is None or not deltalake.DeltaTable.is_deltatable(location):
                # An update alone would not notice that the table was deleted.
                delta = self._deltas[asset] = deltalake.DeltaTable(location)
            else:
                delta.update_incremental()
        except TableNotFoundError:
            self._deltas.pop(asset, None)
            _refuse_closed(location)
            return None
        return delta

    def _all(self, asset: str) -> list[Commit]:
        """Every commit of an asset's table; what was read before is not read again."""
        with self._alone:
            return self._read_on(asset, self._histories.setdefault(asset, []))

    def _read_on(self, asset: str, known: list[Commit]) -> list[Commit]:
        with reading(f"the history of {asset}", self.uri):
            delta = self._open(asset)
            if delta is None:
                known.clear()
                return known
            n_new = delta.version() + 1 - len(known)
            entries = delta.history(n_new) if n_new > 0 else []
        if len(entries) < n_new:
            raise StoreError(
                f"The log of {asset} in the store {self.uri} has lost {n_new - len(entries)} of"
                f" {delta.version() + 1} entries, so no version of it can be told from another, and"
                f" none was read. `forecast-assets verify {asset}` names the first that is lost;"
                f" restore its `_delta_log` from a back-up."
            )
        # Numbered from the oldest: where another run commits meanwhile, deltalake 1.6 returns its
        # entries too, and numbers all of them as if it had not.
        for entry in reversed(entries):
            with reading(f"the log entry {len(known)} of {asset}", self.uri):
                known.append(Commit.from_metadata(asset, len(known), entry))
        return known

    def _commit(self, table: TableContract, rows: pa.Table, commit: Commit) -> None:
        by, predicate = table.partition_by, None
        if by is not None:
            value = str(commit.partition).replace("'", "''")
            predicate = f"{by} = '{value}'"
        for attempt in range(TRIES):
            with writing(table.name, self.uri), self._beginning_alone(table.name):
                try:
                    deltalake.write_deltalake(
                        self._open(table.name) or self.location(table.name),
                        rows,
                        mode="overwrite",  # of the newest snapshot; no file is ever removed
                        predicate=predicate,
                        partition_by=by,
                        schema_mode="merge" if by else "overwrite",
                        configuration=KEPT_FOR_EVER,
                        commit_properties=deltalake.CommitProperties(commit.to_metadata()),
                    )
                except CommitFailedError:  # another run committed first: this is a whole partition
                    if attempt == TRIES - 1:
                        raise
                else:
                    return

    @contextmanager
    def _beginning_alone(self, asset: str) -> Iterator[None]:
        """Keep the machine's other processes out while a table is begun.

        deltalake 1.6 lets a second beginning through, which leaves both rows in one version: 57
        times in 60 where four writers began at once. Later commits it tells apart itself.
        """
        if "://" in self.uri or self._open(asset) is not None:
            yield
            return
        Path(self.uri).mkdir(parents=True, exist_ok=True)
        with Path(self.uri, f".{asset}.begun").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def _is_same_write(found: Commit, asked: Commit) -> bool:
    return (found.run_id, found.partition) == (asked.run_id, asked.partition)


def _refuse_closed(location: str) -> None:
    """Raise OSError where a folder may not be looked into: Delta takes it for one without a table.

    An object store says so itself.
    """
    if "://" not in location:
        with suppress(FileNotFoundError):
            next(Path(location, "_delta_log").iterdir(), None)
