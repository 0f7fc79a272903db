"""Find the versions that answer a query, that a run reads, or that came before.

All follow one order: the newest version is the one with the latest `as_of`, then the last one
written. Withdrawn versions are passed over. `store` keeps the versions, `lineage` checks that they
belong together, and `withdrawals` withdraws them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import pandas as pd

from forecast_assets.errors import VersionNotFoundError, VersionWithdrawnError, format_list
from forecast_assets.storage.command_tables import DELIVERIES, OVERRIDES, WITHDRAWALS
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import (
    ASSETS,
    FORECAST,
    HELD_FORECAST,
    WRITTEN_BY,
)

Node = tuple[str, str | None]  # an asset and one of its partitions
# With more commands than this, running the whole week is shorter.
MAX_COMMANDS = 4


def newest(commits: Iterable[Commit], *, as_of: datetime | None = None) -> Commit | None:
    """Return the newest version whose `as_of` is not later than the given one, None if none is."""
    candidates = (commit for commit in commits if as_of is None or commit.as_of <= as_of)
    return max(candidates, key=lambda commit: (commit.as_of, commit.version), default=None)


def withdrawn_versions(store: Store) -> Mapping[InputVersion, Commit]:
    """Return every withdrawn version with its withdrawal, a version of `withdrawals`."""
    return {version: commit for commit in store.history(WITHDRAWALS) for version in commit.inputs}


def valid_versions(store: Store, asset: str, *, as_of: datetime | None = None) -> list[Commit]:
    """Return the versions of an asset that were not withdrawn, in the order of the history.

    With the present time as `as_of`, those that a wrong clock dated in the future are left out.
    """
    withdrawn = withdrawn_versions(store)
    return [
        commit
        for commit in store.history(asset)
        if commit.as_input not in withdrawn and (as_of is None or commit.as_of <= as_of)
    ]


def newest_of_each(store: Store, asset: str, *, as_of: datetime | None = None) -> list[Commit]:
    """Return the newest valid version of each partition, sorted by partition; maybe none."""
    by_partition = group_by_partition(valid_versions(store, asset, as_of=as_of))
    groups = (by_partition[partition] for partition in sorted(by_partition, key=str))
    return [commit for group in groups if (commit := newest(group))]


def future_forecasts(store: Store, *, now: datetime) -> list[Commit]:
    """Return the valid forecasts whose `as_of` is later than `now`, because a clock was wrong."""
    return [commit for commit in valid_versions(store, FORECAST) if commit.as_of > now]


def latest_per_content(
    commits: Iterable[Commit], content: Callable[[Commit], str] = lambda commit: commit.data_version
) -> list[Commit]:
    """Return the newest version of each distinct content, oldest first."""
    latest: dict[str, Commit] = {}
    order = sorted(commits, key=lambda commit: (commit.as_of, commit.version), reverse=True)
    for commit in order:
        latest.setdefault(content(commit), commit)
    return list(reversed(latest.values()))


def previous_versions(
    store: Store, asset: str, *, before: datetime, input_asset: str, data_version: str, limit: int
) -> list[Commit]:
    """Return at most `limit` valid versions that were made from other content, newest first.

    Versions made from the same version of `input_asset` count once, as the newest of them; those
    made from `data_version` do not count. Only versions with an `as_of` before `before` are read.
    """

    def content(commit: Commit) -> str:
        source = commit.input_of(input_asset)
        return source.data_version if source else ""

    others = [
        commit
        for commit in valid_versions(store, asset)
        if commit.as_of < before and content(commit) != data_version
    ]
    return latest_per_content(others, content)[::-1][:limit]


def resolve_inputs(
    store: Store,
    asset: str,
    *,
    partitions: Sequence[str] | None,
    runs: Sequence[str],
    as_of: datetime,
) -> list[Commit]:
    """Return the version of each partition that a step of a run reads.

    That is the last one written by the first of `runs` that wrote any (the run itself, then the
    runs that it re-executes), else the newest valid one as of `as_of`. Raises VersionNotFoundError
    with every missing partition and the command that makes it, and VersionWithdrawnError if the
    forecast of these runs, or what an earlier one of them wrote, was withdrawn.
    """
    by_partition = group_by_partition(store.history(asset))
    names = partitions if partitions is not None else [None]
    own = {name: _last_written(by_partition.get(name, []), runs) for name in names}
    # What a run has just written can be withdrawn only once its forecast is among it.
    is_new = all(commit and commit.run_id == runs[0] for commit in own.values())
    withdrawn = {} if is_new and asset != FORECAST else withdrawn_versions(store)
    selected, missing = [], []
    for name, written in own.items():
        if written and written.as_input in withdrawn:
            raise _withdrawn_error(written, withdrawn[written.as_input])
        valid = (c for c in by_partition.get(name, []) if c.as_input not in withdrawn)
        if commit := written or newest(valid, as_of=as_of):
            selected.append(commit)
        else:
            missing.append(name)
    if missing:
        models = format_list((name for name in missing if name is not None), limit=40)
        raise VersionNotFoundError(
            f"{asset} has no version{f' of {models}' if models else ''} as of"
            f" {as_of:%Y-%m-%d %H:%M} UTC. The step that reads it did not run. Make it first:"
            f" {rebuild_command((asset, partition) for partition in missing)}"
        )
    return selected


def _last_written(commits: Sequence[Commit], runs: Sequence[str]) -> Commit | None:
    """Return the last version that the first of `runs` that wrote any wrote."""
    return next((c for run in runs for c in reversed(commits) if c.run_id == run), None)


def select(
    store: Store,
    asset: str,
    *,
    partitions: Sequence[str] | None = None,
    version: int | None = None,
    as_of: datetime | None = None,
    run_id: str | None = None,
) -> list[Commit]:
    """Return one version of each partition that matches a query, sorted by partition.

    Without a condition that is the newest version of every partition. `version` is a number from
    the history and means the table right after that commit; `as_of` leaves out later versions;
    `run_id` (or the beginning of one) leaves out what other runs wrote. Withdrawn versions match
    only by `version` or `run_id`. Raises VersionNotFoundError if nothing, or nothing of one of
    `partitions`, matches, or `run_id` matches several runs.
    """
    commits = store.history(asset)
    if run_id is not None:
        _check_unambiguous(asset, commits, run_id)
    is_by_name = version is not None or run_id is not None
    withdrawn = {} if is_by_name else withdrawn_versions(store)
    matches = [
        commit
        for commit in commits
        if commit.as_input not in withdrawn
        and (partitions is None or commit.partition in partitions)
        and (version is None or commit.version <= version)
        and (as_of is None or commit.as_of <= as_of)
        and (run_id is None or commit.run_id.startswith(run_id))
    ]
    is_absent = version is not None and all(commit.version != version for commit in commits)
    if not matches or is_absent or set(partitions or ()) - {c.partition for c in matches}:
        conditions = {
            "partition": partitions and format_list(partitions),
            "version": version,
            "as of": as_of and as_of.isoformat(timespec="seconds"),
            "run": run_id,
        }
        n_withdrawn = sum(commit.as_input in withdrawn for commit in commits)
        raise VersionNotFoundError(_no_match_text(asset, commits, conditions, n_withdrawn))
    by_partition = group_by_partition(matches)
    groups = [by_partition[partition] for partition in sorted(by_partition, key=str)]
    if version is not None:
        return [group[-1] for group in groups]
    return [commit for group in groups if (commit := newest(group))]


def group_by_partition(commits: Iterable[Commit]) -> dict[str | None, list[Commit]]:
    """Group versions by their partition, each group in the order of the history."""
    groups: dict[str | None, list[Commit]] = {}
    for commit in commits:
        groups.setdefault(commit.partition, []).append(commit)
    return groups


def rebuild_command(nodes: Iterable[Node]) -> str:
    """Return the shell command that makes the tables again, in the order of the data."""
    nodes = {(WRITTEN_BY.get(asset, asset), partition) for asset, partition in nodes}
    if len(nodes) > MAX_COMMANDS:
        return "dagster job execute -m forecast_assets.definitions -j weekly_forecast"
    command = "dagster asset materialize -m forecast_assets.definitions --select"
    ordered = sorted(nodes, key=lambda node: (ASSETS.index(node[0]), str(node[1])))
    commands = [f"{command} {a} --partition {p}" for a, p in ordered if p is not None]
    whole = ",".join(asset for asset, partition in ordered if partition is None)
    return " && ".join([*commands, *([f"{command} {whole}"] if whole else [])])


def diff(store: Store, old: Sequence[Commit], new: Sequence[Commit]) -> pd.DataFrame:
    """Compare two selections of one asset's versions cell by cell; volatile columns do not count.

    Return one row for each difference: the key columns, `change` (added, removed or changed) and,
    for a changed cell, its `column` and its `old` and `new` values. In a table without a key a row
    is identified by its values and its `occurrence` among equal rows, so none is ever changed.
    """
    table = store.tables[old[0].asset]
    key = list(table.key) or [*table.names, "occurrence"]
    columns = [c.name for c in table.columns if not c.volatile and c.name not in key]
    # A column that one of them lacks is null there.
    before, after = (
        _index_by_key(store.read(commits), key).reindex(columns=columns) for commits in (old, new)
    )
    common = before.index.intersection(after.index)
    parts = [
        before.index.difference(after.index).to_frame(index=False).assign(change="removed"),
        after.index.difference(before.index).to_frame(index=False).assign(change="added"),
    ]
    for name in columns:
        values = pd.DataFrame(
            {"old": before.loc[common, name], "new": after.loc[common, name]}, dtype=object
        )
        is_equal = (values["old"] == values["new"]) | values.isna().all(axis=1)
        parts.append(values[~is_equal].reset_index().assign(change="changed", column=name))
    frame = pd.concat(parts, ignore_index=True)
    return frame.reindex(columns=[*key, "change", "column", "old", "new"])


def _index_by_key(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    if "occurrence" in key:
        frame = frame.assign(occurrence=frame.groupby(key[:-1], dropna=False).cumcount())
    return frame.set_index(key)


def _check_unambiguous(asset: str, commits: Sequence[Commit], run_id: str) -> None:
    runs = sorted({commit.run_id for commit in commits if commit.run_id.startswith(run_id)})
    if len(runs) > 1 and run_id not in runs:
        raise VersionNotFoundError(
            f"The ids of {len(runs)} runs that wrote {asset} begin with {run_id!r}:"
            f" {format_list(runs)}. Nothing is shown. Give more characters of the id."
        )


def _withdrawn_error(commit: Commit, withdrawal: Commit) -> VersionWithdrawnError:
    return VersionWithdrawnError(
        f"Version {commit.version} of {commit.as_input.label}, which this run or the one that it"
        f" re-executes wrote, was withdrawn on {withdrawal.as_of:%Y-%m-%d %H:%M} UTC. Nothing was"
        f" made from it. Publish the week again: `forecast-assets run --as-of"
        f" {commit.as_of.isoformat()}`."
    )


def _no_match_text(
    asset: str, commits: Sequence[Commit], conditions: Mapping[str, object], n_withdrawn: int
) -> str:
    if not commits and asset == WITHDRAWALS:
        return "No week was withdrawn, so there is nothing to show."
    if not commits and asset == DELIVERIES:
        return "Nothing was delivered, so there is nothing to show."
    if not commits and asset == OVERRIDES:
        return "No forecast was overridden, so there is nothing to show."
    if not commits and asset == HELD_FORECAST:
        return f"No forecast was ever held back, so {asset} has no version and nothing to show."
    if not commits:
        return (
            f"{asset} has no version yet, so there is nothing to show. Run a week to make one:"
            f" forecast-assets run."
        )
    given = [f"{name} {value}" for name, value in conditions.items() if value is not None]
    query = f" matches {', '.join(given)}" if given else " counts"
    withdrawn = f", of which {n_withdrawn} were withdrawn" if n_withdrawn else ""
    return (
        f"No version of {asset}{query}: it has versions 0 to {commits[-1].version}{withdrawn}."
        f" Nothing is shown. Run `forecast-assets history {asset}` to list them."
    )
