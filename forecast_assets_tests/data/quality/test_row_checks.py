"""What the rows of a fetch show that their weeks do not: the edges of each finding."""

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
EVER = pd.Timestamp.min


def rows(*times: str, unique_id: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"unique_id": unique_id, "ds": pd.to_datetime(times), "y": 1.0}).assign(
        problem=None, given=None
    )


def beside_many(*times: str) -> pd.DataFrame:
    """These rows, and forty of another series that are sound."""
    return pd.concat([rows(*times), make_raw(make_series(b=walk(40, seed=1)))], ignore_index=True)


def test_rows_that_were_set_aside_are_counted_by_reason():
    raw = pd.concat([rows("2024-01-05")] * 4, ignore_index=True)
    raw["problem"] = ["no time", "no id", "no id", None]
    (one,) = malformed(RawRows(raw))
    assert one.what.startswith("3 of 4 rows break the contract and were set aside: 2 no id, 1 no")
    assert malformed(RawRows(raw.drop(columns=["problem", "given"]))) == []


def test_a_row_that_comes_twice_is_told_if_it_is_new():
    raw = RawRows(beside_many("2024-01-05", "2024-01-05", "2024-01-12"))
    (one,) = duplicates(raw, after=EVER, zone=None)
    assert (one.n, one.series) == (1, ("a",))
    assert duplicates(raw, after=pd.Timestamp("2024-01-05"), zone=None) == []


def test_transactions_of_one_time_are_usual():
    assert duplicates(RawRows(rows(*["2024-01-05"] * 10)), after=EVER, zone=None) == []


def test_the_hour_that_comes_twice_in_autumn_is_none():
    twice = beside_many("2024-10-27 02:30", "2024-10-27 02:30")
    assert duplicates(RawRows(twice), after=EVER, zone=VIENNA) == []
    assert len(duplicates(RawRows(twice), after=EVER, zone=None)) == 1
    once = beside_many("2024-10-26 02:30", "2024-10-26 02:30")
    assert len(duplicates(RawRows(once), after=EVER, zone=VIENNA)) == 1


def test_a_series_has_its_own_weekday_and_a_daily_one_has_none():
    days = rows(*pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d"), unique_id="daily")
    fridays = make_raw(make_series(b=walk(40, seed=1)))
    mondays = fridays.assign(unique_id="c", ds=fridays["ds"] + pd.Timedelta(days=3))
    every = pd.concat([days, fridays, mondays], ignore_index=True)
    assert off_grid(RawRows(every), after=EVER) == []
    every.loc[every["unique_id"].eq("c") & (every["ds"] == "2024-01-08"), "ds"] = "2024-01-09"
    (one,) = off_grid(RawRows(every), after=EVER)
    assert "c / Tuesday, 2024-01-09" in one.what


def test_a_series_is_left_out_where_its_newest_rows_made_no_week():
    raw = make_raw(make_series(a=walk(10, seed=1), b=walk(10, seed=2), c=walk(9, seed=3)))
    weeks = make_series(a=walk(10, seed=1), b=walk(9, seed=2), c=walk(9, seed=3))
    now = WeekGrid.of(weeks)
    assert partial_series(RawRows(raw), now, due=now.newest) == ["b"]
    assert partial_series(RawRows(raw), now, due=now.newest - 1) == []
