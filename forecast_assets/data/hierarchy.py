"""Build the parents of `[hierarchy]`: series that are the sum of their children.

The columns `parent` and `is_sum` of `series` say which these are. Forecasts of them that add up
belong to `forecasting.reconciliation`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.hierarchy_settings import HierarchySettings
from forecast_assets.errors import DataError, format_list

# A parent of the source may differ from its children's sum by this share of it: they are rounded.
ROUNDING = 1e-3
# How the values of children become that of their parent.
REDUCE: Mapping[str, np.ufunc] = {"y": np.add, "coverage": np.minimum, "is_filled": np.maximum}


def find_parents(ids: Iterable[str], hierarchy: HierarchySettings) -> dict[str, str]:
    """Return the parent of each series and parent that has one.

    Raises DataError where an id fits no level, or the hierarchy is no tree.
    """
    names = dict.fromkeys(ids)
    pairs = list(_pairs_of_levels(names, hierarchy.levels))
    names |= dict.fromkeys([parent for _, parent in pairs] + [*hierarchy.parents])
    for parent, patterns in hierarchy.parents.items():
        children = dict.fromkeys(name for p in patterns for name in _matches(p, names))
        pairs += [(name, parent) for name in children if name != parent]
    _check_one_parent(pairs)
    parents = dict(pairs)
    if hierarchy.total:
        roots = [name for name in names if name not in parents and name != hierarchy.total]
        parents |= dict.fromkeys(roots, hierarchy.total)
    _check_no_cycle(parents)
    return parents


def with_totals(
    frame: pd.DataFrame,
    hierarchy: HierarchySettings,
    *,
    is_absence_zero: bool = False,
    today: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Append the parents that are absent to rows `unique_id, ds, y`; add `parent` and `is_sum`.

    A parent has the weeks in which all of its children have a value; with `is_absence_zero`, those
    in which any has one. Its `coverage` is the least of theirs, and it is filled if one of theirs
    is. Raises DataError as `find_parents` does, or where a parent has no week at all.

    `today` names the series of today's source where the frame is of the past: computed parents of
    the frame are then summed again, and a parent is absent if a child is or if it has no week.
    """
    if not hierarchy.is_set:
        return frame
    ids = frame["unique_id"].unique() if today is None else today
    parents = find_parents(ids, hierarchy)
    if today is not None:
        frame = frame[~frame["unique_id"].isin({*parents.values()} - {*today})]
    sums = _sum_children(frame, parents, is_absence_zero=is_absence_zero, is_past=today is not None)
    rows = pd.concat([frame.assign(is_sum=False), sums.assign(is_sum=True)], ignore_index=True)
    rows = rows.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)
    return rows.assign(parent=rows["unique_id"].map(parents))


