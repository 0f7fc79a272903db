"""Test data.quality.row_checks."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from forecast_assets.data.completeness import NewestWeek
from forecast_assets.data.quality.comparison import WeekGrid
from forecast_assets.data.quality.revisions import shrunk
from forecast_assets.data.quality.row_checks import (
    RawRows,
    duplicates,
    incomplete,
    local_midnights,
    long_gap,
    malformed,
    midnight_dates,
    off_grid,
    partial_series,
    placeholder_dates,
)
from forecast_assets_tests.builders import make_ragged, make_raw, make_series, make_settings, walk
from forecast_assets_tests.data.quality.test_comparison import compare

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
    sales = make_raw(make_series(b=walk(40, seed=1)))
    others = sales.tail(10).assign(y=walk(10, seed=2))
    twice, tills = (
        RawRows(pd.concat([sales, more], ignore_index=True)) for more in (sales.tail(10), others)
    )
    assert [one.n for one in duplicates(twice, after=ALWAYS, zone=None)] == [10]
    assert duplicates(tills, after=ALWAYS, zone=None) == []


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


def test_the_newest_week_lacks_days_or_it_cannot_be_told():
    now = make_series(a=walk(10, seed=1), b=walk(10, seed=2))
    both, first = compare(now, now.head(0)), compare(now, now)
    end = both.new.newest_week * 7 + both.new.weekday
    (one,) = incomplete(["a", "b"], NewestWeek(end - 7, end - 3, 16.84), both)
    assert one.message == (
        "The newest week of 2 of 2 series lacks days: a, b. No series has a row after 2024-03-05."
        " The 3 days to 2024-03-08 have 16.8 rows in a usual week."
    )
    (one,) = incomplete([], NewestWeek(end, end - 1, 0.42), both)
    assert (one.kind, one.n, one.series) == ("unknown_completeness", 1, ())
    assert one.message == (
        "No series has a row after 2024-03-07. The 1 day to 2024-03-08 has 0.4 rows in a usual"
        " week, and it is unclear whether the source went on."
    )
    assert incomplete([], NewestWeek(end, end - 1), both) == []
    assert incomplete([], NewestWeek(end, end - 1, 0.42), first) == []  # told before


def gapped(*, first: int = 0) -> pd.DataFrame:
    """Return rows of `a` in weeks 0, 1, 40 and later, and of `b` in all."""
    weeks = [0, 1, *range(40, 60)][first:]
    complete = make_series(a=range(60), b=range(60))
    is_row = (complete["unique_id"] == "b") | complete.index.isin(weeks)
    return make_raw(complete[is_row])


def test_rows_before_a_gap_that_is_not_filled_are_listed_once():
    settings = make_settings(Path("/")).series
    now = make_ragged(a=(40, range(20)), b=(0, range(60)))
    filled = make_series(a=range(60), b=range(60))
    for was in (now.head(0), filled):
        (one,) = long_gap(RawRows(gapped()), compare(now, was), settings)
        assert one.message == (
            "2 rows of 1 series lie before a gap of more than 26 weeks, which is not filled, and"
            " were left out: a / 2024-01-05 (2 rows, then 38 weeks without a value)."
        )
        assert shrunk(compare(now, filled), n_passed=1, left_out=[one]) == []
    assert shrunk(compare(now, filled), n_passed=1)
    assert long_gap(RawRows(gapped()), compare(now, now), settings) == []
    assert long_gap(RawRows(gapped(first=2)), compare(now, now.head(0)), settings) == []


def weekly(first: str, n: int = 100) -> pd.DataFrame:
    """Return n weekly rows of the series `a`."""
    return rows(*pd.date_range(first, periods=n, freq="7D").astype(str))


@pytest.mark.parametrize("day", ["1900-01-01", "1970-01-04", "2000-01-02", "2099-12-31"])
def test_a_date_that_stands_for_a_missing_one_is_found(day: str):
    own = weekly("2023-01-06")
    (one,) = placeholder_dates(RawRows(pd.concat([own, rows(day, day), weekly("2020-01-03")])))
    assert one.message == (
        "2 rows of 1 series have a date that stands for a missing one, far from all other rows:"
        f" a ({day})."
    )
    (one,) = placeholder_dates(RawRows(pd.concat([own, rows(day, unique_id="only")])))
    assert one.series == ("only",)
    assert placeholder_dates(RawRows(own)) == []


@pytest.mark.parametrize(
    "own",
    [
        weekly("1995-01-06", 600),
        weekly("2000-01-01"),
        rows(*pd.date_range("1990-01-01", periods=36, freq="YS").astype(str)),
        rows(*pd.date_range("1999-12-31", periods=300, freq="ME").astype(str)),
    ],
    ids=["through 2000", "from 2000 on", "yearly", "monthly"],
)
def test_a_date_among_others_of_its_series_is_a_date(own: pd.DataFrame):
    assert placeholder_dates(RawRows(own)) == []


def test_dates_that_were_written_as_midnight_are_reported():
    dates = rows("2026-03-02", "2026-03-03")
    assert midnight_dates(RawRows(dates), zone=VIENNA) == []
    dates.loc[0, "given"] = "{}"
    (one,) = midnight_dates(RawRows(dates), zone=VIENNA)
    assert one.message == (
        "2 rows of 1 series, all or nearly all at midnight in UTC, were taken as dates and not"
        " converted to Europe/Vienna: a (2026-03-02)."
    )


def in_utc(hour: int, zone: str) -> RawRows:
    """Return a row a day over a year, at an hour of a zone, as UTC without an offset."""
    days = pd.date_range("2025-01-06", "2026-01-11", tz=zone) + pd.Timedelta(hours=hour)
    return RawRows(rows(*days.tz_convert("UTC").tz_localize(None).astype(str)))


@pytest.mark.parametrize("zone", ["Europe/Vienna", "Europe/Athens", "Europe/London"])
def test_local_midnights_in_utc_are_found_once_and_only_without_a_zone(zone: str):
    midnights = in_utc(0, zone)
    (one,) = local_midnights(midnights, after=ALWAYS, zone=None)
    assert (one.kind, one.n, one.series) == ("off_grid", 371, ("a",))
    assert one.message.endswith(" If they are midnights, set `source.timezone`.")
    assert local_midnights(midnights, after=ALWAYS, zone=VIENNA) == []
    assert local_midnights(midnights, after=pd.Timestamp("2025-02-01"), zone=None) == []


@pytest.mark.parametrize(
    ("hour", "zone"), [(8, "Europe/Vienna"), (0, "UTC"), (22, "UTC"), (0, "America/New_York")]
)
def test_other_times_are_no_local_midnights(hour: int, zone: str):
    assert local_midnights(in_utc(hour, zone), after=ALWAYS, zone=None) == []


def test_readings_at_two_hours_every_day_are_no_local_midnights():
    both = pd.concat([in_utc(hour, "UTC").raw for hour in (22, 23)], ignore_index=True)
    assert local_midnights(RawRows(both), after=ALWAYS, zone=None) == []
