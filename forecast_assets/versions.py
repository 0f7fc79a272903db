"""Looking back: which version answers a question, how two differ, whether all are sound.

Keeping versions is the business of `store`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from forecast_assets.errors import MixedVintages, StoreError, UnknownVersion, listed
from forecast_assets.store import Commit, Input, Store, newest
from forecast_assets.tables import ASSETS

FEW = 4
Place = tuple[str, str | None]  # an asset, and a partition of it


def select(
    store: Store,
    asset: str,
    *,
    partitions: Sequence[str] | None = None,
    version: int | None = None,
    as_of: datetime | None = None,
    run_id: str | None = None,
) -> list[Commit]:
    """The version of each partition (of all, where none is named) that answers the question.

    `version` is a number from the history: the table as it stood right after that commit. `as_of`
    keeps what was known at that moment, `run_id` (or its beginning) what that run wrote. With
    nothing asked, the newest by `as_of`, then by version.

    Raises UnknownVersion where nothing answers, for any of the partitions that are named, and where
    `run_id` begins the ids of several runs.
    """
    commits = store.history(asset)
    if run_id is not None:
        _refuse_ambiguous(asset, commits, run_id)
    found = [
        commit
        for commit in commits
        if (partitions is None or commit.partition in partitions)
        and (version is None or commit.version <= version)
        and (as_of is None or commit.as_of <= as_of)
        and (run_id is None or commit.run_id.startswith(run_id))
    ]
    is_there = version is None or any(commit.version == version for commit in commits)
    absent = set(partitions or ()) - {commit.partition for commit in found}
    if not found or absent or not is_there:
        raise UnknownVersion(_nothing_answers(asset, commits, partitions, version, as_of, run_id))
    by_partition: dict[str | None, list[Commit]] = {}
    for commit in found:
        by_partition.setdefault(commit.partition, []).append(commit)
    pick = newest if version is None else lambda some: some[-1]
    return [pick(some) for _, some in sorted(by_partition.items(), key=lambda item: str(item[0]))]


def read_by_run(
    store: Store,
    asset: str,
    *,
    partitions: Sequence[str] | None,
    runs: Sequence[str],
    as_of: datetime,
) -> list[Commit]:
    """What a step of a run reads of each partition: what its run wrote, else the newest.

    `runs` are the run and those it was re-executed from, the nearest first; the newest is the one
    of the latest `as_of` that does not lie after the run's own.

    Raises UnknownVersion, naming every partition that is missing and the command that makes it.
    """
    by_partition: dict[str | None, list[Commit]] = {}
    for commit in store.history(asset):
        by_partition.setdefault(commit.partition, []).append(commit)
    found, missing = [], []
    for partition in partitions if partitions is not None else [None]:
        commits = by_partition.get(partition, [])
        own = [c for run in runs for c in reversed(commits) if c.run_id == run]
        known = [commit for commit in commits if commit.as_of <= as_of]
        if own or known:
            found.append(own[0] if own else newest(known))
        else:
            missing.append(partition)
    if missing:
        raise UnknownVersion(
            f"{asset} has no version {_of(missing)} that was known on {as_of:%Y-%m-%d %H:%M} UTC,"
            f" so what is made from it cannot be. Make it first:"
            f" {_mend((asset, partition) for partition in missing)}"
        )
    return found


def refuse_mixtures(store: Store, read: Sequence[Commit], *, for_asset: str) -> None:
    """Refuse inputs that descend from different versions of one table, naming every mismatch.

    Versions with equal content (one data version) are the same vintage. Raises MixedVintages.
    """
    vintages: dict[Place, dict[str, list[Commit]]] = {}  # by place and data version: who has it
    newest_version: dict[Place, Input] = {}
    for commit in read:
        for one in {commit.as_input, *ancestors(store, commit)}:
            place = (one.asset, one.partition)
            vintages.setdefault(place, {}).setdefault(one.data_version, []).append(commit)
            if place not in newest_version or newest_version[place].version < one.version:
                newest_version[place] = one
    said, stale = [], set()
    for place, holders in sorted(vintages.items(), key=str):
        current = newest_version[place].data_version
        behind = {c for version, some in holders.items() if version != current for c in some}
        if behind:
            names = listed(sorted(c.as_input.named for c in behind), most=20)
            said.append(f"{names} descend from an older {' of '.join(filter(None, place))}")
            stale |= {step for commit in behind for step in _between(store, commit, place)}
    if said:
        raise MixedVintages(
            f"The inputs of {for_asset} do not belong together: {'; '.join(said)}. Scores and"
            f" forecasts of a mixture would compare different data, so nothing was made. Run what"
            f" is behind again: {_mend(stale)}"
        )


def _between(store: Store, commit: Commit, place: Place) -> set[Place]:
    """The tables on the way from a place to the commit, the commit's own included."""
    steps = {(commit.asset, commit.partition)}
    for one in ancestors(store, commit):
        above = ancestors(store, store.commit(one))
        if any((a.asset, a.partition) == place for a in above):
            steps.add((one.asset, one.partition))
    return steps


def ancestors(store: Store, commit: Commit) -> set[Input]:
    """Every version that a version was made from, directly or through others."""
    seen: set[Input] = set()
    ahead = list(commit.inputs)
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            ahead.extend(store.commit(one).inputs)
    return seen


