"""Runs: the tags of this package, what a run knows and continues, and whether it is in progress.

Nothing else in the package asks for the time.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import psutil

from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import newest_week
from forecast_assets.defs.run_config import (
    AS_OF_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    given_as_of,
    refuse_future,
    report_refusal,
)
from forecast_assets.errors import RunRefusedError
from forecast_assets.storage.tables import ASSETS

TARGET_TAG = "week"  # the week that a run forecasts, for people
# The data version to publish although it was held back, or the value below for the newest one.
ACCEPT_TAG = "forecast_assets/accept"
ACCEPTED = "yes"
HELD_TAG = "forecast_assets/held"  # the data version that a run refused to publish
NOT_HELD = "none"
LATE_TAG = "forecast_assets/late"  # on the runs that the sensor `missed_week` starts
# On runs that a schedule or a sensor started, and on their re-executions by a person.
AUTOMATION_TAGS = {LATE_TAG, "dagster/schedule_name", "dagster/sensor_name"}
PROCESS_TAG = "forecast_assets/process"  # the run's id, then its process
WEEK_TAG = "forecast_assets/week"  # the queue runs one run with this tag at a time
REPLAY_JOB = "replay"
DELIVERY_GROUP = "delivery"  # the group and the first part of the keys of what delivers
DELIVERY_STEP = f"{DELIVERY_GROUP}__"  # how Dagster begins the names of their steps
WHOLE_WEEK, STALE_PART = "whole", "the rest"
PARTITION_TAG = "dagster/partition"

STARTED_STATUSES = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED_STATUSES = [dg.DagsterRunStatus.QUEUED, *STARTED_STATUSES]

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class RunContext:
    """`as_of`: the run knows data up to then; `made_at`: its start; `runs`: it and its parents."""

    as_of: datetime
    made_at: datetime
    runs: Sequence[str]


def run_context_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> RunContext:
    """Return the context of a run in progress, as `context_of`; report its refusal."""
    with report_refusal(run, instance):
        return context_of(run, instance)


def context_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> RunContext:
    """Return a run's context; `as_of` is given, or when the run or its first parent was created.

    Raises RunRefusedError where the given one is not a past time, and where the run carries both a
    single partition and the range of all: Dagster would run the one and plan all.
    """
    if PARTITION_TAG in run.tags and RANGE_START_TAG in run.tags:
        model = run.tags[PARTITION_TAG]
        raise RunRefusedError(
            f"The partition {model} was selected for a run of the models"
            f" {run.tags[RANGE_START_TAG]} to {run.tags[RANGE_END_TAG]}. Nothing ran, because the"
            f" run would publish less than it plans. For the whole week leave the partition empty,"
            f" or press Materialize all and choose All. For one model use the Partitions tab of"
            f" backtest_predictions, or: dagster asset materialize -m forecast_assets.definitions"
            f" --select backtest_predictions --partition {model}"
        )
    first = run.root_run_id or run.run_id
    record = instance.get_run_record_by_id(first) or instance.get_run_record_by_id(run.run_id)
    if record is None:
        raise RunRefusedError(f"The Dagster instance has no record of the run {run.run_id}.")
    made_at = record.create_timestamp.astimezone(UTC)
    as_of = given_as_of(run) or made_at
    refuse_future(as_of, at=made_at)
    chain = dict.fromkeys([run.run_id, run.parent_run_id, run.root_run_id])
    return RunContext(as_of, made_at, [run_id for run_id in chain if run_id])


def run_as_of(record: dg.RunRecord, instance: dg.DagsterInstance) -> datetime:
    """Return a run's `as_of` in UTC; where the run is refused, when it was created."""
    try:
        return context_of(record.dagster_run, instance).as_of
    except RunRefusedError:
        return record.create_timestamp.astimezone(UTC)


def held_version(run: dg.DagsterRun) -> str | None:
    """Return the data version that a run held back, or None."""
    content = run.tags.get(HELD_TAG, NOT_HELD)
    return None if content == NOT_HELD else content


def accepted_version(run: dg.DagsterRun, instance: dg.DagsterInstance) -> str | None:
    """Return the data version that a run publishes although it was held back, or None.

    The tag's value `yes` is what the run that this one re-executes held back or, if it held nothing
    back, what the newest run that did so held back. Anything that has changed since is another
    version, which no one has accepted.
    """
    tag = run.tags.get(ACCEPT_TAG)
    if tag != ACCEPTED:
        return tag
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    versions = (held_version(held) for held in [*filter(None, [parent]), *held_runs(instance)])
    return next(filter(None, versions), None)


