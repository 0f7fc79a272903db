"""The weekly job's schedule: when a week is due, and which runs a tick requests.

The sensor that starts a week which is late all the same is in `sensors.missed_run`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Literal

import dagster as dg

# Dagster has no public name for its cron iterator. Any other would differ from its scheduler on
# the days when clocks change.
from dagster._utils.schedules import cron_string_iterator, reverse_cron_string_iterator

from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.defs import runs
from forecast_assets.defs.run_config import AS_OF_TAG, RANGE_END_TAG, RANGE_START_TAG
from forecast_assets.errors import SettingsError, StoreError, VersionWithdrawnError
from forecast_assets.storage.command_tables import WITHDRAWALS
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import valid_versions, withdrawn_versions

JOB = "weekly_forecast"
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def last_tick(settings: Settings, *, until: datetime) -> datetime:
    """Return the newest tick that is not later than `until`, in UTC."""
    return next(_ticks_before(settings, until))


def next_tick(settings: Settings, moment: datetime) -> datetime:
    """Return the first tick that is not before a time, in UTC."""
    schedule = settings.schedule
    ticks = cron_string_iterator(moment.timestamp(), schedule.cron, schedule.timezone)
    return next(ticks).astimezone(UTC)


def ticks_between(settings: Settings, *, after: datetime, until: datetime) -> list[datetime]:
    """Return the ticks in `(after, until]` in UTC, oldest first."""
    return list(takewhile(lambda tick: tick > after, _ticks_before(settings, until)))[::-1]


def last_due(settings: Settings, *, now: datetime) -> datetime:
    """Return the newest tick whose deadline has passed, in UTC."""
    return last_tick(settings, until=now - deadline(settings))


def deadline(settings: Settings) -> timedelta:
    """Return how long after its tick a forecast is due."""
    return parse_duration(settings.schedule.deadline)


def is_published(store: Store, tick: datetime, *, now: datetime) -> bool:
    """Return whether a valid forecast exists whose `as_of` and whose data are as new as the tick.

    A forecast that was rebuilt by hand may be newer than its data; it does not count. Nor does one
    that a wrong clock dated later than `now`.
    """
    until = _published_until(store, valid_versions(store, FORECAST, as_of=now))
    return until is not None and until >= tick


def settled_state(
    store: Store, tick: datetime, *, now: datetime
) -> Literal["published", "withdrawn"] | None:
    """Return why no schedule or sensor needs to run the week of a tick, None if one does."""
    if is_published(store, tick, now=now):
        return "published"
    return "withdrawn" if is_withdrawn(store, tick, now=now) else None


def is_withdrawn(store: Store, tick: datetime, *, now: datetime) -> bool:
    """Return whether the newest forecast since a tick was withdrawn.

    Such a week is settled: only a person who runs it publishes it again.
    """
    settled = _published_until(store, _settling(store, now=now))
    valid = _published_until(store, valid_versions(store, FORECAST, as_of=now))
    return settled is not None and settled >= tick and (valid is None or valid < settled)


def refuse_withdrawn(run: dg.DagsterRun, as_of: datetime, store: Store, settings: Settings) -> None:
    """Raise VersionWithdrawnError for a run of a withdrawn week that no person started."""
    is_automatic = not run.parent_run_id and runs.AUTOMATION_TAGS & run.tags.keys()
    if is_automatic and is_withdrawn(store, last_tick(settings, until=as_of), now=as_of):
        raise VersionWithdrawnError(
            f"The forecast of this week was withdrawn while this run, which a schedule or a sensor"
            f" had started, was waiting or in progress. It published nothing. `forecast-assets show"
            f" {WITHDRAWALS}` has the reason; to publish the week again: `forecast-assets run"
            f" --as-of {as_of.isoformat()}`."
        )


def _settling(store: Store, *, now: datetime) -> list[Commit]:
    """Return the forecasts up to `now`, withdrawn ones included.

    One that a wrong clock had dated later than its withdrawal settles no week.
    """
    withdrawn = withdrawn_versions(store)
    return [
        commit
        for commit in store.history(FORECAST)
        if commit.as_of <= now
        and (commit.as_input not in withdrawn or commit.as_of <= withdrawn[commit.as_input].as_of)
    ]


def _published_until(store: Store, forecasts: Iterable[Commit]) -> datetime | None:
    """Return the newest `as_of` of forecasts, or of their data where these are older."""
    until: datetime | None = None
    for commit in sorted(forecasts, key=lambda commit: commit.as_of, reverse=True):
        if until and commit.as_of <= until:
            break
        data = commit.input_of("series")
        known = commit.as_of if data is None else min(commit.as_of, store.commit(data).as_of)
        until = max(until or known, known)
    return until


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
    return _cron_policy(cron, deadline(settings), zone) if cron else None


# Dagster walks through 1000 ticks to check each policy: half the time of building the definitions.
@cache
def _cron_policy(cron: str, delay: timedelta, zone: str) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.cron(cron, delay, zone)


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
    return {RANGE_START_TAG: models[0], RANGE_END_TAG: models[-1]}


def request_for(tick: datetime, *, due: datetime | None = None, **tags: str) -> dg.RunRequest:
    """Return a request for one run whose `as_of` is the tick, however late it starts.

    A tick that is caught up with at a later one, `due`, may have been requested before.
    """
    key = " ".join(dict.fromkeys([tick.isoformat(), (due or tick).isoformat()]))
    return dg.RunRequest(run_key=key, tags={**tags, AS_OF_TAG: tick.isoformat()})


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
            if state := settled_state(store, tick, now=clock()):
                return dg.SkipReason(f"The forecast for {week} is already {state}.")
        active = runs.active_weekly_runs(context.instance)
        if any(runs.run_as_of(run, context.instance) >= tick for run in active):
            return dg.SkipReason(f"A run for {week} is in progress.")
        ticks = ticks_to_run(settings, store, tick, now=clock())
        return [request_for(missed, due=tick) for missed in ticks]

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


def ticks_to_run(
    settings: Settings, store: Store, tick: datetime, *, now: datetime
) -> list[datetime]:
    """Return a missed tick, preceded by those since the newest forecast if `catch_up` is all.

    A withdrawn forecast counts, too. The age of a forecast is that of its data.
    """
    if settings.schedule.catch_up == "all":
        with suppress(StoreError):
            if until := _published_until(store, _settling(store, now=now)):
                return ticks_between(settings, after=until, until=tick) or [tick]
    return [tick]