def diff(store: Store, old: Sequence[Commit], new: Sequence[Commit]) -> pd.DataFrame:
    """What changed between two readings of one asset, cell by cell.

    One row a difference: the key's columns, `change` (added, removed or changed), and for a
    changed cell its `column`, `old` and `new` values. Volatile columns do not count.
    """
    table = store.tables[old[0].asset]
    key = list(table.key) or [*table.names, "occurrence"]  # rows without a key: they come and go
    columns = [c.name for c in table.columns if not c.volatile and c.name not in key]
    before, after = (_keyed(store.read(commits), key) for commits in (old, new))
    gone, came = before.index.difference(after.index), after.index.difference(before.index)
    both = before.index.intersection(after.index)
    parts = [
        gone.to_frame(index=False).assign(change="removed"),
        came.to_frame(index=False).assign(change="added"),
    ]
    for name in columns:
        was, now = (
            f.get(name, pd.Series(index=f.index, dtype=object)).loc[both] for f in (before, after)
        )
        is_changed = ~((was == now) | (was.isna() & now.isna()))
        part = both[is_changed].to_frame(index=False)
        parts.append(
            part.assign(
                change="changed",
                column=name,
                old=was[is_changed].astype(object).to_numpy(),
                new=now[is_changed].astype(object).to_numpy(),
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    return frame.reindex(columns=[*key, "change", "column", "old", "new"])


def _keyed(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    if "occurrence" in key:
        frame = frame.assign(occurrence=frame.groupby(key[:-1], dropna=False).cumcount())
    return frame.set_index(key)


@dataclass(frozen=True)
class Finding:
    """Whether one version is sound: null `problem` where it is."""

    asset: str
    version: int
    partition: str | None
    n_rows: int
    problem: str | None


def verify(store: Store, assets: Iterable[str]) -> list[Finding]:
    """Read every version of the assets again and compare it with what was recorded of it."""
    return [finding for asset in assets for finding in _findings(store, asset)]


def _findings(store: Store, asset: str) -> list[Finding]:
    try:
        commits = store.history(asset)
    except UnknownVersion:
        raise
    except StoreError as error:
        first = store.first_unreadable(asset)
        return [Finding(asset, first, None, 0, f"it and what follows cannot be read: {error}")]
    found = [
        Finding(asset, commit.version, commit.partition, commit.n_rows, _problem(store, commit))
        for commit in commits
    ]
    return found + _missed(store, asset, commits)


def _missed(store: Store, asset: str, commits: Sequence[Commit]) -> list[Finding]:
    """Versions that others were made from and that are not there any more, or not the same."""
    missed = {}
    for one, made in _uses(store, asset):
        is_there = one.version < len(commits)
        if not is_there or commits[one.version].data_version != one.data_version:
            what = "another was written in its place" if is_there else "it is gone"
            problem = f"{what}: {made.as_input.named}, version {made.version}, was made from it"
            missed[one] = Finding(asset, one.version, one.partition, 0, problem)
    return list(missed.values())


def _uses(store: Store, asset: str) -> Iterator[tuple[Input, Commit]]:
    """Each version of the asset that another one was made from, and that other one."""
    for other in store.tables:
        try:
            commits = store.history(other)
        except StoreError:  # a finding of its own
            continue
        yield from ((one, made) for made in commits for one in made.inputs if one.asset == asset)


def _problem(store: Store, commit: Commit) -> str | None:
    if not commit.content:
        return "not written by forecast_assets: nothing is recorded to compare it with"
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


def _refuse_ambiguous(asset: str, commits: Sequence[Commit], run_id: str) -> None:
    runs = sorted({commit.run_id for commit in commits if commit.run_id.startswith(run_id)})
    if len(runs) > 1 and run_id not in runs:
        raise UnknownVersion(
            f"{len(runs)} runs that wrote {asset} begin with {run_id!r}: {listed(runs)}. Which one"
            f" is meant would be a guess, so nothing is shown. Give more of its id."
        )


def _nothing_answers(
    asset: str,
    commits: Sequence[Commit],
    partitions: Sequence[str] | None,
    version: int | None,
    as_of: datetime | None,
    run_id: str | None,
) -> str:
    asked = [
        f"partition {listed(partitions)}" if partitions else "",
        f"version {version}" if version is not None else "",
        f"known on {as_of.isoformat()}" if as_of else "",
        f"run {run_id}" if run_id else "",
    ]
    there = f"versions 0 to {commits[-1].version}" if commits else "no version at all"
    mend = (
        f"`forecast-assets history {asset}` lists them"
        if commits
        else f"make one: {_mend([(asset, None)])}"
    )
    return (
        f"{asset} has nothing that answers to {', '.join(filter(None, asked)) or 'that'}: it has"
        f" {there}, so there is nothing to show. {mend[0].upper()}{mend[1:]}."
    )


def _of(partitions: Sequence[str | None]) -> str:
    named = [partition for partition in partitions if partition is not None]
    return f"of {listed(named, most=40)}" if named else "at all"


def _mend(places: Iterable[Place]) -> str:
    """The commands that make the tables again, in the order that the data flows.

    Where many are behind, the whole week is the shorter way.
    """
    if len(places := set(places)) > FEW:
        return "dagster job execute -m forecast_assets.definitions -j weekly_forecast"
    partitions: dict[str, list[str]] = {}
    for asset, partition in sorted(
        places, key=lambda place: (ASSETS.index(place[0]), str(place[1]))
    ):
        partitions.setdefault(asset, []).extend([partition] if partition is not None else [])
    command = "dagster asset materialize -m forecast_assets.definitions --select"
    said = [f"{command} {a} --partition {p}" for a, some in partitions.items() for p in some]
    whole = [asset for asset, some in partitions.items() if not some]
    return " && ".join([*said, *([f"{command} {','.join(whole)}"] if whole else [])])
