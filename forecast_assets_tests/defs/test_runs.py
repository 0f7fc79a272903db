"""Runs: their `as_of`, which are in progress, and which have lost their process."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.defs.runs import (
    AS_OF_TAG,
    PROCESS_TAG,
    active_weekly_runs,
    end_orphans,
    process_identity,
    run_as_of,
    tag_start,
)
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.dagster_runs import dead_process
from forecast_assets_tests.misbehaving_models import comes_true

STARTED = dg.DagsterRunStatus.STARTED


def start_run(
    instance: dg.DagsterInstance, process: str | None, *, run_id: str | None = None
) -> str:
    """Start a run whose tag names a process, after the run's id or another; return its id."""
    run = create_run_for_test(instance, job_name="weekly_forecast", status=STARTED)
    if process:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run_id or run.run_id} {process}"})
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_without_its_process_is_failed_once_with_the_reason(instance: dg.DagsterInstance):
    lost = start_run(instance, dead_process())
    other_process_of_the_same_number = start_run(instance, f"{process_identity(os.getpid())}0")
    live = create_run_for_test(instance, job_name="weekly_forecast", status=STARTED)
    tag_start(live, instance)
    assert set(end_orphans(instance)) == {lost, other_process_of_the_same_number}
    assert end_orphans(instance) == []
    assert status(instance, live.run_id) == STARTED
    assert status(instance, lost) == dg.DagsterRunStatus.FAILURE
    messages = [entry.message for entry in instance.all_logs(lost)]
    assert any("The process of this run has ended" in message for message in messages)


def test_a_zombie_process_has_ended(instance: dg.DagsterInstance):
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        run_id = start_run(instance, process_identity(child.pid))
        assert end_orphans(instance) == []
        child.kill()
        assert comes_true(lambda: process_identity(child.pid) is None, within=30)
        assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
        assert end_orphans(instance) == [run_id]


def test_runs_of_other_machines_and_tags_of_parents_are_left_alone(instance: dg.DagsterInstance):
    process = dead_process()
    run_ids = {
        start_run(instance, process.replace(socket.gethostname(), "elsewhere")),
        start_run(instance, process.replace("pid:[", "pid:[1")),
        start_run(instance, process, run_id="the-parent"),
        start_run(instance, None),
    }
    assert end_orphans(instance) == []
    assert {status(instance, run_id) for run_id in run_ids} == {STARTED}


def test_active_weekly_runs_are_unfinished_and_publish_a_whole_week(instance: dg.DagsterInstance):
    def add(status: dg.DagsterRunStatus, *, assets: Sequence[str] = (), **tags: str) -> str:
        selected = frozenset(dg.AssetKey(name) for name in assets) or None
        run = create_run_for_test(
            instance, job_name="a_job", status=status, tags=tags, asset_selection=selected
        )
        return run.run_id

    whole = add(dg.DagsterRunStatus.STARTING, **{"forecast_assets/week": "whole"})
    by_range = add(STARTED, **{"dagster/asset_partition_range_start": "naive"}, assets=ASSETS)
    add(STARTED, **{"dagster/asset_partition_range_start": "naive"}, assets=ASSETS[2:])
    add(STARTED, **{"forecast_assets/week": "the rest"}, assets=ASSETS[2:])
    add(STARTED)
    add(dg.DagsterRunStatus.SUCCESS, **{"forecast_assets/week": "whole"})
    active = {record.dagster_run.run_id for record in active_weekly_runs(instance)}
    assert active == {whole, by_range}


@pytest.mark.parametrize(
    ("tags", "as_of"),
    [
        ({AS_OF_TAG: "2026-11-23T06:00:00+01:00"}, datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ({AS_OF_TAG: "monday"}, None),
        ({}, None),
    ],
)
def test_as_of_is_the_tag_or_else_when_the_run_was_created(
    instance: dg.DagsterInstance, tags: dict[str, str], as_of: datetime | None
):
    run = create_run_for_test(instance, job_name="a_job", tags=tags)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    assert run_as_of(record, instance) == (as_of or record.create_timestamp)


def test_a_re_execution_has_the_as_of_of_its_first_parent(instance: dg.DagsterInstance):
    parent = create_run_for_test(instance, job_name="a_job")
    child = create_run_for_test(
        instance, job_name="a_job", root_run_id=parent.run_id, parent_run_id=parent.run_id
    )
    records = {record.dagster_run.run_id: record for record in instance.get_run_records()}
    created = records[parent.run_id].create_timestamp
    assert run_as_of(records[child.run_id], instance) == created
