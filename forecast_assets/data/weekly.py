"""Aggregate raw rows to weekly series: one row per series and week, from its first to its last.

Reading a source belongs to `sources`, judging a fetch to `quality`.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError, format_list

WEEKDAYS = ("W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN")
# Weeks, before the newest, that the usual number of days is taken from.
USUAL_WEEKS = 52
# Share of these weeks that may have fewer days. A daily source with five short weeks a year is
# still expected to have all days; one with rows on two days or on four is expected to have two.
SHORT_WEEK_SHARE = 0.1
# With fewer earlier weeks no number of days is usual, and every week counts as complete.
MIN_USUAL_WEEKS = 4

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class WeeklySeries:
    """The table `series`, and counts of what was left out or filled."""

    frame: pd.DataFrame
    n_unfinished: int  # rows left out because their week was not over
    n_partial: int  # first and newest weeks left out because too many of their days are missing
    n_filled: int  # weeks without a value that `series.missing` filled


def to_weeks(raw: pd.DataFrame, settings: Settings, *, as_of: datetime) -> WeeklySeries:
    """Aggregate rows `unique_id, ds, y` to weeks `unique_id, ds, y, coverage`, sorted, no gaps.

    `ds` becomes the last day of the week. A week counts once that day lies before `as_of`, in the
    time zone of the source or else of the schedule. The first and the newest week of a series
    count if their coverage is at least `series.min_coverage`. Rows with a `problem` are ignored.

    Raises DataError if no week is over, no series has two weeks, a series has no value, a week has
    several rows and `series.aggregate` is "error", or none and `series.missing` is "error".
    """
    if "problem" in raw and raw["problem"].notna().any():
        raw = raw[raw["problem"].isna()]
    week_end = _week_end(raw["ds"], settings.series.frequency)
    today = pd.Timestamp(_today(as_of, settings))
    is_over = (week_end < today).to_numpy()
    if not is_over.any():
        raise DataError(
            f"None of {len(raw)} rows lies in a week that was over on {today.date()}: the first"
            f" week ends on {week_end.min().date()}. Nothing was published. Check the dates of the"
            f" source, and `as_of` if you set one."
        )
    rows = _RowArrays.of(raw, week_end)
    if settings.series.aggregate == "error" and not pd.Index(rows.cell[is_over]).is_unique:
        raise _several_rows_error(raw[is_over], week_end[is_over])
    weeks = _aggregate(rows, is_over, settings.series.aggregate)
    _check_every_series_has_a_value(rows, is_over, weeks)
    is_end = (weeks["series"].diff() != 0) | (weeks["series"].diff(-1) != 0)
    is_partial = is_end & (weeks["coverage"] < settings.series.min_coverage)
    grid = _to_grid(weeks[~is_partial], rows)
    is_gap = grid["y"].isna()
    frame = _fill_gaps(grid, is_gap, settings.series.missing)
    ids = frame["unique_id"]
    if ids.is_unique:
        raise DataError(
            f"Every series has a single week: {format_list(ids)}. A forecast needs at least two"
            f" weeks, so nothing was published. Add earlier weeks to the source."
        )
    return WeeklySeries(
        frame,
        n_unfinished=int((~is_over).sum()),
        n_partial=int(is_partial.sum()),
        n_filled=int(is_gap.sum()),
    )


def newest_week(as_of: datetime, settings: Settings) -> date:
    """Return the last day of the newest week that was over at `as_of`."""
    today = _today(as_of, settings)
    days_since = (today.weekday() - WEEKDAYS.index(settings.series.frequency) - 1) % 7 + 1
    return today - timedelta(days=days_since)


def _today(as_of: datetime, settings: Settings) -> date:
    return as_of.astimezone(settings.source.zone or settings.schedule.zone).date()


def _week_end(times: "pd.Series[pd.Timestamp]", frequency: str) -> "pd.Series[pd.Timestamp]":
    """Return the last day, at midnight, of the week of each time."""
    days_left = (WEEKDAYS.index(frequency) - times.dt.weekday) % 7
    return times.dt.normalize() + pd.to_timedelta(days_left, unit="D")


@dataclass(frozen=True)
class _RowArrays:
    """The rows as numbers; weeks are counted from that of the first row."""

    ids: NDArray[np.object_]  # [S], sorted
    series: Ints  # [N], index into `ids`
    day: Ints  # [N], since 1970
    week: Ints  # [N]
    n_weeks: int  # from that of the first row to that of the last
    cell: Ints  # [N], number of each pair of series and week, sorted by series and week
    week_0_end: int  # day since 1970
    time: NDArray[np.datetime64]  # [N]
    y: Floats  # [N]

    @classmethod
    def of(cls, raw: pd.DataFrame, week_end: "pd.Series[pd.Timestamp]") -> Self:
        series, ids = pd.factorize(raw["unique_id"].to_numpy(), sort=True)
        day, end = (
            times.to_numpy().astype("datetime64[D]").astype(np.int64)
            for times in (raw["ds"], week_end)
        )
        week_0_end = int(end.min())
        week = (end - week_0_end) // 7
        n_weeks = int(week.max()) + 1
        time, y = raw["ds"].to_numpy(), raw["y"].to_numpy(dtype=np.float64)
        cell = series * n_weeks + week
        return cls(ids, series, day, week, n_weeks, cell, week_0_end, time, y)


def _aggregate(rows: _RowArrays, is_over: Mask, aggregate: str) -> pd.DataFrame:
    """Return one row per series and week with a value: `series, week, y, coverage`, sorted."""
    has_value = is_over & ~np.isnan(rows.y)
    cell = rows.cell[has_value]
    y = pd.Series(rows.y[has_value], index=cell)
    if aggregate == "last":
        y = y.iloc[np.argsort(rows.time[has_value], kind="stable")]
    how = "first" if aggregate == "error" else aggregate
    values = y.groupby(level=0, sort=True).agg(how)
    cells = values.index.to_numpy()
    series, week = cells // rows.n_weeks, cells % rows.n_weeks
    is_infinite = np.isinf(values.to_numpy())
    if is_infinite.any():
        raise DataError(
            f"The {how} of {is_infinite.sum()} weeks is too large for a number, in the series"
            f" {format_list(rows.ids[series[is_infinite]])}. Nothing was published. Look for"
            f" values that are far too large."
        )
    weekday = rows.day[has_value] % 7
    n_days = _count_days(np.searchsorted(cells, cell), weekday, len(cells))
    n_days_any = _count_days(rows.week[has_value], weekday, rows.n_weeks)
    coverage = compute_coverage(series, week, n_days, n_days_any) if len(cells) else n_days
    columns = {"series": series, "week": week, "y": values.to_numpy(), "coverage": coverage}
    return pd.DataFrame(columns)


def _count_days(group: Ints, weekday: Ints, n_groups: int) -> Ints:
    """Count the distinct weekdays of each group of rows."""
    return np.bincount(pd.unique(group * 7 + weekday) // 7, minlength=n_groups)


def compute_coverage(series: Ints, week: Ints, n_days: Ints, n_days_any: Ints) -> Floats:
    """Return the share of its usual days that each week of each series has, at most 1: [N].

    `series`, `week` and `n_days`, each [N], are sorted by series and week; `n_days_any`, [W],
    counts the days of each week on which any series has a value.

    Nine in ten of the 52 weeks before a series' newest one have the usual number of days or more,
    but it is that of the week a year earlier if that had fewer. For a series with several days in
    any week, the coverage of all series taken as one is an upper bound.
    """
    share = _share_of_usual_days(series, week, n_days)
    any_week = np.flatnonzero(n_days_any)
    no_series = np.zeros_like(any_week)
    share_any = np.ones(len(n_days_any))
    share_any[any_week] = _share_of_usual_days(no_series, any_week, n_days_any[any_week])
    first_row = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    has_several_days = np.maximum.reduceat(n_days, first_row) > 1
    return np.where(has_several_days[series], np.minimum(share, share_any[week]), share)


def _share_of_usual_days(series: Ints, week: Ints, n_days: Ints) -> Floats:
    """Return each week's days as a share of the usual number, at most 1; sorted by series, week."""
    n_later_weeks = np.cumsum(np.bincount(series))[series] - 1 - np.arange(len(series))
    is_recent = (n_later_weeks >= 1) & (n_later_weeks <= USUAL_WEEKS)
    recent = pd.Series(n_days[is_recent]).groupby(series[is_recent])
    quantile = recent.quantile(SHORT_WEEK_SHARE, interpolation="lower")
    usual_by_series = quantile[recent.size() >= MIN_USUAL_WEEKS]
    usual: Floats = usual_by_series.reindex(series, fill_value=1.0).to_numpy()
    # A holiday may move by a week from one year to the next.
    width = int(week.max(initial=0)) + 1
    cell = series * width + week
    for n_weeks_ago in (USUAL_WEEKS - 1, USUAL_WEEKS, USUAL_WEEKS + 1):
        earlier = np.searchsorted(cell, cell - n_weeks_ago).clip(max=len(cell) - 1)
        exists = (cell[earlier] == cell - n_weeks_ago) & (week >= n_weeks_ago)
        usual = np.where(exists, np.minimum(usual, n_days[earlier]), usual)
    return (n_days / usual).clip(max=1.0)


