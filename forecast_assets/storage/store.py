"""Write, read and list versions of tables on Delta Lake; no version is ever overwritten.

Each asset is one Delta table below the store's address, and each materialization of a partition is
one commit. Dagster does not belong here: `defs` decides which run reads which version.
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
from forecast_assets.storage.commit import Commit, InputVersion, read_pruned
from forecast_assets.storage.contract import Kind, TableContract, digest
from forecast_assets.storage.delta import (
    READ_ERRORS,
    from_arrow,
    kinds_of,
    reading,
    to_arrow,
    writing,
)

# By default Delta drops log entries after 30 days, and old versions with them.
KEEP_ALL_VERSIONS = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}
# Of four concurrent writers with 25 commits each, one lost the race at most 9 times in a row.
COMMIT_ATTEMPTS = 20


class Store:
    """The versions of all tables below one address (a folder or an object store's URL)."""

    def __init__(self, uri: str, tables: Mapping[str, TableContract], *, var: Path) -> None:
        self.uri = uri.rstrip("/")
        self.tables = tables
        self.var = var
        self._deltas: dict[str, deltalake.DeltaTable] = {}
        self._histories: dict[str, list[Commit]] = {}
        # The sensors of a Dagster daemon run in threads that share one store.
        self._lock = threading.RLock()

    def location(self, asset: str) -> str:
        """Return the address of an asset's table. Raises VersionNotFoundError if it is unknown."""
        if asset not in self.tables:
            raise VersionNotFoundError(
                f"There is no asset {asset!r}, so it has no versions. The assets are"
                f" {format_list(self.tables, limit=20)}."
            )
        return f"{self.uri}/{asset}"

    def write(self, frame: pd.DataFrame, commit: Commit) -> Commit:
        """Write all rows of one version, or none, and return the commit as it is recorded.

        This fills in the commit's data version, content hash, row count and version number.
        Raises DataError if the rows break the table's contract, and StoreError if the store cannot
        be written or rows belong to another partition; earlier versions stay as they are.
        """
        self.location(commit.asset)
        table = self.tables[commit.asset]
        checked = table.check(frame)
        complete = replace(
            commit,
            data_version=table.data_version(checked),
            content=digest(checked, {column.name: column.kind for column in table.columns}),
            n_rows=len(checked),
        )
        self._commit(table, to_arrow(table, checked), complete)
        # Other processes may have committed since.
        return next(
            new
            for new in reversed(self._load_history(commit.asset))
            if (new.run_id, new.partition) == (commit.run_id, commit.partition)
        )

    def history(self, asset: str, *, partition: str | None = None) -> list[Commit]:
        """List the versions of an asset, or of one of its partitions, oldest first.

        Raises VersionNotFoundError if there is no such asset or partition.
        """
        commits = self._load_history(asset)
        if partition is None:
            return list(commits)
        selected = [commit for commit in commits if commit.partition == partition]
        if not selected:
            names = sorted({str(commit.partition) for commit in commits if commit.partition})
            raise VersionNotFoundError(
                f"{asset} has no version of a partition {partition!r}; it has versions of"
                f" {format_list(names, limit=40) or 'no partition'}. Run `forecast-assets history"
                f" {asset}` to list them."
            )
        return selected

    def write_report_files(self, folder: str, files: Mapping[str, str]) -> pd.DataFrame:
        """Write text files to a folder below `var`; return the rows of weekly_report for them.

        Each file is written completely or not at all.
        """
        rows = []
        with writing(f"the files of {folder}", str(self.var), place="folder"):
            for name, text in files.items():
                path, data = self.var / folder / name, text.encode()
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
                unfinished.write_bytes(data)
                unfinished.replace(path)
                sha256 = hashlib.sha256(data).hexdigest()
                rows.append({"file": f"{folder}/{name}", "sha256": sha256, "n_bytes": len(data)})
        return pd.DataFrame(rows)

    def read(self, commits: Sequence[Commit], *, columns: list[str] | None = None) -> pd.DataFrame:
        """Read versions of one asset into one frame, sorted by the table's key.

        The columns are those that were written, even if the contract has changed since, or those
        that are asked for. Raises VersionPrunedError if rows were pruned, StoreError if files are
        missing or damaged.
        """
        newest = max(commits, key=lambda commit: commit.version)
        self.commit(newest.as_input)  # load the history up to a version of another process
        is_one_snapshot = all(self._is_current(commit, newest) for commit in commits)
        groups = [commits] if is_one_snapshot else [[commit] for commit in commits]
        frames = [self._read_snapshot(group, columns)[0] for group in groups]
        return self.tables[newest.asset].sort_rows(pd.concat(frames, ignore_index=True))

    def commit(self, source: InputVersion) -> Commit:
        """Return the commit of an input. Raises VersionNotFoundError if it does not exist."""
        loaded = self._histories.get(source.asset, [])
        commits = loaded if source.version < len(loaded) else self._load_history(source.asset)
        if source.version >= len(commits):
            raise VersionNotFoundError(
                f"{source.asset} has no version {source.version}, although another table was made"
                f" from it: the table {self.location(source.asset)} was deleted or replaced. Tables"
                f" made from it cannot be checked. Run the week again."
            )
        return commits[source.version]

    def content(self, commit: Commit) -> str:
        """Return the digest of the stored rows, to compare with `commit.content`."""
        frame, kinds = self._read_snapshot([commit])
        return digest(self.tables[commit.asset].sort_rows(frame), kinds)

    def pruned(self, asset: str) -> dict[int, datetime]:
        """Return the versions of an asset whose rows were deleted, and when."""
        seals = {commit.version: commit.seal for commit in self._load_history(asset)}
        return {
            file.version: pruned_at
            for file, pruned_at in read_pruned(self.uri).items()
            if file.asset == asset and seals.get(file.version) == file.seal
        }

    def first_unreadable(self, asset: str) -> int:
        """Return the first version whose log entry is missing or damaged."""
        version = 0
        while True:
            try:
                delta = deltalake.DeltaTable(self.location(asset), version=version)
                Commit.from_metadata(asset, version, delta.history(1)[-1])
            except READ_ERRORS:
                return version
            version += 1

    def _is_current(self, commit: Commit, snapshot: Commit) -> bool:
        """Tell whether a later snapshot still contains a version as its partition's rows."""
        later = self._histories[commit.asset][commit.version + 1 : snapshot.version + 1]
        return all(other.partition != commit.partition for other in later)

    def _read_snapshot(
        self, commits: Sequence[Commit], columns: list[str] | None = None
    ) -> tuple[pd.DataFrame, dict[str, Kind]]:
        """Read the commits' partitions from the snapshot of the newest, and the columns' kinds."""
        asset, version = commits[0].asset, max(commit.version for commit in commits)
        by = self.tables[asset].partition_by
        filters = [(by, "in", [commit.partition for commit in commits])] if by else None
        try:
            with reading(f"version {version} of {asset}", self.uri):
                delta = self._deltas.get(asset)
                if delta is None or delta.version() != version:
                    delta = deltalake.DeltaTable(self.location(asset), version=version)
                arrow = delta.to_pyarrow_table(filters=filters, columns=columns)
                return from_arrow(arrow), kinds_of(arrow)
        except StoreError as error:
            pruned = self.pruned(asset)
            if absent := [commit for commit in commits if commit.version in pruned]:
                raise _pruned_error(absent, pruned[absent[0].version]) from error
            raise

    def _open(self, asset: str) -> deltalake.DeltaTable | None:
        """Open the newest snapshot of an asset's table; None if nothing was written yet."""
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
            if "://" not in location:
                with suppress(FileNotFoundError):
                    # Delta takes a folder that may not be listed for one without a table.
                    next(Path(location, "_delta_log").iterdir(), None)
            return None
        return delta

    def _load_history(self, asset: str) -> list[Commit]:
        """Return every commit of an asset's table, reading only new log entries."""
        with self._lock:
            commits = self._histories.setdefault(asset, [])
            with reading(f"the history of {asset}", self.uri):
                delta = self._open(asset)
                if delta is None:
                    commits.clear()
                    return commits
                n_new = delta.version() + 1 - len(commits)
                entries = delta.history(n_new) if n_new > 0 else []
            if len(entries) < n_new:
                raise StoreError(
                    f"The log of {asset} in the store {self.uri} has lost {n_new - len(entries)} of"
                    f" {delta.version() + 1} entries. No version was read, because their numbers"
                    f" are uncertain. `forecast-assets verify {asset}` names the first lost entry;"
                    f" restore the folder `_delta_log` from a backup."
                )
            # Number the entries here: if another run commits during the call, deltalake 1.6
            # returns its entries too but numbers all of them as if it had not.
            for entry in reversed(entries):
                with reading(f"the log entry {len(commits)} of {asset}", self.uri):
                    commits.append(Commit.from_metadata(asset, len(commits), entry))
            return commits

    def _commit(self, table: TableContract, rows: pa.Table, commit: Commit) -> None:
        by, value = table.partition_by, str(commit.partition).replace("'", "''")
        for attempt in range(COMMIT_ATTEMPTS):
            with writing(table.name, self.uri), self._creation_lock(table.name):
                try:
                    deltalake.write_deltalake(
                        self._open(table.name) or self.location(table.name),
                        rows,
                        mode="overwrite",  # in the newest snapshot; no file is removed
                        predicate=f"{by} = '{value}'" if by else None,
                        partition_by=by,
                        schema_mode="merge" if by else "overwrite",
                        configuration=KEEP_ALL_VERSIONS,
                        commit_properties=deltalake.CommitProperties(commit.to_metadata()),
                    )
                except CommitFailedError:  # another run committed first
                    if attempt == COMMIT_ATTEMPTS - 1:
                        raise
                else:
                    return

    @contextmanager
    def _creation_lock(self, asset: str) -> Iterator[None]:
        """Let only one process of this machine create a table.

        deltalake 1.6 lets two writers create the same table, which puts the rows of both into one
        version (57 of 60 times with four writers). It detects later conflicts itself.
        """
        if "://" in self.uri or self._open(asset) is not None:
            yield
            return
        Path(self.uri).mkdir(parents=True, exist_ok=True)
        with Path(self.uri, f".{asset}.begun").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _pruned_error(absent: Sequence[Commit], pruned_at: datetime) -> VersionPrunedError:
    asset = absent[0].asset
    names = format_list(f"{commit.version} of {commit.as_input.label}" for commit in absent)
    return VersionPrunedError(
        f"Pruned on {pruned_at:%Y-%m-%d}: version {names}. Its rows were deleted;"
        f" `forecast-assets history {asset}` still lists it. To compute it again from what the"
        f" source returns now: `forecast-assets run --as-of {absent[0].as_of.isoformat()}`."
    )
