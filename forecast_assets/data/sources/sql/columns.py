"""Convert the rows that a database sends, chunk by chunk, to a frame that needs little memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

NUMBERS = ("integer", "floating", "mixed-integer-float", "empty")


def to_frame(
    chunks: Iterable[Sequence[Sequence[Any]]], columns: Sequence[str], *, ids: str
) -> pd.DataFrame:
    """Return the rows of all chunks; a row has one value per column, `ids` names the id column."""
    parts: dict[str, list[pd.Series]] = {name: [] for name in columns}
    kept: dict[str, dict[Any, Any]] = {name: {} for name in columns}
    for rows in chunks:
        for name, values in zip(columns, zip(*rows, strict=True), strict=True):
            parts[name].append(_compact(values, kept[name], is_id=name == ids))
    empty = [pd.Series(dtype="float64")]
    return pd.DataFrame(
        {name: pd.concat(series or empty, ignore_index=True) for name, series in parts.items()}
    )


def _compact(values: Sequence[Any], kept: dict[Any, Any], *, is_id: bool) -> pd.Series:
    """Store numbers and times as arrays, and equal ids, texts and other values as one object."""
    column = pd.Series(values, dtype=object)
    kind = "id" if is_id else pd.api.types.infer_dtype(column, skipna=True)
    if kind == "decimal":
        return column.astype("float64")
    if kind == "date":
        return column.astype("datetime64[s]")
    if kind == "datetime":
        return column.infer_objects()
    if kind in NUMBERS:
        return pd.to_numeric(column)
    try:
        return column.map(lambda value: kept.setdefault(value, value), na_action="ignore")
    except TypeError:  # JSON and arrays cannot be looked up; they are refused with their rows
        return column


def sort(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Sort rows so that their order depends on nothing but their values."""
    return frame.sort_values(list(by), key=_sort_key, kind="stable", ignore_index=True)


def _sort_key(column: pd.Series) -> pd.Series:
    """Compare values of mixed types as texts."""
    if column.dtype != object:
        return column
    return column.map(str, na_action="ignore").astype("category")
