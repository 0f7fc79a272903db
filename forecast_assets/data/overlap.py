"""Find rows that two files of a source have in common, and take them as `source.overlap` says.

Files overlap if most of their common rows are equal, or if the end of one is the start of the
other. Files of several tills, with other values for the same series and times, do not; those that
are also split by time overlap with their own parts alone.
"""

import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from forecast_assets.data.repeated_rows import Ints, row_keys
from forecast_assets.errors import DataError, format_list

# Of common rows that are not zero; also of Cohen's kappa, which leaves out those equal by chance.
MOST = 0.5
MAX_CHANCE = 1e-3  # that so many rows are equal
NEARLY_ALL = 0.9  # of the rows of the common days are common
MAX_DISTANCE = 8  # files of the same rows between two that are compared: those of other tills
MAX_COMMON_DAYS = 0.5  # of the days of the longer file: two tills have nearly all days in common
RELATIVE_ROUNDING = 1e-9


def resolve_overlap(raw: pd.DataFrame, how: str, *, note: Callable[[str], None]) -> pd.DataFrame:
    """Return raw_data without rows that other files have too, if `how` is "once" or "latest_file".

    The latest file is the one with the newest day, then the last by name (s_9 before s_10). Groups
    of files that each overlap among themselves, as those of several tills, are all kept.

    Raises DataError if rows are to be taken once and the files have different values for them, or
    if it is unclear which of two files is the later one.
    """
    rows, names = _rows_of_files(raw)
    cells = _shared_cells(rows)
    if how not in ("once", "latest_file") or cells.empty:
        return raw
    copies, found = _overlapping(rows, cells)
    cells["group"] = _with_later_versions(rows, cells, found)[cells["file"]]
    added_up = _format_added_up(cells, names)
    cells = cells[cells.duplicated(["key", "group"], keep=False)]
    if cells.empty:
        return raw
    by_group = cells.groupby(["key", "group"])
    if how == "once":
        is_equal = _is_equal(cells, by_group[["n", "y"]].transform("first"))
        if not is_equal.all():
            raise _different_error(raw, cells, set(cells["key"][~is_equal]), names)
    else:
        _check_order(cells.assign(copies=copies[cells["file"]]), names)
    taken = by_group["file"].transform("last" if how == "latest_file" else "first")
    left_out = cells.assign(taken=taken)[taken != cells["file"]]
    of_rows, of_cells = (each["key"] * len(names) + each["file"] for each in (rows, left_out))
    is_left_out = of_rows.isin(of_cells).to_numpy()
    which = "one of them"
    if how == "latest_file":
        pairs = left_out[["taken", "file"]].drop_duplicates().itertuples(index=False)
        texts = (f"{names[one]} instead of {names[other]}" for one, other in pairs)
        which = f"the file with the newest day: {format_list([*texts])}"
    note(f"{is_left_out.sum()} rows that several files have are taken from {which}{added_up}")
    return raw[~raw.index.isin(rows["row"].to_numpy()[is_left_out])].reset_index(drop=True)


def find_overlaps(raw: pd.DataFrame) -> pd.DataFrame:
    """Return what overlapping files have in common: a row for each series, time and two files.

    The columns are `unique_id, ds`, `first, second` (the files' names), `y_first, y_second` (their
    values, summed where there are several) and `is_equal`.
    """
    rows, names = _rows_of_files(raw)
    cells = _shared_cells(rows)
    if cells.empty:
        return pd.DataFrame()
    _, group = _overlapping(rows, cells)
    cells = cells.assign(group=group[cells["file"]]).sort_values(["key", "group", "file"])
    overlaps = _pairs(cells, ["key", "group"])
    files = {side: names.to_numpy()[overlaps[side]] for side in ("first", "second")}
    given = raw.loc[overlaps["row"], ["unique_id", "ds"]].reset_index(drop=True)
    return given.assign(**files).join(overlaps[["y_first", "y_second", "is_equal"]])


def _overlapping(rows: pd.DataFrame, cells: pd.DataFrame) -> tuple[Ints, Ints]:
    """Return two groups of each file: with its copies, and with all files that it overlaps: [F].

    Files of several tills, in parts that overlap, have rows in common with their own parts and with
    those of other tills. Own parts have equal values; only where none do, their days are enough.
    """
    days = rows.groupby("file")["ds"].agg(["min", "max"])
    chance = _equal_by_chance(rows)
    copies = np.arange(len(days))
    by_days: list[pd.DataFrame] = []
    for distance in range(1, MAX_DISTANCE + 1):
        pairs = _pairs(cells, ["key"], distance)
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


