"""What is recorded of a version: who wrote it, for which moment, and from which versions.

Where versions are kept, and their rows: `store`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True)
class InputVersion:
    """A version that was read to make another one."""

    asset: str
    partition: str | None
    version: int
    data_version: str

    @property
    def named(self) -> str:
        """The asset and its partition, for people."""
        return f"{self.asset} of {self.partition}" if self.partition else self.asset


@dataclass(frozen=True)
class Commit:
    """One version of one partition (or of an unpartitioned table), as its writer described it.

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
    version: int = -1
    written_at: datetime | None = field(default=None, compare=False)
    seal: str = field(default="", compare=False)

    @property
    def as_input(self) -> InputVersion:
        """This version, as one that another was made from."""
        return InputVersion(self.asset, self.partition, self.version, self.data_version)

    @property
    def made_from(self) -> str:
        """The versions that were read, for people: `series 4, backtest_predictions 12-17`."""
        by_asset: dict[str, list[int]] = {}
        for one in self.inputs:
            by_asset.setdefault(one.asset, []).append(one.version)
        spans = {asset: sorted({min(some), max(some)}) for asset, some in by_asset.items()}
        return ", ".join(f"{asset} {'-'.join(map(str, span))}" for asset, span in spans.items())

    @property
    def described(self) -> dict[str, str]:
        """The record as text, for the log: all but the version and the time of writing."""
        said = {
            "run_id": self.run_id,
            "asset": self.asset,
            "as_of": self.as_of.isoformat(),
            "code_version": self.code_version,
            "data_version": self.data_version,
            "content": self.content,
            "n_rows": str(self.n_rows),
            "inputs": json.dumps([asdict(one) for one in self.inputs]),
            **({} if self.partition is None else {"partition": self.partition}),
        }
        text = json.dumps(said, sort_keys=True)
        return {**said, "seal": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}

    @classmethod
    def parsed(cls, asset: str, version: int, entry: Mapping[str, Any]) -> Self:
        """Read the record of an entry of the log, also of one that another tool wrote."""
        inputs = json.loads(entry.get("inputs", "[]"))
        written = datetime.fromtimestamp(entry["timestamp"] / 1000).astimezone()
        return cls(
            asset=asset,
            partition=entry.get("partition"),
            run_id=entry.get("run_id", ""),
            as_of=datetime.fromisoformat(entry["as_of"]) if "as_of" in entry else written,
            code_version=entry.get("code_version", ""),
            inputs=tuple(InputVersion(**one) for one in inputs),
            data_version=entry.get("data_version", ""),
            content=entry.get("content", ""),
            n_rows=int(entry.get("n_rows", 0)),
            version=version,
            written_at=written,
            seal=entry.get("seal", ""),
        )

    @property
    def is_ours(self) -> bool:
        """Whether this package wrote it."""
        return bool(self.seal)

    @property
    def is_as_sealed(self) -> bool:
        """Whether the record is still what its writer sealed."""
        return self.described["seal"] == self.seal


def newest(commits: Sequence[Commit]) -> Commit:
    """The version of the latest `as_of`, the last written of equals."""
    return max(commits, key=lambda commit: (commit.as_of, commit.version))


def latest_per_content(commits: Iterable[Commit]) -> list[Commit]:
    """The newest version of each content, the oldest first: what was ever said, each once."""
    once: dict[str, Commit] = {}
    for commit in sorted(commits, key=lambda one: (one.as_of, one.version), reverse=True):
        once.setdefault(commit.data_version, commit)
    return list(reversed(once.values()))
