"""Sensor that queues notifications of failed runs and checks, and delivers what is queued.

Dagster's own failure sensors do not know checks, and lose an alarm that cannot be delivered.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs import notifications, runs
from forecast_assets.defs.checks import SERIES_KEY
from forecast_assets.defs.console_logger import failure_cause
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.stale_assets import NEW_DATA
from forecast_assets.errors import format_list
from forecast_assets.notifications.routing import Notification
from forecast_assets.reporting.render import escape_markdown

INTERVAL_SECONDS = 30
SENSOR_TAG = "dagster/sensor_name"
# A run takes 0.1 s; the next tick continues with the rest.
MAX_RUNS_PER_TICK = 10
# Clocks of machines differ, so each tick also reads the runs that ended shortly before the cursor.
# Ids keep their notifications from being queued twice.
OVERLAP = timedelta(seconds=30)
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
CHECK = dg.DagsterEventType.ASSET_CHECK_EVALUATION
FAILURES = (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE)


def build_alarms(settings: Settings, *, clock: runs.Clock = runs.now) -> dg.SensorDefinition:
    """Build the sensor, which reads every half minute the runs that ended, started by anybody."""

    @dg.sensor(
        name="alarms",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notifies the channels in `[notify]` of failed runs and failed checks, and"
        " retries notifications that were not delivered.",
    )
    def alarms(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = clock()
        since = datetime.fromisoformat(context.cursor) if context.cursor else now
        recent, new = _ended_runs(context.instance, since)
        n_queued = sum(
            notifications.enqueue(notification, settings, now=now)
            for record in [*recent, *new]
            for notification in run_notifications(record, context.instance)
        )
        if notifications.deliver(settings, now=now):
            notifications.report_check(context.instance, settings, now=now)
        undelivered = notifications.undelivered(settings, now=now)
        ends = [record.update_timestamp.astimezone(UTC) for record in new]
        is_last = len(new) < MAX_RUNS_PER_TICK
        until = min(max([since, *ends, *([now - OVERLAP] if is_last else [])]), now)
        return dg.SensorResult(
            skip_reason=f"New notifications: {n_queued}. "
            + (f"Not delivered: {format_list(undelivered)}." if undelivered else "All delivered."),
            cursor=until.isoformat(),
        )

    return alarms


def _ended_runs(
    instance: dg.DagsterInstance, since: datetime
) -> tuple[Sequence[dg.RunRecord], Sequence[dg.RunRecord]]:
    """Return the runs that ended shortly before a time, and the first that ended after it."""
    begin, end = since - OVERLAP, since + timedelta(microseconds=1)
    before = dg.RunsFilter(statuses=ENDED, updated_after=begin, updated_before=end)
    after = dg.RunsFilter(statuses=ENDED, updated_after=since)
    return instance.get_run_records(before), instance.get_run_records(
        after, limit=MAX_RUNS_PER_TICK, order_by="update_timestamp", ascending=True
    )


def run_notifications(record: dg.RunRecord, instance: dg.DagsterInstance) -> Iterator[Notification]:
    """Return the notifications of a run that has ended: that it failed, or that its checks did.

    A run that held its data or its forecast back has one, which includes its warnings.
    """
    run = record.dagster_run
    if not runs.is_project_run(run):
        return
    as_of = runs.run_as_of(record, instance)
    selection = format_list(sorted(runs.selected_assets(run))) or run.job_name
    subject = "The weekly run" if run.job_name == JOB else f"The run of {selection}"
    title, page = f"{subject} as of {as_of:%Y-%m-%d %H:%M} UTC", f"Run page: /runs/{run.run_id}"
    records = instance.get_records_for_run(run.run_id, of_type={CHECK, *FAILURES}).records
    events = [event for record in records if (event := record.event_log_entry.dagster_event)]
    checks = [e.asset_check_evaluation_data for e in events if e.event_type == CHECK]
    failed = [check for check in checks if not check.passed]
    errors = [check for check in failed if check.severity == dg.AssetCheckSeverity.ERROR]
    is_failure = run.status == dg.DagsterRunStatus.FAILURE
    undelivered = failed_deliveries(event.step_key for event in events if event.is_step_failure)
    if is_failure and runs.held_version(run):
        warnings = [check for check in failed if check not in errors]
        also = f"\n\nWarnings:\n\n{_list_checks(warnings)}" if warnings else ""
        yield Notification(
            id=f"held {runs.held_version(run)} {as_of:%G-W%V}",  # once a week for the same data
            event="run_failed",
            severity="error",
            title=f"{title}: {_held_subject(errors)} held back",
            text=f"{_causes(events)}{also}\n\n{page}",
        )
        return
    if is_failure:
        # The poll for new data may fail every hour: it is reported once a day.
        is_poll = run.tags.get(SENSOR_TAG) == NEW_DATA
        yield Notification(
            id=f"run_failed {f'{NEW_DATA} {as_of:%Y-%m-%d}' if is_poll else run.run_id}",
            event="run_failed",
            severity="error",
            title=f"{title}: published, but not delivered to {format_list(undelivered)}"
            if undelivered
            else f"{title} failed",
            text=f"{_causes(events)}\n\n{_remedy(undelivered, as_of)}\n\n{page}",
        )
    if failed:
        yield Notification(
            id=f"check_failed {run.run_id}",
            event="check_failed",
            severity="error" if errors else "warning",
            title=f"{title}: {len(failed)} failed check{'s' * (len(failed) > 1)}",
            text=f"{_list_checks(failed)}\n\n{page}",
            series=_series_of(failed),
        )


def failed_deliveries(failed_steps: Iterable[str | None]) -> list[str]:
    """Return the deliveries that failed; none if another step failed too."""
    parts = [str(step).partition(runs.DELIVERY_STEP) for step in failed_steps]
    return [] if any(before or not mark for before, mark, _ in parts) else [p[2] for p in parts]


def _remedy(undelivered: Sequence[str], as_of: datetime) -> str:
    """Say what a failed run left, and how to go on."""
    if undelivered:
        commands = " or ".join(f"`forecast-assets deliver {name}`" for name in undelivered)
        return (
            "The forecast is published, and its report is sent. Correct the cause, then re-execute"
            f" the run from failure in the UI, which repeats the delivery alone, or: {commands}"
        )
    return (
        "The data published before are unchanged. Correct the cause, then re-execute the run from"
        " failure in the UI, or run the week again: `forecast-assets run --as-of"
        f" {as_of.isoformat()}`"
    )


def _held_subject(errors: Sequence[dg.AssetCheckEvaluation]) -> str:
    is_forecast = any(check.asset_key.path[-1] == "next_week_forecast" for check in errors)
    return "forecast" if is_forecast else "data"


def _list_checks(evaluations: Sequence[dg.AssetCheckEvaluation]) -> str:
    return "\n".join(
        f"- {check.asset_key.to_user_string()}, {check.check_name}:"
        f" {escape_markdown(str(check.description))}"
        for check in evaluations
    )


def _causes(events: Sequence[dg.DagsterEvent]) -> str:
    """Return why a run failed, a line for each failed step."""
    steps = [event for event in events if event.is_step_failure]
    lines = [f"- {event.step_key}: {escape_markdown(failure_cause(event))}" for event in steps]
    lines = lines or [escape_markdown(str(e.message)) for e in events if e.is_run_failure]
    return "\n".join(lines) or "The run gives no cause."


def _series_of(evaluations: Sequence[dg.AssetCheckEvaluation]) -> tuple[str, ...]:
    """Return the series that checks concern; none if one of them concerns all."""
    names = [check.metadata.get(SERIES_KEY) for check in evaluations]
    if not all(names):
        return ()
    return tuple(sorted({str(name) for value in names for name in value.value}))  # type: ignore[union-attr]
