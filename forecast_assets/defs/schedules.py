"""The weekly job's schedule: when a week is due, and which runs a tick requests.

The sensor that starts a week which is late all the same is in `sensors.missed_run`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg

# Dagster has no public name for its cron iterator. Any other would differ from its scheduler on
# the days when clocks change.
from dagster._utils.schedules import reverse_cron_string_iterator

from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.defs import runs
from forecast_assets.errors import SettingsError, StoreError
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest

JOB = "weekly_forecast"
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def last_tick(settings: Settings, *, until: datetime) -> datetime:
    """Return the newest tick that is not later than `until`, in UTC."""
    return next(_ticks_before(settings, until))


def ticks_between(settings: Settings, *, after: datetime, until: datetime) -> list[datetime]:
    """Return the ticks in `(after, until]` in UTC, oldest first."""
    return list(takewhile(lambda tick: tick > after, _ticks_before(settings, until)))[::-1]


def last_due(settings: Settings, *, now: datetime) -> datetime:
    """Return the newest tick whose deadline has passed, in UTC."""
    return last_tick(settings, until=now - deadline(settings))


def deadline(settings: Settings) -> timedelta:
    """Return how long after its tick a forecast is due."""
    return parse_duration(settings.schedule.deadline)


def is_published(store: Store, tick: datetime) -> bool:
    """Return whether a forecast exists whose `as_of` and whose data are as new as the tick.

    A forecast that was rebuilt by hand may be newer than its data; it does not count.
    """
    for commit in reversed(store.history("next_week_forecast")):
        data = commit.input_of("series")
        if commit.as_of >= tick and (data is None or store.commit(data).as_of >= tick):
            return True
    return False


def _ticks_before(settings: Settings, until: datetime) -> Iterator[datetime]:
    schedule = settings.schedule
    for tick in reverse_cron_string_iterator(until.timestamp(), schedule.cron, schedule.timezone):
        yield tick.astimezone(UTC)


def freshness_policy(settings: Settings) -> dg.FreshnessPolicy | None:
    """Return the policy that a forecast is overdue `deadline` after its tick; None without a cron.

    On the two days when clocks change the policy may be an hour off.
    """
    cron = deadline_cron(settings.schedule.cron, deadline(settings))
    zone = settings.schedule.timezone
    return dg.FreshnessPolicy.cron(cron, deadline(settings), zone) if cron else None


def deadline_cron(cron: str, delay: timedelta) -> str | None:
    """Move a cron expression to a later time; return None where the result is no expression.

    Dagster refuses a delay below one minute, and one that is longer than from tick to tick.
    """
    minute, hour, day, month, weekday = cron.split()
    if not (minute.isdecimal() and hour.isdecimal()) or delay < timedelta(minutes=1):
        return None
    time = timedelta(hours=int(hour), minutes=int(minute)) + delay
    clock = f"{time.seconds // 60 % 60} {time.seconds // 3600}"
    if time.days == 0:
        return f"{clock} {day} {month} {weekday}"
    names = WEEKDAYS if weekday == "*" else [name.upper() for name in weekday.split(",")]
    numbers = {name: i % 7 for i, name in enumerate([*WEEKDAYS, *"0123456"])}
    if (day, month) != ("*", "*") or not set(names) <= numbers.keys():
        return None
    days = sorted({(numbers[name] + time.days) % 7 for name in names})
    shortest = min((b - a) % 7 or 7 for a, b in zip(days, [*days[1:], days[0]], strict=True))
    if delay > timedelta(days=shortest):
        return None
    return f"{clock} * * {','.join(map(str, days))}"


def all_models_tags(settings: Settings) -> dict[str, str]:
    """Return the tags with which one run materializes the partitions of all models."""
    models = settings.models.enabled
    return {runs.RANGE_START_TAG: models[0], runs.RANGE_END_TAG: models[-1]}


def request_for(tick: datetime, **tags: str) -> dg.RunRequest:
    """Return a request for one run whose `as_of` is the tick, however late it starts."""
    return dg.RunRequest(run_key=tick.isoformat(), tags={**tags, runs.AS_OF_TAG: tick.isoformat()})


def build_schedule(
    settings: Settings, store: Store, *, clock: runs.Clock = runs.now
) -> dg.ScheduleDefinition:
    """Build the schedule `every_week`: one run for each tick, on as soon as a daemon runs.

    Raises SettingsError where `schedule.cron` is not a cron expression or names no time.
    """

    def every_week(
        context: dg.ScheduleEvaluationContext,
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
        week = f"the week of {tick:%Y-%m-%d %H:%M} UTC"
        is_late = clock() > tick + deadline(settings)
        if settings.schedule.catch_up == "skip" and is_late:
            return dg.SkipReason(
                f"The tick for {week} is more than {settings.schedule.deadline} late, and"
                f' `catch_up = "skip"` skips it.'
            )
        # A store that cannot be read is left to the run: it fails with the reason and is reported.
        with suppress(StoreError):
            if is_published(store, tick):
                return dg.SkipReason(f"The forecast for {week} is already published.")
        active = runs.active_weekly_runs(context.instance)
        if any(runs.run_as_of(run, context.instance) >= tick for run in active):
            return dg.SkipReason(f"A run for {week} is in progress.")
        return [request_for(missed) for missed in _ticks_to_run(settings, store, tick)]

    try:
        last_tick(settings, until=clock())
        return dg.schedule(
            job_name=JOB,
            cron_schedule=settings.schedule.cron,
            execution_timezone=settings.schedule.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Starts the weekly run. After an outage, `catch_up` decides which missed"
            f" ticks are run: {settings.schedule.catch_up}.",
        )(every_week)
    except (dg.DagsterInvalidDefinitionError, ValueError):
        raise SettingsError(
            f"`schedule.cron` is {settings.schedule.cron!r}, which is not a cron expression or"
            f" names no time. The week would never run. Set five fields (minute hour day month"
            f" weekday) in forecast.toml, such as '0 0 * * MON'."
        ) from None


def _ticks_to_run(settings: Settings, store: Store, tick: datetime) -> list[datetime]:
    """Return the tick, preceded by those missed since the newest forecast if `catch_up` is all."""
    if settings.schedule.catch_up == "all":
        with suppress(StoreError):
            if last := newest(store.history("next_week_forecast")):
                return ticks_between(settings, after=last.as_of, until=tick)
    return [tick]