def _with_later_versions(rows: pd.DataFrame, cells: pd.DataFrame, group: Ints) -> Ints:
    """Return the group of each file with those that have other values for its rows: [F].

    Only groups of several files whose newest days alternate, as those of tills do, stay apart.
    """
    ends = rows.groupby("file")["ds"].max().groupby(group).agg(["min", "max", "size"])
    merged = group.copy()
    at = cells.assign(file=group[cells["file"]]).drop_duplicates(["key", "file"])
    at = at.sort_values(["key", "file"])
    for distance in range(1, MAX_DISTANCE + 1):
        pairs = _pairs(at, ["key"], distance)[["first", "second"]].drop_duplicates()
        a, b = (ends.loc[pairs[side]].reset_index(drop=True) for side in ("first", "second"))
        is_later = (a["max"] < b["min"]) | (b["max"] < a["min"])
        is_merged = is_later | (a["size"] == 1) | (b["size"] == 1)
        for one, other in pairs[is_merged.to_numpy()].itertuples(index=False):
            merged[merged == merged[other]] = merged[one]
    return merged


def _check_order(cells: pd.DataFrame, names: pd.Index) -> None:
    """Raise DataError if two files end on one day, and are no copies where their values differ."""
    at = ["key", "group", "n_ends"]
    first = cells.groupby(at)[["n", "y", "copies", "file"]].transform("first")
    is_unclear = (first["copies"] != cells["copies"]) & ~_is_equal(cells, first)
    if not is_unclear.any():
        return
    both = zip(first["file"][is_unclear], cells["file"][is_unclear], strict=True)
    texts = [f"{names[one]} and {names[other]}" for one, other in dict.fromkeys(both)]
    raise DataError(
        f"{is_unclear.sum()} series and times have different values in files that end on the same"
        f" day: {format_list(texts)}. Neither file is known to be the later one, so with"
        f' `source.overlap = "latest_file"` nothing was published. If they are files of several'
        f' tills, set it to "sum"; if one corrects the other, remove the other; if both, put them'
        f' together in a function (`kind = "python"`).'
    )


def _format_added_up(cells: pd.DataFrame, names: pd.Index) -> str:
    """Describe the groups of files that have rows in common and are added up."""
    by_key = cells.groupby("key")["group"]
    groups = cells["group"][by_key.transform("min") < by_key.transform("max")].unique()
    files = cells.drop_duplicates("file").groupby("group")["file"]
    texts = [f"{names[files.min()[g]]} and {files.size()[g] - 1} more" for g in sorted(groups)]
    return f"; these groups of files are added up: {format_list(texts)}" if texts else ""


def _rows_of_files(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
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


def _shared_cells(rows: pd.DataFrame) -> pd.DataFrame:
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


def _is_equal(cells: pd.DataFrame, others: pd.DataFrame) -> "pd.Series[bool]":
    is_close = np.isclose(cells["y"], others["y"], rtol=RELATIVE_ROUNDING, atol=0)
    return (cells["n"] == others["n"]) & is_close


def _pairs(cells: pd.DataFrame, at: list[str], distance: int = 1) -> pd.DataFrame:
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
        is_equal=_is_equal(second, first),
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


def _different_error(
    raw: pd.DataFrame, cells: pd.DataFrame, keys: set[int], names: pd.Index
) -> DataError:
    texts = []
    for _, rows in cells[cells["key"].isin(sorted(keys)[:5])].groupby("key"):
        given = raw.loc[rows["row"].iloc[0]]
        values = (
            f"{y:g} in {names[file]}" for y, file in zip(rows["y"], rows["file"], strict=True)
        )
        texts.append(f"{given['unique_id']} / {given['ds']:%Y-%m-%d} ({', '.join(values)})")
    return DataError(
        f"Several files have different values for {len(keys)} of {cells['key'].nunique()} series"
        f" and times that they have in common: {format_list(texts, total=len(keys))}. With"
        f' `source.overlap = "once"` they have to be equal, so nothing was published. Set it to'
        f' "latest_file" to take those of the file with the newest day, or to "sum" to add all of'
        f" them up, as of several tills."
    )
