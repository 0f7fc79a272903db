"""Aggregate raw rows to weekly series: one row per series and week, from its first to its last.

Reading a source belongs to `sources`, judging a fetch to `quality`, and judging which week is
complete to `completeness`.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.series_settings import SeriesSettings
from forecast_assets.config.settings import Settings
from forecast_assets.data.completeness import (
    DAYS,
    FILLING,
    Floats,
    Ints,
    Mask,
    NewestWeek,
    compute_coverage,
    count_days,
    coverage_of_all,
    find_newest_week,
    select_weeks,
)
from forecast_assets.data.excluded import (
    check_left,
    check_totals,
    excluded_weeks,
    fill_gaps,
    without_excluded,
)
from forecast_assets.data.hierarchy import with_totals
from forecast_assets.data.published import rows_known_at
from forecast_assets.data.repeated_rows import several_rows_error
from forecast_assets.errors import DataError, format_list

WEEKDAYS = ("W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN")


@dataclass(frozen=True)
class WeeklySeries:
    """The table `series`, and counts of what was left out or filled."""

    frame: pd.DataFrame
    n_unfinished: int  # rows left out because their week was not over
    n_partial: int  # first and newest weeks left out because they are incomplete
    n_left_out: int  # rows of these weeks, and of those before a long gap
    n_filled: int  # weeks without a value that `series.missing` filled
    n_excluded: int  # weeks of `series.excluded`


def to_weeks(
    raw: pd.DataFrame, settings: Settings, *, as_of: datetime, is_past: bool = False
) -> WeeklySeries:
    """Aggregate rows `unique_id, ds, y` to weeks `unique_id, ds, y, coverage, is_filled`.

    The weeks of a series are sorted and have no gaps. Those of `series.excluded` are filled as well
    (`without_excluded`). Parents of `[hierarchy]` that are absent are appended (`with_totals`).
    With `is_past` these belong to `vintages`, and a series that is excluded as a whole is absent.

    `ds` becomes the last day of the week. A week counts once that day lies before `as_of`, in the
    time zone of the source or else of the schedule, and if it is no later than the newest complete
    week of the source (`find_newest_week`), up to which zeros fill a series. The first week counts
    if its coverage is at least `series.min_coverage`; the weeks before a gap that is longer than
    `series.max_gap` and would be filled do not count. Rows with a `problem` are ignored,
    and so is what was published after `as_of` or replaced until then (`rows_known_at`).

    Raises DataError if no week is over, no series has two weeks, a series has no value, a week has
    several rows and `series.aggregate` is "error", or none and `series.missing` is "error".
    """
    raw = rows_known_at(raw, as_of)
    if "problem" in raw and raw["problem"].notna().any():
        raw = raw[raw["problem"].isna()]
    end = week_end(raw["ds"], settings.series.frequency)
    today = pd.Timestamp(local_day(as_of, settings))
    is_over = (end < today).to_numpy()
    if not is_over.any():
        raise _no_week_error(end, today)
    rows = _RowArrays.of(raw, end)
    if settings.series.aggregate == "error" and not pd.Index(rows.cell[is_over]).is_unique:
        raise several_rows_error(raw[is_over], end[is_over])
    weeks, source_coverage = _aggregate(rows, is_over, settings.series.aggregate)
    _check_every_series_has_a_value(rows, is_over, weeks)
    newest = newest_complete_week(rows.day[~np.isnan(rows.y)], settings, as_of=as_of)
    last_week = (newest.end - rows.week_0_end) // DAYS
    is_partial, is_used = select_weeks(
        weeks, _follow(weeks, last_week, rows, settings.series), source_coverage, settings.series
    )
    is_zero = settings.series.missing == "zero"
    grid = _to_grid(weeks[is_used], rows, last_week=last_week if is_zero else None)
    is_excluded = excluded_weeks(grid, settings.series.excluded)
    is_gap = grid["y"].isna() & ~is_excluded
    known = grid.assign(y=grid["y"].mask(is_excluded))
    filled = fill_gaps(known, is_gap, settings.series.missing)
    frame = without_excluded(filled, settings.series.excluded)
    if not is_past:
        check_left(grid, frame)
    n_left_out = int(weeks.loc[~is_used, "n_rows"].sum())
    if frame["unique_id"].is_unique:
        raise _single_weeks_error(frame["unique_id"], n_left_out, settings.series)
    if not is_past:
        frame = with_totals(frame, settings.hierarchy, is_absence_zero=is_zero)
        check_totals(frame, settings.series.excluded)
    return WeeklySeries(
        frame,
        n_unfinished=int((~is_over).sum()),
        n_partial=int(is_partial.sum()),
        n_left_out=n_left_out,
        n_filled=int(is_gap.sum()),
        n_excluded=int(is_excluded.sum()),
    )


def with_is_filled(series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return a version of the table `series` with the column `is_filled`, which 0.1 did not write.

    Without it, a week whose coverage is 0 was filled if `series.missing` makes values up.
    """
    if "is_filled" in series:
        return series
    has_value = series.get("coverage", pd.Series(1.0, series.index)) > 0
    return series.assign(is_filled=~has_value & (settings.series.missing in FILLING))


