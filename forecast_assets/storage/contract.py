"""The tables of the week as contracts: columns, types, keys and rules, checked when written.

Turns a frame into one that keeps its table's contract, or refuses it. Where tables are kept and
how they are computed does not belong here.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from forecast_assets.errors import DataError, format_list

Kind = Literal["string", "float", "int", "bool", "date", "datetime", "timestamp"]
Values: TypeAlias = "pd.Series[Any]"
Rule = Callable[[pd.DataFrame], "pd.Series[bool]"]

DTYPES: Mapping[Kind, Literal["float64", "int64", "bool", "datetime64[ns]"]] = {
    "float": "float64",
    "int": "int64",
    "bool": "bool",
    "date": "datetime64[ns]",  # midnight, no zone
}
# A "string" is an object or None; a "datetime" is the wall clock of the source and a "timestamp"
# is in UTC, both in whole microseconds, which is what the store keeps.


@dataclass(frozen=True)
class Column:
    """One column: its kind, what it means (with its unit), and whether it may be null."""

    name: str
    kind: Kind
    description: str
    nullable: bool = False
    volatile: bool = False  # differs between runs on the same input: not part of the data version


@dataclass(frozen=True)
class TableContract:
    """A table's contract.

    `rules` maps a sentence to a function from the frame to one bool a row, true where the sentence
    holds. `partition_by` names the column whose values are the partitions.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: str | None = None
    rules: tuple[tuple[str, Rule], ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame arranged, once it is sure that it keeps the contract.

        Raises DataError where it cannot be arranged, a null stands where none may, a key comes
        twice, or a rule is broken.
        """
        frame = self.arrange(frame)
        self._validate(frame)
        return frame

    def check_partition(self, frame: pd.DataFrame, partition: str | None) -> None:
        """Raise DataError where rows are not of the partition that they are to be written as."""
        by, wrong = self.partition_by, None
        if by is None:
            wrong = f"{self.name} has no partitions" if partition is not None else None
        elif not partition:  # Delta keeps an empty value as none at all
            wrong = f"a version of {self.name} needs the name of its {by}"
        elif strays := sorted(set(frame[by]) - {partition}):
            wrong = f"they hold rows of {format_list(strays)}"
        if wrong:
            raise DataError(
                f"{len(frame)} rows cannot be written as the partition {partition!r} of"
                f" {self.name}: {wrong}. Nothing was written, and earlier versions stand. Write"
                f" each partition's rows under its own name."
            )

    def arrange(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame in the contract's columns, types and key order; values unchecked.

        Raises DataError where a column is missing or unknown, or a value does not fit its type.
        """
        if not frame.columns.is_unique or set(frame.columns) != set(self.names):
            missing = [name for name in self.names if name not in frame.columns]
            unknown = [name for name in frame.columns if name not in self.names]
            twice = frame.columns[frame.columns.duplicated()]
            raise self._refusal(
                f"its columns differ (missing: {format_list(missing) or 'none'};"
                f" unknown: {format_list(unknown) or 'none'}; twice: {format_list(twice) or 'none'})"
            )
        typed = {}
        for column in self.columns:
            try:
                typed[column.name] = cast(frame[column.name], column.kind)
            except (ValueError, TypeError, OverflowError) as error:
                raise self._refusal(f"`{column.name}` is not {column.kind}: {error}") from error
        return self.sort_rows(pd.DataFrame(typed))

    def sort_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows in the order of the key; of all columns, where the table has no key."""
        by = [name for name in self.key or self.names if name in frame.columns]
        order = _order([frame[name] for name in by])
        return (frame if order is None else frame.iloc[order]).reset_index(drop=True)

    def data_version(self, frame: pd.DataFrame) -> str:
        """Identify the content of an arranged frame, the volatile columns left out (32 hex digits).

        Equal frames have equal versions on every machine and under every library version.
        """
        return digest(frame, {c.name: c.kind for c in self.columns if not c.volatile})

    def empty(self) -> pd.DataFrame:
        """A frame of no rows that keeps the contract."""
        return self.arrange(pd.DataFrame({name: [] for name in self.names}))

    def _validate(self, frame: pd.DataFrame) -> None:
        broken = {
            f"`{column.name}` is null": frame[column.name].isna()
            for column in self.columns
            if not column.nullable
        }
        if self.key:
            broken[f"the key ({', '.join(self.key)}) comes twice"] = _comes_twice(
                frame[list(self.key)]
            )
        broken |= {f"it does not hold that {says}": ~rule(frame) for says, rule in self.rules}
        said = [
            f"{what} in {int(is_bad.sum())} of {len(frame)} rows ({self._named(frame[is_bad])})"
            for what, is_bad in broken.items()
            if is_bad.any()
        ]
        if said:
            raise self._refusal("; ".join(said))

    def _named(self, rows: pd.DataFrame) -> str:
        keys = rows[list(self.key) or self.names]
        return format_list(" / ".join(map(_plain, key)) for key in keys.itertuples(index=False))

    def _refusal(self, what: str) -> DataError:
        return DataError(
            f"The table `{self.name}` breaks its contract: {what}. It was not written, and its"
            f" earlier versions stand. Mend the rows or the code that made them, and run again."
        )


def digest(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> str:
    """Identify the values of the named columns, row by row (32 hex digits).

    Depends on nothing but the columns' names, kinds and values: not on the order in which the
    columns are named, nor on how a library lays them out.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for name, kind in sorted(kinds.items()):
        hashed.update(f"{name}:{kind}:{len(frame)};".encode())
        for part in _canonical(frame[name], kind):
            hashed.update(part)
    return hashed.hexdigest()


def cast(values: Values, kind: Kind) -> Values:
    """The values in their kind's dtype.

    Raises ValueError, TypeError or OverflowError where one does not fit: a value is never
    rounded, read as text or taken for another kind's.
    """
    if kind == "string":
        return _texts(values)
    if kind in ("date", "datetime", "timestamp"):
        return _times(values, kind)
    typed: Values = values.astype(DTYPES[kind])
    if kind != "float" and (typed != values).any():
        raise ValueError(f"it would change {format_list(values[typed != values])}")
    return typed


def _texts(values: Values) -> Values:
    texts: Values = values.astype("object")
    texts[values.isna()] = None
    if pd.api.types.infer_dtype(texts, skipna=True) not in ("string", "empty"):
        raise TypeError(f"it holds {pd.api.types.infer_dtype(texts, skipna=True)} values")
    return texts


def _times(values: Values, kind: Kind) -> Values:
    if pd.api.types.is_numeric_dtype(values) and values.notna().any():
        raise TypeError("a number is no time")
    if kind == "timestamp":
        moments = pd.to_datetime(values, utc=True, format="ISO8601")
        return moments.astype("datetime64[ns, UTC]").dt.floor("us")
    times: Values = values.astype("datetime64[ns]").dt.floor("us")
    if kind == "date" and (times.dt.normalize() < times).any():
        raise ValueError("a date has no time of day")
    return times


def _canonical(values: Values, kind: Kind) -> list[Any]:
    """Bytes that depend on nothing but the values: lengths and nulls first, then the content."""
    null = values.isna().to_numpy()
    if kind == "string":
        texts = pa.array(values, type=pa.large_string(), from_pandas=True)
        offsets = np.frombuffer(texts.buffers()[1], dtype="<i8", count=len(texts) + 1)
        data = texts.buffers()[2]
        joined = b"" if data is None else memoryview(data)[offsets[0] : offsets[-1]]
        return [null.tobytes(), np.diff(offsets).tobytes(), joined]
    if kind == "float":
        floats = values.to_numpy(dtype="<f8", copy=True)
        floats[null] = np.nan  # a NaN has many bit patterns
        return [(floats + 0.0).tobytes()]  # -0.0 becomes 0.0
    if kind in ("date", "datetime", "timestamp"):
        return [
            null.tobytes(),
            values.dt.as_unit("ns").astype("int64").to_numpy().astype("<i8").tobytes(),
        ]
    return [values.to_numpy().astype("<i8").tobytes()]


def _comes_twice(keys: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows share their key with a neighbour; the rows are in the order of the key."""
    is_same: Any = True
    for name in keys:
        values = keys[name].to_numpy()
        is_same = is_same & (values[1:] == values[:-1])
    return pd.Series(
        np.append(is_same, False)[: len(keys)] | np.append(False, is_same)[: len(keys)]
    )


def _order(columns: Sequence[Values]) -> NDArray[np.intp] | None:
    """The order of the rows by these columns, nulls last; None where they are in it.

    Rows mostly are; to see it takes the first columns alone.
    """
    keys = []
    is_tied: Any = True
    for values in columns:
        keys.append(key := _sortable(values))
        if (is_tied & (key[1:] < key[:-1])).any():
            keys += [_sortable(rest) for rest in columns[len(keys) :]]
            return np.lexsort(keys[::-1])
        is_tied = is_tied & (key[1:] == key[:-1])
        if not is_tied.any():
            break
    return None


def _sortable(values: Values) -> NDArray[Any]:
    """Numbers in the order of the values, those of nulls the greatest."""
    null = values.isna().to_numpy()
    if values.dtype == object:
        codes, _ = pd.factorize(values, sort=True)
        return np.where(codes < 0, len(codes), codes)
    if values.dtype.kind == "M":
        moments = values.astype("int64").to_numpy()
        return np.where(null, np.iinfo(np.int64).max, moments)
    numbers = values.to_numpy()
    return np.where(null, np.inf, numbers) if null.any() else numbers


def _plain(value: object) -> str:
    return str(value.date()) if isinstance(value, pd.Timestamp) else str(value)