def held_runs(instance: dg.DagsterInstance, **tags: str) -> Iterator[dg.DagsterRun]:
    """Yield the failed runs with these tags that held back data, newest first."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags=tags)
    return (run for run in instance.get_runs(failed) if held_version(run))


def is_project_run(run: dg.DagsterRun) -> bool:
    """Return whether a run is of this package; an instance may hold runs of other projects.

    A replay is not: it publishes nothing here, so it keeps no sensor waiting and notifies nobody.
    """
    if run.job_name == REPLAY_JOB:
        return False
    return bool({PROCESS_TAG, WEEK_TAG} & run.tags.keys() or selected_assets(run) & {*ASSETS})


def active_weekly_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """Return the unfinished runs that publish a whole week, newest first."""

    def is_whole(run: dg.DagsterRun) -> bool:
        has_all_models = RANGE_START_TAG in run.tags and ASSETS[0] in selected_assets(run)
        return has_all_models or run.tags.get(WEEK_TAG) == WHOLE_WEEK

    records = instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED_STATUSES))
    return [record for record in records if is_whole(record.dagster_run)]


def selected_assets(run: dg.DagsterRun) -> set[str]:
    """Return the names of the assets that a run selects; none where it takes all of its job."""
    return {key.to_user_string() for key in run.asset_selection or ()}


def tag_start(
    run: dg.DagsterRun, instance: dg.DagsterInstance, *, settings: Settings | None = None
) -> None:
    """Record on a run the process that it runs in, and remove the hold that it inherits.

    A re-execution inherits its parent's tags, so the process's tag has the run's id. With the
    settings of a week, also record its `as_of`, if it was given, and the week that it forecasts.
    """
    tags = {PROCESS_TAG: f"{run.run_id} {process_identity(os.getpid())}"}
    is_inherited = not run.tags.get(PROCESS_TAG, "").startswith(run.run_id)
    if is_inherited and held_version(run):
        tags[HELD_TAG] = NOT_HELD
    if settings:
        with suppress(RunRefusedError):  # its first step says so
            as_of = context_of(run, instance).as_of
            week = newest_week(as_of, settings) + timedelta(weeks=1)
            tags |= {AS_OF_TAG: as_of.isoformat()} if given_as_of(run) else {}
            tags[TARGET_TAG] = week.isoformat()
    instance.add_run_tags(run.run_id, tags)


def tag_week(run: dg.DagsterRun, instance: dg.DagsterInstance, *, series: pd.DataFrame) -> None:
    """Record on a run the week after the newest one of its data, which it forecasts."""
    week = series["ds"].max().date() + timedelta(weeks=1)
    instance.add_run_tags(run.run_id, {TARGET_TAG: week.isoformat()})


def orphans(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the runs in progress whose process on this machine has ended.

    Runs of other machines and containers are left to Dagster's `max_runtime_seconds`.
    """
    started = instance.get_runs(dg.RunsFilter(statuses=STARTED_STATUSES))
    # A process writes its run's end before it exits, so a run that has just ended shows it now.
    again = [instance.get_run_by_id(run.run_id) for run in started if _has_lost_process(run)]
    return [run for run in again if run and not run.is_finished]


def end_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs whose process has ended as failed, and return their ids."""
    ended = orphans(instance)
    for run in ended:
        process = run.tags[PROCESS_TAG].partition(" ")[2]
        instance.report_run_failed(
            run,
            f"The process of this run has ended ({process}): it was killed, or its machine went"
            f" down. What the run published before stays published, and no version is incomplete."
            f" Re-execute the run from failure, or start a new one.",
        )
    return [run.run_id for run in ended]


def process_identity(pid: int) -> str | None:
    """Return a text that no other process has: host, number and start; None where it has ended.

    On Linux the start counts from the machine's boot, so that setting the clock does not change it.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if not psutil.LINUX:
            return f"{_host()} {pid} {process.create_time():.2f}"
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (psutil.NoSuchProcess, OSError):
        return None
    return f"{_host()} {pid} {boot}:{ticks}"


def _has_lost_process(run: dg.DagsterRun) -> bool:
    run_id, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
    words = process.split()
    if run_id != run.run_id or words[:1] != [_host()]:
        return False
    return process_identity(int(words[1])) != process


def _host() -> str:
    """Return the machine's name and, on Linux, the container in which process numbers count."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}:{namespace.readlink() if namespace.is_symlink() else ''}"
