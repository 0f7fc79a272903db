"""From a source's own columns to `unique_id, ds, y`: renamed and typed, nothing else changed."""

from collections.abc import Mapping

import pandas as pd

from forecast_assets.errors import DataError, SourceError, listed

YEARS = (1678, 2261)  # all of them fit into 64 bits of nanoseconds


def as_raw_data(rows: pd.DataFrame, *, columns: Mapping[str, str], origin: str) -> pd.DataFrame:
    """Take the mapped columns of `rows` as text ids, wall-clock times and numbers.

    `columns` maps unique_id, ds and y to the source's names; `origin` names the source in errors.
    A missing y stays missing. Times with one UTC offset lose it: a week is counted in the
    source's own days.

    Raises SourceError where a mapped column is not there or there twice, and DataError where there
    are no rows, an id or a time is missing, an id is no name, a time is not ISO 8601 or far off,
    offsets differ, or y is not a finite number.
    """
    rows = rows.reset_index(drop=True)
    absent = [source for source in columns.values() if source not in rows.columns]
    if absent:
        raise SourceError(
            f"{origin} has no column {listed(absent)}; it has {listed(rows.columns, most=12)}."
            f" Without it no series can be made, and nothing was published. Say which columns hold"
            f" unique_id, ds and y in [source] of forecast.toml."
        )
    twice = [source for source in columns.values() if list(rows.columns).count(source) > 1]
    if twice:
        raise SourceError(
            f"{origin} has more than one column {listed(dict.fromkeys(twice))}. Which one is meant"
            f" would be a guess, so nothing was published. Give the columns names of their own."
        )
    if rows.empty:
        raise DataError(
            f"{origin} holds no series at all: 0 rows. Nothing was published. Look at what fills"
            f" the source."
        )
    return pd.DataFrame(
        {
            "unique_id": _ids(rows[columns["unique_id"]], origin=origin),
            "ds": _times(rows[columns["ds"]], origin=origin),
            "y": _numbers(rows[columns["y"]], origin=origin),
        }
    )


def _ids(values: pd.Series, *, origin: str) -> pd.Series:
    _refuse(values, values.isna(), "have no series (the id is missing)", origin=origin)
    plain = values.astype(object)
    _refuse(values, ~plain.map(_is_name).astype(bool), "hold no name for a series", origin=origin)
    return plain.astype(str).astype(object)


def _is_name(value: object) -> bool:
    """Text that is neither blank nor broken, or a single value that is written as one."""
    if isinstance(value, str):
        return bool(value.strip()) and value.encode(errors="ignore").decode() == value
    return pd.api.types.is_scalar(value) and not isinstance(value, bytes)


def _numbers(values: pd.Series, *, origin: str) -> pd.Series:
    numbers = _floats(values)
    _refuse(values, numbers.isna() & values.notna(), "hold no number", origin=origin)
    _refuse(values, numbers.abs() == float("inf"), "hold an infinite number", origin=origin)
    return numbers


def _floats(values: pd.Series) -> pd.Series:
    """The numbers in float64; missing where there is none, or a larger one than float64 holds."""
    if values.dtype.kind in "mMc":  # times, durations and complex numbers
        return pd.Series(float("nan"), index=values.index)
    try:
        return pd.to_numeric(values, errors="coerce").astype("float64")
    except OverflowError:
        texts = values.astype(str).where(values.notna())
        return pd.to_numeric(texts, errors="coerce").astype("float64")


def _times(values: pd.Series, *, origin: str) -> pd.Series:
    _refuse(values, values.isna(), "have no time", origin=origin)
    if pd.api.types.is_numeric_dtype(values):
        everywhere = pd.Series(data=True, index=values.index)
        _refuse(values, everywhere, "hold a bare number for a time", origin=origin)
    if pd.api.types.is_datetime64_any_dtype(values):
        is_far = ~values.dt.year.between(*YEARS)
        _refuse(
            values, is_far, "hold a time outside the years {} to {}".format(*YEARS), origin=origin
        )
        return _wall_clock(values)
    texts = values.astype(str)
    offsets = texts.str.extract(r"\d[Tt ]\d.*?([Zz]|[+-]\d\d(?::?\d\d)?)$")[0].fillna("none")
    counts = offsets.value_counts()
    if len(counts) > 1:
        raise DataError(
            f"The times in {origin} are of {len(counts)} time zones: "
            f"{listed(f'{offset} in {n} rows' for offset, n in counts.items())}. Which week a row"
            f" belongs to would be a guess, so nothing was published. Write all times in one zone."
        )
    times = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    _refuse(values, times.isna(), "hold no ISO 8601 time (such as 2026-11-20)", origin=origin)
    return _wall_clock(times)


def _wall_clock(times: pd.Series) -> pd.Series:
    times = times.dt.tz_localize(None)
    return times.astype("datetime64[ns]")


def _refuse(values: pd.Series, is_bad: pd.Series, what: str, *, origin: str) -> None:
    if is_bad.any():
        bad = values[is_bad]
        places = [
            f"row {row}: {value!r}" for row, value in zip(bad.index + 1, bad.tolist(), strict=True)
        ]
        raise DataError(
            f"{int(is_bad.sum())} of {len(values)} rows of {origin}, column `{values.name}`,"
            f" {what}: {listed(places)}. Nothing was published, and earlier versions"
            f" stand. Mend the source, or map another column in [source] of forecast.toml."
        )
