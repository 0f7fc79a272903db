"""Raw rows to weekly series: one row for each series and week, from its first to its last.

Reading a source does not belong here, nor anything about models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError, format_list

WEEKS = 52  # that the usual number of days is taken from
SHARE = 0.1  # of them may have fewer days: holidays, and series that do not sell every day
# A daily source with five short weeks a year keeps all of its days, one with rows on two days here
# and four there is asked for the fewer.

FEWEST = 4  # weeks before the newest; of fewer nothing can be called usual, and all are whole

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def covered(series: Ints, nth_week: Ints, n_days: Ints, n_days_of_all: Ints) -> Floats:
    """The coverage of each week of each series: its days with a value, of the usual ones.

    The first three are a week each, ascending by series and, within it, by week; `n_days_of_all`
    is, by week, on how many days any series has a value. Usual are the days that nine in ten of
    the last 52 weeks before the newest reach, or those of a year ago where they are fewer; a week
    has 1 at most. Where a series has several
    days in any week, its coverage is no more than that of all series taken as one.
    """
    share = _of_usual(series, nth_week, n_days)
    there = np.flatnonzero(n_days_of_all)
    of_all = np.ones(len(n_days_of_all))
    of_all[there] = _of_usual(np.zeros(len(there), dtype=int), there, n_days_of_all[there])
    starts = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
    is_finer = np.maximum.reduceat(n_days, starts) > 1
    return np.where(is_finer[series], np.minimum(share, of_all[nth_week]), share)


def _of_usual(series: Ints, nth_week: Ints, n_days: Ints) -> Floats:
    """Each week's days of the usual ones, 1 at most; `series` ascends, and weeks within each.

    Of a week that had fewer a year ago, give or take a week, those are usual: a holiday's.
    """
    nth_last = np.cumsum(np.bincount(series))[series] - 1 - np.arange(len(series))
    is_judged = (nth_last >= 1) & (nth_last <= WEEKS)
    judged, n = series[is_judged], n_days[is_judged]
    ranked = n[np.lexsort((n, judged))]
    counts = np.bincount(judged, minlength=series.max(initial=0) + 1)
    is_known = counts >= FEWEST
    places = np.cumsum(counts) - counts + (SHARE * (counts - 1)).astype(np.int64)
    of_series = np.ones(len(counts))
    of_series[is_known] = ranked[places[is_known]]
    usual = of_series[series]
    width = int(nth_week.max(initial=0)) + 1
    cell = series * width + nth_week
    for ago in (WEEKS - 1, WEEKS, WEEKS + 1):
        place = np.searchsorted(cell, cell - ago).clip(max=len(cell) - 1)
        is_there = (cell[place] == cell - ago) & (nth_week >= ago)
        usual = np.where(is_there, np.minimum(usual, n_days[place]), usual)
    shares: Floats = np.minimum(1.0, n_days / usual)
    return shares


WEEKDAYS = ("W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN")


@dataclass(frozen=True)
class WeeklySeries:
    """The weekly table, and what was done to the rows on the way."""

    frame: pd.DataFrame
    n_set_aside: int  # rows that break the contract
    n_unfinished: int  # rows left out: their week was not over
    n_part: int  # first and newest weeks of series left out: too few of their days are there
    n_filled: int  # weeks that no row gave a value for
    partial: tuple[str, ...]  # series whose newest week is one of those
    short: tuple[str, ...]  # series of a single week: they cannot be backtested


def to_weeks(raw: pd.DataFrame, settings: Settings, *, as_of: datetime) -> WeeklySeries:
    """Turn raw rows `unique_id, ds, y` into weeks `unique_id, ds, y, coverage`, sorted, no gaps.

    A week is named by the day it ends, and counts only when that day lies before `as_of`, in the
    source's time zone, or the schedule's where it has none. A series' first and newest week count
    only from `series.min_coverage` of its usual days on. Rows with a `problem` are left out.

    Raises DataError where a week has several rows and `series.aggregate` is "error", a week has
    none and `series.missing` is "error", a series has no value, no series has two weeks, or no
    week is complete.
    """
    problem = raw.get("problem")
    sound = raw if problem is None or problem.isna().all() else raw[problem.isna()]
    week = _week_end(sound["ds"], settings.series.frequency)
    today = pd.Timestamp(_today(as_of, settings))
    is_over = (week < today).to_numpy()
    if not is_over.any():
        raise DataError(
            f"None of {len(sound)} rows lies in a week that was over on {today.date()}: the first"
            f" week ends on {week.min().date()}. There is nothing to learn from, so nothing was"
            f" published. Check the dates of the source, and `as_of` if you set one."
        )
    rows = _RowArrays.of(sound, week)
    if settings.series.aggregate == "error" and not pd.Index(rows.cell[is_over]).is_unique:
        raise _refusal_of_shared_weeks(sound[is_over], week[is_over])
    cells = _cells(rows, is_over, settings.series.aggregate)
    _refuse_empty_series(rows, is_over, cells)
    is_end = _is_end(cells)
    is_part = is_end & (cells["coverage"] < settings.series.min_coverage)
    is_newest = cells["week"] == cells["week"].max()
    gridded = _on_grid(cells[~is_part], rows)
    is_gap = gridded["y"].isna()
    frame = _filled(gridded, is_gap, settings)
    sizes = frame.groupby("unique_id", sort=True).size()
    short = tuple(sizes.index[sizes == 1])
    if len(short) == len(sizes):
        raise DataError(
            f"Every series has a single week: {format_list(short)}. No forecast can be made or judged"
            f" from one value, so nothing was published. Give the source at least two weeks."
        )
    return WeeklySeries(
        frame,
        n_set_aside=len(raw) - len(sound),
        n_unfinished=int((~is_over).sum()),
        n_part=int(is_part.sum()),
        n_filled=int(is_gap.sum()),
        partial=tuple(rows.ids[cells.loc[is_part & is_newest, "series"]]),
        short=short,
    )


def newest_week(as_of: datetime, settings: Settings) -> date:
    """The last day of the newest week that was over at a moment."""
    today = _today(as_of, settings)
    since = (today.weekday() - WEEKDAYS.index(settings.series.frequency) - 1) % 7 + 1
    return today - timedelta(days=since)


def _today(as_of: datetime, settings: Settings) -> date:
    return as_of.astimezone(settings.source.zone or settings.schedule.zone).date()


def _week_end(times: "pd.Series[pd.Timestamp]", frequency: str) -> "pd.Series[pd.Timestamp]":
    """The day, at midnight, that ends the week of each time."""
    days_left = (WEEKDAYS.index(frequency) - times.dt.weekday) % 7
    return times.dt.normalize() + pd.to_timedelta(days_left, unit="D")


@dataclass(frozen=True)
class _RowArrays:
    """The rows as numbers: whose, on which day, in which week; weeks count from `first`."""

    ids: NDArray[np.object_]  # [S], ascending
    series: Ints  # [N]
    day: Ints  # [N], since 1970
    week: Ints  # [N]
    first: int  # the day that week 0 ends, since 1970
    time: NDArray[np.datetime64]  # [N]
    y: Floats  # [N]

    @classmethod
    def of(cls, rows: pd.DataFrame, week: "pd.Series[pd.Timestamp]") -> Self:
        series, ids = pd.factorize(rows["unique_id"].to_numpy(), sort=True)
        day, end = (
            times.to_numpy().astype("datetime64[D]").astype(np.int64)
            for times in (rows["ds"], week)
        )
        first = int(end.min())
        time, y = rows["ds"].to_numpy(), rows["y"].to_numpy(dtype=np.float64)
        return cls(ids, series, day, (end - first) // 7, first, time, y)

    @property
    def n_weeks(self) -> int:
        """How many weeks there are from the first row's to the last one's."""
        return int(self.week.max()) + 1

    @cached_property
    def cell(self) -> Ints:
        """A number for each series and week, ascending by series: [N]."""
        return self.series * self.n_weeks + self.week


def _cells(rows: _RowArrays, is_over: NDArray[np.bool_], how: str) -> pd.DataFrame:
    """One row for each week of each series with a value: `series, week, y, coverage`, sorted."""
    n_weeks = rows.n_weeks
    is_known = is_over & ~np.isnan(rows.y)
    cell = rows.cell[is_known]
    y = pd.Series(rows.y[is_known], index=cell)
    if how == "last":
        y = y.iloc[np.argsort(rows.time[is_known], kind="stable")]
    groups = y.groupby(level=0, sort=True)
    one: Mapping[str, Callable[[], pd.Series[float]]] = {
        "sum": groups.sum,
        "mean": groups.mean,
        "last": groups.last,
        "error": y.sort_index,
    }
    values = one[how]()
    if np.isinf(values).any():
        raise DataError(
            f"{int(np.isinf(values).sum())} weeks have rows whose {how} is larger than any number"
            f" can be, of the series {format_list(rows.ids[values.index[np.isinf(values)] // n_weeks])}."
            f" Nothing was published. Look for values that are far too large."
        )
    index = values.index.to_numpy()
    series, week = index // n_weeks, index % n_weeks
    days = pd.unique(cell * 7 + rows.day[is_known] % 7)
    n_days = np.bincount(np.searchsorted(index, days // 7), minlength=len(index))
    of_all = np.bincount(np.unique(days // 7 % n_weeks * 7 + days % 7) // 7, minlength=n_weeks)
    coverage = covered(series, week, n_days, of_all) if len(index) else np.array([])
    return pd.DataFrame(
        {"series": series, "week": week, "y": values.to_numpy(), "coverage": coverage}
    )


def _is_end(cells: pd.DataFrame) -> "pd.Series[bool]":
    """Which cells are the first or the newest of their series, of weeks that are over."""
    return (cells["series"].diff() != 0) | (cells["series"].diff(-1) != 0)


def _refuse_empty_series(rows: _RowArrays, is_over: NDArray[np.bool_], cells: pd.DataFrame) -> None:
    has_value = np.isin(np.arange(len(rows.ids)), cells["series"])
    has_row = np.bincount(rows.series[is_over], minlength=len(rows.ids)) > 0
    without = rows.ids[has_row & ~has_value]
    if len(without):
        raise DataError(
            f"{len(without)} series have no value in any week: {format_list(without)}."
            f" There is nothing to forecast them from, so nothing was published. Mend the source,"
            f" or leave them out of it."
        )


def _refusal_of_shared_weeks(raw: pd.DataFrame, week: "pd.Series[pd.Timestamp]") -> DataError:
    rows = raw.assign(ds=week)
    shared = rows[rows.duplicated(["unique_id", "ds"], keep=False)]
    weeks = shared.drop_duplicates(["unique_id", "ds"])
    same_time = raw.loc[shared.index].duplicated(["unique_id", "ds"], keep=False)
    cause = (
        "They carry the same (unique_id, ds): the source gives them twice"
        if same_time.any()
        else "The source is finer than a week"
    )
    return DataError(
        f"{len(weeks)} weeks have more than one row ({len(shared)} rows): {_named(weeks)}. {cause}."
        f" Which value is the week's would be a guess, so nothing was published. Mend the source,"
        f" or set `series.aggregate` to sum, mean or last in forecast.toml."
    )


def _named(weeks: pd.DataFrame) -> str:
    days = weeks["ds"].dt.strftime("%Y-%m-%d")
    return format_list(f"{one} / {day}" for one, day in zip(weeks["unique_id"], days, strict=True))


def _on_grid(cells: pd.DataFrame, rows: _RowArrays) -> pd.DataFrame:
    """Every series with a row for each week from its first value to its last, sorted."""
    groups = cells.groupby("series", sort=True)["week"]
    first = groups.min()
    n_weeks = (groups.max() - first + 1).to_numpy()
    starts = n_weeks.cumsum() - n_weeks  # the row where each series begins
    nth = np.arange(n_weeks.sum()) - starts.repeat(n_weeks)
    place = starts[groups.ngroup()] + (cells["week"] - groups.transform("min"))
    y, coverage = np.full(len(nth), np.nan), np.zeros(len(nth))
    y[place], coverage[place] = cells["y"], cells["coverage"]
    day = rows.first + 7 * (first.to_numpy().repeat(n_weeks) + nth)
    return pd.DataFrame(
        {
            "unique_id": rows.ids[first.index].repeat(n_weeks),
            "ds": day.astype("datetime64[D]").astype("datetime64[ns]"),
            "y": y,
            "coverage": coverage,
        }
    )


def _filled(weeks: pd.DataFrame, is_gap: "pd.Series[bool]", settings: Settings) -> pd.DataFrame:
    how = settings.series.missing
    if not is_gap.any():
        return weeks
    if how == "error":
        raise DataError(
            f"{int(is_gap.sum())} weeks have no value: {_named(weeks[is_gap])}. A model needs"
            f" every week, so nothing was published. Mend the source, or set"
            f" `series.missing` to interpolate, ffill or zero in forecast.toml."
        )
    if how == "zero":
        return weeks.fillna({"y": 0.0})
    # Every series starts and ends with a value, so no gap is filled from a neighbour series.
    filled = weeks["y"].ffill() if how == "ffill" else weeks["y"].interpolate()
    return weeks.assign(y=filled)