def _check_every_series_has_a_value(rows: _RowArrays, is_over: Mask, weeks: pd.DataFrame) -> None:
    is_empty = np.bincount(rows.series[is_over], minlength=len(rows.ids)) > 0
    is_empty[weeks["series"]] = False
    if is_empty.any():
        empty = rows.ids[is_empty]
        raise DataError(
            f"{len(empty)} series have no value in any week: {format_list(empty)}. They cannot be"
            f" forecast, so nothing was published. Add values to the source, or remove these"
            f" series from it."
        )


def _several_rows_error(raw: pd.DataFrame, week_end: "pd.Series[pd.Timestamp]") -> DataError:
    key = ["unique_id", "ds"]
    rows = raw.assign(ds=week_end)
    rows = rows[rows.duplicated(key, keep=False)]
    weeks = rows.drop_duplicates(key)
    cause = "The source is finer than a week"
    if raw.loc[rows.index].duplicated(key).any():
        cause = "The source repeats the same (unique_id, ds)"
    return DataError(
        f"{len(weeks)} weeks have more than one row ({len(rows)} rows): {_format_weeks(weeks)}."
        f" {cause}, so the value of the week is ambiguous. Nothing was published. Correct the"
        f" source, or set `series.aggregate` to sum, mean or last in forecast.toml."
    )


