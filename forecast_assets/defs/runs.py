"""Runs: the tags of this package, what a run knows and continues, and whether it is in progress.

Nothing else in the package asks for the time.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil

from forecast_assets.errors import SettingsError
from forecast_assets.storage.tables import ASSETS

AS_OF_TAG = "forecast_assets/as_of"  # the time up to which a run knows data
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
WHOLE_WEEK, STALE_PART = "whole", "the rest"
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

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
    """Return a run's context; without a tag `as_of` is when it, or its first parent, was created.

    Raises SettingsError where the tag is not a past time, and where the run carries both a single
    partition and the range of all: Dagster would run the one and plan all.
    """
    if PARTITION_TAG in run.tags and RANGE_START_TAG in run.tags:
        model = run.tags[PARTITION_TAG]
        raise SettingsError(
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
        raise SettingsError(f"The Dagster instance has no record of the run {run.run_id}.")
    made_at = record.create_timestamp.astimezone(UTC)
    tag = run.tags.get(AS_OF_TAG)
    as_of = made_at if tag is None else parse_as_of(tag)
    refuse_future(as_of, at=made_at)
    chain = dict.fromkeys([run.run_id, run.parent_run_id, run.root_run_id])
    return RunContext(as_of, made_at, [run_id for run_id in chain if run_id])


def run_as_of(record: dg.RunRecord, instance: dg.DagsterInstance) -> datetime:
    """Return a run's `as_of` in UTC; where the run refuses its tag, when it was created."""
    try:
        return run_context_of(record.dagster_run, instance).as_of
    except SettingsError:
        return record.create_timestamp.astimezone(UTC)


def parse_as_of(text: str) -> datetime:
    """Read an ISO 8601 time, in UTC where it names no time zone. Raises SettingsError."""
    try:
        as_of = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"`as_of` is {text!r}, which is not an ISO 8601 time. Nothing ran. Write it as"
            f" 2026-11-23 or 2026-11-23T06:00:00+01:00."
        ) from error
    return (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)).astimezone(UTC)


def refuse_future(as_of: datetime, *, at: datetime) -> None:
    """Raise SettingsError where `as_of` is later than `at`."""
    if as_of > at:
        raise SettingsError(
            f"`as_of` is {as_of.isoformat()}, which is in the future. Nothing ran, because a"
            f" forecast from the future does not count as published. Give a past time, or none for"
            f" now."
        )


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


def tag_start(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Record on a run the process that it runs in, and remove the hold that it inherits.

    A re-execution inherits its parent's tags, so the process's tag has the run's id.
    """
    tags = {PROCESS_TAG: f"{run.run_id} {process_identity(os.getpid())}"}
    is_inherited = not run.tags.get(PROCESS_TAG, "").startswith(run.run_id)
    if is_inherited and held_version(run):
        tags[HELD_TAG] = NOT_HELD
    instance.add_run_tags(run.run_id, tags)


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
