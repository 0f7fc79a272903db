"""Runs under way: which publish a week, and which only seem to, their process being gone.

A run records its process in a tag as it begins. Dagster itself leaves a run whose process died
STARTED until `max_runtime_seconds`, in its place in the queue.
"""

import socket
from datetime import UTC, datetime

import dagster as dg
import psutil

from forecast_assets.defs.moment import AS_OF_TAG, RANGE_START, WEEK_TAG, parse_as_of
from forecast_assets.errors import SettingsError

PROCESS_TAG = "forecast_assets/process"
STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, *STARTED]


def mark(run_id: str, instance: dg.DagsterInstance) -> None:
    """Record on a run which process of which machine it runs in."""
    process = psutil.Process()
    # A run that carries on another one inherits its tags: the id tells whose this is.
    said = f"{run_id} {socket.gethostname()} {process.pid} {process.create_time():.2f}"
    instance.add_run_tags(run_id, {PROCESS_TAG: said})


def orphans(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs that seem to be under way, but whose process on this machine is gone.

    Runs of other machines are left to Dagster's `max_runtime_seconds`.
    """
    return [run for run in instance.get_runs(dg.RunsFilter(statuses=STARTED)) if _is_orphan(run)]


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


def weeks_under_way(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs that publish a week and have not ended, queued ones too, the newest first."""
    return [
        record
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
        if {WEEK_TAG, RANGE_START} & record.dagster_run.tags.keys()
    ]


def stands_for(record: dg.RunRecord) -> datetime:
    """The moment that a run stands for, in UTC: its tag's, else when it was created."""
    said = record.dagster_run.tags.get(AS_OF_TAG)
    created = record.create_timestamp.astimezone(UTC)
    try:
        return created if said is None else parse_as_of(said)
    except SettingsError:  # a tag written by hand: the run itself will say so
        return created


def _is_orphan(run: dg.DagsterRun) -> bool:
    said = run.tags.get(PROCESS_TAG, "").split()
    if said[:2] != [run.run_id, socket.gethostname()]:
        return False
    try:
        return f"{psutil.Process(int(said[2])).create_time():.2f}" != said[3]
    except psutil.NoSuchProcess:
        return True