def without_totals(series: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `series` that come from the source."""
    is_sum = is_computed(series)
    return series[~is_sum].reset_index(drop=True) if is_sum.any() else series


def is_computed(series: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows of `series` are sums and not of the source: [N]."""
    if "is_sum" not in series:
        return np.zeros(len(series), dtype=bool)
    return series["is_sum"].eq(other=True).to_numpy(dtype=bool)


def count_children(series: pd.DataFrame) -> dict[str, int]:
    """Return the number of children of each parent of `series`; empty if there is none."""
    if "parent" not in series:
        return {}
    counts = series.drop_duplicates("unique_id")["parent"].value_counts()
    return {str(name): int(n) for name, n in counts.items()}


def check_children(series: pd.DataFrame, hierarchy: HierarchySettings) -> None:
    """Raise DataError where names or patterns of `hierarchy.parents` match no child."""
    names = list(series["unique_id"].unique())
    unmatched = [
        f"{pattern} of {parent}"
        for parent, patterns in hierarchy.parents.items()
        for pattern in patterns
        if not {*_matches(pattern, names)} - {parent}
    ]
    if unmatched:
        raise DataError(
            f"{len(unmatched)} names or patterns in `[hierarchy.parents]` match no series:"
            f" {format_list(unmatched)}. Their totals would lack them, so nothing was published."
            f" Correct or remove them in forecast.toml; the series are {format_list(names)}."
        )


def differing_totals(series: pd.DataFrame) -> pd.DataFrame:
    """Return `unique_id, ds, y, total` where a parent of the source differs from its children.

    `total` is the sum of the children. Weeks that were filled, of the parent or a child, and those
    that a child does not have do not count.
    """
    empty = pd.DataFrame(columns=["unique_id", "ds", "y", "total"])
    if "parent" not in series or series["parent"].isna().all():
        return empty
    is_held = series["unique_id"].isin(series["parent"]) & ~is_computed(series)
    if not is_held.any():
        return empty
    real = series[~series["is_filled"].to_numpy(dtype=bool)]
    sums = real.groupby(["parent", "ds"])["y"].agg(total="sum", n="size").reset_index()
    n_children = series.groupby("parent")["unique_id"].nunique()
    sums = sums[sums["n"] == sums["parent"].map(n_children)].rename(columns={"parent": "unique_id"})
    both = real.loc[is_held.loc[real.index], ["unique_id", "ds", "y"]].merge(sums.drop(columns="n"))
    differs = (both["y"] - both["total"]).abs() > ROUNDING * both["total"].abs()
    return both[differs].reset_index(drop=True)


def _pairs_of_levels(ids: Iterable[str], levels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each id and its parent by the parts of the ids, and these parents with theirs."""
    if not levels:
        return
    depths = [level.count("/") + 1 for level in levels]
    ids = list(ids)
    unfit = [name for name in ids if name.count("/") + 1 not in depths]
    if unfit:
        raise DataError(
            f"{len(unfit)} of {len(ids)} series fit no level of `hierarchy.levels`"
            f" ({format_list(levels)}): {format_list(unfit)}. A series has as many parts, separated"
            f" by a slash, as its level, so nothing was published. Correct the names or the levels;"
            f' `source.unique_id = ["region", "store"]` joins columns to such a name.'
        )
    seen: set[str] = set()
    for name in ids:
        parts = name.split("/")
        above = [depth for depth in depths if depth < len(parts)]
        chain = ["/".join(parts[:depth]) for depth in above] + [name]
        for parent, child in pairwise(chain):
            if child not in seen:
                seen.add(child)
                yield child, parent


def _matches(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that equal or match a pattern."""
    if not any(character in pattern for character in "*?["):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatchcase(name, pattern)]


def _check_one_parent(pairs: Sequence[tuple[str, str]]) -> None:
    of_child: dict[str, list[str]] = {}
    for child, parent in pairs:
        of_child.setdefault(child, []).append(parent)
    several = [
        f"{child} ({' and '.join(dict.fromkeys(parents))})"
        for child, parents in of_child.items()
        if len({*parents}) > 1
    ]
    if several:
        raise DataError(
            f"{len(several)} series have more than one parent: {format_list(several)}. Such a"
            f" hierarchy is no tree, and its totals would count them twice, so nothing was"
            f" published. Give each series one parent in `[hierarchy]` of forecast.toml;"
            f" `hierarchy.total` is the parent of those that have no other."
        )


def _check_no_cycle(parents: Mapping[str, str]) -> None:
    is_rooted: set[str] = set()
    for name in parents:
        path: dict[str, None] = {}
        node: str | None = name
        while node is not None and node not in is_rooted and node not in path:
            path[node] = None
            node = parents.get(node)
        if node in path:
            cycle = [*path][[*path].index(str(node)) :]
            raise DataError(
                f"{len(cycle)} series are sums of each other: {' < '.join([*cycle, cycle[0]])}."
                f" Such a hierarchy is no tree, so nothing was published. Remove one of these"
                f" parents from `[hierarchy.parents]` in forecast.toml."
            )
        is_rooted.update(path)


def _sum_children(
    frame: pd.DataFrame, parents: Mapping[str, str], *, is_absence_zero: bool, is_past: bool
) -> pd.DataFrame:
    """Return the rows of the parents that are not in the frame."""
    columns = [name for name in REDUCE if name in frame]
    grids = frame.astype(dict.fromkeys(columns, "float64")).pivot(
        index="ds", columns="unique_id", values=columns
    )
    weeks = grids.index
    of = {name: grids[name].to_numpy().T for name in columns}  # [S, W] each
    position = {name: i for i, name in enumerate(grids["y"].columns)}
    values = {name: {c: of[c][i] for c in columns} for name, i in position.items()}
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    made = []
    for parent in sorted(children, key=lambda name: -_depth(name, parents)):
        known = [values[child] for child in children[parent] if child in values]
        is_part = is_past and not is_absence_zero and len(known) < len(children[parent])
        if parent in values or not known or is_part:
            continue
        parts = {c: np.stack([of_child[c] for of_child in known]) for c in columns}
        has_value = ~np.isnan(parts["y"])
        is_week = has_value.any(axis=0) if is_absence_zero else has_value.all(axis=0)
        if is_past and not is_week.any():
            continue
        reduced = {c: REDUCE[c].reduce(np.nan_to_num(parts[c]), axis=0) for c in columns}
        values[parent] = {c: np.where(is_week, reduced[c], np.nan) for c in columns}
        made.append(pd.DataFrame({"unique_id": parent, "ds": weeks, **values[parent]})[is_week])
    if without := [name for name, of_name in values.items() if np.isnan(of_name["y"]).all()]:
        raise DataError(
            f"{len(without)} parents have no week in which all of their children have a value:"
            f" {format_list(without)}. They cannot be forecast, so nothing was published. Take"
            f" series that have ended out of the source or, if a week without rows is a zero, set"
            f' `series.missing = "zero"`.'
        )
    rows = pd.concat(made, ignore_index=True) if made else frame.head(0)[["unique_id", "ds", "y"]]
    return rows.astype({name: frame[name].dtype for name in columns if name in rows})


def _depth(name: str, parents: Mapping[str, str]) -> int:
    """Return how many parents are above a name."""
    depth = 0
    while name in parents:
        name, depth = parents[name], depth + 1
    return depth
