"""The job of the week, and its schedule.

What happens when a week is late all the same: `missed_week`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._utils.schedules import is_valid_cron_schedule, reverse_cron_string_iterator

from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.defs.runs import (
    AS_OF_TAG,
    RANGE_END,
    RANGE_START,
    WEEK_TAG,
    WHOLE,
    Clock,
    active_weekly_runs,
    as_of_of,
    now,
)
from forecast_assets.errors import SettingsError, StoreError
from forecast_assets.storage.store import Store


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
    return parse_duration(settings.schedule.deadline)


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


JOB = "weekly_forecast"


def build_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """The job: every asset and every model in one run.

    Its tags carry the range of all models, which makes one run materialize every partition beside
    the unpartitioned assets.
    """
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description=(
            "The whole week: fetch, backtest every model, choose, forecast, report. To run it"
            " by hand press Materialize all, choose All, and Launch backfill: it is one run."
        ),
        tags={**every_model(settings), WEEK_TAG: WHOLE},
    )


def every_model(settings: Settings) -> dict[str, str]:
    """The tags of a run that backtests every model."""
    models = settings.models.enabled
    return {RANGE_START: models[0], RANGE_END: models[-1]}


def request_for(tick: datetime, **tags: str) -> dg.RunRequest:
    """The run that stands for a tick, however late it starts."""
    return dg.RunRequest(run_key=tick.isoformat(), tags={**tags, AS_OF_TAG: tick.isoformat()})


def build_schedule(
    settings: Settings, store: Store, job: UnresolvedAssetJobDefinition, *, clock: Clock = now
) -> dg.ScheduleDefinition:
    """The schedule: on as soon as the daemon runs; one run a tick, standing for the tick's moment.

    A run that starts late still stands for its tick, and a tick that comes twice has one run.
    Raises SettingsError where the cron expression is none.
    """
    if not is_valid_cron_schedule(settings.schedule.cron):
        raise SettingsError(
            f"`schedule.cron` is {settings.schedule.cron!r}, which is no cron expression, so the"
            f" week would never run by itself. Nothing was loaded. Write five fields (minute hour"
            f" day month weekday) in forecast.toml, such as '0 0 * * MON'."
        )

    @dg.schedule(
        job=job,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        name="every_week",
        description="Runs the week by itself, for as long as the Dagster daemon is up. Of ticks"
        f" that it missed, `catch_up` says which get a late run: {settings.schedule.catch_up}.",
    )
    def every_week(
        context: dg.ScheduleEvaluationContext,
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
        is_late = clock() > tick + deadline(settings)
        week = f"the week of {tick:%Y-%m-%d %H:%M} UTC"
        if settings.schedule.catch_up == "skip" and is_late:
            return dg.SkipReason(
                f"More than {settings.schedule.deadline} were missed of {week}, and"
                f' `catch_up = "skip"` lets it go.'
            )
        if _is_there(tick):
            return dg.SkipReason(f"The forecast of {week} is there already.")
        if any(
            as_of_of(one, context.instance) >= tick for one in active_weekly_runs(context.instance)
        ):
            return dg.SkipReason(f"A run of {week} is under way.")
        return [request_for(one) for one in _asked(tick)]

    def _is_there(tick: datetime) -> bool:
        try:
            return is_published(store, tick)
        except StoreError:  # the run will say what is wrong with it, and raise an alarm
            return False

    def _asked(tick: datetime) -> list[datetime]:
        """The ticks that are to be run now: this one, and those missed before it if all are."""
        if settings.schedule.catch_up != "all":
            return [tick]
        with suppress(StoreError):  # as above
            before = [commit.as_of for commit in store.history("next_week_forecast")]
            return ticks_between(settings, after=max(before), until=tick) if before else [tick]
        return [tick]

    return every_week
