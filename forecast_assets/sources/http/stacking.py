"""Many frames made one, with few bytes a row: texts as categories, one set for each column."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.api.types import infer_dtype, union_categoricals


def lean(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values, those of a column that is all text as categories, all numbers as numbers."""
    if frame.empty:
        return frame
    return pd.DataFrame({name: _lean_column(frame[name]) for name in frame})


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all frames, in their order; every frame has the same columns, each once."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    kept = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.DataFrame({name: _stacked([frame[name] for frame in kept]) for name in frames[0]})


def _lean_column(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if values.dtype != object:
        return values
    if infer_dtype(values, skipna=True) == "string":
        return values.astype("category")
    is_even = infer_dtype(values, skipna=False) in ("integer", "floating")
    return values.infer_objects() if is_even else values


def _stacked(columns: "Sequence[pd.Series[Any]]") -> "pd.Series[Any]":
    dtypes = {column.cat.categories.dtype for column in columns if _is_categorical(column)}
    if len(dtypes) == 1 and all(map(_is_categorical, columns)):
        return pd.Series(union_categoricals(list(columns)))
    if len({column.dtype for column in columns}) > 1:  # an id of 7 is not to become one of 7.0
        columns = [column.astype(object) for column in columns]
    whole: pd.Series[Any] = pd.concat(columns, ignore_index=True)
    return whole


def _is_categorical(values: "pd.Series[Any]") -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)
