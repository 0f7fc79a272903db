"""Ticks: when the schedule says that a week is due, in its time zone, and whether it is there.

What is done about a week that is late: `missed_week`, and the schedule in `automation`.
"""

from collections.abc import Iterator, Sequence
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
    """Whether there is a forecast that was made of what the source said at the tick, or later.

    One that followed a model made by hand may be newer than its data: it is not the week's.
    """
    return tick in weeks_published(store, [tick])


def weeks_published(store: Store, ticks: Sequence[datetime]) -> set[datetime]:
    """The ticks whose week is there: a forecast for that moment or a later one, of data as new."""
    found = set()
    for commit in reversed(store.history("next_week_forecast")):
        read = [store.commit(one).as_of for one in commit.inputs if one.asset == "series"]
        oldest = min([commit.as_of, *read])
        found |= {tick for tick in ticks if tick <= oldest}
        if len(found) == len(ticks):
            break
    return found


def _backwards(settings: Settings, until: datetime) -> Iterator[datetime]:
    schedule = settings.schedule
    for tick in reverse_cron_string_iterator(until.timestamp(), schedule.cron, schedule.timezone):
        yield tick.astimezone(UTC)
