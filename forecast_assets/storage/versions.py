"""Looking back: which version answers a question, and how two of them differ.

Keeping versions is the business of `store`.
"""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from forecast_assets.errors import VersionNotFoundError, format_list
from forecast_assets.storage.commit import Commit, newest
from forecast_assets.storage.lineage import rebuild_command
from forecast_assets.storage.store import Store


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
        raise VersionNotFoundError(
            _nothing_answers(asset, commits, partitions, version, as_of, run_id)
        )
    by_partition: dict[str | None, list[Commit]] = {}
    for commit in found:
        by_partition.setdefault(commit.partition, []).append(commit)
    pick = newest if version is None else lambda some: some[-1]
    return [pick(some) for _, some in sorted(by_partition.items(), key=lambda item: str(item[0]))]


def previous_versions(
    store: Store, asset: str, *, before: datetime, made_from: str, other_than: str, most: int
) -> list[Commit]:
    """The newest versions that were made from other content, the newest first, `most` at most.

    `made_from` names the input whose data version tells contents apart; `other_than` is the one
    that does not count. Of several versions made from one content, the newest does.
    """
    commits = sorted(
        (commit for commit in store.history(asset) if commit.as_of < before),
        key=lambda commit: (commit.as_of, commit.version),
        reverse=True,
    )
    seen, found = {other_than}, []
    for commit in commits:
        content = next((i.data_version for i in commit.inputs if i.asset == made_from), "")
        if content not in seen:
            seen.add(content)
            found.append(commit)
    return found[:most]


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


def _refuse_ambiguous(asset: str, commits: Sequence[Commit], run_id: str) -> None:
    runs = sorted({commit.run_id for commit in commits if commit.run_id.startswith(run_id)})
    if len(runs) > 1 and run_id not in runs:
        raise VersionNotFoundError(
            f"{len(runs)} runs that wrote {asset} begin with {run_id!r}: {format_list(runs)}. Which one"
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
        f"partition {format_list(partitions)}" if partitions else "",
        f"version {version}" if version is not None else "",
        f"known on {as_of.isoformat()}" if as_of else "",
        f"run {run_id}" if run_id else "",
    ]
    there = f"versions 0 to {commits[-1].version}" if commits else "no version at all"
    remedy = (
        f"`forecast-assets history {asset}` lists them"
        if commits
        else f"make one: {rebuild_command([(asset, None)])}"
    )
    return (
        f"{asset} has nothing that answers to {', '.join(filter(None, asked)) or 'that'}: it has"
        f" {there}, so there is nothing to show. {remedy[0].upper()}{remedy[1:]}."
    )
