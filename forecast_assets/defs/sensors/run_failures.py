"""The sensor that tells people of runs and checks that failed, and delivers what waits.

Dagster's own failure sensors know no checks, and forget an alarm that could not be delivered: here
it is put in the outbox, and tried again from there.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs import notifications
from forecast_assets.defs.checks import ABOUT
from forecast_assets.defs.console_logger import failure_cause
from forecast_assets.defs.runs import Clock, held_version, is_project_run, now, run_as_of
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.stale_assets import NEW_DATA
from forecast_assets.errors import format_list
from forecast_assets.notifications.routing import Notification
from forecast_assets.reporting.render import escape_markdown

EVERY_SECONDS = 30
SENSOR_TAG = "dagster/sensor_name"
MOST_RUNS = 10  # that one tick looks at, at 0.1 s each; the next one goes on from there
OVERLAP = timedelta(seconds=30)
# Runs are recorded with the clock of their own machine: a look goes back by so much. What is told
# twice is put once.
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


def build_alarms(settings: Settings, *, clock: Clock = now) -> dg.SensorDefinition:
    """The sensor: every half minute it looks at the runs that ended since, whoever began them."""

    @dg.sensor(
        name="alarms",
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells whom `[notify]` names of runs and checks that failed, and delivers what"
        " waits in the outbox.",
    )
    def alarms(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        at = clock()
        since = datetime.fromisoformat(context.cursor) if context.cursor else at
        again, ended = _ended(context.instance, since)
        seen = [*again, *ended]
        notices = [notice for record in seen for notice in notices_of(record, context.instance)]
        n_new = sum(notifications.enqueue(notice, settings, at=at) for notice in notices)
        if notifications.deliver(settings, at=at):
            notifications.report_delivery_check(context.instance, settings, at=at)
        waiting = notifications.undelivered(settings, at=at)
        times = [record.update_timestamp.astimezone(UTC) for record in ended]
        is_all = len(ended) < MOST_RUNS
        until = min(max([since, *times, *([at - OVERLAP] if is_all else [])]), at)
        return dg.SensorResult(
            skip_reason=f"{n_new} new notices of runs that ended. "
            + (f"Not delivered: {format_list(waiting)}." if waiting else "All is delivered."),
            cursor=until.isoformat(),
        )

    return alarms


def _ended(
    instance: dg.DagsterInstance, since: datetime
) -> tuple[Sequence[dg.RunRecord], Sequence[dg.RunRecord]]:
    """The runs that ended shortly before a moment, and the first of those that ended after it."""
    before = dg.RunsFilter(
        statuses=ENDED,
        updated_after=since - OVERLAP,
        updated_before=since + timedelta(microseconds=1),
    )
    after = dg.RunsFilter(statuses=ENDED, updated_after=since)
    return instance.get_run_records(before), instance.get_run_records(
        after, limit=MOST_RUNS, order_by="update_timestamp", ascending=True
    )


def notices_of(record: dg.RunRecord, instance: dg.DagsterInstance) -> Iterator[Notification]:
    """What is to be told of a run that has ended: that it failed, or which checks did."""
    run = record.dagster_run
    if not is_project_run(run):
        return
    what = "The week" if run.job_name == JOB else f"The run of {_named(run)}"
    title = f"{what} as of {run_as_of(record, instance):%Y-%m-%d %H:%M} UTC"
    where = f"Its page: /runs/{run.run_id} of the UI."
    found = [one for one in _evaluations(run, instance) if not one.passed]
    is_failed = run.status == dg.DagsterRunStatus.FAILURE
    if is_failed and held_version(run):
        yield _held_back(record, found, instance, title=title, where=where)
        return
    if is_failed:
        yield Notification(
            id=f"run_failed {_occasion(record, instance)}",
            event="run_failed",
            severity="error",
            title=f"{title} failed",
            text=f"{_why(run, instance)}\n\nWhat was published before stands; nothing is"
            f" half-written. Mend the cause, then re-execute the run from failure in the UI, or"
            f" run the week again: `forecast-assets run --as-of"
            f" {run_as_of(record, instance).isoformat()}`. {where}",
        )
    if found:
        is_error = any(one.severity == dg.AssetCheckSeverity.ERROR for one in found)
        yield Notification(
            id=f"check_failed {run.run_id}",
            event="check_failed",
            severity="error" if is_error else "warning",
            title=f"{title}: {len(found)} checks failed",
            text=f"{_said(found)}\n\n{where}",
            series=_about(found),
        )


def _held_back(
    record: dg.RunRecord,
    found: Sequence[dg.AssetCheckEvaluation],
    instance: dg.DagsterInstance,
    *,
    title: str,
    where: str,
) -> Notification:
    """One notice of a run that held its data back, warnings and all: once a week for a content."""
    warned = [one for one in found if one.severity == dg.AssetCheckSeverity.WARN]
    besides = f"\n\nIt warned, besides:\n\n{_said(warned)}" if warned else ""
    return Notification(
        id=f"held {held_version(record.dagster_run)} {run_as_of(record, instance):%G-W%V}",
        event="run_failed",
        severity="error",
        title=f"{title} is held back",
        text=f"{_why(record.dagster_run, instance)}{besides}\n\n{where}",
    )


def _said(found: Sequence[dg.AssetCheckEvaluation]) -> str:
    """What checks complain of, a line each."""
    return "\n".join(
        f"- {one.asset_key.to_user_string()}, {one.check_name}: {escape_markdown(str(one.description))}"
        for one in found
    )


def _occasion(record: dg.RunRecord, instance: dg.DagsterInstance) -> str:
    """What is told once: a run; of looks for new data, which may fail every hour, a day."""
    run = record.dagster_run
    is_look = run.tags.get(SENSOR_TAG) == NEW_DATA
    return f"{NEW_DATA} {run_as_of(record, instance):%Y-%m-%d}" if is_look else run.run_id


def _named(run: dg.DagsterRun) -> str:
    return (
        format_list(sorted(key.to_user_string() for key in run.asset_selection or ()))
        or run.job_name
    )


def _why(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str:
    """The causes that a failed run gives, a line a step."""
    events = [
        entry.event_log_entry.dagster_event
        for entry in instance.get_records_for_run(run.run_id, of_type=FAILURES).records
    ]
    steps = [
        f"- {e.step_key}: {escape_markdown(failure_cause(e))}"
        for e in events
        if e and e.is_step_failure
    ]
    whole = [escape_markdown(str(e.message)) for e in events if e and not e.is_step_failure]
    return "\n".join(steps or whole) or "It gives no cause."


def _about(found: Sequence[dg.AssetCheckEvaluation]) -> tuple[str, ...]:
    """The series that failed checks are about; none where one of them is about all."""
    named = [one.metadata.get(ABOUT) for one in found]
    if not all(named):
        return ()
    return tuple(sorted({str(name) for one in named if one for name in one.value}))  # type: ignore[union-attr]


def _evaluations(
    run: dg.DagsterRun, instance: dg.DagsterInstance
) -> Iterator[dg.AssetCheckEvaluation]:
    asked = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    for entry in asked.records:
        event = entry.event_log_entry.dagster_event
        if event is not None:
            evaluation: dg.AssetCheckEvaluation = event.asset_check_evaluation_data
            yield evaluation
