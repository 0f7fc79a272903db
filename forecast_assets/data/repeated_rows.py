"""Explain why a week has several rows: other columns, files, weekdays, or a finer source.

Whether it may have several is up to `series.aggregate`, which `weekly` applies.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.contract import Values

KEY = ["unique_id", "ds"]
USUAL_SHARE = 0.05  # of repeated rows, from which on they are how the source is
NEARLY_ALL = 0.95  # of rows differ in the column, or are on the weekday of their series
MIN_ROWS = 8  # of a series that may count as weekly
# Share of the times of a series, and times, at which a part of its id has several values.
MOST, MIN_TIMES = 0.5, 8
TIME = r"\s*(\d{4}[-/]?\d\d[-/]?\d\d|\d{1,2}[./]\d{1,2}[./]\d{4})([T ].*)?\s*"

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def row_keys(rows: pd.DataFrame) -> Ints:
    """Return a number for each pair of a series and a time: [N]."""
    series, _ = pd.factorize(rows["unique_id"])
    times, distinct = pd.factorize(rows["ds"])
    return series.astype(np.int64) * len(distinct) + times


def find_repeats(raw: pd.DataFrame, aggregate: str, *, until: date) -> Mask:
    """Return the rows whose series and time another row has, where that makes a week ambiguous.

    `until` is the last day of the newest week that is over. With the aggregate "last" only rows
    with different values count, and only if they are so many that the source always has them.
    """
    is_found = np.zeros(len(raw), dtype=bool)
    if aggregate not in ("error", "last"):
        return is_found
    is_counted = (raw["ds"] < pd.Timestamp(until) + pd.Timedelta(days=1)) & raw["problem"].isna()
    rows = raw[is_counted.to_numpy()]
    keys = pd.Series(row_keys(rows))
    is_repeat = keys.duplicated(keep=False).to_numpy()
    if aggregate == "last" and is_repeat.any():
        y = rows["y"].reset_index(drop=True)[is_repeat].groupby(keys[is_repeat])
        is_repeat[is_repeat] = (y.transform("min") < y.transform("max")).to_numpy()
        is_repeat &= is_repeat.mean() >= USUAL_SHARE
    is_found[is_counted.to_numpy()] = is_repeat
    return is_found


def telling_columns_error(
    raw: pd.DataFrame, rows: pd.DataFrame, settings: Settings, *, until: date
) -> DataError | None:
    """Return the error about repeated rows that other columns tell apart, None if none does.

    `rows` are those of the source, with all columns and in the order of `raw`.
    """
    source, aggregate = settings.source, settings.series.aggregate
    is_repeat = find_repeats(raw, aggregate, until=until)
    repeats = raw[is_repeat]
    is_concerned = (raw["unique_id"].isin(repeats["unique_id"]) & raw["problem"].isna()).to_numpy()
    times, is_repeat = raw[is_concerned], is_repeat[is_concerned]
    others = rows.drop(columns=list(source.columns), errors="ignore")[is_concerned]
    others = others.set_axis(times.index)
    names = telling_columns(times, others, is_repeat)
    version = None
    if not names and aggregate == "error":  # the last version is right
        version = _version_column(times, others, is_repeat)
    if not names and version is None:
        return None
    weeks = others.loc[is_repeat, names].assign(series=repeats["unique_id"])
    weeks["week"] = repeats["ds"].dt.to_period(settings.series.frequency)
    if version is not None:
        weeks["ds"] = repeats["ds"]
        weeks = weeks.drop_duplicates().drop(columns="ds")
    is_finer = bool(weeks.astype(str).duplicated().any()) and aggregate == "error"
    if version is None:
        cause, remedy = _part_of_id(source.ids, names, is_finer=is_finer)
    else:
        cause, remedy = _version(times, others[version], is_finer=is_finer)
    return DataError(
        f"{len(repeats)} of {len(raw)} rows have the series and the time of another row:"
        f' {_format_rows(repeats)}. {cause}, so with `series.aggregate = "{aggregate}"` the value'
        f" of a week is ambiguous. Nothing was published. {remedy}."
    )


def _part_of_id(ids: Sequence[str], names: list[str], *, is_finer: bool) -> tuple[str, str]:
    """Return the cause and the remedy where columns are missing in the id."""
    columns = ", ".join(f'"{name}"' for name in (*ids, *names))
    tell = f"The column{'s' * (len(names) > 1)} {format_list(f'`{name}`' for name in names)}"
    tell += " tells them apart" if len(names) == 1 else " tell them apart"
    more = ' and `series.aggregate` to "sum", "mean" or "last"' if is_finer else ""
    return tell, (
        f"Set `source.unique_id` to [{columns}]{more} to forecast each of them, or"
        f' `series.aggregate` to "sum" to forecast their sum'
    )


def _version(times: pd.DataFrame, column: Values, *, is_finer: bool) -> tuple[str, str]:
    """Return the cause and the remedy where a column tells old rows from corrected ones."""
    key = pd.Series(row_keys(times), index=times.index)
    n_split, n_times = int((_n_values(key, column) > 1).sum()), key.nunique()
    cause = (
        f"The column `{column.name}` tells them apart at {n_split} of {n_times} times of these"
        f" series, as a version does and not a part of an id"
    )
    if is_finer:
        return cause, "Remove the old rows, or return the newest ones alone from the query"
    return cause, (
        'Remove the old rows, or set `series.aggregate` to "last" if the last row in the source is'
        ' the right one, or to "sum" if they add up'
    )


def telling_columns(times: pd.DataFrame, others: pd.DataFrame, is_repeat: Mask) -> list[str]:
    """Return the columns that tell nearly all rows of one series and time apart, as few as needed.

    `times` are all rows of the series that have repeated ones. A column may be a part of an id if
    its values in a series return at other times, and differ at most times, or at most since they
    first did; times of its own are none. Of several such columns that with the fewest values comes
    first.
    """
    repeats = times[is_repeat]
    series, key = pd.factorize(repeats["unique_id"])[0], row_keys(repeats)
    codes: dict[str, Ints] = {}
    for name in others.columns:
        code = _codes(others[name])[is_repeat]
        is_returning = _n_distinct(_join(series, code)) <= len(repeats) / 2
        if code.any() and is_returning and _splits_series(times, others[name]):
            codes[str(name)] = code
    candidates = sorted(codes, key=lambda name: codes[name].max())
    chosen: list[str] = []
    while (n := _n_distinct(key)) < NEARLY_ALL * len(repeats) and candidates:
        counts = [_n_distinct(_join(key, codes[name])) for name in candidates]
        if max(counts) == n:
            return []
        name = candidates.pop(counts.index(max(counts)))
        chosen, key = [*chosen, name], _join(key, codes[name])
    return chosen if n >= NEARLY_ALL * len(repeats) else []


def _version_column(times: pd.DataFrame, others: pd.DataFrame, is_repeat: Mask) -> str | None:
    """Return the first column that tells nearly all repeated rows apart, and is no part of an id.

    It has times, or few values; others number the rows.
    """
    series, key = pd.factorize(times["unique_id"])[0], row_keys(times[is_repeat])
    for name in sorted(others, key=lambda name: not _are_times(others[name])):
        code = _codes(others[name])
        is_known = _are_times(others[name]) or _n_distinct(_join(series, code)) <= len(times) / 2
        n_told = _n_distinct(_join(key, code[is_repeat]))
        if is_known and n_told >= NEARLY_ALL * is_repeat.sum() > _n_distinct(key):
            return str(name)
    return None


def _splits_series(times: pd.DataFrame, column: Values) -> bool:
    """Return whether most times of the series have several values of a column that has no times."""
    if _are_times(column):
        return False
    key = pd.Series(row_keys(times), index=times.index)
    first = times.assign(is_split=key.map(_n_values(key, column)) > 1).loc[~key.duplicated()]
    start = first["ds"].where(first["is_split"]).groupby(first["unique_id"]).transform("min")
    since = first.loc[first["ds"] >= start, "is_split"]
    is_since = since.sum() >= MIN_TIMES and since.mean() >= MOST
    return bool(is_since or first["is_split"].mean() >= MOST)


def _n_values(key: "pd.Series[int]", column: Values) -> "pd.Series[int]":
    """Return the number of different values of a column at each key."""
    distinct = pd.DataFrame({"key": key, "code": _codes(column)}).drop_duplicates()
    return distinct["key"].value_counts()


def _are_times(column: Values) -> bool:
    """Return whether all values are times."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    texts = pd.Series(column.dropna().unique()).astype(str)
    return len(texts) > 0 and bool(texts.str.fullmatch(TIME).all())


