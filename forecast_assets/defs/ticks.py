"""Ticks: when the schedule says that a week is due, in its time zone, and whether it is there.

What is done about a week that is late: `missed_week`, and the schedule in `automation`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from dagster._utils.schedules import reverse_cron_string_iterator

from forecast_assets.settings import Settings, span
from forecast_assets.store import Store


def last_tick(settings: Settings, *, until: datetime) -> datetime:
    """The newest tick that is not later than a moment, in UTC."""
    return next(_backwards(settings, until))


def ticks_between(settings: Settings, *, after: datetime, until: datetime) -> list[datetime]:
    """The ticks later than one moment and not later than another, in UTC, the oldest first."""
    return list(takewhile(lambda tick: tick > after, _backwards(settings, until)))[::-1]


def last_due(settings: Settings, *, now: datetime) -> datetime:
    """The newest tick whose deadline has passed, in UTC."""
    return last_tick(settings, until=now - deadline(settings))


def deadline(settings: Settings) -> timedelta:
    """How long after its tick a week's forecast may come."""
    return span(settings.schedule.deadline)


def is_published(store: Store, tick: datetime) -> bool:
    """Whether there is a forecast that knows all that was known at the tick."""
    return any(commit.as_of >= tick for commit in store.history("next_week_forecast"))


def _backwards(settings: Settings, until: datetime) -> Iterator[datetime]:
    schedule = settings.schedule
    for tick in reverse_cron_string_iterator(until.timestamp(), schedule.cron, schedule.timezone):
        yield tick.astimezone(UTC)