def newest_week(as_of: datetime, settings: Settings) -> date:
    """Return the last day of the newest week that was over at `as_of`."""
    today = local_day(as_of, settings)
    days_since = (today.weekday() - WEEKDAYS.index(settings.series.frequency) - 1) % 7 + 1
    return today - timedelta(days=days_since)


def newest_complete_week(day: Ints, settings: Settings, *, as_of: datetime) -> NewestWeek:
    """Return the newest week that counts; `day` are the days of all rows with a value: [N]."""
    days = np.array([local_day(as_of, settings), newest_week(as_of, settings)], "datetime64[D]")
    today, due = days.astype(np.int64).tolist()
    is_zero = settings.series.missing == "zero"
    newest = find_newest_week(day, today=today, due=due, has_empty_weeks=is_zero)
    is_any_used = settings.series.min_coverage == 0
    return replace(newest, end=newest.silent_end) if is_any_used else newest


def last_day_of_week(day: date, settings: Settings) -> date:
    """Return the last day of the week that a day lies in."""
    n_left = (WEEKDAYS.index(settings.series.frequency) - day.weekday()) % len(WEEKDAYS)
    return day + timedelta(days=n_left)


def local_day(as_of: datetime, settings: Settings) -> date:
    """Return the day of a time in the time zone of the source, or else of the schedule."""
    return as_of.astimezone(settings.source.zone or settings.schedule.zone).date()


def week_end(times: "pd.Series[pd.Timestamp]", frequency: str) -> "pd.Series[pd.Timestamp]":
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


def _aggregate(rows: _RowArrays, is_over: Mask, aggregate: str) -> tuple[pd.DataFrame, Floats]:
    """Return one row per series and week with a value: `series, week, y, coverage, n_rows`, sorted.

    The second result is the coverage of all series taken as one: [W].
    """
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
    weekday, nth_cell = rows.day[has_value] % DAYS, np.searchsorted(cells, cell)
    n_days = count_days(nth_cell, weekday, len(cells))
    of_all = coverage_of_all(count_days(rows.week[has_value], weekday, rows.n_weeks))
    coverage = compute_coverage(series, week, n_days, of_all) if len(cells) else n_days
    columns = {"series": series, "week": week, "y": values.to_numpy(), "coverage": coverage}
    n_rows = np.bincount(nth_cell, minlength=len(cells))
    return pd.DataFrame({**columns, "n_rows": n_rows}), of_all


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


def _no_week_error(week_end: "pd.Series[pd.Timestamp]", today: pd.Timestamp) -> DataError:
    return DataError(
        f"None of {len(week_end)} rows lies in a week that was over on {today.date()}: the first"
        f" week ends on {week_end.min().date()}. Nothing was published. Check the dates of the"
        f" source, and `as_of` if you set one."
    )


def _single_weeks_error(
    ids: "pd.Series[str]", n_left_out: int, series: SeriesSettings
) -> DataError:
    message = (
        f"No series has more than one week: {format_list(ids)}. A forecast needs at least two, so"
        f" nothing was published. Add earlier weeks to the source"
    )
    if n_left_out:
        message += (
            f" or, as {n_left_out} rows of incomplete weeks or before gaps of more than"
            f" {series.max_gap} weeks were left out, increase `series.max_gap` or set"
            f" `series.min_coverage` = 0 in forecast.toml"
        )
    return DataError(f"{message}.")


def _follow(weeks: pd.DataFrame, last_week: int, rows: _RowArrays, series: SeriesSettings) -> Mask:
    """Return which weeks follow the newest complete one: [N].

    A series with rows on one weekday alone has its whole week, unless its absent rows are zeros.
    """
    is_later = (weeks["week"] > last_week).to_numpy()
    if not is_later.any():
        return is_later
    has_value = ~np.isnan(rows.y)
    n_days = count_days(rows.series[has_value], rows.day[has_value] % DAYS, len(rows.ids))
    return is_later & ((n_days > 1)[weeks["series"]] | (series.missing == "zero"))


def _to_grid(weeks: pd.DataFrame, rows: _RowArrays, *, last_week: int | None) -> pd.DataFrame:
    """Return a row for each week from a series' first value to its last, or to `last_week`.

    `y` is NaN where there is no value.
    """
    groups = weeks.groupby("series", sort=True)["week"]
    first_week = groups.min()
    ends = groups.max() if last_week is None else groups.max().clip(lower=last_week)
    n_weeks = (ends - first_week + 1).to_numpy()
    first_row = n_weeks.cumsum() - n_weeks
    nth_week = np.arange(n_weeks.sum()) - first_row.repeat(n_weeks)
    row = first_row[groups.ngroup()] + (weeks["week"] - groups.transform("min"))
    y, coverage = np.full(len(nth_week), np.nan), np.zeros(len(nth_week))
    y[row], coverage[row] = weeks["y"], weeks["coverage"]
    day = rows.week_0_end + 7 * (first_week.to_numpy().repeat(n_weeks) + nth_week)
    unique_id = rows.ids[first_week.index].repeat(n_weeks)
    ds = day.astype("datetime64[D]").astype("datetime64[ns]")
    return pd.DataFrame({"unique_id": unique_id, "ds": ds, "y": y, "coverage": coverage})
