"""Sensor that starts a run for a week without a forecast, and raises an alarm if that fails too.

A daemon that is down cannot report itself: `forecast-assets healthcheck` does.
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
INTERVAL_SECONDS = 60


@dataclass(frozen=True)
class MissedRunCursor:
    """State of the sensor: the time of its first tick, and the week that had no forecast last time.

    The sensor acts when it sees a week without a forecast for the second time: the schedule, which
    starts with the same daemon, comes first.
    """

    since: datetime
    missed: datetime | None = None

    @classmethod
    def parse(cls, text: str | None, *, now: datetime) -> "MissedRunCursor":
        """Read a cursor; if it is empty, the first tick is `now`."""
        if not text:
            return cls(now)
        since, missed = text.split()
        return cls(
            datetime.fromisoformat(since), None if missed == "-" else datetime.fromisoformat(missed)
        )

    def __str__(self) -> str:
        return f"{self.since.isoformat()} {self.missed.isoformat() if self.missed else '-'}"


@dataclass(frozen=True)
class Decision:
    """The state of the newest week that is due, as a sentence, and what the sensor does."""

    message: str
    is_late: bool = False
    action: Literal["run", "alarm"] | None = None
    is_held: bool = False  # a run held its data back, and its own notification says so


def build_missed_week(
    settings: Settings, store: Store, *, clock: Clock = now
) -> dg.SensorDefinition:
    """Build the sensor, which checks every minute whether the newest week met its deadline.

    It also fails runs whose process no longer exists, because they would block the next week. Weeks
    before the first forecast and before the sensor's first tick are not missed.
    """

    @dg.sensor(
        name="missed_week",
        job_name=JOB,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the weekly run if there is no forecast"
        f" {settings.schedule.deadline} after its scheduled time and no run is active, even if the"
        " schedule is off. Raises an alarm if that run fails too. Fails runs whose process no"
        " longer exists. To stop the weekly runs, turn off this sensor and the schedule.",
    )
    def missed_week(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = clock()
        ended = end_orphans(context.instance)
        tick, cursor = last_due(settings, now=now), MissedRunCursor.parse(context.cursor, now=now)
        try:
            decision = _decide(tick, cursor, settings, store, context.instance, now=now)
        except StoreError as error:
            action: Literal["alarm"] | None = "alarm" if cursor.missed == tick else None
            decision = Decision(str(error), is_late=True, action=action)
        new_cursor = str(MissedRunCursor(cursor.since, tick if decision.is_late else None))
        if decision.action == "run":
            if not decision.is_held:
                enqueue(_late_notification(tick, settings), settings, now=now)
            request = request_for(tick, **{LATE_TAG: tick.isoformat()})
            return dg.SensorResult(run_requests=[request], cursor=new_cursor)
        if decision.action == "alarm":
            enqueue(_alarm(tick, settings, decision.message), settings, now=now)
        orphans = f" Failed runs without a process: {len(ended)}." if ended else ""
        return dg.SensorResult(skip_reason=f"{decision.message}{orphans}", cursor=new_cursor)

    return missed_week


def _decide(
    tick: datetime,
    cursor: MissedRunCursor,
    settings: Settings,
    store: Store,
    instance: dg.DagsterInstance,
    *,
    now: datetime,
) -> Decision:
    """Decide what to do about the newest week whose deadline has passed."""
    week = f"the week of {tick:%Y-%m-%d %H:%M} UTC"
    if tick < cursor.since and not store.history("next_week_forecast"):
        return Decision("No week has been due since this sensor was turned on.")
    if is_published(store, tick):
        return Decision(f"The forecast of {week} is published.")
    active = [run for run in active_weekly_runs(instance) if run_as_of(run, instance) >= tick]
    if active:
        message = f"The run {active[0].dagster_run.run_id[:8]} of {week} is active."
        is_overdue = now > tick + 2 * deadline(settings)
        return Decision(message, is_late=True, action="alarm" if is_overdue else None)
    if cursor.missed != tick:
        message = f"There is no forecast of {week}. A run starts at the next tick."
        return Decision(message, is_late=True)
    return _decide_late_run(tick, settings, instance)


def _decide_late_run(tick: datetime, settings: Settings, instance: dg.DagsterInstance) -> Decision:
    """Start the late run of a week, or raise an alarm if there was one."""
    runs = instance.get_runs(dg.RunsFilter(tags={LATE_TAG: tick.isoformat()}), limit=1)
    if not runs and settings.schedule.catch_up != "skip":
        is_held = any(held_runs(instance, **{AS_OF_TAG: tick.isoformat()}))
        return Decision("A late run was started.", is_late=True, action="run", is_held=is_held)
    if not runs:
        message = 'No late run was started, because `catch_up` is "skip".'
        return Decision(message, is_late=True, action="alarm")
    run_id = runs[0].run_id[:8]
    if held_version(runs[0]):
        message = f"The late run {run_id} held its data back."
        return Decision(message, is_late=True, is_held=True)
    message = f"The late run {run_id} ended with status {runs[0].status.value}."
    return Decision(message, is_late=True, action="alarm")


def _late_notification(tick: datetime, settings: Settings) -> Notification:
    return Notification(
        id=f"week_late {tick.isoformat()}",
        event="week_missed",
        severity="warning",
        title=f"The forecast of the week of {tick:%Y-%m-%d %H:%M} UTC is late",
        text=f"It was not published within {settings.schedule.deadline}, and no run was active. A"
        " run has been started. If it fails too, you will receive an alarm.",
    )


def _alarm(tick: datetime, settings: Settings, message: str) -> Notification:
    return Notification(
        id=f"week_missed {tick.isoformat()}",
        event="week_missed",
        severity="error",
        title=f"There is no forecast of the week of {tick:%Y-%m-%d %H:%M} UTC",
        text=f"It was due {settings.schedule.deadline} after its scheduled time."
        f" {escape_markdown(message)} The previous forecast stays in force. Find the cause on the"
        " run's page in the UI, correct it, and run the week:"
        f" `forecast-assets run --as-of {tick.isoformat()}`",
    )
