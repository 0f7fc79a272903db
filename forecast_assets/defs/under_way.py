"""Runs under way: which publish a week, and which only seem to, their process being gone.

A run records its process in a tag as it begins. Dagster itself leaves a run whose process died
STARTED until `max_runtime_seconds`, in its place in the queue.
"""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psutil

from forecast_assets.defs.moment import RANGE_START, WEEK_TAG, WHOLE, moment_of
from forecast_assets.errors import SettingsError
from forecast_assets.tables import ASSETS

PROCESS_TAG = "forecast_assets/process"
STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED = [dg.DagsterRunStatus.QUEUED, *STARTED]


def mark(run_id: str, instance: dg.DagsterInstance) -> None:
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


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether it is a run of this package: an instance may hold those of other projects."""
    return PROCESS_TAG in run.tags or WEEK_TAG in run.tags or bool(_selected(run) & set(ASSETS))


def weeks_under_way(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs that make a week from its data on and have not ended, the newest first."""
    return [
        record
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
        if record.dagster_run.tags.get(WEEK_TAG) == WHOLE
        or (RANGE_START in record.dagster_run.tags and ASSETS[0] in _selected(record.dagster_run))
    ]


def stands_for(record: dg.RunRecord, instance: dg.DagsterInstance) -> datetime:
    """The moment that a run stands for, in UTC; of one that refuses its own, when it was made."""
    try:
        return moment_of(record.dagster_run, instance).as_of
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
