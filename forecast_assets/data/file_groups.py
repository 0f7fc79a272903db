"""Find which files of a source overlap, by the rows that they have in common.

Files overlap if most of their common rows are equal, or if the end of one is the start of the
other. Files of several tills, with other values for the same series and times, do not; those that
are also split by time overlap with their own parts alone. What is done with common rows belongs to
`overlap`.
"""

import math
import re

import numpy as np
import pandas as pd

from forecast_assets.data.repeated_rows import Ints, row_keys

# Of common rows that are not zero; also of Cohen's kappa, which leaves out those equal by chance.
MOST = 0.5
MAX_CHANCE = 1e-3  # that so many rows are equal
NEARLY_ALL = 0.9  # of the rows of the common days are common
MAX_DISTANCE = 8  # files of the same rows between two that are compared: those of other tills
MAX_COMMON_DAYS = 0.5  # of the days of the longer file: two tills have nearly all days in common
RELATIVE_ROUNDING = 1e-9


def find_groups(rows: pd.DataFrame, cells: pd.DataFrame) -> tuple[Ints, Ints]:
    """Return two groups of each file: with its copies, and with all files that it overlaps: [F].

    Files of several tills, in parts that overlap, have rows in common with their own parts and with
    those of other tills. Own parts have equal values; only where none do, their days are enough.
    """
    days = rows.groupby("file")["ds"].agg(["min", "max"])
    chance = _equal_by_chance(rows)
    copies = np.arange(len(days))
    by_days: list[pd.DataFrame] = []
    for distance in range(1, MAX_DISTANCE + 1):
        pairs = pairs_of_cells(cells, ["key"], distance)
        if pairs.empty:
            break
        pairs = pairs[copies[pairs["first"]] != copies[pairs["second"]]]
        pairs["chance"] = pairs["series"].map(chance).fillna(1.0)
        are_copied = _are_copied(pairs) and _is_no_chance(pairs)
        telling = pairs[(pairs["y_first"] != 0) | (pairs["y_second"] != 0)]
        share = telling.groupby(["first", "second"])["is_equal"].transform("mean")
        for (first, second), pair in telling[share > MOST].groupby(["first", "second"]):
            if _are_copied(pair) and (are_copied or _is_no_chance(pair)):
                copies[copies == copies[second]] = copies[first]
        by_days.append(pairs[pairs["n_ends"] == 1])
    group = copies.copy()
    if by_days:
        for first, second in _successors(rows, cells, days, copies, pd.concat(by_days)):
            group[group == group[second]] = group[first]
    return copies, group


def _successors(
    rows: pd.DataFrame, cells: pd.DataFrame, days: pd.DataFrame, copies: Ints, pairs: pd.DataFrame
) -> list[tuple[int, int]]:
    """Return pairs of files of which one starts with the days at the end of the other.

    A pair does not count where copies of one of them already precede or follow it there.
    """
    pairs = pairs[copies[pairs["first"]] != copies[pairs["second"]]]
    file = cells["file"].to_numpy()
    start, end = (days[side].take(file).reset_index(drop=True) for side in ("min", "max"))
    of_copies = cells["key"].to_numpy() * len(days) + copies[file]
    is_preceded = (start.groupby(of_copies).transform("min") < start).to_numpy()
    is_followed = (end.groupby(of_copies).transform("max") > end).to_numpy()
    pairs = pairs[~is_followed[pairs["at_first"]] & ~is_preceded[pairs["at_second"]]]
    by_file = dict(iter(rows.groupby("file")))
    return [
        (first, second)
        for first, second in pairs[["first", "second"]].drop_duplicates().itertuples(index=False)
        if _is_end_the_start(by_file[first], by_file[second])
    ]


def with_later_versions(rows: pd.DataFrame, cells: pd.DataFrame, group: Ints) -> Ints:
    """Return the group of each file with those that have other values for its rows: [F].

    Only groups of several files whose newest days alternate, as those of tills do, stay apart.
    """
    ends = rows.groupby("file")["ds"].max().groupby(group).agg(["min", "max", "size"])
    merged = group.copy()
    at = cells.assign(file=group[cells["file"]]).drop_duplicates(["key", "file"])
    at = at.sort_values(["key", "file"])
    for distance in range(1, MAX_DISTANCE + 1):
        pairs = pairs_of_cells(at, ["key"], distance)[["first", "second"]].drop_duplicates()
        a, b = (ends.loc[pairs[side]].reset_index(drop=True) for side in ("first", "second"))
        is_later = (a["max"] < b["min"]) | (b["max"] < a["min"])
        is_merged = is_later | (a["size"] == 1) | (b["size"] == 1)
        for one, other in pairs[is_merged.to_numpy()].itertuples(index=False):
            merged[merged == merged[other]] = merged[one]
    return merged


