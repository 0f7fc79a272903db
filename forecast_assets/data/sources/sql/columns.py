"""Rows that a database sends, chunk by chunk, to a frame that takes little memory.

The order of its rows depends on nothing but the rows: a database sends them as it pleases.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from forecast_assets.errors import SourceError

WORD = 8  # bytes that a value takes at least
NUMBERS = ("integer", "floating", "mixed-integer-float")


class ColumnBuilder:
    """Columns of one table, as they are filled: `names` and, of them, the one that holds ids."""

    def __init__(self, names: Sequence[str], *, ids: str, origin: str) -> None:
        self._columns = {name: _Column(name, is_id=name == ids, origin=origin) for name in names}

    def add(self, columns: Sequence[Sequence[Any]]) -> int:
        """Take the values of some more rows, column by column; how many bytes they held."""
        every = zip(self._columns.values(), columns, strict=True)
        return sum(column.add(values) for column, values in every)

    def frame(self, *, by: Sequence[str]) -> pd.DataFrame:
        """All rows, sorted by the columns `by`; those that are alike in them stay as they came."""
        frame = pd.DataFrame({name: one.joined() for name, one in self._columns.items()})
        order = np.lexsort([_ranks(frame[name]) for name in reversed(by)])
        return frame.iloc[order].reset_index(drop=True)


class _Column:
    """Numbers and times as arrays; ids, texts and the rest as categories, each kept once."""

    def __init__(self, name: str, *, is_id: bool, origin: str) -> None:
        self._name, self._is_id, self._origin = name, is_id, origin
        self._n = 0
        self._arrays: list[pd.Series] = []
        self._codes: list[pd.Series] = []
        self._code_of: dict[Any, int] = {}

    def add(self, values: Sequence[Any]) -> int:
        rows = pd.RangeIndex(self._n, self._n + len(values))
        self._n += len(values)
        array = None if self._is_id else _array(values, rows)
        if array is None:
            self._codes.append(pd.Series(self._coded(values), index=rows))
            texts = (len(value) for value in values if isinstance(value, str | bytes))
            return WORD * len(values) + sum(texts)
        if array.notna().any():  # an array of nothing has no type to speak of
            self._arrays.append(array)
        return WORD * len(values)

    def _coded(self, values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
        code_of = self._code_of
        try:
            codes = [
                -1 if value is None else code_of.setdefault(value, len(code_of)) for value in values
            ]
        except TypeError as error:
            raise SourceError(
                f"The column {self._name} of {self._origin} holds values of the type"
                f" {str(error).split()[-1]}, which are no names, times or numbers. Nothing was"
                f" published. Take out of them what is meant, in `source.query`."
            ) from error
        return np.array(codes, dtype=np.int32)

    def joined(self) -> pd.Series:
        parts = self._arrays
        if self._codes:
            codes = pd.concat(self._codes)
            every = pd.Index(list(self._code_of), dtype=object)
            coded = pd.Series(pd.Categorical.from_codes(codes, every), index=codes.index)
            parts = [one.astype(object) for one in (*parts, coded)] if parts else [coded]
        whole = pd.concat(parts) if parts else pd.Series(dtype="float64")
        rows = pd.RangeIndex(self._n)
        return whole if whole.index.equals(rows) else whole.reindex(rows)


def _array(values: Sequence[Any], rows: pd.RangeIndex) -> pd.Series | None:
    """The values as numbers or times; None where they are something else."""
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "empty":
        return pd.Series(np.nan, index=rows)
    if kind == "date":
        days = pa.array(values, pa.date32()).to_numpy(zero_copy_only=False)
        return pd.Series(days.astype("datetime64[s]"), index=rows)
    if kind == "decimal":
        floats = [np.nan if value is None else float(value) for value in values]
        return pd.Series(floats, index=rows)
    series = pd.Series(values, dtype=object, index=rows)
    if kind in NUMBERS:
        return pd.to_numeric(series)
    times = series.infer_objects()
    return times if pd.api.types.is_datetime64_any_dtype(times) else None


def _ranks(values: pd.Series) -> np.ndarray[Any, Any]:
    """Numbers that sort as the values do; missing ones first or last, but always there."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        texts = [(str(one), type(one).__name__) for one in values.cat.categories]
        rank_of = np.empty(len(texts) + 1, dtype=np.int64)
        rank_of[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        rank_of[-1] = -1
        return rank_of.take(values.cat.codes)
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.dt.tz_localize(None)
        return values.to_numpy().view(np.int64)
    if pd.api.types.is_numeric_dtype(values):
        numbers: np.ndarray[Any, Any] = values.to_numpy()
        return numbers
    return _ranks(values.astype("category"))
