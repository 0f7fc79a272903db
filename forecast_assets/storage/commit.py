"""Describe a version: who wrote it, as of when, from which versions, and whether it was pruned.

`store` keeps the versions and their rows; `retention` decides which rows are deleted.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

import deltalake
import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from forecast_assets.storage.delta import reading, writing

# The table below the store's address that records the deleted files.
PRUNED = "pruned"


def span_text(versions: Iterable[int]) -> str:
    """Return the first and the last of some version numbers: "12-17", or "4" if there is one."""
    numbers = sorted(versions)
    return "-".join(map(str, dict.fromkeys([numbers[0], numbers[-1]])))


@dataclass(frozen=True)
class InputVersion:
    """A version that was read to make another one."""

    asset: str
    partition: str | None
    version: int
    data_version: str

    @property
    def label(self) -> str:
        """Name the asset and its partition, for messages."""
        return f"{self.asset} of {self.partition}" if self.partition else self.asset


@dataclass(frozen=True)
class Commit:
    """One version of one partition, or of a table without partitions, as its writer described it.

    `version` counts the commits of the asset's table from 0, over all partitions.
    """

    asset: str
    partition: str | None
    run_id: str
    as_of: datetime
    code_version: str
    inputs: tuple[InputVersion, ...] = ()
    data_version: str = ""
    content: str = ""
    n_rows: int = 0
    values_digest: str = ""  # of `series`: see `data.vintages.digest_values`
    made_with: str = ""  # of `next_week_forecast`: see `forecasting.made_with`
    version: int = -1
    written_at: datetime | None = field(default=None, compare=False)
    seal: str = field(default="", compare=False)

    @property
    def as_input(self) -> InputVersion:
        """Refer to this version as an input of another one."""
        return InputVersion(self.asset, self.partition, self.version, self.data_version)

    @property
    def made_from(self) -> str:
        """List the inputs, for messages: `series 4, backtest_predictions 12-17`."""
        by_asset: dict[str, list[int]] = {}
        for source in self.inputs:
            by_asset.setdefault(source.asset, []).append(source.version)
        return ", ".join(f"{asset} {span_text(versions)}" for asset, versions in by_asset.items())

    def input_of(self, asset: str) -> InputVersion | None:
        """Return the version of an asset that this one was made from, None if there is none."""
        return next((source for source in self.inputs if source.asset == asset), None)

    def to_metadata(self) -> dict[str, str]:
        """Return the description as texts for Delta's log, with a seal (a hash) over them."""
        metadata = {
            "run_id": self.run_id,
            "asset": self.asset,
            "as_of": self.as_of.isoformat(),
            "code_version": self.code_version,
            "data_version": self.data_version,
            "content": self.content,
            "n_rows": str(self.n_rows),
            "inputs": json.dumps([asdict(source) for source in self.inputs]),
            **({} if self.partition is None else {"partition": self.partition}),
            **({"values_digest": self.values_digest} if self.values_digest else {}),
            **({"made_with": self.made_with} if self.made_with else {}),
        }
        text = json.dumps(metadata, sort_keys=True)
        return {**metadata, "seal": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}

    @classmethod
    def from_metadata(cls, asset: str, version: int, entry: Mapping[str, Any]) -> Self:
        """Read an entry of Delta's log, including entries that another tool wrote."""
        inputs = json.loads(entry.get("inputs", "[]"))
        written_at = datetime.fromtimestamp(entry["timestamp"] / 1000).astimezone()
        return cls(
            asset=asset,
            partition=entry.get("partition"),
            run_id=entry.get("run_id", ""),
            as_of=datetime.fromisoformat(entry["as_of"]) if "as_of" in entry else written_at,
            code_version=entry.get("code_version", ""),
            inputs=tuple(InputVersion(**source) for source in inputs),
            data_version=entry.get("data_version", ""),
            content=entry.get("content", ""),
            n_rows=int(entry.get("n_rows", 0)),
            values_digest=entry.get("values_digest", ""),
            made_with=entry.get("made_with", ""),
            version=version,
            written_at=written_at,
            seal=entry.get("seal", ""),
        )

    @property
    def is_ours(self) -> bool:
        """Tell whether this package wrote the version."""
        return bool(self.seal)

    @property
    def has_valid_seal(self) -> bool:
        """Tell whether the description still matches its seal."""
        return self.to_metadata()["seal"] == self.seal


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


def read_pruned(uri: str) -> dict[DataFile, datetime]:
    """Return every file marked for deletion, maybe not deleted yet, and when it first was."""
    with reading("the record of pruned versions", uri):
        try:
            rows = deltalake.DeltaTable(f"{uri}/{PRUNED}").to_pyarrow_table().to_pylist()
        except TableNotFoundError:
            return {}
    rows.sort(key=lambda row: row["pruned_at"], reverse=True)  # the dict keeps the earliest
    return {DataFile(**row): time for row in rows if (time := row.pop("pruned_at"))}


def mark_pruned(uri: str, files: Iterable[DataFile], *, now: datetime) -> None:
    """Record that the files are about to be deleted, in one commit."""
    rows = [{**asdict(file), "pruned_at": now} for file in files]
    with writing("the record of pruned versions", uri):
        deltalake.write_deltalake(f"{uri}/{PRUNED}", pa.Table.from_pylist(rows), mode="append")
