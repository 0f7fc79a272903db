"""Find rows that two files of a source have in common, and take them as `source.overlap` says.

Files overlap if most of their common rows are equal, or if the end of one is the start of the
other. Files of several tills, with other values for the same series and times, do not.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from forecast_assets.data.repeated_rows import row_keys
from forecast_assets.errors import DataError, format_list

# Of the common rows that are not zero in both files; also of Cohen's kappa, which leaves out those
# that are equal by chance, as small numbers often are.
MOST = 0.5
MAX_CHANCE = 1e-3  # that so many rows are equal
NEARLY_ALL = 0.9  # of the rows of the common days are common
MAX_COMMON_DAYS = 0.5  # of the days of the longer file: two tills have nearly all days in common
RELATIVE_ROUNDING = 1e-9


def resolve_overlap(raw: pd.DataFrame, how: str, *, note: Callable[[str], None]) -> pd.DataFrame:
    """Return raw_data without rows that other files have too, if `how` is "once" or "latest_file".

    Raises DataError if rows are to be taken once and the files have different values for them.
    """
    rows, names = _rows_of_files(raw)
    cells = _shared_cells(rows)
    if how not in ("once", "latest_file") or cells.empty:
        return raw
    by_key = cells.groupby("key")
    if how == "once":
        is_equal = _is_equal(cells, by_key[["n", "y"]].transform("first"))
        if not is_equal.all():
            raise _different_error(raw, cells, set(cells["key"][~is_equal]), names)
    chosen = by_key["file"].agg("last" if how == "latest_file" else "first")
    is_left_out = rows["file"] != rows["key"].map(chosen).fillna(rows["file"])
    which = "the last one" if how == "latest_file" else "one of them"
    note(f"{is_left_out.sum()} rows that several files have are taken from {which}")
    return raw.drop(index=rows.loc[is_left_out, "row"]).reset_index(drop=True)


def find_overlaps(raw: pd.DataFrame) -> pd.DataFrame:
    """Return what overlapping files have in common: a row for each series, time and two files.

    The columns are `unique_id, ds`, `first, second` (the files' names), `y_first, y_second` (their
    values, summed where there are several) and `is_equal`.
    """
    rows, names = _rows_of_files(raw)
    pairs = _pairs(_shared_cells(rows))
    if pairs.empty:
        return pd.DataFrame()
    pairs["chance"] = pairs["series"].map(_equal_by_chance(rows)).fillna(1.0)
    by_file = dict(iter(rows.groupby("file")))
    are_copied = _are_copied(pairs) and _is_no_chance(pairs)
    found = [
        pair
        for (first, second), pair in pairs.groupby(["first", "second"])
        if (_are_copied(pair) and (are_copied or _is_no_chance(pair)))
        or _is_end_the_start(by_file[first], by_file[second])
    ]
    overlaps = pd.concat(found) if found else pairs.head(0)
    files = {side: names.to_numpy()[overlaps[side]] for side in ("first", "second")}
    columns = ["y_first", "y_second", "is_equal"]
    given = raw.loc[overlaps["row"], ["unique_id", "ds"]].reset_index(drop=True)
    return given.assign(**files).join(overlaps[columns].reset_index(drop=True))


def _rows_of_files(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    """Return the valid rows of several files, `row, key, series, ds, file, y`, and the names.

    `row` is their place in raw_data, `file` that of their file in the order of names.
    """
    if "file" not in raw or raw["file"].isna().all():
        return pd.DataFrame(columns=["row", "key", "series", "ds", "file", "y"]), pd.Index([])
    valid = raw[raw["file"].notna() & raw["problem"].isna()]
    file, names = pd.factorize(valid["file"], sort=True)
    columns = {
        "row": valid.index,
        "key": row_keys(valid),
        "series": pd.factorize(valid["unique_id"])[0],
        "ds": valid["ds"].to_numpy(),
        "file": file,
        "y": valid["y"].to_numpy(),
    }
    return pd.DataFrame(columns), pd.Index(names)


def _shared_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the series and times that several files have: `key, file, row, series, n, y`.

    `row` is the first of the `n` rows of a file, `y` their sum; sorted by key and file.
    """
    repeats = rows[rows["key"].duplicated(keep=False)]
    cells = repeats.groupby(["key", "file"], as_index=False).agg(
        row=("row", "first"), series=("series", "first"), n=("row", "size"), y=("y", "sum")
    )
    return cells[cells["key"].duplicated(keep=False)]


def _is_equal(cells: pd.DataFrame, others: pd.DataFrame) -> "pd.Series[bool]":
    is_close = np.isclose(cells["y"], others["y"], rtol=RELATIVE_ROUNDING, atol=0)
    return (cells["n"] == others["n"]) & is_close


def _pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return each cell with that of the file before it: `row, series, first, second, y_…`."""
    before = cells.shift()
    pairs = pd.DataFrame(
        {
            "row": cells["row"],
            "series": cells["series"],
            "first": before["file"],
            "second": cells["file"],
            "y_first": before["y"],
            "y_second": cells["y"],
            "is_equal": _is_equal(cells, before),
        }
    )[cells["key"] == before["key"]]
    return pairs.astype({"first": np.int64})


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
    is_most = bool(is_equal.sum() > MOST * len(telling))
    return is_most and bool((is_equal - chance).sum() > MOST * (1 - chance).sum())


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
    n_common = cells["key"].nunique()
    return DataError(
        f"Several files have different values for {len(keys)} of {n_common} series and times that"
        f" they have in common: {format_list(texts, total=len(keys))}. With"
        f' `source.overlap = "once"` they have to be equal, so nothing was published. Set it to'
        f' "latest_file" to take those of the last file by name, or to "sum" to add them up, as of'
        f" several tills."
    )
