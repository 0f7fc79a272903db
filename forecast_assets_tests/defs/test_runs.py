"""Runs under way, and those that only seem to be."""

import os
import socket
import subprocess
import sys
import time
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
    as_of_of,
    end_orphans,
    identity,
    tag_process,
)
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import dead_process

STARTED = dg.DagsterRunStatus.STARTED


def marked(instance: dg.DagsterInstance, said: str, *, of: str | None = None) -> str:
    """A started run whose process tag says this, after the run's id (or another's)."""
    run = create_run_for_test(instance, job_name="weekly_forecast", status=STARTED)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{of or run.run_id} {said}"})
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_whose_process_is_gone_is_ended_and_says_why(instance: dg.DagsterInstance):
    run_id = marked(instance, dead_process())
    assert end_orphans(instance) == [run_id]
    assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE
    said = [entry.message for entry in instance.all_logs(run_id)]
    assert any("The process of this run is gone" in one and "run the week" in one for one in said)


def test_a_run_whose_process_lives_goes_on(instance: dg.DagsterInstance):
    run = create_run_for_test(instance, job_name="weekly_forecast", status=STARTED)
    tag_process(run.run_id, instance)
    assert end_orphans(instance) == []
    assert status(instance, run.run_id) == STARTED


def test_another_process_with_the_same_number_is_not_the_run_s(instance: dg.DagsterInstance):
    here = identity(os.getpid())
    run_id = marked(instance, f"{here}0")  # it began at another moment
    assert end_orphans(instance) == [run_id]


def test_a_process_that_nobody_has_buried_is_gone(instance: dg.DagsterInstance):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run_id = marked(instance, str(identity(process.pid)))
        assert end_orphans(instance) == []
        process.kill()
        until = time.monotonic() + 30
        while identity(process.pid) is not None and time.monotonic() < until:
            time.sleep(0.02)
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        assert end_orphans(instance) == [run_id]


def test_runs_of_other_machines_and_of_parents_are_left_alone(instance: dg.DagsterInstance):
    elsewhere = marked(instance, dead_process().replace(socket.gethostname(), "elsewhere"))
    contained = marked(instance, dead_process().replace("pid:[", "pid:[1"))
    carried_on = marked(instance, dead_process(), of="the-parent")
    unmarked = create_run_for_test(instance, job_name="weekly_forecast", status=STARTED).run_id
    assert end_orphans(instance) == []
    assert {status(instance, one) for one in (elsewhere, contained, carried_on, unmarked)} == {
        STARTED
    }


def test_a_run_that_has_ended_is_no_orphan(instance: dg.DagsterInstance):
    run_id = marked(instance, dead_process())
    end_orphans(instance)
    assert end_orphans(instance) == []
    assert status(instance, run_id) == dg.DagsterRunStatus.FAILURE


def test_weeks_under_way_are_the_unfinished_runs_that_publish_one(instance: dg.DagsterInstance):
    def run(state: dg.DagsterRunStatus, *, assets: Sequence[str] = (), **tags: str) -> str:
        selected = frozenset(dg.AssetKey(name) for name in assets) or None
        created = create_run_for_test(
            instance, job_name="a_job", status=state, tags=tags, asset_selection=selected
        )
        return created.run_id

    whole = run(dg.DagsterRunStatus.STARTING, **{"forecast_assets/week": "whole"})
    by_range = run(STARTED, **{"dagster/asset_partition_range_start": "naive"}, assets=ASSETS)
    run(STARTED, **{"dagster/asset_partition_range_start": "naive"}, assets=ASSETS[2:])
    run(STARTED, **{"forecast_assets/week": "the rest"}, assets=ASSETS[2:])
    run(STARTED)
    run(dg.DagsterRunStatus.SUCCESS, **{"forecast_assets/week": "whole"})
    assert {one.dagster_run.run_id for one in active_weekly_runs(instance)} == {whole, by_range}


@pytest.mark.parametrize(
    ("tags", "moment"),
    [
        (
            {"forecast_assets/as_of": "2026-11-23T06:00:00+01:00"},
            datetime(2026, 11, 23, 5, tzinfo=UTC),
        ),
        ({AS_OF_TAG: "monday"}, None),
        ({}, None),
    ],
)
def test_a_run_stands_for_its_tag_or_for_when_it_was_created(
    instance: dg.DagsterInstance, tags: dict[str, str], moment: datetime | None
):
    run = create_run_for_test(instance, job_name="a_job", tags=tags)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    assert as_of_of(record, instance) == (moment or record.create_timestamp)


def test_a_run_that_carries_on_another_stands_for_its_moment(instance: dg.DagsterInstance):
    first = create_run_for_test(instance, job_name="a_job")
    again = create_run_for_test(
        instance, job_name="a_job", root_run_id=first.run_id, parent_run_id=first.run_id
    )
    records = {one.dagster_run.run_id: one for one in instance.get_run_records()}
    assert as_of_of(records[again.run_id], instance) == records[first.run_id].create_timestamp