def rows_of_files(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    """Return the valid rows of several files, `row, key, series, ds, file, y`, and the names.

    `row` is their place in raw_data, `file` that of their file in the order of the newest day of
    files, then of their names with digits as numbers.
    """
    valid = raw[raw["file"].notna() & raw["problem"].isna()] if "file" in raw else raw.head(0)
    file, names = pd.factorize(valid.get("file", valid["unique_id"]))
    newest = valid["ds"].groupby(file).max().dt.normalize()
    order = sorted(newest.index, key=lambda code: (newest[code], _natural(str(names[code]))))
    columns = {
        "row": valid.index,
        "key": row_keys(valid),
        "series": pd.factorize(valid["unique_id"])[0],
        "ds": valid["ds"].to_numpy(),
        "file": np.argsort(order)[file],
        "y": valid["y"].to_numpy(),
    }
    return pd.DataFrame(columns), pd.Index(names.take(order))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts digits as numbers: s_9 before s_10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def shared_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the series and times that several files have: `key, file, row, series, n, y, n_ends`.

    `row` is the first of the `n` rows of a file, `y` their sum; sorted by key and file. `n_ends`
    counts the newest days of the files up to this one.
    """
    columns = ["key", "file", "row", "series", "y"]
    repeats = rows.loc[rows["key"].duplicated(keep=False), columns].fillna({"y": 0.0})
    repeats = repeats.iloc[np.lexsort((repeats["file"], repeats["key"]))]
    at = np.flatnonzero(~repeats.duplicated(["key", "file"]).to_numpy())
    y = np.add.reduceat(repeats["y"].to_numpy(), at)
    cells = repeats.iloc[at].assign(n=np.diff(np.append(at, len(repeats))), y=y)
    cells = cells[cells["key"].duplicated(keep=False)].reset_index(drop=True)
    end = cells["file"].map(rows.groupby("file")["ds"].max().dt.normalize())
    return cells.assign(n_ends=(end != end.shift()).cumsum())


def are_equal(cells: pd.DataFrame, others: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which cells have as many rows as others, and equal sums: [N]."""
    is_close = np.isclose(cells["y"], others["y"], rtol=RELATIVE_ROUNDING, atol=0)
    return (cells["n"] == others["n"]) & is_close


def pairs_of_cells(cells: pd.DataFrame, at: list[str], distance: int = 1) -> pd.DataFrame:
    """Return each cell with the one before it at the same place: `row, first, second, y_…, …`.

    `n_ends` counts the newest days of files from the one to the other; `at_…` are their places.
    """
    columns = [cells[name].to_numpy() for name in at]
    is_pair = np.logical_and.reduce([column[distance:] == column[:-distance] for column in columns])
    ends = (at_first := np.flatnonzero(is_pair), at_second := at_first + distance)
    first, second = (cells.take(places).reset_index(drop=True) for places in ends)
    return second.rename(columns={"file": "second", "y": "y_second"}).assign(
        first=first["file"],
        y_first=first["y"],
        is_equal=are_equal(second, first),
        n_ends=second["n_ends"] - first["n_ends"],
        at_first=at_first,
        at_second=at_second,
    )


def _equal_by_chance(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return, by series, the chance that two of its values other than zero are equal."""
    counts = rows[rows["y"] != 0].groupby(["series", "y"]).size()
    by_series = counts.groupby("series").sum()
    chance: pd.Series[float] = (counts**2).groupby("series").sum() / by_series**2
    return chance


def _are_copied(pairs: pd.DataFrame) -> bool:
    """Return whether most of the common rows are equal, and more than by chance."""
    telling = pairs[(pairs["y_first"] != 0) | (pairs["y_second"] != 0)]
    is_equal, chance = telling["is_equal"], telling["chance"]
    more = (is_equal - chance).sum() > MOST * (1 - chance).sum()
    return bool(more and is_equal.mean() > MOST)


def _is_no_chance(pairs: pd.DataFrame) -> bool:
    chance = pairs.loc[pairs["is_equal"] & (pairs["y_first"] != 0), "chance"]
    return bool(np.log(chance).sum() < math.log(MAX_CHANCE))


def _is_end_the_start(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Return whether the last days of one file are the first days of the other, with its rows."""
    early, late = sorted((first, second), key=lambda rows: rows["ds"].min())
    start, end = late["ds"].min(), early["ds"].max()
    if not early["ds"].min() < start <= end < late["ds"].max():
        return False
    ends, starts = early[early["ds"] >= start], late[late["ds"] <= end]
    n_common = ends["key"].drop_duplicates().isin(starts["key"]).sum()
    n_days, *of_files = (part["ds"].dt.normalize().nunique() for part in (ends, early, late))
    are_nearly_all = n_common >= NEARLY_ALL * min(ends["key"].nunique(), starts["key"].nunique())
    return bool(are_nearly_all and n_days <= MAX_COMMON_DAYS * max(of_files))