def _codes(column: Values) -> Ints:
    codes: Ints = pd.factorize(column.astype(str))[0].astype(np.int64)
    return codes


def several_rows_error(rows: pd.DataFrame, week_end: "pd.Series[pd.Timestamp]") -> DataError:
    """Return the error about weeks with several rows, and its cause; `week_end` has their weeks."""
    in_week = rows.assign(ds=week_end)
    is_several = in_week.duplicated(KEY, keep=False)
    weeks = in_week[is_several].drop_duplicates(KEY)
    cause, remedy = _cause(rows, in_week, is_several)
    n_weeks = "1 week has" if len(weeks) == 1 else f"{len(weeks)} weeks have"
    return DataError(
        f"{n_weeks} more than one row ({is_several.sum()} rows):"
        f" {_format_rows(weeks)}. {cause}, so the value of the week is ambiguous. Nothing was"
        f" published. {remedy}."
    )


def _cause(
    rows: pd.DataFrame, in_week: pd.DataFrame, is_several: "pd.Series[bool]"
) -> tuple[str, str]:
    """Return why weeks have several rows, and what to do about it."""
    aggregate = "set `series.aggregate` to sum, mean or last in forecast.toml"
    several = rows[is_several]
    repeats = several[several.duplicated(KEY, keep=False)]
    if "file" in repeats:
        common = repeats.drop_duplicates([*KEY, "file"])
        files = common.loc[common.duplicated(KEY, keep=False), "file"].unique()
        if len(files):
            return f"The files {format_list(sorted(files))} have the same (unique_id, ds)", (
                'Set `source.overlap` to "once" if their values are equal, to "latest_file" if they'
                ' are not, or `series.aggregate` to "sum" if they add up'
            )
    if len(repeats):
        return "The source repeats the same (unique_id, ds)", f"Correct the source, or {aggregate}"
    strays = _strays(rows, is_several)
    explained = in_week.loc[strays.index].drop_duplicates(KEY)
    if len(explained) < len(in_week[is_several].drop_duplicates(KEY)):
        return "The source is finer than a week", f"Correct the source, or {aggregate}"
    shown = _format_rows(strays, "%A, %Y-%m-%d")
    n_rows = "1 row is" if len(strays) == 1 else f"{len(strays)} rows are"
    cause = f"{n_rows} on another weekday than all others of their series: {shown}"
    remedy = (
        'Correct their dates, or set `series.aggregate` to "last": the later row of such a week'
    )
    return cause, f"{remedy} then counts, and the week without a row is filled"


def _strays(rows: pd.DataFrame, is_several: "pd.Series[bool]") -> pd.DataFrame:
    """Return the rows in weeks with several that are on another weekday than their series."""
    series, weekday = rows["unique_id"], rows["ds"].dt.weekday
    counts = pd.crosstab(series, weekday)
    n_rows = counts.sum(axis=1)
    is_weekly = (n_rows >= MIN_ROWS) & (counts.max(axis=1) >= NEARLY_ALL * (n_rows - 1))
    is_stray = series.map(is_weekly) & (weekday != series.map(counts.idxmax(axis=1)))
    strays: pd.DataFrame = rows[is_several & is_stray]
    return strays


def _format_rows(rows: pd.DataFrame, day: str = "%Y-%m-%d") -> str:
    return format_list(rows["unique_id"].astype(str) + rows["ds"].dt.strftime(f" / {day}"))


def _join(first: Ints, second: Ints) -> Ints:
    """Return a number for each pair of two codes: [N]."""
    joined: Ints = pd.factorize(first * (second.max() + 1) + second)[0].astype(np.int64)
    return joined


def _n_distinct(codes: Ints) -> int:
    return len(pd.unique(codes))
