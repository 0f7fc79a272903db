"""The table `regressors`: the values of a source, each with the time it was known from."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.regressors import (
    ALL_SERIES,
    ALWAYS,
    Previous,
    changed_values,
    read_regressors,
)
from forecast_assets.errors import DataError, SettingsError, SourceError
from forecast_assets_tests.builders import make_settings

AS_OF = datetime(2024, 3, 4, tzinfo=UTC)


def promo(tmp_path: Path, text: str, **table: object) -> Settings:
    """Return settings with the regressor `promo` of a csv file."""
    (tmp_path / "promo.csv").write_text(text)
    own = {"kind": "file", "path": "promo.csv", "columns": ["price"], "known": "ahead", **table}
    return make_settings(tmp_path, regressors={"promo": own})


def known_at(table: pd.DataFrame) -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M}" for time in table["known_at"]]


def test_values_that_are_known_ahead_were_always_known(tmp_path: Path):
    settings = promo(tmp_path, "ds,price\n2024-03-01,1.5\n2024-03-08,2.5\n")
    table = read_regressors(settings, as_of=AS_OF, before=None)
    assert list(table["value"]) == [1.5, 2.5]
    assert set(table["unique_id"]) == {ALL_SERIES}
    assert set(table["regressor"]) == {"promo.price"}
    assert set(table["known_at"]) == {ALWAYS}


def test_a_column_unique_id_is_used_without_a_setting(tmp_path: Path):
    text = "unique_id,ds,price\na,2024-03-01,1\nb,2024-03-01,2\n"
    table = read_regressors(promo(tmp_path, text), as_of=AS_OF, before=None)
    assert list(table["unique_id"]) == ["a", "b"]


def test_values_of_the_past_are_known_as_long_after_their_week_as_the_settings_say(tmp_path: Path):
    text = "store,ds,price\na,2024-02-16,1\na,2024-02-23,2\n"
    settings = promo(tmp_path, text, unique_id="store", known="past", available="9d")
    table = read_regressors(settings, as_of=AS_OF, before=None)
    assert known_at(table) == ["2024-02-26 00:00", "2024-03-04 00:00"]


def test_a_publication_after_the_tick_is_not_read(tmp_path: Path):
    text = "ds,price,at\n2024-03-08,1,2024-03-01T06:00\n2024-03-08,2,2024-03-05T06:00\n"
    settings = promo(tmp_path, text, available="at")
    table = read_regressors(settings, as_of=AS_OF, before=None)
    assert list(table["value"]) == [1]
    assert known_at(table) == ["2024-03-01 06:00"]


def test_a_changed_value_is_known_from_the_run_that_found_it(tmp_path: Path):
    text = "ds,price\n2024-03-01,1\n2024-03-08,2\n"
    settings = promo(tmp_path, text)
    first = read_regressors(settings, as_of=AS_OF, before=None)
    later = datetime(2024, 3, 11, tzinfo=UTC)
    before = Previous(first, AS_OF)
    assert read_regressors(settings, as_of=later, before=before).equals(first)
    settings = promo(tmp_path, text.replace("08,2", "08,3"))
    table = read_regressors(settings, as_of=later, before=before)
    changed = table[table["ds"] == "2024-03-08"]
    assert list(changed["value"]) == [2, 3]
    assert known_at(changed) == ["1900-01-01 00:00", "2024-03-11 00:00"]


def history(table: pd.DataFrame, unique_id: str, week: str) -> list[tuple[str, str]]:
    """Return the days from which values of a week were known, and the values."""
    rows = table[(table["unique_id"] == unique_id) & (table["ds"] == week)]
    days = (time[:10] for time in known_at(rows))
    return [(day, f"{value:g}") for day, value in zip(days, rows["value"], strict=True)]


def test_what_is_found_after_its_time_is_known_from_then_on(tmp_path: Path):
    weeks = pd.date_range("2024-02-23", periods=5, freq="W-FRI").strftime("%Y-%m-%d")
    by_week = {week: f"a,{week},1,2\n" for week in weeks}

    def settings(*absent: str, more: str = "", columns: tuple[str, ...] = ("price",)) -> Settings:
        rows = "".join(text for week, text in by_week.items() if week not in absent)
        text = f"store,ds,price,cost\n{rows}{more}"
        return promo(tmp_path, text, unique_id="store", columns=columns)

    # The week to 8 March, which the tick of 4 March forecasts, is late; so is one of the past.
    first = settings("2024-03-01", "2024-03-08", "2024-03-22", columns=("price", "cost"))
    before = Previous(read_regressors(first, as_of=AS_OF, before=None), AS_OF)
    later = datetime(2024, 3, 11, tzinfo=UTC)
    second = settings("2024-02-23", "2024-03-15", more="b,2024-03-01,3,4\n")
    table = read_regressors(second, as_of=later, before=before)
    assert set(table["regressor"]) == {"promo.price"}
    always, now = "1900-01-01", "2024-03-11"
    for late in ("2024-03-01", "2024-03-08"):
        assert history(table, "a", late) == [(always, "nan"), (now, "1")]
    assert history(table, "a", "2024-03-15") == [(always, "1"), (now, "nan")]
    # Sources drop old weeks; weeks further ahead and new series are read for the first time.
    for week in ("2024-02-23", "2024-03-22"):
        assert history(table, "a", week) == [(always, "1")]
    assert history(table, "b", "2024-03-01") == [(always, "3")]
    assert list(changed_values(table)["ds"].astype(str)) == ["2024-03-15"]
    again = read_regressors(second, as_of=later, before=Previous(table, later))
    pd.testing.assert_frame_equal(again, table)


def test_a_new_delay_counts_for_what_is_stored(tmp_path: Path):
    text = "ds,price\n2024-02-09,1\n2024-02-16,2\n2024-02-23,3\n"
    delayed = {"known": "past", "available": "9d"}
    before, other = (promo(tmp_path, text, known=known) for known in ("ahead", "past"))
    tables = [read_regressors(each, as_of=AS_OF, before=None) for each in (before, other)]
    settings = promo(tmp_path, text.replace("09,1", "09,7"), **delayed)
    for table in tables:
        found = read_regressors(settings, as_of=AS_OF, before=Previous(table, AS_OF))
        days = ["2024-02-19", "2024-03-04", "2024-02-26", "2024-03-04"]
        assert [time[:10] for time in known_at(found)] == days
        assert list(found["value"]) == [1, 7, 2, 3]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("ds,price\n2024-03-01,1\n2024-03-01,1\n", "2 of 2 rows of `regressors.promo`"),
        ("ds,price\n2024-03-01,high\n", "the regressor promo"),
        ("ds,cost\n2024-03-01,1\n", "price.*`columns` or `available` in .regressors.promo. of"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(tmp_path: Path, text: str, error: str):
    with pytest.raises(Exception, match=error) as caught:
        read_regressors(promo(tmp_path, text), as_of=AS_OF, before=None)
    assert caught.type.__module__ == DataError.__module__


def test_a_column_of_publication_times_that_is_absent_is_named(tmp_path: Path):
    settings = promo(tmp_path, "ds,price\n2024-03-01,1\n", available="published")
    with pytest.raises(SourceError, match="no column published; it has ds, price"):
        read_regressors(settings, as_of=AS_OF, before=None)


def test_a_delay_of_what_is_known_ahead_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="is a time after the week"):
        promo(tmp_path, "", available="9d")
