"""Raw rows to weekly series: one row for each series and week, from its first to its last.

Reading a source does not belong here, nor anything about models.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from forecast_assets.errors import DataError, listed
from forecast_assets.settings import Settings

WEEKDAYS = ("W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN")


@dataclass(frozen=True)
class WeeklySeries:
    """The weekly table, and what was done to the rows on the way."""

    frame: pd.DataFrame
    n_unfinished: int  # rows left out: their week was not over
    n_filled: int  # weeks that no row gave a value for
    short: tuple[str, ...]  # series of a single week: they cannot be backtested


def to_weeks(raw: pd.DataFrame, settings: Settings, *, as_of: datetime) -> WeeklySeries:
    """Turn raw rows `unique_id, ds, y` into weeks `unique_id, ds, y`, sorted, without gaps.

    A week is named by the day it ends, and counts only when that day, in the schedule's time zone,
    lies before `as_of`.

    Raises DataError where a week has several rows and `series.aggregate` is "error", a week has
    none and `series.missing` is "error", a series has no value, no series has two weeks, or no
    week is complete.
    """
    week = _week_end(raw["ds"], settings.series.frequency)
    today = pd.Timestamp(as_of.astimezone(settings.schedule.zone).date())
    is_over = week < today
    if not is_over.any():
        raise DataError(
            f"None of {len(raw)} rows lies in a week that was over on {today.date()}: the first"
            f" week ends on {week.min().date()}. There is nothing to learn from, so nothing was"
            f" published. Check the dates of the source, and `as_of` if you set one."
        )
    rows = raw.assign(ds=week)[is_over]
    weeks = _one_row_a_week(rows, raw, settings)
    gridded = _on_grid(weeks)
    is_gap = gridded["y"].isna()
    frame = _filled(gridded, is_gap, settings)
    sizes = frame.groupby("unique_id", sort=True).size()
    short = tuple(sizes.index[sizes == 1])
    if len(short) == len(sizes):
        raise DataError(
            f"Every series has a single week: {listed(short)}. No forecast can be made or judged"
            f" from one value, so nothing was published. Give the source at least two weeks."
        )
    return WeeklySeries(frame, int((~is_over).sum()), int(is_gap.sum()), short)


def newest_week(as_of: datetime, settings: Settings) -> date:
    """The last day of the newest week that was over at a moment."""
    today = as_of.astimezone(settings.schedule.zone).date()
    since = (today.weekday() - WEEKDAYS.index(settings.series.frequency) - 1) % 7 + 1
    return today - timedelta(days=since)


def _week_end(times: "pd.Series[pd.Timestamp]", frequency: str) -> "pd.Series[pd.Timestamp]":
    """The day, at midnight, that ends the week of each time."""
    days_left = (WEEKDAYS.index(frequency) - times.dt.weekday) % 7
    return times.dt.normalize() + pd.to_timedelta(days_left, unit="D")


def _one_row_a_week(rows: pd.DataFrame, raw: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    keys = ["unique_id", "ds"]
    how = settings.series.aggregate
    if how == "error":
        is_shared = rows.duplicated(keys, keep=False)
        if is_shared.any():
            raise DataError(_shared_weeks(rows[is_shared], raw))
        return rows
    if how == "last":
        rows = rows.loc[raw.loc[rows.index].sort_values("ds", kind="stable").index]
    groups = rows.groupby(keys, sort=True)["y"]
    if how == "sum":
        return groups.sum(min_count=1).reset_index()
    return (groups.last() if how == "last" else groups.mean()).reset_index()


def _shared_weeks(shared: pd.DataFrame, raw: pd.DataFrame) -> str:
    weeks = shared.drop_duplicates(["unique_id", "ds"])
    same_time = raw.loc[shared.index].duplicated(["unique_id", "ds"], keep=False)
    cause = (
        "They carry the same (unique_id, ds): the source gives them twice"
        if same_time.any()
        else "The source is finer than a week"
    )
    return (
        f"{len(weeks)} weeks have more than one row ({len(shared)} rows): {_named(weeks)}. {cause}."
        f" Which value is the week's would be a guess, so nothing was published. Mend the source,"
        f" or set `series.aggregate` to sum, mean or last in forecast.toml."
    )


def _named(weeks: pd.DataFrame) -> str:
    days = weeks["ds"].dt.strftime("%Y-%m-%d")
    return listed(f"{one} / {day}" for one, day in zip(weeks["unique_id"], days, strict=True))


def _on_grid(weeks: pd.DataFrame) -> pd.DataFrame:
    """Every series with a row for each week from its first value to its last, sorted."""
    known = weeks.dropna(subset="y")
    without = sorted(set(weeks["unique_id"]) - set(known["unique_id"]))
    if without:
        raise DataError(
            f"{len(without)} series have no value in any week: {listed(without)}."
            f" There is nothing to forecast them from, so nothing was published. Mend the source,"
            f" or leave them out of it."
        )
    groups = known.groupby("unique_id", sort=True)["ds"]
    first = groups.min()
    n_weeks = ((groups.max() - first).dt.days // 7 + 1).to_numpy()
    starts = n_weeks.cumsum() - n_weeks  # the row where each series begins
    nth = np.arange(n_weeks.sum()) - starts.repeat(n_weeks)
    y = np.full(len(nth), np.nan)
    nth_known = (known["ds"] - groups.transform("min")).dt.days // 7
    y[starts[groups.ngroup()] + nth_known] = known["y"]
    ds = first.to_numpy().repeat(n_weeks) + nth * np.timedelta64(7, "D")
    return pd.DataFrame({"unique_id": first.index.repeat(n_weeks), "ds": ds, "y": y})


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
