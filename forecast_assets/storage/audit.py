"""Whether every version is there, readable and as recorded.

Reads everything again and changes nothing. Keeping versions is the business of `store`.
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
    """Whether one version is sound: null `problem` where it is.

    Of a version that was pruned only the record can be: `pruned_at` is since when.
    """

    asset: str
    version: int
    partition: str | None
    n_rows: int
    problem: str | None
    pruned_at: datetime | None = None


def verify(store: Store, assets: Iterable[str]) -> list[VersionAudit]:
    """Read every version of the assets again and compare it with what was recorded of it."""
    return [finding for asset in assets for finding in _findings(store, asset)]


def _findings(store: Store, asset: str) -> list[VersionAudit]:
    try:
        commits = store.history(asset)
    except VersionNotFoundError:
        raise
    except StoreError as error:
        first = store.first_unreadable(asset)
        return [VersionAudit(asset, first, None, 0, f"it and what follows cannot be read: {error}")]
    pruned = store.pruned(asset) if commits else {}
    found = []
    for one in commits:
        since = pruned.get(one.version)
        problem = _problem_of_record(one) or (None if since else _problem_of_rows(store, one))
        found.append(VersionAudit(asset, one.version, one.partition, one.n_rows, problem, since))
    return found + _missed(store, asset, commits)


def _missed(store: Store, asset: str, commits: Sequence[Commit]) -> list[VersionAudit]:
    """Versions that others were made from and that are not there any more, or not the same."""
    missed = {}
    for one, made in _uses(store, asset):
        is_there = one.version < len(commits)
        if not is_there or commits[one.version].data_version != one.data_version:
            what = "another was written in its place" if is_there else "it is gone"
            problem = f"{what}: {made.as_input.label}, version {made.version}, was made from it"
            missed[one] = VersionAudit(asset, one.version, one.partition, 0, problem)
    return list(missed.values())


def _uses(store: Store, asset: str) -> Iterator[tuple[InputVersion, Commit]]:
    """Each version of the asset that another one was made from, and that other one."""
    for other in store.tables:
        try:
            commits = store.history(other)
        except StoreError:  # a finding of its own
            continue
        yield from ((one, made) for made in commits for one in made.inputs if one.asset == asset)


def _problem_of_record(commit: Commit) -> str | None:
    if not commit.is_ours:
        return "not written by forecast_assets: nothing is recorded to compare it with"
    if not commit.has_valid_seal:
        return "its record in the log is not what was written"
    return None


def _problem_of_rows(store: Store, commit: Commit) -> str | None:
    try:
        content = store.content(commit)
    except StoreError as error:
        return f"cannot be read: {error}"
    if content != commit.content:
        return "its content is not what was recorded"
    return _changed_files(store, commit) if commit.asset == "weekly_report" else None


def _changed_files(store: Store, commit: Commit) -> str | None:
    rows = store.read([commit]).to_dict("records")
    said = []
    for row in rows:
        path = store.var / str(row["file"])
        if not path.is_file():
            said.append(f"{path} is gone")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            said.append(f"{path} is not what was recorded")
    return "; ".join(said) or None
