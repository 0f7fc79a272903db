"""Map the columns of a source to `unique_id, ds, y`: rename and convert them, change nothing else.

Values are checked once per distinct value: millions of rows have few ids and days.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.data.sources.columns import check_columns
from forecast_assets.data.sources.distinct import Mask, factorize, take
from forecast_assets.data.sources.ids import parse_ids
from forecast_assets.data.sources.numbers import MAY_BE_THOUSANDS, parse_numbers, read_numbers
from forecast_assets.data.weekly import WEEKDAYS
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.contract import Values

# Years that 64-bit nanoseconds hold as a whole.
YEARS = (1678, 2261)
# pandas takes `now` and 1999.5 for times as well; no person writes a time like that.
ISO_8601 = r"\d{4}-?\d\d-?\d\d(?:[Tt ].*)?"
# A week, a day of a week, and a day of a year, which pandas does not read; with the time of day.
ISO_WEEK = re.compile(r"(\d{4})-?[Ww](\d{1,2})")
ISO_WEEKDAY = re.compile(r"(\d{4})-?[Ww](\d{1,2})-?([1-7])((?:[Tt ].*)?)")
ISO_ORDINAL = re.compile(r"(\d{4})-?(\d{3})((?:[Tt ].*)?)")
YEAR_FIRST = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})((?:[Tt ].*)?)")
# Nobody writes a month before a day with points between them.
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})((?: .*)?)")
# What a text is that is no time: a day of other years, a month, and from one time to another.
DAY = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
MONTH = re.compile(r"\d{4}[-/](0[1-9]|1[0-2])")
INTERVAL = re.compile(r"\d{4}-?(\d\d|[Ww]).*(/|--).*\d.*")
THURSDAY = 4  # belongs to the same year as its ISO week
IN_UTC = r"[Zz]|[+-]00(?::?00)?"
UTC_OFFSET = r"\d[Tt ]\d.*?([Zz]|[+-]\d\d(?::?\d\d)?)$"
MIN_DATES = 2  # distinct times, nearly all midnight in UTC, that are dates
MOSTLY_DATES = 0.95
MAX_LAST_ROWS = 5  # bad rows at the end that may be totals or notes below the table
COLUMNS = ("unique_id", "ds", "y")
UTC_ZONE = ZoneInfo("UTC")
# The columns of bad values, what is wrong with them, and their rows.
Problem = tuple[tuple[str, ...], str, Mask]


def as_raw_data(
    rows: pd.DataFrame,
    *,
    columns: Mapping[str, str | Sequence[str]],
    origin: str,
    published: str | None = None,
    are_forecasts: bool = False,
    zone: ZoneInfo | None = None,
    local_zone: ZoneInfo = UTC_ZONE,
    quarantine: bool = False,
    frequency: str = "W-SUN",
    decimal: str | None = None,
    thousands: str | None = None,
    files: pd.Index | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the table `raw_data`: text ids, wall-clock times and numbers of the mapped columns.

    `columns` maps unique_id, ds and y to the source's names; `origin` names the source in errors.
    Several columns of unique_id are joined to one id. A missing y stays missing. Times with a UTC
    offset become the wall clock of `zone`; if that is None, they keep their own wall clock, and all
    must have the same offset. If all that have one are midnight in UTC, on two days or more, they
    are dates and stay on their day; where that makes a difference, `given` is the first row of each
    series as it came (JSON). An ISO week is the last day of the week of `frequency` that has most
    of its days. `published` is the column of publication times; those without a UTC offset are in
    `local_zone`. `files` are the rows' files, and `note` gets how numbers are read.

    A row is bad without an id that is a name, a time in ISO 8601 within 64-bit nanoseconds, or a y
    that is finite or missing; so is one without a publication time, where there is a column of
    them, or with one before its own day, unless the rows are forecasts. With `quarantine` it has
    its `problem`, is `given` as it came (JSON), and unusable values become null. Raises DataError
    otherwise, and if there are no rows or only bad ones, offsets differ and `zone` is None, or
    numbers are ambiguous; SourceError if a mapped column is absent or occurs twice.
    """
    ids, ds, y = columns["unique_id"], str(columns["ds"]), str(columns["y"])
    ids = (ids,) if isinstance(ids, str) else tuple(ids)
    check_columns(rows.columns, (*filter(None, [published]), *ids, ds, y), origin=origin)
    if rows.empty:
        raise DataError(
            f"{origin} has no rows. Nothing was published. Check what writes the source."
        )
    rows = rows.reset_index(drop=True)
    numbers = read_numbers(rows[y], decimal, thousands, origin=origin, note=note)
    times, bad_times, are_dates = _parse_times(rows[ds], zone, frequency, origin=origin)
    parsed = {
        ids: parse_ids([rows[name] for name in ids], origin=origin),
        (ds,): (times, bad_times),
        (y,): parse_numbers(rows[y], numbers),
    }
    raw = pd.DataFrame(dict(zip(COLUMNS, (values for values, _ in parsed.values()), strict=True)))
    raw = raw.assign(problem=None, given=None, published=None, file=None, note=None)
    if published:
        parsed_at = _parse_times(rows[published], local_zone, frequency, origin=origin)
        raw["published"], bad, early = _publication_times(parsed_at, times, local_zone)
        parsed[(published,)] = raw["published"], bad
        parsed[ds, published] = raw["published"], {} if are_forecasts else early
    if files is not None:
        raw["file"] = np.asarray(files, dtype=object)
    if numbers.is_doubtful.any():
        raw.loc[numbers.doubtful_in(raw["unique_id"]), "note"] = MAY_BE_THOUSANDS
    problems = [
        (names, description, is_bad)
        for names, (_, bad_rows) in parsed.items()
        for description, is_bad in bad_rows.items()
        if is_bad.any()
    ]
    if not problems and not are_dates:
        return raw
    is_bad = np.logical_or.reduce([np.zeros(len(rows), dtype=bool), *(bad for *_, bad in problems)])
    if problems and (not quarantine or is_bad.all()):
        raise _bad_rows_error(rows, *problems[0], origin=origin)
    is_first = ~raw["unique_id"].mask(is_bad).duplicated().to_numpy()
    names = dict.fromkeys((*ids, ds, y, *filter(None, [published])))
    shown = rows.loc[is_bad | (is_first & are_dates), list(names)]
    return raw.assign(
        problem=_problem_texts(problems, len(rows)), given=_as_given(shown, len(rows))
    )


