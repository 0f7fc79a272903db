"""Read every version again and compare it with its record; change nothing.

`store` keeps the versions.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecast_assets.errors import StoreError, VersionNotFoundError
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store


@dataclass(frozen=True)
class VersionAudit:
    """The result for one version: `problem` is None if it is sound.

    For a pruned version only the record is checked, and `pruned_at` is when its rows were deleted.
    """

    asset: str
    version: int
    partition: str | None
    n_rows: int
    problem: str | None
    pruned_at: datetime | None = None


def verify(store: Store, assets: Iterable[str]) -> list[VersionAudit]:
    """Audit every version of the assets, also those that others were made from and are gone."""
    return [audit for asset in assets for audit in _audit(store, asset)]


def _audit(store: Store, asset: str) -> list[VersionAudit]:
    try:
        commits = store.history(asset)
    except VersionNotFoundError:
        raise
    except StoreError as error:
        first = store.first_unreadable(asset)
        text = f"this version and all later ones cannot be read: {error}"
        return [VersionAudit(asset, first, None, 0, text)]
    pruned = store.pruned(asset) if commits else {}
    audits = []
    for commit in commits:
        pruned_at = pruned.get(commit.version)
        problem = _record_problem(commit) or (None if pruned_at else _rows_problem(store, commit))
        audits.append(
            VersionAudit(asset, commit.version, commit.partition, commit.n_rows, problem, pruned_at)
        )
    return audits + _missing_inputs(store, asset, commits)


def _missing_inputs(store: Store, asset: str, commits: Sequence[Commit]) -> list[VersionAudit]:
    """Find versions that others were made from and that are gone or were replaced."""
    missing = {}
    for source, made in _uses(store, asset):
        exists = source.version < len(commits)
        if not exists or commits[source.version].data_version != source.data_version:
            cause = "another version was written in its place" if exists else "it is gone"
            problem = f"{cause}: {made.as_input.label}, version {made.version}, was made from it"
            missing[source] = VersionAudit(asset, source.version, source.partition, 0, problem)
    return list(missing.values())


def _uses(store: Store, asset: str) -> Iterator[tuple[InputVersion, Commit]]:
    """Yield each version of the asset that was an input, with the version made from it."""
    for other in store.tables:
        try:
            commits = store.history(other)
        except StoreError:  # reported when that asset is audited
            continue
        for made in commits:
            yield from ((source, made) for source in made.inputs if source.asset == asset)


def _record_problem(commit: Commit) -> str | None:
    if not commit.is_ours:
        return "not written by forecast_assets, so there is no record to compare it with"
    return None if commit.has_valid_seal else "its record in the log was changed"


def _rows_problem(store: Store, commit: Commit) -> str | None:
    try:
        content = store.content(commit)
    except StoreError as error:
        return f"cannot be read: {error}"
    if content != commit.content:
        return "its rows differ from its record"
    return _file_problems(store, commit) if commit.asset == "weekly_report" else None


def _file_problems(store: Store, commit: Commit) -> str | None:
    problems = []
    for row in store.read([commit]).to_dict("records"):
        path = store.var / str(row["file"])
        if not path.is_file():
            problems.append(f"{path} is gone")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            problems.append(f"{path} differs from its record")
    return "; ".join(problems) or None
