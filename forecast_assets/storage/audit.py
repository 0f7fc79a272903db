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


def _audit(store: Store, asset: str) -> Iterator[VersionAudit]:
    try:
        commits = store.history(asset)
    except VersionNotFoundError:
        raise
    except StoreError as error:
        problem = f"this version and all later ones cannot be read: {error}"
        yield VersionAudit(asset, store.first_unreadable(asset), None, 0, problem)
        return
    pruned = store.pruned(asset) if commits else {}
    for c in commits:
        pruned_at = pruned.get(c.version)
        flaw = _problem(store, c, is_pruned=pruned_at is not None)
        yield VersionAudit(asset, c.version, c.partition, c.n_rows, flaw, pruned_at)
    yield from _missing_inputs(store, asset, commits)


def _missing_inputs(store: Store, asset: str, commits: Sequence[Commit]) -> Iterator[VersionAudit]:
    """Yield versions that others were made from and that are gone or were replaced."""
    for source, made in dict(_uses(store, asset)).items():
        exists = source.version < len(commits)
        if not exists or commits[source.version].data_version != source.data_version:
            cause = "another version was written in its place" if exists else "it is gone"
            problem = f"{cause}: {made.as_input.label}, version {made.version}, was made from it"
            yield VersionAudit(asset, source.version, source.partition, 0, problem)


def _uses(store: Store, asset: str) -> Iterator[tuple[InputVersion, Commit]]:
    """Yield each version of the asset that was an input, with the version made from it."""
    for other in store.tables:
        try:
            commits = store.history(other)
        except StoreError:  # reported when that asset is audited
            continue
        for made in commits:
            yield from ((source, made) for source in made.inputs if source.asset == asset)


def _problem(store: Store, commit: Commit, *, is_pruned: bool) -> str | None:
    if not commit.is_ours:
        return "not written by forecast_assets, so there is no record to compare it with"
    if not commit.has_valid_seal:
        return "its record in the log was changed"
    if is_pruned:
        return None
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