def _publication_times(
    parsed: tuple[Values, Mapping[str, Mask], bool], times: Values, zone: ZoneInfo
) -> tuple[Values, Mapping[str, Mask], Mapping[str, Mask]]:
    """Return publication times in UTC, their bad rows, and the rows published before their day."""
    at, bad_times, _ = parsed
    is_early = (at.dt.normalize() < times.dt.normalize()).to_numpy()
    is_summer = np.ones(len(at), dtype=bool)
    local = at.dt.tz_localize(zone, ambiguous=is_summer, nonexistent="shift_forward")
    early = {"a publication before the day that it is about": is_early}
    return local.dt.tz_convert("UTC"), bad_times, early


def _parse_times(
    values: Values, zone: ZoneInfo | None, frequency: str, *, origin: str
) -> tuple[Values, Mapping[str, Mask], bool]:
    """Return the times, the bad rows of each problem, and whether the times were dates."""
    if pd.api.types.is_numeric_dtype(values):
        is_number = values.notna().to_numpy()
        no_times = pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns]")
        return no_times, {"no time": ~is_number, "a bare number for a time": is_number}, False
    codes, distinct = factorize(values)
    if pd.api.types.is_datetime64_any_dtype(distinct):
        texts = distinct.astype(str)
        is_wrong = ~distinct.dt.year.between(*YEARS)
        is_utc = str(distinct.dt.tz) == "UTC"
        times, are_dates = _to_wall_clock(distinct.mask(is_wrong), zone, is_utc=is_utc)
    else:
        texts = _to_calendar_dates(distinct.map(str).str.strip(), frequency)
        times, are_dates = _parse_time_texts(texts, codes, zone, origin=origin)
        is_wrong = times.isna()
    problems = {"no time": codes < 0}
    reasons = texts[is_wrong].map(_time_problem).reindex(texts.index)
    for reason in reasons.dropna().unique():
        problems[reason] = np.append(reasons == reason, False)[codes]
    return take(times, codes, missing=pd.NaT), problems, are_dates


