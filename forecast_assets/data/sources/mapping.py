"""From a source's own columns to `unique_id, ds, y`: renamed and typed, nothing else changed.

What a column holds is judged by its distinct values: millions of rows have few ids and days.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from forecast_assets.errors import DataError, SourceError, format_list
from forecast_assets.storage.contract import Values

YEARS = (1678, 2261)  # all of them fit into 64 bits of nanoseconds
WRITTEN = r"\s*\d{4}-?\d\d-?\d\d(?:[Tt ].*)?\s*"  # `now` and 1999.5 are no times, to a person
OFFSET = r"\d[Tt ]\d.*?([Zz]|[+-]\d\d(?::?\d\d)?)$"  # at the end of a time of day
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _ColumnProblem:
    """What some of the rows hold in a column, and should not."""

    is_bad: Mask
    what: str


@dataclass(frozen=True)
class _ParsedColumn:
    """A column in its type, null where it is at fault; a row has one fault of a column at most."""

    typed: Values
    faults: list[_ColumnProblem]


def as_raw_data(
    rows: pd.DataFrame,
    *,
    columns: Mapping[str, str],
    origin: str,
    zone: ZoneInfo | None = None,
    is_kept_aside: bool = False,
) -> pd.DataFrame:
    """Take the mapped columns of `rows` as text ids, wall-clock times and numbers.

    `columns` maps unique_id, ds and y to the source's names; `origin` names the source in errors.
    A missing y stays missing. Times with a UTC offset become the wall clock's of `zone`; where
    that is None, times with one offset lose it: a week is counted in the source's own days.

    Where bad rows are kept aside, `problem` says what is wrong with a row and `given` is the row
    as it came (JSON); both are null in all others, and ids, times and numbers that cannot be read
    are null too.

    Raises SourceError where a mapped column is not there or there twice, and DataError where there
    are no rows, or none that can be used; where offsets differ and there is no zone; and, unless
    such rows are kept aside, where an id or a time is missing, an id is no name, a time is not ISO
    8601 or far off, or y is not a finite number.
    """
    rows = rows.reset_index(drop=True)
    _refuse_columns(rows, columns, origin=origin)
    read = {
        "unique_id": _ids(rows[columns["unique_id"]]),
        "ds": _times(rows[columns["ds"]], zone, origin=origin),
        "y": _numbers(rows[columns["y"]]),
    }
    raw = pd.DataFrame({name: one.typed for name, one in read.items()})
    found = [(columns[name], fault) for name, one in read.items() for fault in one.faults]
    if not found:
        return raw.assign(problem=None, given=None)
    is_bad = np.logical_or.reduce([fault.is_bad for _, fault in found])
    if not is_kept_aside or is_bad.all():
        raise _refusal(rows, *found[0], origin=origin)
    problem, given = np.full((2, len(rows)), None, dtype=object)
    for column, fault in found:
        for row in np.flatnonzero(fault.is_bad):
            said = f"`{column}` holds {fault.what}"
            problem[row] = f"{problem[row]}; {said}" if problem[row] else said
    bad = rows.loc[is_bad, list(dict.fromkeys(columns.values()))]
    given[is_bad] = [_as_json(row) for row in bad.astype(object).to_dict("records")]
    return raw.assign(problem=problem, given=given)


def _refuse_columns(rows: pd.DataFrame, columns: Mapping[str, str], *, origin: str) -> None:
    absent = [source for source in columns.values() if source not in rows.columns]
    if absent:
        raise SourceError(
            f"{origin} has no column {format_list(absent)}; it has {format_list(rows.columns, limit=12)}."
            f" Without it no series can be made, and nothing was published. Say which columns hold"
            f" unique_id, ds and y in [source] of forecast.toml."
        )
    twice = [source for source in columns.values() if list(rows.columns).count(source) > 1]
    if twice:
        raise SourceError(
            f"{origin} has more than one column {format_list(dict.fromkeys(twice))}. Which one is meant"
            f" would be a guess, so nothing was published. Give the columns names of their own."
        )
    if rows.empty:
        raise DataError(
            f"{origin} holds no series at all: 0 rows. Nothing was published. Look at what fills"
            f" the source."
        )


def _distinct(values: Values) -> tuple[NDArray[np.intp], Values]:
    """The distinct values, and which of them each row holds: -1 where it holds none."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy().astype(np.intp), pd.Series(values.cat.categories)
    told_apart = ("string", "date", "datetime", "integer", "empty")
    if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) in told_apart:
        codes, distinct = pd.factorize(values)
        return codes, pd.Series(distinct, dtype=distinct.dtype)
    codes = np.where(values.isna(), -1, np.arange(len(values)))  # 1, 1.0 and True are three ids
    return codes, values.astype(object)


def _spread(codes: NDArray[np.intp], distinct: Values, missing: object) -> Values:
    """The distinct values back in their rows."""
    wide = pd.concat([distinct, pd.Series([missing], dtype=distinct.dtype)], ignore_index=True)
    return pd.Series(wide.to_numpy()[codes])


def _ids(values: Values) -> _ParsedColumn:
    codes, distinct = _distinct(values)
    plain = distinct.astype(object)
    is_name = plain.map(_is_name).astype(bool)
    faults = [
        _ColumnProblem(codes < 0, "no series (the id is missing)"),
        _ColumnProblem(np.append(~is_name, False)[codes], "no name for a series"),
    ]
    texts = plain.where(is_name).map(str, na_action="ignore").astype(object)
    return _read(_spread(codes, texts, None), faults)


