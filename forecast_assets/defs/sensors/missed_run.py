"""Sensor that starts a run for a week without a forecast, and raises an alarm if that fails too.

A daemon that is down cannot report itself: `forecast-assets healthcheck` does.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs import runs
from forecast_assets.defs.notifications import enqueue
from forecast_assets.defs.run_config import AS_OF_TAG
from forecast_assets.defs.schedules import (
    JOB,
    deadline,
    last_due,
    request_for,
    settled_state,
    ticks_to_run,
)
from forecast_assets.errors import StoreError
from forecast_assets.notifications.routing import Notification
from forecast_assets.reporting.render import escape_markdown
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import valid_versions

INTERVAL_SECONDS = 60


@dataclass(frozen=True)
class Decision:
    """The state of the newest week that is due, as a sentence, and what the sensor does."""

    message: str
    is_late: bool = True
    action: Literal["run", "alarm"] | None = None
    is_held: bool = False  # a run held its data back, and its own notification says so


def build_missed_week(
    settings: Settings, store: Store, *, clock: runs.Clock = runs.now
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
        n_ended = len(runs.end_orphans(context.instance))
        tick = last_due(settings, now=now)
        # The cursor: the time of the first tick, and the week that had no forecast last time. The
        # sensor acts when it sees that week again: the schedule, which starts with the same daemon,
        # comes first. The clock of the first tick may have been wrong.
        first, missed = (context.cursor or f"{now.isoformat()} -").split()
        since = min(datetime.fromisoformat(first), now)
        is_second = missed == tick.isoformat()
        try:
            if tick < since and not valid_versions(store, FORECAST, as_of=now):
                message = "No week has been due since this sensor was turned on."
                decision = Decision(message, is_late=False)
            else:
                decision = _decide(
                    tick, settings, store, context.instance, now=now, is_second=is_second
                )
        except StoreError as error:
            decision = Decision(str(error), action="alarm" if is_second else None)
        cursor = f"{since.isoformat()} {tick.isoformat() if decision.is_late else '-'}"
        if decision.action == "run":
            if not decision.is_held:
                try:
                    enqueue(_late_notification(tick, settings), settings, now=now)
                except StoreError as error:  # the run matters more than its announcement
                    context.log.warning(str(error))
            requests = [
                request_for(week, due=tick, **{runs.LATE_TAG: week.isoformat()})
                for week in ticks_to_run(settings, store, tick, now=now)
            ]
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        if decision.action == "alarm":
            enqueue(_alarm(tick, settings, decision.message), settings, now=now)
        orphans = f" Failed runs without a process: {n_ended}." if n_ended else ""
        return dg.SensorResult(skip_reason=f"{decision.message}{orphans}", cursor=cursor)

    return missed_week


def _decide(
    tick: datetime,
    settings: Settings,
    store: Store,
    instance: dg.DagsterInstance,
    *,
    now: datetime,
    is_second: bool,
) -> Decision:
    """Decide what to do about the newest week whose deadline has passed."""
    week = f"the week of {tick:%Y-%m-%d %H:%M} UTC"
    if state := settled_state(store, tick, now=now):
        return Decision(f"The forecast of {week} is {state}.", is_late=False)
    active = runs.active_weekly_runs(instance)
    ids = [run.dagster_run.run_id for run in active if runs.run_as_of(run, instance) >= tick]
    if ids:
        message = f"The run {ids[0][:8]} of {week} is active."
        return Decision(message, action="alarm" if now > tick + 2 * deadline(settings) else None)
    if not is_second:
        return Decision(f"There is no forecast of {week}. A run starts at the next tick.")
    late = instance.get_runs(dg.RunsFilter(tags={runs.LATE_TAG: tick.isoformat()}), limit=1)
    if late:
        is_held, status = runs.held_version(late[0]) is not None, late[0].status.value
        outcome = "held its data back" if is_held else f"ended with status {status}"
        message = f"The late run {late[0].run_id[:8]} {outcome}."
        return Decision(message, action=None if is_held else "alarm")
    if settings.schedule.catch_up == "skip":
        return Decision('No late run was started, because `catch_up` is "skip".', action="alarm")
    is_held = any(runs.held_runs(instance, **{AS_OF_TAG: tick.isoformat()}))
    return Decision("A late run was started.", action="run", is_held=is_held)


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
