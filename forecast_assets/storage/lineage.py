"""Trace which versions descend from which, to refuse mixtures and to find stale assets.

`versions` finds a version; `store` keeps them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecast_assets.errors import MixedVintagesError, format_list
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets.storage.versions import Node, newest_of_each, rebuild_command

BACKTEST = "backtest_predictions"  # the only asset with partitions: one for each model
# The assets in the order of the data. Benchmarks and regressors are some where the settings have
# them; benchmarks are read as raw_data are, so that new data do not read them again.
ORDER = (ASSETS[0], BENCHMARK_FORECASTS, ASSETS[1], REGRESSORS, *ASSETS[2:])
OPTIONAL = (BENCHMARK_FORECASTS, REGRESSORS)


def ancestors(store: Store, commit: Commit) -> set[InputVersion]:
    """Return every version that a version was made from, directly or through others."""
    versions: set[InputVersion] = set()
    queue = list(commit.inputs)
    while queue:
        source = queue.pop()
        if source not in versions:
            versions.add(source)
            queue.extend(store.commit(source).inputs)
    return versions


def check_same_vintage(store: Store, inputs: Sequence[Commit], *, for_asset: str) -> None:
    """Refuse inputs that descend from different versions of one table.

    Versions with equal content (one data version) are the same vintage. Raises MixedVintagesError
    with every mismatch and the commands that repair them.
    """
    pairs = [(s, commit) for commit in inputs for s in {commit.as_input, *ancestors(store, commit)}]
    latest: dict[Node, InputVersion] = {}
    for source, _ in sorted(pairs, key=lambda pair: pair[0].version):
        latest[source.asset, source.partition] = source
    older: dict[Node, set[Commit]] = {}
    for source, commit in pairs:
        node = (source.asset, source.partition)
        if source.data_version != latest[node].data_version:
            older.setdefault(node, set()).add(commit)
    problems, stale = [], set()
    for node, commits in sorted(older.items(), key=str):
        names = format_list(sorted(commit.as_input.label for commit in commits), limit=20)
        problems.append(f"{names} descend from an older {' of '.join(filter(None, node))}")
        stale |= {step for commit in commits for step in _steps_between(store, node, commit)}
    if problems:
        raise MixedVintagesError(
            f"The inputs of {for_asset} come from different data: {'; '.join(problems)}. Nothing"
            f" was made, because scores and forecasts of a mixture cannot be compared. Rebuild what"
            f" is stale: {rebuild_command(stale)}"
        )


def _steps_between(store: Store, node: Node, commit: Commit) -> set[Node]:
    """Return the nodes on the way from a node to the commit, including the commit's own."""
    steps = {(commit.asset, commit.partition)}
    for source in ancestors(store, commit):
        upstream = ancestors(store, store.commit(source))
        if any((above.asset, above.partition) == node for above in upstream):
            steps.add((source.asset, source.partition))
    return steps


@dataclass(frozen=True)
class StaleAssets:
    """The assets to rebuild, in the order of the data, and a digest of the reason.

    The digest covers the contents upstream and the versions of the first stale asset. It stays
    the same if the same data arrive again or a rebuild fails before it writes a version.
    """

    assets: Sequence[str]
    state: str


def find_stale(
    store: Store, *, models: Sequence[str], as_of: datetime, optional: Sequence[str] = ()
) -> StaleAssets | None:
    """Return the first asset with older inputs than available, and everything downstream.

    `optional` names those of `OPTIONAL` that the settings have.
    Versions of equal content (one data version) count as the same. Return None if nothing is
    stale, and before the first whole week, when an asset or a model's partition has no version.
    """
    assets = [asset for asset in ORDER if asset in optional or asset not in OPTIONAL]
    latest = {
        (commit.asset, commit.partition): commit
        for asset in assets
        for commit in newest_of_each(store, asset, as_of=as_of)
    }
    required = [(a, m) for a in assets for m in (models if a == BACKTEST else [None])]
    if any(node not in latest for node in required):
        return None
    stale = next((node for node in required if not _is_current(latest[node], latest, models)), None)
    if stale is None:
        return None
    first = assets.index(stale[0])
    upstream = [(n, latest[n].data_version) for n in required if n[0] in assets[:first]]
    versions = [(n, latest[n].version) for n in required if n[0] == stale[0]]
    text = repr((upstream, versions, sorted(models))).encode()
    return StaleAssets(assets[first:], hashlib.blake2b(text, digest_size=16).hexdigest())


def _is_current(commit: Commit, latest: Mapping[Node, Commit], models: Sequence[str]) -> bool:
    """Tell whether a version was made from the newest inputs, of exactly the enabled models."""
    read = {source.partition for source in commit.inputs if source.asset == BACKTEST}
    return (not read or read == set(models)) and all(
        latest[source.asset, source.partition].data_version == source.data_version
        for source in commit.inputs
        if (source.asset, source.partition) in latest
    )
