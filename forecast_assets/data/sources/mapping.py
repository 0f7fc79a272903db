"""Map the columns of a source to `unique_id, ds, y`: rename and convert them, change nothing else.

Values are checked once per distinct value: millions of rows have few ids and days.
"""

import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.data.weekly import WEEKDAYS
from forecast_assets.errors import DataError, SourceError, format_list
from forecast_assets.storage.contract import Values

# Years that 64-bit nanoseconds hold as a whole.
YEARS = (1678, 2261)
# pandas takes `now` and 1999.5 for times as well; no person writes a time like that.
ISO_8601 = r"\d{4}-?\d\d-?\d\d(?:[Tt ].*)?"
# A week, a day of a week, and a day of a year, which pandas does not read; with the time of day.
ISO_WEEK = re.compile(r"(\d{4})-?[Ww](\d{1,2})")
ISO_WEEKDAY = re.compile(r"(\d{4})-?[Ww](\d{1,2})-?([1-7])((?:[Tt ].*)?)")
ISO_ORDINAL = re.compile(r"(\d{4})-(\d{3})((?:[Tt ].*)?)")
THURSDAY = 4  # belongs to the same year as its ISO week
IN_UTC = r"[Zz]|[+-]00(?::?00)?"
UTC_OFFSET = r"\d[Tt ]\d.*?([Zz]|[+-]\d\d(?::?\d\d)?)$"
MIN_DATES = 2  # distinct times, all midnight in UTC, that are dates
# Types that never hold values which are equal but written differently, such as 1 and 1.0.
UNIFORM_TYPES = ("string", "date", "datetime", "integer", "empty")
Mask = NDArray[np.bool_]
# A converted column, null where a value has a problem, and the bad rows [N] of each problem.
ParsedColumn = tuple[Values, Mapping[str, Mask]]


def as_raw_data(
    rows: pd.DataFrame,
    *,
    columns: Mapping[str, str],
    origin: str,
    zone: ZoneInfo | None = None,
    quarantine: bool = False,
    frequency: str = "W-SUN",
) -> pd.DataFrame:
    """Return the table `raw_data`: text ids, wall-clock times and numbers of the mapped columns.

    `columns` maps unique_id, ds and y to the source's names; `origin` names the source in errors.
    A missing y stays missing. Times with a UTC offset become the wall clock of `zone`; if that is
    None, they keep their own wall clock, and all must have the same offset. If all that have one
    are midnight in UTC, on two days or more, they are dates and stay on their day; where that makes
    a difference, `given` is the first row of each series as it came (JSON). An ISO week is the last
    day of the week of `frequency` that has most of its days.

    A row is bad without an id that is a name, a time in ISO 8601 within 64-bit nanoseconds, or a y
    that is finite or missing. With `quarantine`, `problem` describes what is wrong with it, `given`
    is the row as it came (JSON), and unusable values become null; else DataError is raised.

    Raises SourceError if a mapped column is absent or occurs twice, and DataError if there are no
    rows or only bad ones, or if offsets differ and `zone` is None.
    """
    rows = rows.reset_index(drop=True)
    _check_columns(rows, columns, origin=origin)
    times, bad_times, are_dates = _parse_times(rows[columns["ds"]], zone, frequency, origin=origin)
    parsed = {
        "unique_id": _parse_ids(rows[columns["unique_id"]]),
        "ds": (times, bad_times),
        "y": _parse_numbers(rows[columns["y"]]),
    }
    raw = pd.DataFrame({name: values for name, (values, _) in parsed.items()})
    problems = [
        (columns[name], description, is_bad)
        for name, (_, bad_rows) in parsed.items()
        for description, is_bad in bad_rows.items()
        if is_bad.any()
    ]
    if not problems and not are_dates:
        return raw.assign(problem=None, given=None)
    is_bad = np.logical_or.reduce([np.zeros(len(rows), dtype=bool), *(bad for *_, bad in problems)])
    if problems and (not quarantine or is_bad.all()):
        raise _bad_rows_error(rows, *problems[0], origin=origin)
    texts, given = np.full((2, len(rows)), None, dtype=object)
    for column, description, is_problem in problems:
        text = f"`{column}` holds {description}"
        for row in np.flatnonzero(is_problem):
            texts[row] = f"{texts[row]}; {text}" if texts[row] else text
    is_first = ~raw["unique_id"].mask(is_bad).duplicated().to_numpy()
    is_given = is_bad | (is_first & are_dates)
    shown = rows.loc[is_given, list(dict.fromkeys(columns.values()))]
    shown = shown.astype(object).where(shown.notna(), None)  # type: ignore[call-overload]
    given[is_given] = [json.dumps(row, default=str) for row in shown.to_dict("records")]
    return raw.assign(problem=texts, given=given)


