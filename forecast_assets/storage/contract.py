"""Check a frame against its table's contract: columns, types, key and rules.

`tables` defines the contracts; `store` keeps the tables.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from forecast_assets.errors import DataError, format_list

# A "string" is a str or None. A "date" is midnight without a zone, a "datetime" the source's wall
# clock and a "timestamp" in UTC, the last two in whole microseconds, as the store keeps them. A
# "bool" column with nulls holds objects: True, False or None.
Kind = Literal["string", "float", "int", "bool", "date", "datetime", "timestamp"]
DTYPES: Mapping[Kind, Any] = {"float": "float64", "int": "int64", "bool": "bool"}
Values: TypeAlias = "pd.Series[Any]"
Rule = Callable[[pd.DataFrame], "pd.Series[bool]"]


@dataclass(frozen=True)
class Column:
    """One column: its kind, its meaning with the unit, and whether it may be null.

    A volatile column does not count in the data version: it may differ between runs on the same
    data. An optional one may be absent, and counts only where it holds a value, so that frames
    without it keep the version that they had before there was such a column.
    """

    name: str
    kind: Kind
    description: str
    nullable: bool = False
    volatile: bool = False
    optional: bool = False


@dataclass(frozen=True)
class TableContract:
    """The contract of one table.

    A rule is a sentence and a function that returns one bool for each row, true if the sentence
    holds. `partition_by` names the column whose values are the partitions.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: str | None = None
    rules: tuple[tuple[str, Rule], ...] = ()

    @property
    def names(self) -> list[str]:
        """Return the columns' names in order."""
        return [column.name for column in self.columns]

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame arranged, after checking its nulls, key and rules. Raises DataError."""
        frame = self.arrange(frame)
        problems = [
            f"{problem} in {int(is_bad.sum())} of {len(frame)} rows ({self._keys(frame[is_bad])})"
            for problem, is_bad in self._violations(frame)
            if is_bad.any()
        ]
        if problems:
            raise self._error("; ".join(problems))
        return frame

    def arrange(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the contract's columns, types and key order.

        Raises DataError if a column is missing, unknown or duplicated, or a value does not fit.
        """
        optional = (column.name for column in self.columns if column.optional)
        frame = frame.assign(**{name: None for name in optional if name not in frame})
        if not frame.columns.is_unique or set(frame.columns) != set(self.names):
            lists: dict[str, Iterable[str]] = {
                "missing": [name for name in self.names if name not in frame.columns],
                "unknown": [name for name in frame.columns if name not in self.names],
                "duplicated": frame.columns[frame.columns.duplicated()],
            }
            text = "; ".join(f"{k}: {format_list(names) or 'none'}" for k, names in lists.items())
            raise self._error(f"its columns differ ({text})")
        typed = {}
        for column in self.columns:
            try:
                typed[column.name] = cast(frame[column.name], column.kind)
            except (ValueError, TypeError, OverflowError) as error:
                raise self._error(f"`{column.name}` is not {column.kind}: {error}") from error
        return self.sort_rows(pd.DataFrame(typed))

    def sort_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Sort the rows by the key, or by all columns if the table has none."""
        by = [name for name in self.key or self.names if name in frame.columns]
        if not self.key:  # empty columns do not count
            by = [name for name in by if frame[name].notna().any()] or by
        order = np.lexsort([_sortable(frame[name]) for name in reversed(by)])
        return frame.iloc[order].reset_index(drop=True)

    def data_version(self, frame: pd.DataFrame) -> str:
        """Return a digest of an arranged frame (32 hex digits).

        Volatile columns and optional ones without a value do not count. Equal frames have equal
        digests on every machine and under every library version.
        """
        counted = (c for c in self.columns if not c.volatile)
        return digest(
            frame,
            {c.name: c.kind for c in counted if not c.optional or frame[c.name].notna().any()},
        )

    def empty(self) -> pd.DataFrame:
        """Return a frame without rows that keeps the contract."""
        return self.arrange(pd.DataFrame({name: [] for name in self.names}))

    def _violations(self, frame: pd.DataFrame) -> Iterator[tuple[str, "pd.Series[bool]"]]:
        """Yield everything that can be wrong and the rows where it is."""
        for column in self.columns:
            if not column.nullable:
                yield f"`{column.name}` is null", frame[column.name].isna()
        if self.key:
            is_duplicate = frame.duplicated(list(self.key), keep=False)
            yield f"the key ({', '.join(self.key)}) is not unique", is_duplicate
        for sentence, rule in self.rules:
            yield f'the rule "{sentence}" is broken', ~rule(frame)

    def _keys(self, rows: pd.DataFrame) -> str:
        keys = rows[list(self.key) or self.names].itertuples(index=False)
        return format_list(
            " / ".join(str(part.date() if isinstance(part, pd.Timestamp) else part) for part in key)
            for key in keys
        )

    def _error(self, problem: str) -> DataError:
        return DataError(
            f"The table `{self.name}` breaks its contract: {problem}. It was not written; earlier"
            f" versions are unchanged. Correct the rows or the code that made them, and run again."
        )


def digest(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> str:
    """Return a digest of the values of the named columns, in row order (32 hex digits).

    It depends on names, kinds and values alone, not on the columns' order or memory layout.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for name, kind in sorted(kinds.items()):
        hashed.update(f"{name}:{kind}:{len(frame)};".encode())
        for part in _canonical(frame[name], kind):
            hashed.update(part)
    return hashed.hexdigest()


