"""Test data.quality.row_checks."""

from zoneinfo import ZoneInfo

import pandas as pd

from forecast_assets.data.quality.comparison import WeekGrid
from forecast_assets.data.quality.row_checks import (
    RawRows,
    duplicates,
    malformed,
    off_grid,
    partial_series,
)
from forecast_assets_tests.builders import make_raw, make_series, walk

VIENNA = ZoneInfo("Europe/Vienna")
ALWAYS = pd.Timestamp.min


def rows(*times: str, unique_id: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"unique_id": unique_id, "ds": pd.to_datetime(times), "y": 1.0}).assign(
        problem=None, given=None
    )


def with_valid_rows(*times: str) -> pd.DataFrame:
    """Return these rows, and forty valid ones of another series."""
    return pd.concat([rows(*times), make_raw(make_series(b=walk(40, seed=1)))], ignore_index=True)


def test_rows_that_were_set_aside_are_counted_by_reason():
    raw = pd.concat([rows("2024-01-05")] * 4, ignore_index=True)
    raw["problem"] = ["no time", "no id", "no id", None]
    (one,) = malformed(RawRows(raw))
    message = "3 of 4 rows could not be read and were set aside: 2 no id, 1 no time."
    assert (one.message, one.n, one.series) == (message, 3, ("a",))
    assert malformed(RawRows(raw.drop(columns=["problem", "given"]))) == []
    (one,) = malformed(RawRows(raw.assign(unique_id=[None, None, None, "a"])))
    assert (one.n, one.series) == (3, ())


def test_new_rows_that_come_twice_are_found():
    raw = RawRows(with_valid_rows("2024-01-05", "2024-01-05", "2024-01-12"))
    (one,) = duplicates(raw, after=ALWAYS, zone=None)
    assert (one.n, one.series) == (1, ("a",))
    assert duplicates(raw, after=pd.Timestamp("2024-01-05"), zone=None) == []


def test_duplicates_of_a_source_that_always_has_them_are_none():
    assert duplicates(RawRows(rows(*["2024-01-05"] * 10)), after=ALWAYS, zone=None) == []


def test_the_hour_that_a_zone_has_twice_in_autumn_is_no_duplicate():
    twice = with_valid_rows("2024-10-27 02:30", "2024-10-27 02:30")
    assert duplicates(RawRows(twice), after=ALWAYS, zone=VIENNA) == []
    assert len(duplicates(RawRows(twice), after=ALWAYS, zone=None)) == 1
    once = with_valid_rows("2024-10-26 02:30", "2024-10-26 02:30")
    assert len(duplicates(RawRows(once), after=ALWAYS, zone=VIENNA)) == 1


def test_each_weekly_series_has_its_own_weekday():
    days = rows(*pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d"), unique_id="daily")
    fridays = make_raw(make_series(b=walk(40, seed=1)))
    mondays = fridays.assign(unique_id="c", ds=fridays["ds"] + pd.Timedelta(days=3))
    every = pd.concat([days, fridays, mondays], ignore_index=True)
    assert off_grid(RawRows(every), after=ALWAYS) == []
    every.loc[every["unique_id"].eq("c") & (every["ds"] == "2024-01-08"), "ds"] = "2024-01-09"
    (one,) = off_grid(RawRows(every), after=ALWAYS)
    assert "c (Tuesday, 2024-01-09)" in one.message


def test_a_week_is_partial_if_its_rows_made_no_week():
    raw = make_raw(make_series(a=walk(10, seed=1), b=walk(10, seed=2), c=walk(9, seed=3)))
    weeks = make_series(a=walk(10, seed=1), b=walk(9, seed=2), c=walk(9, seed=3))
    grid = WeekGrid.of(weeks)
    assert partial_series(RawRows(raw), grid, due=grid.newest_week) == ["b"]
    assert partial_series(RawRows(raw), grid, due=grid.newest_week - 1) == []
