"""Holidays and events by week: a holiday that moves counts in the weeks that have its days."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.data.calendar import (
    Event,
    calendar_events,
    event_columns,
    holiday_days,
    read_events,
)
from forecast_assets.errors import DataError, SettingsError
from forecast_assets_tests.builders import make_settings


def weeks(*days: str) -> "np.typing.NDArray[np.datetime64]":
    return np.array(days, dtype="datetime64[D]")


def test_the_week_before_christmas_has_as_many_of_the_days_before_it_as_it_has():
    christmas = [Event("Christmas", day, day) for day in (date(2010, 12, 25), date(2011, 12, 25))]
    days = weeks("2010-12-24", "2010-12-31", "2011-12-23", "2011-12-30")
    columns = event_columns(christmas, days)
    assert list(columns["Christmas before"]) == [7, 0, 6, 1]
    assert list(columns["Christmas"]) == [0, 1, 0, 1]
    assert list(columns["Christmas after"]) == [0, 6, 0, 5]


def test_a_day_that_is_two_holidays_is_one_day_of_holiday():
    days = [
        Event("fair", date(2024, 5, 1), date(2024, 5, 2)),
        Event("labour", date(2024, 5, 1), date(2024, 5, 1)),
    ]
    assert list(holiday_days(days, weeks("2024-04-26", "2024-05-03"))) == [0, 2]


def test_the_holidays_of_a_country_are_on_the_days_that_they_fall_on(tmp_path: Path):
    settings = make_settings(tmp_path, calendar={"country": "US"})
    found = calendar_events(settings, first=date(2011, 1, 7), last=date(2011, 12, 30))
    days = {event.first for event in found if event.name == "Thanksgiving Day"}
    assert days == {date(2010, 11, 25), date(2011, 11, 24), date(2012, 11, 22)}


@pytest.mark.parametrize(
    ("calendar", "text"),
    [
        ({"country": "XX"}, "`calendar.country` is 'XX', which the library `holidays` does not"),
        ({"country": "US", "subdivision": "QQ"}, "`calendar.subdivision` is 'QQ'"),
    ],
)
def test_an_unknown_place_is_refused(tmp_path: Path, calendar: dict[str, str], text: str):
    settings = make_settings(tmp_path, calendar=calendar)
    with pytest.raises(SettingsError, match=text):
        calendar_events(settings, first=date(2024, 1, 5), last=date(2024, 2, 2))


def test_a_subdivision_needs_its_country(tmp_path: Path):
    with pytest.raises(SettingsError, match="a `subdivision` needs its `country`"):
        make_settings(tmp_path, calendar={"subdivision": "CA"})


def test_events_of_one_day_and_of_some_series(tmp_path: Path):
    path = tmp_path / "events.csv"
    path.write_text(
        "name,first,last,unique_id\nsale,2024-03-01,,store_1*\nfair,2024-05-01,2024-05-03,\n"
    )
    assert read_events(path) == [
        Event("sale", date(2024, 3, 1), date(2024, 3, 1), "store_1*"),
        Event("fair", date(2024, 5, 1), date(2024, 5, 3)),
    ]


def test_events_of_one_name_that_overlap_count_each_day_once():
    once = [Event("sale", date(2024, 3, 2), date(2024, 3, 8))]
    parts = [
        *(Event("sale", date(2024, 3, day), date(2024, 3, day + 2)) for day in range(2, 7)),
        Event("sale", date(2024, 3, 2), date(2024, 3, 8)),
    ]
    days = weeks("2024-02-23", "2024-03-01", "2024-03-08", "2024-03-15", "2024-03-22")
    columns = event_columns(parts, days)
    assert columns.equals(event_columns(once, days))
    assert columns.to_numpy().T.tolist() == [[0, 7, 0, 0, 0], [0, 0, 7, 0, 0], [0, 0, 0, 7, 0]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name,first\nsale,2024-03-01\n", "have no column last"),
        ("name,first,last\nsale,2024-03-01,2024-02-01\n", "1 of 1 events .* end before they begin"),
        ("name,first,last\nsale,1 March,\n", r"line 2"),
        (
            "name,first,last\na,2024-03-01,\nholiday days,2024-03-02,\na before,2024-03-03,\n",
            "2 of 3 events .* called holiday days, or end in before or after.*: line 3, line 4",
        ),
    ],
)
def test_events_that_cannot_be_read_are_refused(tmp_path: Path, text: str, error: str):
    path = tmp_path / "events.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=error):
        read_events(path)