def _check_columns(rows: pd.DataFrame, columns: Mapping[str, str], *, origin: str) -> None:
    names = list(rows.columns)
    absent = [column for column in columns.values() if column not in names]
    if absent:
        raise SourceError(
            f"{origin} has no column {format_list(absent)}; it has {format_list(names, limit=12)}."
            f" Nothing was published. Name the columns that hold unique_id, ds and y in [source] of"
            f" forecast.toml."
        )
    repeated = [column for column in columns.values() if names.count(column) > 1]
    if repeated:
        raise SourceError(
            f"{origin} has several columns named {format_list(dict.fromkeys(repeated))}, so it is"
            f" not clear which one to read. Nothing was published. Give each column its own name."
        )
    if rows.empty:
        raise DataError(
            f"{origin} has no rows. Nothing was published. Check what writes the source."
        )


def _factorize(values: Values) -> tuple[NDArray[np.intp], Values]:
    """Return for each row the index of its distinct value, -1 if missing, and these values."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy().astype(np.intp), pd.Series(values.cat.categories)
    if values.dtype != object or pd.api.types.infer_dtype(values, skipna=True) in UNIFORM_TYPES:
        codes, distinct = pd.factorize(values)
        return codes, pd.Series(distinct, dtype=distinct.dtype)
    codes = np.where(values.isna(), -1, np.arange(len(values)))  # 1, 1.0 and True are three ids
    return codes, values.astype(object)


def _take(distinct: Values, codes: NDArray[np.intp], *, missing: object) -> Values:
    """Return the distinct value of each row."""
    with_missing = pd.concat([distinct, pd.Series([missing], dtype=distinct.dtype)])
    return pd.Series(with_missing.to_numpy()[codes])


def _parse_ids(values: Values) -> ParsedColumn:
    codes, distinct = _factorize(values)
    distinct = distinct.astype(object)
    is_name = distinct.map(_is_name).astype(bool)
    names = distinct.where(is_name).map(str, na_action="ignore").astype(object)
    return _take(names, codes, missing=None), {
        "no series (the id is missing)": codes < 0,
        "no name for a series": np.append(~is_name, False)[codes],
    }


def _is_name(value: object) -> bool:
    """Accept text that is neither blank nor broken, and any single value that can be written so."""
    if isinstance(value, str):
        return bool(value.strip()) and value.encode(errors="ignore").decode() == value
    return pd.api.types.is_scalar(value) and not isinstance(value, bytes)


def _parse_numbers(values: Values) -> ParsedColumn:
    numbers = _to_float64(values)
    is_infinite = np.isinf(numbers.to_numpy())
    return numbers.mask(is_infinite) if is_infinite.any() else numbers, {
        "no number": (numbers.isna() & values.notna()).to_numpy(),
        "an infinite number": is_infinite,
    }


def _to_float64(values: Values) -> "pd.Series[float]":
    """Convert to float64; NaN where the value is not a number or too large."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, distinct = _factorize(values)
        return _take(_to_float64(distinct), codes, missing=float("nan"))
    if values.dtype.kind in "mMc":  # times, durations and complex numbers
        return pd.Series(float("nan"), index=values.index)
    if isinstance(values.dtype, pd.ArrowDtype):  # pandas cannot convert decimals of Arrow
        values = values.astype(object)
    try:
        numbers = pd.to_numeric(values, errors="coerce")
    except OverflowError:
        numbers = pd.to_numeric(values.astype(str).where(values.notna()), errors="coerce")
    return _to_float64(numbers) if numbers.dtype.kind == "c" else numbers.astype("float64")


def _parse_times(
    values: Values, zone: ZoneInfo | None, frequency: str, *, origin: str
) -> tuple[Values, Mapping[str, Mask], bool]:
    """Return the times, the bad rows of each problem, and whether the times were dates."""
    if pd.api.types.is_numeric_dtype(values):
        is_number = values.notna().to_numpy()
        no_times = pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns]")
        return no_times, {"no time": ~is_number, "a bare number for a time": is_number}, False
    codes, distinct = _factorize(values)
    if pd.api.types.is_datetime64_any_dtype(distinct):
        is_wrong = ~distinct.dt.year.between(*YEARS)
        description = "a time outside the years {} to {}".format(*YEARS)
        is_utc = str(distinct.dt.tz) == "UTC"
        times, are_dates = _to_wall_clock(distinct.mask(is_wrong), zone, is_utc=is_utc)
    else:
        texts = _to_calendar_dates(distinct.map(str).str.strip(), frequency)
        times, are_dates = _parse_time_texts(texts, codes, zone, origin=origin)
        is_wrong = times.isna()
        description = "no ISO 8601 time (such as 2026-11-20)"
    problems = {"no time": codes < 0, description: np.append(is_wrong, False)[codes]}
    return _take(times, codes, missing=pd.NaT), problems, are_dates


