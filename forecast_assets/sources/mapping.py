"""From a source's own columns to `unique_id, ds, y`: renamed and typed, nothing else changed."""

from collections.abc import Mapping

import pandas as pd

from forecast_assets.errors import DataError, SourceError, listed


def as_raw_data(rows: pd.DataFrame, *, columns: Mapping[str, str], origin: str) -> pd.DataFrame:
    """Take the mapped columns of `rows` as text ids, wall-clock times and numbers.

    `columns` maps unique_id, ds and y to the source's names; `origin` names the source in errors.
    A missing y stays missing. Times with one UTC offset lose it: a week is counted in the
    source's own days.

    Raises SourceError where a mapped column is not there, and DataError where there are no rows,
    an id or a time is missing, a time is not ISO 8601, offsets differ, or y is not a number.
    """
    absent = [source for source in columns.values() if source not in rows.columns]
    if absent:
        raise SourceError(
            f"{origin} has no column {listed(absent)}; it has {listed(rows.columns, most=12)}."
            f" Without it no series can be made, and nothing was published. Say which columns hold"
            f" unique_id, ds and y in [source] of forecast.toml."
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
    return values.astype(str).astype(object)


def _numbers(values: pd.Series, *, origin: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    is_text = numbers.isna() & values.notna()
    _refuse(values, is_text, "hold no number", origin=origin)
    _refuse(values, numbers.abs() == float("inf"), "hold an infinite number", origin=origin)
    return numbers


def _times(values: pd.Series, *, origin: str) -> pd.Series:
    _refuse(values, values.isna(), "have no time", origin=origin)
    if pd.api.types.is_numeric_dtype(values):
        everywhere = pd.Series(data=True, index=values.index)
        _refuse(values, everywhere, "hold a bare number for a time", origin=origin)
    if pd.api.types.is_datetime64_any_dtype(values):
        return _wall_clock(values)
    texts = values.astype(str)
    offsets = texts.str.extract(r"\d[Tt ]\d.*?([Zz]|[+-]\d\d:?\d\d)$")[0].fillna("none")
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
    return times.dt.tz_localize(None) if times.dt.tz is not None else times


def _refuse(values: pd.Series, is_bad: pd.Series, what: str, *, origin: str) -> None:
    if is_bad.any():
        places = [f"row {int(i) + 1}: {values.loc[i]!r}" for i in values.index[is_bad][:5]]
        more = f" and {int(is_bad.sum()) - 5} more" if is_bad.sum() > len(places) else ""
        raise DataError(
            f"{int(is_bad.sum())} of {len(values)} rows of {origin}, column `{values.name}`,"
            f" {what}: {', '.join(places)}{more}. Nothing was published, and earlier versions"
            f" stand. Mend the source, or map another column in [source] of forecast.toml."
        )