def _format_weeks(weeks: pd.DataFrame) -> str:
    return format_list(weeks["unique_id"].astype(str) + weeks["ds"].dt.strftime(" / %Y-%m-%d"))


def _to_grid(weeks: pd.DataFrame, rows: _RowArrays) -> pd.DataFrame:
    """Return a row for each week from a series' first value to its last; `y` is NaN in gaps."""
    groups = weeks.groupby("series", sort=True)["week"]
    first_week = groups.min()
    n_weeks = (groups.max() - first_week + 1).to_numpy()
    first_row = n_weeks.cumsum() - n_weeks
    nth_week = np.arange(n_weeks.sum()) - first_row.repeat(n_weeks)
    row = first_row[groups.ngroup()] + (weeks["week"] - groups.transform("min"))
    y, coverage = np.full(len(nth_week), np.nan), np.zeros(len(nth_week))
    y[row], coverage[row] = weeks["y"], weeks["coverage"]
    day = rows.week_0_end + 7 * (first_week.to_numpy().repeat(n_weeks) + nth_week)
    unique_id = rows.ids[first_week.index].repeat(n_weeks)
    ds = day.astype("datetime64[D]").astype("datetime64[ns]")
    return pd.DataFrame({"unique_id": unique_id, "ds": ds, "y": y, "coverage": coverage})


def _fill_gaps(grid: pd.DataFrame, is_gap: "pd.Series[bool]", missing: str) -> pd.DataFrame:
    if not is_gap.any():
        return grid
    if missing == "error":
        raise DataError(
            f"{is_gap.sum()} weeks have no value: {_format_weeks(grid[is_gap])}. Models need every"
            f" week, so nothing was published. Add the values to the source, or set"
            f" `series.missing` to interpolate, ffill or zero in forecast.toml."
        )
    if missing == "zero":
        return grid.fillna({"y": 0.0})
    # Each series starts and ends with a value, so no gap is filled across two series.
    filled = grid["y"].ffill() if missing == "ffill" else grid["y"].interpolate()
    return grid.assign(y=filled)
