"""When a week is due, also where clocks are put forward or back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.defs.schedules import is_published, last_due, last_tick, ticks_between
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.store_builders import (
    make_commit,
    make_forecast,
    make_store,
    write_series,
)

SUNDAY_NIGHT = {"cron": "30 2 * * SUN", "timezone": "Europe/Berlin"}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, schedule=SUNDAY_NIGHT)


def test_a_tick_is_due_at_its_own_moment_and_not_before(settings: Settings):
    tick = utc(2026, 11, 22, 1, 30)
    assert last_tick(settings, until=tick) == tick
    assert last_tick(settings, until=tick - timedelta(seconds=1)) == tick - timedelta(weeks=1)


def test_a_week_without_half_past_two_ticks_at_the_end_of_the_gap(settings: Settings):
    found = ticks_between(settings, after=utc(2026, 3, 22, 1, 30), until=utc(2026, 4, 6))
    assert found == [utc(2026, 3, 29, 1), utc(2026, 4, 5, 0, 30)]


def test_a_week_with_two_of_them_ticks_once(settings: Settings):
    found = ticks_between(settings, after=utc(2026, 10, 18, 0, 30), until=utc(2026, 11, 2))
    assert found == [utc(2026, 10, 25, 1, 30), utc(2026, 11, 1, 1, 30)]


def test_ticks_lie_after_one_moment_and_not_after_another(settings: Settings):
    tick = utc(2026, 11, 22, 1, 30)
    assert ticks_between(settings, after=tick, until=tick) == []
    assert ticks_between(settings, after=tick - timedelta(seconds=1), until=tick) == [tick]


def test_a_week_may_come_until_its_deadline(tmp_path: Path):
    settings = make_settings(tmp_path, schedule={**SUNDAY_NIGHT, "deadline": "6h"})
    tick = utc(2026, 11, 22, 1, 30)
    assert last_due(settings, now=tick + timedelta(hours=6)) == tick
    assert last_due(settings, now=tick + timedelta(hours=5.9)) == tick - timedelta(weeks=1)


def test_a_forecast_made_for_the_tick_or_after_it_is_the_weeks(tmp_path: Path):
    store, tick = make_store(tmp_path), utc(2026, 11, 22, 1, 30)
    assert not is_published(store, tick)
    store.write(make_forecast(), make_commit("next_week_forecast", as_of=tick))
    assert is_published(store, tick)
    assert not is_published(store, tick + timedelta(seconds=1))


def test_a_forecast_of_older_data_is_not_the_weeks(tmp_path: Path):
    """As where a model is made by hand after a week that failed, and the rest follows."""
    store, tick = make_store(tmp_path), utc(2026, 11, 22, 1, 30)
    series = write_series(store, 1, as_of=tick - timedelta(days=6))
    late = make_commit("next_week_forecast", as_of=tick + timedelta(hours=1), inputs=[series])
    store.write(make_forecast(), late)
    assert not is_published(store, tick)
    assert is_published(store, tick - timedelta(days=6))