def _is_name(value: object) -> bool:
    """Text that is neither blank nor broken, or a single value that is written as one."""
    if isinstance(value, str):
        return bool(value.strip()) and value.encode(errors="ignore").decode() == value
    return pd.api.types.is_scalar(value) and not isinstance(value, bytes)


def _read(values: Values, faults: list[_ColumnProblem]) -> _ParsedColumn:
    return _ParsedColumn(values, [fault for fault in faults if fault.is_bad.any()])


def _numbers(values: Values) -> _ParsedColumn:
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=False) == "decimal":
        # One that signals raises wherever pandas touches it.
        plain = [str(one) if one.is_snan() else one for one in values]
        values = pd.Series(plain, index=values.index, name=values.name, dtype=object)
    numbers = _floats(values)
    is_infinite = np.isinf(numbers.to_numpy())
    faults = [
        _ColumnProblem((numbers.isna() & values.notna()).to_numpy(), "no number"),
        _ColumnProblem(is_infinite, "an infinite number"),
    ]
    return _read(numbers.mask(is_infinite) if is_infinite.any() else numbers, faults)


def _floats(values: Values) -> "pd.Series[float]":
    """The numbers in float64; missing where there is none, or a larger one than float64 holds."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = _distinct(values)
        return _spread(codes, _floats(distinct), float("nan"))
    if values.dtype.kind in "mMc":  # times, durations and complex numbers
        return pd.Series(float("nan"), index=values.index)
    if isinstance(values.dtype, pd.ArrowDtype):
        try:
            fast = pa.chunked_array(pa.array(values)).cast(pa.float64())
        except pa.ArrowInvalid:
            values = values.astype(object)
        else:
            return pd.Series(fast.to_numpy())
    try:
        numbers = pd.to_numeric(values, errors="coerce")
    except OverflowError:
        texts = values.astype(str).where(values.notna())
        numbers = pd.to_numeric(texts, errors="coerce")
    return _floats(numbers) if numbers.dtype.kind == "c" else numbers.astype("float64")


def _times(values: Values, zone: ZoneInfo | None, *, origin: str) -> _ParsedColumn:
    if pd.api.types.is_numeric_dtype(values):
        is_there = values.notna().to_numpy()
        faults = [
            _ColumnProblem(~is_there, "no time"),
            _ColumnProblem(is_there, "a bare number for a time"),
        ]
        return _read(pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns]"), faults)
    codes, distinct = _distinct(values)
    if pd.api.types.is_datetime64_any_dtype(distinct):
        is_far = ~distinct.dt.year.between(*YEARS)
        what = "a time outside the years {} to {}".format(*YEARS)
        times = _wall_clock(distinct.mask(is_far), zone)
    else:
        what = "no ISO 8601 time (such as 2026-11-20)"
        times = _written(distinct.map(str), codes, zone, origin=origin)
        is_far = times.isna()
    faults = [
        _ColumnProblem(codes < 0, "no time"),
        _ColumnProblem(np.append(is_far, False)[codes], what),
    ]
    return _read(_spread(codes, times, pd.NaT), faults)


def _written(
    texts: Values, codes: NDArray[np.intp], zone: ZoneInfo | None, *, origin: str
) -> Values:
    """Times from ISO 8601 texts; missing where a text is none."""
    is_time = texts.str.fullmatch(WRITTEN).to_numpy(dtype=bool)
    texts = texts.where(is_time, "none")
    offsets = texts.str.extract(OFFSET)[0].fillna("none")
    counts = offsets.iloc[codes[(codes >= 0) & np.append(is_time, False)[codes]]].value_counts()
    if zone is None and len(counts) > 1:
        raise DataError(
            f"The times in {origin} are of {len(counts)} time zones: "
            f"{format_list(f'{offset} in {n} rows' for offset, n in counts.items())}. Which week a row"
            f" belongs to would be a guess, so nothing was published. Name the source's own zone in"
            f' `source.timezone`, such as "Europe/Vienna", or write all times in one.'
        )
    if len(counts) <= 1 and zone is None:
        times = pd.to_datetime(texts, format="ISO8601", errors="coerce")
        return _wall_clock(times, None)
    has_none = offsets == "none"
    return pd.concat(
        [
            _wall_clock(pd.to_datetime(some, format="ISO8601", errors="coerce", utc=is_utc), zone)
            for some, is_utc in ((texts[has_none], False), (texts[~has_none], True))
        ]
    ).sort_index()


def _wall_clock(times: Values, zone: ZoneInfo | None) -> Values:
    if zone is not None and times.dt.tz is not None:
        times = times.dt.tz_convert(zone)
    return times.dt.tz_localize(None).astype("datetime64[ns]")


def _as_json(row: Mapping[Any, object]) -> str:
    """A row as it came; of what JSON cannot hold, the text."""
    plain = {str(name): None if _is_missing(value) else value for name, value in row.items()}
    return json.dumps(plain, default=str)


def _is_missing(value: Any) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _refusal(rows: pd.DataFrame, column: str, fault: _ColumnProblem, *, origin: str) -> DataError:
    bad = rows.loc[fault.is_bad, column]
    first = bad.head()
    places = [
        f"row {row}: {value!r}" for row, value in zip(first.index + 1, first.tolist(), strict=True)
    ]
    return DataError(
        f"{len(bad)} of {len(rows)} rows of {origin}, column `{column}`,"
        f" hold {fault.what}: {format_list(places, total=len(bad))}. Nothing was published, and earlier"
        f" versions stand. Mend the source, map another column in [source] of forecast.toml, or set"
        f' `source.on_bad_rows = "quarantine"` there to go on without such rows.'
    )
