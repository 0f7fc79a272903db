"""The sensor that notices a week without a forecast: it starts a late run, and then an alarm.

Nobody can be told of a daemon that is down by the daemon: for that there is
`forecast-assets healthcheck`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs.notifications import enqueue
from forecast_assets.defs.runs import (
    AS_OF_TAG,
    Clock,
    active_weekly_runs,
    end_orphans,
    held_runs,
    held_version,
    now,
    run_as_of,
)
from forecast_assets.defs.schedules import JOB, deadline, is_published, last_due, request_for
from forecast_assets.errors import StoreError
from forecast_assets.notifications.routing import Notification
from forecast_assets.reporting.render import escape_markdown
from forecast_assets.storage.store import Store

LATE_TAG = "forecast_assets/late"  # on the run that this sensor starts
EVERY_SECONDS = 60


@dataclass(frozen=True)
class MissedRunCursor:
    """What the sensor remembers: when it began, and the tick that it last saw without a forecast.

    A tick is acted on the second time it is seen so: the schedule, which wakes with the same
    daemon, goes first.
    """

    since: datetime
    seen: datetime | None = None

    @classmethod
    def read(cls, cursor: str | None, *, at: datetime) -> "MissedRunCursor":
        """The watch that a cursor holds; one that begins now where there is none."""
        if not cursor:
            return cls(at)
        since, seen = cursor.split()
        return cls(
            datetime.fromisoformat(since), None if seen == "-" else datetime.fromisoformat(seen)
        )

    @property
    def cursor(self) -> str:
        """The watch as text."""
        return f"{self.since.isoformat()} {self.seen.isoformat() if self.seen else '-'}"


def build_missed_week(
    settings: Settings, store: Store, *, clock: Clock = now
) -> dg.SensorDefinition:
    """The sensor: every minute it looks whether the newest week is there by its deadline.

    It also ends the runs whose process is gone, which would hold the next week up. Weeks from
    before anything was ever forecast or watched here are not missed.
    """

    @dg.sensor(
        name="missed_week",
        job_name=JOB,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts the week where its forecast is not there {settings.schedule.deadline}"
        " after its tick and no run is under way, be the schedule on or off; where that fails too,"
        " it raises an alarm. Ends runs whose process is gone. To stop the week, stop both.",
    )
    def missed_week(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        at = clock()
        ended = end_orphans(context.instance)
        tick, watch = last_due(settings, now=at), MissedRunCursor.read(context.cursor, at=at)
        try:
            found = _look(tick, watch, settings, store, context.instance, at=at)
        except StoreError as error:
            found = Decision(str(error), is_late=True, act="alarm" if watch.seen == tick else None)
        cursor = MissedRunCursor(watch.since, tick if found.is_late else None).cursor
        if found.act == "run":
            if not found.is_told:
                enqueue(_started(tick, settings), settings, at=at)
            request = request_for(tick, **{LATE_TAG: tick.isoformat()})
            return dg.SensorResult(run_requests=[request], cursor=cursor)
        if found.act == "alarm":
            enqueue(_missed(tick, settings, found.said), settings, at=at)
        gone = f" Ended {len(ended)} runs whose process is gone." if ended else ""
        return dg.SensorResult(skip_reason=f"{found.said}{gone}", cursor=cursor)

    return missed_week


@dataclass(frozen=True)
class Decision:
    """How it stands with the newest week that is due, in a sentence, and what that calls for."""

    said: str
    is_late: bool = False
    act: Literal["run", "alarm"] | None = None
    is_told: bool = False  # that the week was held back, and so why it is late


def _look(
    tick: datetime,
    watch: MissedRunCursor,
    settings: Settings,
    store: Store,
    instance: dg.DagsterInstance,
    *,
    at: datetime,
) -> Decision:
    """Tell how it stands with the week of a tick whose deadline has passed."""
    week = f"the week of {tick:%Y-%m-%d %H:%M} UTC"
    if tick < watch.since and not store.history("next_week_forecast"):
        return Decision("No week was due since this is watched.")
    if is_published(store, tick):
        return Decision(f"The forecast of {week} is there.")
    if running := [run for run in active_weekly_runs(instance) if run_as_of(run, instance) >= tick]:
        is_long = at > tick + 2 * deadline(settings)
        said = f"The run {running[0].dagster_run.run_id[:8]} of {week} is under way."
        return Decision(said, is_late=True, act="alarm" if is_long else None)
    if watch.seen != tick:
        return Decision(f"There is no forecast of {week}: the next look acts on it.", is_late=True)
    return _second_try(tick, settings, instance)


def _second_try(tick: datetime, settings: Settings, instance: dg.DagsterInstance) -> Decision:
    """Tell how it stands with the late run of a week that is not there."""
    late = instance.get_runs(dg.RunsFilter(tags={LATE_TAG: tick.isoformat()}), limit=1)
    if not late and settings.schedule.catch_up != "skip":
        is_told = any(held_runs(instance, **{AS_OF_TAG: tick.isoformat()}))
        return Decision("A late run was started.", is_late=True, act="run", is_told=is_told)
    if late and held_version(late[0]):  # of which its own notice tells
        said = f"The late run {late[0].run_id[:8]} holds the data back."
        return Decision(said, is_late=True, is_told=True)
    if late:
        said = f"The late run {late[0].run_id[:8]} ended as {late[0].status.value}."
    else:
        said = 'No late run was started: `catch_up` is "skip".'
    return Decision(said, is_late=True, act="alarm")


def _started(tick: datetime, settings: Settings) -> Notification:
    return Notification(
        id=f"week_late {tick.isoformat()}",
        event="week_missed",
        severity="warning",
        title=f"The week of {tick:%Y-%m-%d %H:%M} UTC is late",
        text=f"Its forecast was not there {settings.schedule.deadline} after its tick, and no run"
        f" was under way. One has been started; if it fails too, there will be an alarm.",
    )


def _missed(tick: datetime, settings: Settings, said: str) -> Notification:
    return Notification(
        id=f"week_missed {tick.isoformat()}",
        event="week_missed",
        severity="error",
        title=f"There is no forecast of the week of {tick:%Y-%m-%d %H:%M} UTC",
        text=f"It was to be there {settings.schedule.deadline} after its tick. {escape_markdown(said)}"
        f" The forecast of the week before stands. See the run's page in the UI for the cause, mend"
        f" it, and run the week: `forecast-assets run --as-of {tick.isoformat()}`.",
    )
