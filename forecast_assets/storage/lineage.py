"""Which versions belong together: what a step reads, and what descends from what.

Keeping versions is the business of `store`; answering a person's question that of `versions`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecast_assets.errors import MixedVintagesError, VersionNotFoundError, format_list
from forecast_assets.storage.commit import Commit, InputVersion, newest
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS

Place = tuple[str, str | None]  # an asset, and a partition of it
BAKE_OFF = "backtest_predictions"  # the one that has partitions, by model
FEW = 4


def resolve_inputs(
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
    by_place = _by_place(store, asset)
    found, missing = [], []
    for partition in partitions if partitions is not None else [None]:
        commits = by_place.get((asset, partition), [])
        own = [c for run in runs for c in reversed(commits) if c.run_id == run]
        known = [commit for commit in commits if commit.as_of <= as_of]
        if own or known:
            found.append(own[0] if own else newest(known))
        else:
            missing.append(partition)
    if missing:
        raise VersionNotFoundError(
            f"{asset} has no version {_of(missing)} that was known on {as_of:%Y-%m-%d %H:%M} UTC,"
            f" so what is made from it cannot be. Make it first:"
            f" {rebuild_command((asset, partition) for partition in missing)}"
        )
    return found


def check_same_vintage(store: Store, read: Sequence[Commit], *, for_asset: str) -> None:
    """Refuse inputs that descend from different versions of one table, naming every mismatch.

    Versions with equal content (one data version) are the same vintage. Raises MixedVintages.
    """
    vintages: dict[Place, dict[str, list[Commit]]] = {}  # by place and data version: who has it
    newest_version: dict[Place, InputVersion] = {}
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
            names = format_list(sorted(c.as_input.named for c in behind), most=20)
            said.append(f"{names} descend from an older {' of '.join(filter(None, place))}")
            stale |= {step for commit in behind for step in _between(store, commit, place)}
    if said:
        raise MixedVintagesError(
            f"The inputs of {for_asset} do not belong together: {'; '.join(said)}. Scores and"
            f" forecasts of a mixture would compare different data, so nothing was made. Run what"
            f" is behind again: {rebuild_command(stale)}"
        )


def _between(store: Store, commit: Commit, place: Place) -> set[Place]:
    """The tables on the way from a place to the commit, the commit's own included."""
    steps = {(commit.asset, commit.partition)}
    for one in ancestors(store, commit):
        above = ancestors(store, store.commit(one))
        if any((a.asset, a.partition) == place for a in above):
            steps.add((one.asset, one.partition))
    return steps


def ancestors(store: Store, commit: Commit) -> set[InputVersion]:
    """Every version that a version was made from, directly or through others."""
    seen: set[InputVersion] = set()
    ahead = list(commit.inputs)
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.add(one)
            ahead.extend(store.commit(one).inputs)
    return seen


@dataclass(frozen=True)
class StaleAssets:
    """What is to be made again, in the order that the data flows, and a digest of why.

    The digest is of the contents above, and of the versions of what is behind: it stays where the
    same data come again, or a run fails before it wrote one.
    """

    assets: Sequence[str]
    state: str


def find_stale(store: Store, *, models: Sequence[str], as_of: datetime) -> StaleAssets | None:
    """What was not made from the newest of what it reads, with all that lies below it.

    Null where nothing is, and where a table, or the partition of one of the models, was never made:
    the first week is run as a whole. Versions of equal content (one data version) are the same.
    """
    newest_of: dict[Place, Commit] = {}
    for asset in ASSETS:
        for place, commits in _by_place(store, asset).items():
            known = [commit for commit in commits if commit.as_of <= as_of]
            if known:
                newest_of[place] = newest(known)
    needed = [(a, m) for a in ASSETS for m in (models if a == BAKE_OFF else [None])]
    if any(place not in newest_of for place in needed):
        return None
    for place in needed:
        if not _is_current(newest_of[place], newest_of, models):
            first = ASSETS.index(place[0])
            above = [
                (one, newest_of[one].data_version) for one in needed if one[0] in ASSETS[:first]
            ]
            there = [(one, newest_of[one].version) for one in needed if one[0] == place[0]]
            said = repr((above, there, sorted(models))).encode()
            return StaleAssets(ASSETS[first:], hashlib.blake2b(said, digest_size=16).hexdigest())
    return None


def _is_current(commit: Commit, newest_of: Mapping[Place, Commit], models: Sequence[str]) -> bool:
    """Whether what a version was made from is the newest, of every model that is to compete."""
    read = {one.partition for one in commit.inputs if one.asset == BAKE_OFF}
    return (not read or read == set(models)) and all(
        newest_of[one.asset, one.partition].data_version == one.data_version
        for one in commit.inputs
        if (one.asset, one.partition) in newest_of
    )


def _by_place(store: Store, asset: str) -> dict[Place, list[Commit]]:
    """The versions of each partition of an asset, the oldest first."""
    found: dict[Place, list[Commit]] = {}
    for commit in store.history(asset):
        found.setdefault((asset, commit.partition), []).append(commit)
    return found


def _of(partitions: Sequence[str | None]) -> str:
    named = [partition for partition in partitions if partition is not None]
    return f"of {format_list(named, most=40)}" if named else "at all"


def rebuild_command(places: Iterable[Place]) -> str:
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
