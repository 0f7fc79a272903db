"""Take rows that several files of a source have in common as `source.overlap` says.

Which files overlap belongs to `file_groups`.
"""

from collections.abc import Callable

import pandas as pd

from forecast_assets.data.file_groups import (
    are_equal,
    find_groups,
    pairs_of_cells,
    rows_of_files,
    shared_cells,
    with_later_versions,
)
from forecast_assets.errors import DataError, format_list


def resolve_overlap(raw: pd.DataFrame, how: str, *, note: Callable[[str], None]) -> pd.DataFrame:
    """Return raw_data without rows that other files have too, if `how` is "once" or "latest_file".

    The latest file is the one with the newest day, then the last by name (s_9 before s_10). Groups
    of files that each overlap among themselves, as those of several tills, are all kept.

    Raises DataError if rows are to be taken once and the files have different values for them, or
    if it is unclear which of two files is the later one.
    """
    rows, names = rows_of_files(raw)
    cells = shared_cells(rows)
    if how not in ("once", "latest_file") or cells.empty:
        return raw
    copies, found = find_groups(rows, cells)
    cells["group"] = with_later_versions(rows, cells, found)[cells["file"]]
    added_up = _format_added_up(cells, names)
    cells = cells[cells.duplicated(["key", "group"], keep=False)]
    if cells.empty:
        return raw
    by_group = cells.groupby(["key", "group"])
    if how == "once":
        is_equal = are_equal(cells, by_group[["n", "y"]].transform("first"))
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
    rows, names = rows_of_files(raw)
    cells = shared_cells(rows)
    if cells.empty:
        return pd.DataFrame()
    _, group = find_groups(rows, cells)
    cells = cells.assign(group=group[cells["file"]]).sort_values(["key", "group", "file"])
    overlaps = pairs_of_cells(cells, ["key", "group"])
    files = {side: names.to_numpy()[overlaps[side]] for side in ("first", "second")}
    given = raw.loc[overlaps["row"], ["unique_id", "ds"]].reset_index(drop=True)
    return given.assign(**files).join(overlaps[["y_first", "y_second", "is_equal"]])


def _check_order(cells: pd.DataFrame, names: pd.Index) -> None:
    """Raise DataError if two files end on one day, and are no copies where their values differ."""
    at = ["key", "group", "n_ends"]
    first = cells.groupby(at)[["n", "y", "copies", "file"]].transform("first")
    is_unclear = (first["copies"] != cells["copies"]) & ~are_equal(cells, first)
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
