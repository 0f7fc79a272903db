"""Vintages of `series`: from publication times, and from the versions in the store."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.published import has_publication_times, rows_known_at
from forecast_assets.data.vintages import (
    digest_values,
    first_hand_versions,
    published_vintages,
    refuse_future,
    stored_vintages,
    week_ticks,
)
from forecast_assets.data.weekly import to_weeks
from forecast_assets.errors import DataError
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import make_raw, make_series, make_settings
from forecast_assets_tests.store_builders import make_store, write_series

MONDAY = datetime(2024, 1, 8, tzinfo=UTC)
NOW = MONDAY + timedelta(weeks=100)


def monday(week: int) -> datetime:
    """Return the tick after a week, counted from the first one."""
    return MONDAY + timedelta(weeks=week)


TICKS = [monday(week) for week in range(4)]


def make_published() -> pd.DataFrame:
    """Return four weeks, each published on Sunday and once more, ten times as large, a week on."""
    raw = make_raw(make_series(a=[1, 2, 3, 4]))
    first = pd.to_datetime(raw["ds"] + pd.Timedelta(days=2), utc=True)
    later = raw.assign(y=10 * raw["y"], published=first + pd.Timedelta(days=7))
    return pd.concat([later, raw.assign(published=first)], ignore_index=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


# Publication times
def test_of_rows_of_one_time_the_one_published_last_counts():
    raw = make_published()
    assert rows_known_at(raw, monday(2))["y"].tolist() == [10, 20, 3]
    assert rows_known_at(raw, monday(9))["y"].tolist() == [10, 20, 30, 40]
    assert rows_known_at(raw, monday(-1)).empty


def test_a_withdrawn_value_is_missing():
    raw = make_published()
    raw.loc[(raw["ds"] == "2024-01-12") & (raw["y"] == 20), "y"] = None
    known = rows_known_at(raw, monday(3))
    assert known.sort_values("ds")["y"].fillna(-1).tolist() == [10, -1, 30, 4]


def test_rows_without_publication_times_are_all_known():
    raw = make_raw(make_series(a=[1, 2, 3]))
    for rows in (raw, raw.drop(columns="published")):  # as earlier releases stored them
        assert not has_publication_times(rows)
        assert rows_known_at(rows, monday(0)) is rows


def test_a_quarantined_row_without_a_publication_time_is_kept():
    raw = make_published()
    raw.loc[0, "problem"] = "no time"
    raw.loc[0, "published"] = pd.NaT
    known = rows_known_at(raw, monday(1))
    assert known["problem"].notna().sum() == 1


def test_a_quarantined_row_replaces_none_before_it():
    raw = make_published()
    raw.loc[0, "problem"] = "y is no number"
    raw.loc[0, "y"] = None
    known = rows_known_at(raw, monday(9))
    assert known.loc[known["problem"].isna(), "y"].sort_values().tolist() == [1, 20, 30, 40]
    assert known["problem"].notna().sum() == 1


def test_a_published_vintage_is_the_series_of_its_tick(settings: Settings):
    raw = make_published()
    vintages = published_vintages(raw, settings, TICKS, as_of=TICKS[-1])
    assert [vintage.as_of for vintage in vintages] == TICKS[:-1]
    frames = [vintage.read() for vintage in vintages]
    assert frames[0] is None  # one week makes no series
    assert [frame["y"].tolist() for frame in frames if frame is not None] == [[10, 2], [10, 20, 3]]
    assert to_weeks(raw, settings, as_of=monday(2)).frame["y"].tolist() == [10, 20, 3]


# Versions in the store
def test_a_tick_knows_the_newest_version_since_the_tick_before(store: Store):
    write_series(store, 1, 2, as_of=monday(1) - timedelta(days=1))
    write_series(store, 1, 3, as_of=monday(1))
    write_series(store, 1, 4, as_of=monday(1) + timedelta(days=1))
    write_series(store, 1, 5, 6, as_of=monday(3))
    found = stored_vintages([store], TICKS, as_of=NOW, now=NOW)
    assert [vintage.as_of for vintage in found] == [
        monday(1), monday(1) + timedelta(days=1), monday(3),
    ]  # fmt: skip
    frame = found[0].read()
    assert frame is not None
    assert list(frame.columns) == ["unique_id", "ds", "y", "is_filled"]
    assert frame["y"].tolist() == [1, 3]
    before = stored_vintages([store], TICKS, as_of=monday(3), now=NOW)
    assert [vintage.as_of for vintage in before] == [vintage.as_of for vintage in found[:2]]


def test_a_past_week_that_was_run_again_is_no_vintage(store: Store):
    for week in range(3):
        write_series(store, 1, week, as_of=monday(week))
    write_series(store, 9, 9, as_of=monday(1))  # run --as-of
    write_series(store, 1, 3, as_of=monday(3))
    versions = first_hand_versions(store, now=NOW)
    assert [commit.as_of for commit in versions] == TICKS
    frame = stored_vintages([store], TICKS, as_of=monday(2), now=NOW)[1].read()
    assert frame is not None
    assert frame["y"].tolist() == [1, 1]


def test_a_version_from_a_wrong_clock_hides_no_other(store: Store):
    write_series(store, 1, 2, as_of=NOW + timedelta(weeks=1))
    commit = write_series(store, 1, 3, as_of=monday(1))
    assert first_hand_versions(store, now=NOW) == [commit]


def test_the_first_store_counts_where_both_have_a_version(store: Store, tmp_path: Path):
    other = make_store(tmp_path / "other")
    for each, y in ((store, 1), (other, 2)):
        write_series(each, y, y, as_of=monday(1))
    write_series(other, 7, 7, as_of=monday(2))
    found = stored_vintages([store, other], TICKS, as_of=NOW, now=NOW)
    frames = [vintage.read() for vintage in found]
    assert [frame["y"].tolist() for frame in frames if frame is not None] == [[1, 1], [7, 7]]


def test_the_tick_of_a_week_is_the_first_one_after_it_in_the_source_zone(tmp_path: Path):
    settings = make_settings(tmp_path, schedule={"timezone": "America/New_York"})
    asked: list[datetime] = []

    def next_tick(moment: datetime) -> datetime:
        asked.append(moment)
        return moment.astimezone(UTC)

    (tick,) = week_ticks([date(2024, 1, 5)], settings, next_tick=next_tick)
    assert tick == datetime(2024, 1, 6, 5, tzinfo=UTC)


# Digests
def test_an_equal_past_is_known_by_its_digest():
    today = make_series(a=[1, 2, 3, 4], b=[5, 6, 7, 8])
    digests = digest_values(today)
    assert [str(week) for week in digests.values()] == sorted({*today["ds"].dt.strftime("%F")})

    def is_known(series: pd.DataFrame) -> bool:
        return [*digest_values(series)][-1] in digests

    assert is_known(make_series(a=[1, 2, 3], b=[5, 6, 7]))
    assert is_known(today)
    assert not is_known(make_series(a=[1, 2.5, 3], b=[5, 6, 7]))
    assert not is_known(make_series(a=[5, 6, 7], b=[1, 2, 3]))
    assert not is_known(make_series(a=[1, 2, 3]))
    assert not is_known(make_series(a=[1, 2, 3], b=[5, 6, 7], c=[0, 0, 0]))
    assert not is_known(today.assign(ds=today["ds"] + pd.Timedelta(weeks=1)))


# Bad input
def test_a_vintage_with_values_of_later_days_is_refused_with_its_rows(settings: Settings):
    raw = make_raw(make_series(a=[1, 2, 3, 4]))
    refuse_future(raw, settings, as_of=monday(3), origin="a file")
    planned = raw.assign(y=raw["y"].where(raw["ds"] < "2024-01-19"))
    refuse_future(planned, settings, as_of=monday(1), origin="a file")  # a calendar without values
    message = r"2 of 4 rows of a file, .* on 2024-01-15, .* a / 2024-01-19, a / 2024-01-26\. Noth"
    with pytest.raises(DataError, match=message):
        refuse_future(raw, settings, as_of=monday(1), origin="a file")
