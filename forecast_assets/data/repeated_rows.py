"""Explain why a week has several rows: other columns, files, weekdays, or a finer source.

Whether it may have several is up to `series.aggregate`, which `weekly` applies.
"""

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError, format_list

KEY = ["unique_id", "ds"]
USUAL_SHARE = 0.05  # of repeated rows, from which on they are how the source is
NEARLY_ALL = 0.95  # of rows are told apart, or are on the weekday of their series
MIN_ROWS = 8  # of a series that may count as weekly

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
    repeats = raw[find_repeats(raw, aggregate, until=until)]
    others = rows.reset_index(drop=True).loc[repeats.index]
    others = others.drop(columns=[*source.ids, source.ds, source.y], errors="ignore")
    names = telling_columns(repeats, others)
    if not names:
        return None
    columns = ", ".join(f'"{name}"' for name in (*source.ids, *names))
    weeks = others[names].assign(series=repeats["unique_id"])
    weeks["week"] = repeats["ds"].dt.to_period(settings.series.frequency)
    is_finer = weeks.astype(str).duplicated().any() and aggregate == "error"
    more = ' and `series.aggregate` to "sum", "mean" or "last"' if is_finer else ""
    return DataError(
        f"{len(repeats)} of {len(raw)} rows have the series and the time of another row:"
        f" {_format_rows(repeats)}. The column {format_list(f'`{name}`' for name in names)} tells"
        f' them apart, so with `series.aggregate = "{aggregate}"` the value of a week is ambiguous.'
        f" Nothing was published. Set `source.unique_id` to [{columns}]{more} to forecast each of"
        f' them, or `series.aggregate` to "sum" to forecast their sum.'
    )


def telling_columns(repeats: pd.DataFrame, others: pd.DataFrame) -> list[str]:
    """Return the columns that tell nearly all rows of one series and time apart, as few as needed.

    A column may be a part of an id if its values in a series return at other times; of several such
    columns that with the fewest values comes first.
    """
    series, key = pd.factorize(repeats["unique_id"])[0], row_keys(repeats)
    codes: dict[str, Ints] = {}
    for name in others:
        code = pd.factorize(others[name].astype(str))[0].astype(np.int64)
        if code.any() and _n_distinct(_join(series, code)) <= len(repeats) / 2:
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


def several_rows_error(rows: pd.DataFrame, week_end: "pd.Series[pd.Timestamp]") -> DataError:
    """Return the error about weeks with several rows, and its cause; `week_end` has their weeks."""
    in_week = rows.assign(ds=week_end)
    is_several = in_week.duplicated(KEY, keep=False)
    weeks = in_week[is_several].drop_duplicates(KEY)
    cause, remedy = _cause(rows, in_week, is_several)
    return DataError(
        f"{len(weeks)} weeks have more than one row ({is_several.sum()} rows):"
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
    cause = f"{len(strays)} rows are on another weekday than all others of their series: {shown}"
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
    return rows[is_several & is_stray]


def _format_rows(rows: pd.DataFrame, day: str = "%Y-%m-%d") -> str:
    return format_list(rows["unique_id"].astype(str) + rows["ds"].dt.strftime(f" / {day}"))


def _join(first: Ints, second: Ints) -> Ints:
    """Return a number for each pair of two codes: [N]."""
    joined: Ints = pd.factorize(first * (second.max() + 1) + second)[0].astype(np.int64)
    return joined


def _n_distinct(codes: Ints) -> int:
    return len(pd.unique(codes))
