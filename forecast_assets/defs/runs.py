"""Runs: which moment a run stands for, when it began, and which runs it carries on.

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

AS_OF_TAG = "forecast_assets/as_of"
ACCEPT_TAG = "forecast_assets/accept"  # on a run that publishes what would be held back
YES = "yes"  # its value
WEEK_TAG = "forecast_assets/week"  # on runs that publish a week: the queue lets one run at a time
WHOLE, THE_REST = "whole", "the rest"  # its values: from the data on, or from further down
ONE_PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class RunContext:
    """`as_of`: what the run may know; `made_at`: when it began; `runs`: it and its parents."""

    as_of: datetime
    made_at: datetime
    runs: Sequence[str]


def run_context_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> RunContext:
    """The moment of a run: its tag's, else when it, or the run it carries on, was created.

    Raises SettingsError where the tag holds no time, and where one partition was picked for a run
    that carries the range of all: it would run that one alone while all are planned.
    """
    if ONE_PARTITION in run.tags and RANGE_START in run.tags:
        raise SettingsError(
            f"The model {run.tags[ONE_PARTITION]} was picked for a run of the models"
            f" {run.tags[RANGE_START]} to {run.tags[RANGE_END]}. What it would publish is not what"
            f" its plan says, so nothing ran. For the whole week leave the partition empty, or"
            f" press Materialize all and choose All; for one model use the Partitions tab of"
            f" backtest_predictions, or: dagster asset materialize -m forecast_assets.definitions"
            f" --select backtest_predictions --partition {run.tags[ONE_PARTITION]}"
        )
    first = run.root_run_id or run.run_id
    record = instance.get_run_record_by_id(first) or instance.get_run_record_by_id(run.run_id)
    if record is None:
        raise SettingsError(f"The run {run.run_id} is not known to its Dagster instance.")
    made_at = record.create_timestamp.astimezone(UTC)
    said = run.tags.get(AS_OF_TAG)
    as_of = made_at if said is None else parse_as_of(said)
    refuse_future(as_of, at=made_at)
    chain = dict.fromkeys([run.run_id, run.parent_run_id, run.root_run_id])
    return RunContext(as_of, made_at, [run_id for run_id in chain if run_id])


Clock = Callable[[], datetime]


def now() -> datetime:
    """The moment of what is about to begin."""
    return datetime.now(UTC)


def refuse_future(as_of: datetime, *, at: datetime) -> None:
    """Raise SettingsError where a run is to stand for a moment that is yet to come."""
    if as_of > at:
        raise SettingsError(
            f"`as_of` is {as_of.isoformat()}, which is yet to come. Every week until then would"
            f" seem to be forecast already, and nothing that was published can be taken back, so"
            f" nothing ran. Give a moment that is past, or none: that is now."
        )


def parse_as_of(text: str) -> datetime:
    """Read an ISO 8601 moment; a bare date or time is in UTC. Raises SettingsError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"`as_of` is {text!r}, which is no ISO 8601 time, so it is not known what the run may"
            f" know. Nothing ran. Write it as 2026-11-23 or 2026-11-23T06:00:00+01:00."
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


HELD_TAG = "forecast_assets/held"  # on a run that refused its data: their data version
NONE = "none"  # of a run that carries on one that did


def tag_held(run: dg.DagsterRun, instance: dg.DagsterInstance, *, content: str) -> None:
    """Record on a run that it held these data back."""
    instance.add_run_tags(run.run_id, {HELD_TAG: content})


def clear_inherited_hold(run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Take back what a run inherits of one that held its data: its own are yet to be judged."""
    if held_version(run):
        instance.add_run_tags(run.run_id, {HELD_TAG: NONE})


def held_version(run: dg.DagsterRun) -> str | None:
    """The data version of what a run held back; null where it held nothing."""
    content = run.tags.get(HELD_TAG, NONE)
    return None if content == NONE else content


def held_runs(instance: dg.DagsterInstance, **tags: str) -> Iterator[dg.DagsterRun]:
    """The failed runs with these tags that held their data back, the newest first."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags=tags)
    return (run for run in instance.get_runs(failed) if held_version(run))


PROCESS_TAG = "forecast_assets/process"
STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED = [dg.DagsterRunStatus.QUEUED, *STARTED]


def tag_process(run_id: str, instance: dg.DagsterInstance) -> None:
    """Record on a run which process of which machine it runs in."""
    # A run that carries on another one inherits its tags: the id tells whose this is.
    instance.add_run_tags(run_id, {PROCESS_TAG: f"{run_id} {identity(os.getpid())}"})


def orphans(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs that seem to be under way, but whose process on this machine is gone.

    Runs of other machines and containers are left to Dagster's `max_runtime_seconds`.
    """
    gone = [run for run in instance.get_runs(dg.RunsFilter(statuses=STARTED)) if _is_gone(run)]
    # What a process wrote before it ended is there once it is gone: a run that ended meanwhile did.
    again = [instance.get_run_by_id(run.run_id) for run in gone]
    return [run for run in again if run is not None and not run.is_finished]


def end_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose process is gone, and return their ids."""
    ended = orphans(instance)
    for run in ended:
        instance.report_run_failed(
            run,
            f"The process of this run is gone ({run.tags[PROCESS_TAG].split(maxsplit=1)[1]}): it"
            f" was killed, or its machine went down. What it had published stands; nothing is"
            f" half-written. Re-execute it from failure, or run the week again.",
        )
    return [run.run_id for run in ended]


def is_project_run(run: dg.DagsterRun) -> bool:
    """Whether it is a run of this package: an instance may hold those of other projects."""
    return PROCESS_TAG in run.tags or WEEK_TAG in run.tags or bool(_selected(run) & set(ASSETS))


def active_weekly_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs that make a week from its data on and have not ended, the newest first."""
    return [
        record
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
        if record.dagster_run.tags.get(WEEK_TAG) == WHOLE
        or (RANGE_START in record.dagster_run.tags and ASSETS[0] in _selected(record.dagster_run))
    ]


def as_of_of(record: dg.RunRecord, instance: dg.DagsterInstance) -> datetime:
    """The moment that a run stands for, in UTC; of one that refuses its own, when it was made."""
    try:
        return run_context_of(record.dagster_run, instance).as_of
    except SettingsError:  # a tag written by hand: the run itself will say so
        return record.create_timestamp.astimezone(UTC)


def _selected(run: dg.DagsterRun) -> set[str]:
    return {key.to_user_string() for key in run.asset_selection or ()}


def identity(pid: int) -> str | None:
    """A process of this machine as no other one is called, in three words; null where it is gone.

    The second word is its number. On Linux the third counts from the machine's start: a clock that
    is put right does not change it.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if not psutil.LINUX:
            return f"{_place()} {pid} {process.create_time():.2f}"
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (psutil.NoSuchProcess, OSError):
        return None
    return f"{_place()} {pid} {boot}:{ticks}"


def _is_gone(run: dg.DagsterRun) -> bool:
    of, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
    words = process.split()
    if of != run.run_id or words[:1] != [_place()]:
        return False
    return identity(int(words[1])) != process


def _place() -> str:
    """Where a process's number means something: the machine, and on Linux the container."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}:{namespace.readlink() if namespace.is_symlink() else ''}"