def cast(values: Values, kind: Kind) -> Values:
    """Convert values to the dtype of their kind, without rounding or parsing them.

    Raises ValueError, TypeError or OverflowError if a value does not fit.
    """
    if kind == "string":
        return _to_strings(values)
    if kind in ("date", "datetime", "timestamp"):
        return _to_times(values, kind)
    if kind == "bool" and values.isna().any():
        flags: Values = values.astype("boolean").astype("object")
        flags[values.isna()] = None
        return flags
    typed: Values = values.astype(DTYPES[kind])
    if kind != "float" and (typed != values).any():
        raise ValueError(f"the conversion would change {format_list(values[typed != values])}")
    return typed


def _to_strings(values: Values) -> Values:
    texts: Values = values.astype("object")
    texts[values.isna()] = None
    if pd.api.types.infer_dtype(texts, skipna=True) not in ("string", "empty"):
        raise TypeError(f"it holds {pd.api.types.infer_dtype(texts, skipna=True)} values")
    return texts


def _to_times(values: Values, kind: Kind) -> Values:
    if pd.api.types.is_numeric_dtype(values) and values.notna().any():
        raise TypeError("numbers are not times")
    if kind == "timestamp":
        instants = pd.to_datetime(values, utc=True, format="ISO8601")
        return instants.astype("datetime64[ns, UTC]").dt.floor("us")
    times: Values = values.astype("datetime64[ns]").dt.floor("us")
    if kind == "date" and (times.dt.normalize() < times).any():
        raise ValueError("dates must not have a time of day")
    return times


def _canonical(values: Values, kind: Kind) -> list[Any]:
    """Return bytes that depend on the values alone: nulls and lengths first, then the content."""
    null = values.isna().to_numpy()
    if kind == "string":
        strings = pa.array(values, type=pa.large_string(), from_pandas=True)
        offsets = np.frombuffer(strings.buffers()[1], dtype="<i8", count=len(strings) + 1)
        data = strings.buffers()[2]
        joined = b"" if data is None else memoryview(data)[offsets[0] : offsets[-1]]
        return [null.tobytes(), np.diff(offsets).tobytes(), joined]
    if kind == "float":
        floats = values.to_numpy(dtype="<f8", copy=True)
        floats[null] = np.nan  # a NaN has many bit patterns
        return [(floats + 0.0).tobytes()]  # -0.0 becomes 0.0
    if kind == "bool" and null.any():
        return [null.tobytes(), values.eq(other=True).to_numpy().astype("<i8").tobytes()]
    if kind in ("int", "bool"):
        return [values.to_numpy().astype("<i8").tobytes()]
    nanoseconds = values.dt.as_unit("ns").astype("int64").to_numpy()
    return [null.tobytes(), nanoseconds.astype("<i8").tobytes()]


def _sortable(values: Values) -> NDArray[Any]:
    """Return numbers in the order of the values, with nulls as the greatest."""
    null = values.isna().to_numpy()
    if values.dtype == object:
        codes, _ = pd.factorize(values, sort=True)
        return np.where(codes < 0, len(codes), codes)
    if values.dtype.kind == "M":
        times = values.astype("int64").to_numpy()
        return np.where(null, np.iinfo(np.int64).max, times)
    numbers = values.to_numpy()
    return np.where(null, np.inf, numbers) if null.any() else numbers