def _to_calendar_dates(texts: Values, frequency: str) -> Values:
    """Write the ISO weeks and days of a year among distinct texts as calendar dates."""
    is_other = ~texts.str.fullmatch(ISO_8601).to_numpy(dtype=bool)
    if not is_other.any():
        return texts
    dates = [_to_calendar_date(text, frequency) for text in texts[is_other]]
    return texts.mask(is_other, pd.Series(dates, index=texts.index[is_other]))


def _to_calendar_date(text: str, frequency: str) -> str:
    """Return the text with a calendar date, or as it is if it has no other date of ISO 8601."""
    try:
        if match := ISO_WEEK.fullmatch(text):
            day = date.fromisocalendar(int(match[1]), int(match[2]), THURSDAY)
            n_left = (WEEKDAYS.index(frequency) - day.weekday()) % len(WEEKDAYS)
            return str(day + timedelta(days=n_left))
        if match := ISO_WEEKDAY.fullmatch(text):
            return f"{date.fromisocalendar(*map(int, match.groups()[:3]))}{match[4]}"
        if match := ISO_ORDINAL.fullmatch(text):
            day = date(int(match[1]), 1, 1) + timedelta(days=int(match[2]) - 1)
            return f"{day}{match[3]}" if day.year == int(match[1]) else text
    except (ValueError, OverflowError):  # there is no such week, day or year
        pass
    return text


def _parse_time_texts(
    texts: Values, codes: NDArray[np.intp], zone: ZoneInfo | None, *, origin: str
) -> tuple[Values, bool]:
    """Parse distinct ISO 8601 texts; NaT where a text is not one."""
    is_iso = texts.str.fullmatch(ISO_8601).to_numpy(dtype=bool)
    texts = texts.where(is_iso, "none")
    offsets = texts.str.extract(UTC_OFFSET)[0].fillna("none")
    n_rows = offsets.iloc[codes[(codes >= 0) & np.append(is_iso, False)[codes]]].value_counts()
    if zone is None:
        if len(n_rows) > 1:
            shown = format_list(f"{offset} in {n} rows" for offset, n in n_rows.items())
            raise DataError(
                f"The times in {origin} have {len(n_rows)} different UTC offsets: {shown}. The week"
                f" of a row is ambiguous, so nothing was published. Set `source.timezone` to the"
                f' time zone of the source, such as "Europe/Vienna", or write all times in one.'
            )
        return _to_wall_clock(pd.to_datetime(texts, format="ISO8601", errors="coerce"), None)
    has_offset = offsets != "none"
    local, absolute = (
        pd.to_datetime(texts[has_offset == is_utc], format="ISO8601", errors="coerce", utc=is_utc)
        for is_utc in (False, True)
    )
    is_utc = offsets[has_offset].str.fullmatch(IN_UTC).all()
    times, are_dates = _to_wall_clock(absolute, zone, is_utc=bool(is_utc))
    return pd.concat([_to_wall_clock(local, None)[0], times]).sort_index(), are_dates


def _to_wall_clock(
    times: Values, zone: ZoneInfo | None, *, is_utc: bool = False
) -> tuple[Values, bool]:
    """Return times without offset, and whether those of the zone differ, because they are dates.

    `is_utc` tells whether all times were written in UTC.
    """
    if zone is None or times.dt.tz is None:
        return times.dt.tz_localize(None).astype("datetime64[ns]"), False
    by_zone = (times.dt.tz_convert(name).dt.tz_localize(None) for name in ("UTC", zone))
    in_utc, local = (each.astype("datetime64[ns]") for each in by_zone)
    is_date = (in_utc == in_utc.dt.normalize()) | in_utc.isna()
    if not is_utc or not is_date.all() or in_utc.nunique() < MIN_DATES:
        return local, False
    return in_utc, bool((in_utc != local).any())


def _bad_rows_error(
    rows: pd.DataFrame, column: str, description: str, is_bad: Mask, *, origin: str
) -> DataError:
    bad = rows.loc[is_bad, column]
    first = bad.head()
    values = zip(first.index + 1, first.tolist(), strict=True)
    shown = format_list((f"row {row}: {value!r}" for row, value in values), total=len(bad))
    return DataError(
        f"{len(bad)} of {len(rows)} rows of {origin}, column `{column}`, hold"
        f" {description}: {shown}. Nothing was published. Correct the source, map another"
        f' column in [source] of forecast.toml, or set `source.on_bad_rows = "quarantine"` there'
        f" to go on without such rows."
    )