def _time_problem(text: str) -> str:
    """Describe what is wrong with a text that is no time of 64-bit nanoseconds."""
    if (match := DAY.match(text)) and not YEARS[0] <= int(match[1]) <= YEARS[1]:
        is_placeholder = match[2] + match[3] in ("0101", "1231")
        outside = "outside the years {} to {}".format(*YEARS)
        return (
            f"a date that stands for a missing one, {outside}"
            if is_placeholder
            else (f"a time {outside}")
        )
    if MONTH.fullmatch(text):
        return "a month, which has no week (a time is such as 2026-11-20)"
    if INTERVAL.fullmatch(text):
        return "an interval, not one time (such as 2026-11-20)"
    return "no ISO 8601 time (such as 2026-11-20)"


def _to_calendar_dates(texts: Values, frequency: str) -> Values:
    """Write other dates that are certain among distinct texts as calendar dates of ISO 8601."""
    is_other = ~texts.str.fullmatch(ISO_8601).to_numpy(dtype=bool)
    if not is_other.any():
        return texts
    dates = [_to_calendar_date(text, frequency) for text in texts[is_other]]
    return texts.mask(is_other, pd.Series(dates, index=texts.index[is_other]))


def _to_calendar_date(text: str, frequency: str) -> str:
    """Return an ISO week, a day of it or of a year, 2026/11/27 or 27.11.2026 as a date.

    Return any other text as it is.
    """
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
        if match := YEAR_FIRST.fullmatch(text):
            return f"{date(*map(int, match.groups()[:3]))}{match[4]}"
        if match := DAY_FIRST.fullmatch(text):
            return f"{date(int(match[3]), int(match[2]), int(match[1]))}{match[4]}"
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
    if not is_utc or is_date.mean() < MOSTLY_DATES or in_utc.nunique() < MIN_DATES:
        return local, False
    return in_utc, bool((in_utc != local).any())


def _problem_texts(problems: Sequence[Problem], n_rows: int) -> NDArray[np.object_]:
    """Return the problems of each row as one text, None if it has none: [N]."""
    texts = np.full(n_rows, None, dtype=object)
    for columns, description, is_problem in problems:
        text = f"`{', '.join(columns)}` holds {description}"
        for row in np.flatnonzero(is_problem):
            texts[row] = f"{texts[row]}; {text}" if texts[row] else text
    return texts


def _as_given(shown: pd.DataFrame, n_rows: int) -> NDArray[np.object_]:
    """Return some rows as they came (JSON), None for the other rows: [N]."""
    given = np.full(n_rows, None, dtype=object)
    values = shown.astype(object).where(shown.notna(), None)  # type: ignore[call-overload]
    given[shown.index] = [json.dumps(row, default=str) for row in values.to_dict("records")]
    return given


def _bad_rows_error(
    rows: pd.DataFrame, columns: Sequence[str], description: str, is_bad: Mask, *, origin: str
) -> DataError:
    bad = rows.loc[is_bad, list(columns)]
    first = [
        row[0] if len(columns) == 1 else row
        for row in bad.head().itertuples(index=False, name=None)
    ]
    shown = format_list(
        (f"row {i + 1}: {value!r}" for i, value in zip(bad.index, first, strict=False)),
        total=len(bad),
    )
    are_last = len(bad) <= MAX_LAST_ROWS and bad.index[0] == len(rows) - len(bad) > 0
    hint = " They are the last ones, as totals and notes below a table are." if are_last else ""
    remedy = 'set `source.on_bad_rows = "quarantine"` there to go on without such rows'
    if len(bad) == len(rows):
        remedy = 'convert it in a function (`kind = "python"`)'
    return DataError(
        f"{len(bad)} of {len(rows)} rows of {origin}, column `{', '.join(columns)}`, hold"
        f" {description}: {shown}.{hint} Nothing was published. Correct the source, map another"
        f" column in [source] of forecast.toml, or {remedy}."
    )
