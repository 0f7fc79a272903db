"""Run the weekly job once in this process, without a daemon."""

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from forecast_assets.backtesting.executor import prewarm
from forecast_assets.config.loader import dagster_home
from forecast_assets.config.settings import ROOT, Settings
from forecast_assets.data.quality.evaluate import one_line
from forecast_assets.data.quality.stored_versions import HeldFetch, held_fetch
from forecast_assets.defs import notifications, runs
from forecast_assets.defs.asset_decorator import Interrupted
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.console_logger import console_progress
from forecast_assets.defs.inputs import RunInputs, build_store
from forecast_assets.defs.replay import ReplayPlan, find_week, replay
from forecast_assets.defs.run_config import (
    AS_OF_TAG,
    parse_as_of,
    refuse_before_data,
    refuse_future,
)
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.run_failures import failed_deliveries, run_notifications
from forecast_assets.errors import StoreError
from forecast_assets.forecasting.held_forecast import held_series_text, newest_held
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store

# A step that is interrupted in our code raises the first, elsewhere the second.
INTERRUPTS = {Interrupted.__name__, dg.DagsterExecutionInterruptedError.__name__}


class FinishedWeek(NamedTuple):
    """The run that published the week, None where it failed, and the deliveries that failed."""

    run_id: str | None
    undelivered: Sequence[str]


def run_week(
    settings: Settings,
    *,
    as_of: str | None,
    write_line: Callable[[str], None],
    is_accepted: bool = False,
) -> FinishedWeek:
    """Run the week and return how it ended.

    `write_line` is called with each line of progress. With `is_accepted` the run publishes what is
    held back now, as long as it makes the same again. The run is recorded in DAGSTER_HOME, else in
    <var>/dagster. Raises RunRefusedError where `as_of` is no time of a past week,
    KeyboardInterrupt where the run was interrupted.
    """
    given, store = None if as_of is None else parse_as_of(as_of), build_store(settings)
    tags = {} if given is None else {AS_OF_TAG: given.isoformat()}
    if given:
        refuse_future(given, at=runs.now())
        refuse_before_data(given, store)
    tags |= _accept_tag(store, given or runs.now(), write_line) if is_accepted else {}
    prewarm(settings, store, as_of=given or runs.now())
    job = build_defs(settings).resolve_job_def(JOB)
    loggers: dict[str, Any] = {"loggers": {"progress": {}}}
    with _open_instance(ensure_dagster_home(settings)) as instance, console_progress(write_line):
        runs.end_orphans(instance)
        try:
            result = job.execute_in_process(
                instance=instance, tags=tags, raise_on_error=False, run_config=loggers
            )
        except dg.DagsterExecutionInterruptedError:  # between two steps
            raise KeyboardInterrupt from None
        failures = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
        if any(error and error.cls_name in INTERRUPTS for error in failures):
            raise KeyboardInterrupt
        try:
            _send_notifications(result.run_id, settings, instance)
        except StoreError as error:  # notifications never fail the week
            write_line(f"  The notifications of this run were not sent. {error}")
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    undelivered = [] if result.success else failed_deliveries(failed)
    is_published = result.success or bool(undelivered)
    return FinishedWeek(result.run_id if is_published else None, undelivered)


def replay_weeks(
    settings: Settings, plan: ReplayPlan, *, write_line: Callable[[str], None]
) -> Store:
    """Replay past weeks in this process, as `replay` does, and return the replay's store.

    It waits for runs of the week that are recorded in DAGSTER_HOME, else in <var>/dagster.
    """

    def build_job(settings: Settings, inputs: RunInputs) -> dg.JobDefinition:
        return build_defs(settings, inputs).resolve_job_def(JOB)

    with _open_instance(ensure_dagster_home(settings)) as instance:
        store = build_store(settings)
        return replay(
            settings,
            plan,
            build_job=build_job,
            write_line=write_line,
            find_week=lambda: find_week(settings, store, instance),
        )


def _accept_tag(store: Store, as_of: datetime, write_line: Callable[[str], None]) -> dict[str, str]:
    """Return the tag that accepts the data or the forecast held back last; say what it accepts."""
    held: HeldFetch | Commit | None
    fetch, forecast = held_fetch(store, as_of=as_of), newest_held(store, as_of=as_of)
    if fetch and (forecast is None or fetch.as_of >= forecast.as_of):
        what, held = f"data ({one_line(fetch.findings)})", fetch
    elif forecast:
        what, held = f"forecast ({held_series_text(store, forecast)})", forecast
    else:
        write_line("  Nothing is held back, so --accept has no effect.")
        return {}
    version = held.data_version
    write_line(
        f"  Accepted, if it is made again: the {what} held back as of"
        f" {held.as_of:%Y-%m-%d %H:%M} UTC, data version {version}. What has changed since is"
        f" checked again."
    )
    return {runs.ACCEPT_TAG: version}


def _open_instance(home: str) -> dg.DagsterInstance:
    """Open the instance of a folder. Dagster 1.13 fails where two processes create it at once."""
    with Path(home, ".begun").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dg.DagsterInstance.from_config(home)


def _send_notifications(run_id: str, settings: Settings, instance: dg.DagsterInstance) -> None:
    """Send what the sensor `alarms` would send, because no daemon may be running."""
    record = instance.get_run_record_by_id(run_id)
    messages = list(run_notifications(record, instance)) if record is not None else []
    n_new = sum(notifications.enqueue(message, settings, now=runs.now()) for message in messages)
    if n_new:
        notifications.deliver(settings, now=runs.now())


def ensure_dagster_home(settings: Settings) -> str:
    """Return the folder of the Dagster instance; create it, with our dagster.yaml in our own."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    source, target = ROOT / "dagster.yaml", home / "dagster.yaml"
    is_copy = target.exists() and target.read_bytes() == source.read_bytes()
    if not os.environ.get("DAGSTER_HOME") and not is_copy:
        shutil.copyfile(source, target)
    return str(home)
