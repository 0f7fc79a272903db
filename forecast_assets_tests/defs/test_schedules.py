"""The schedule: which runs a tick asks for, on time and late."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.defs.runs import AS_OF_TAG, WEEK_TAG
from forecast_assets.defs.schedules import JOB, build_job, build_schedule
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

TICK = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk, as schedules need it; the tests leave no run in it."""
    home = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(home)) as found:
        yield found


def tick(
    folder: Path,
    instance: dg.DagsterInstance,
    *,
    late: timedelta = timedelta(seconds=2),
    forecast: Sequence[datetime] = (),
    at: datetime = TICK,
    **schedule: Any,
) -> list[str] | str:
    """What a tick asks for: the moments of its runs, or why there are none.

    `forecast` are the moments of the forecasts that are there.
    """
    settings = make_settings(folder, schedule=schedule)
    store = make_store(folder)
    for moment in forecast:
        store.write(make_forecast(), make_commit("next_week_forecast", as_of=moment))
    job = build_job(settings)
    built = build_schedule(settings, store, job, clock=lambda: at + late)
    context = dg.build_schedule_context(instance, scheduled_execution_time=at)
    answer = built.evaluate_tick(context)
    requests = answer.run_requests or []
    assert all(request.run_key == request.tags[AS_OF_TAG] for request in requests)
    return [request.tags[AS_OF_TAG] for request in requests] or str(answer.skip_message)


def iso(*moments: datetime) -> list[str]:
    return [moment.isoformat() for moment in moments]


def test_a_tick_asks_for_one_run_that_stands_for_it(tmp_path: Path, instance: dg.DagsterInstance):
    assert tick(tmp_path, instance) == iso(TICK)
    assert tick(tmp_path / "again", instance, forecast=[TICK - WEEK]) == iso(TICK)


@pytest.mark.parametrize("catch_up", ["latest", "all"])
def test_a_tick_that_comes_late_still_stands_for_its_moment(
    tmp_path: Path, instance: dg.DagsterInstance, catch_up: str
):
    found = tick(tmp_path, instance, late=50 * HOUR, forecast=[TICK - WEEK], catch_up=catch_up)
    assert found == iso(TICK)


def test_all_missed_ticks_are_made_up_for_where_that_is_asked(
    tmp_path: Path, instance: dg.DagsterInstance
):
    before = [TICK - 9 * WEEK, TICK - 4 * WEEK + HOUR]
    found = tick(tmp_path, instance, late=HOUR, forecast=before, catch_up="all")
    assert found == iso(TICK - 3 * WEEK, TICK - 2 * WEEK, TICK - WEEK, TICK)


def test_of_missed_ticks_the_latest_alone_is_made_up_for_by_default(
    tmp_path: Path, instance: dg.DagsterInstance
):
    assert tick(tmp_path, instance, late=HOUR, forecast=[TICK - 4 * WEEK]) == iso(TICK)


def test_where_all_are_asked_for_the_first_tick_is_one_run(
    tmp_path: Path, instance: dg.DagsterInstance
):
    assert tick(tmp_path, instance, catch_up="all") == iso(TICK)


def test_a_missed_tick_is_let_go_where_that_is_asked(tmp_path: Path, instance: dg.DagsterInstance):
    asked = {"catch_up": "skip", "deadline": "6h"}
    said = tick(tmp_path, instance, late=7 * HOUR, **asked)
    assert said == (
        "More than 6h were missed of the week of 2026-11-23 00:00 UTC, and"
        ' `catch_up = "skip"` lets it go.'
    )
    assert tick(tmp_path / "in time", instance, late=5 * HOUR, **asked) == iso(TICK)


def test_a_week_that_is_there_is_not_run_again(tmp_path: Path, instance: dg.DagsterInstance):
    said = tick(tmp_path, instance, late=2 * HOUR, forecast=[TICK + HOUR])
    assert said == "The forecast of the week of 2026-11-23 00:00 UTC is there already."


def test_a_week_that_is_under_way_is_not_begun_twice(tmp_path: Path, instance: dg.DagsterInstance):
    def under_way(moment: datetime) -> dg.DagsterRun:
        tags = {WEEK_TAG: "whole", AS_OF_TAG: moment.isoformat()}
        state = dg.DagsterRunStatus.STARTED
        return create_run_for_test(instance, job_name=JOB, status=state, tags=tags)

    begun = [under_way(TICK - WEEK)]
    assert tick(tmp_path, instance) == iso(TICK)  # it waits in the queue
    begun.append(under_way(TICK))
    assert tick(tmp_path, instance) == "A run of the week of 2026-11-23 00:00 UTC is under way."
    for run in begun:
        instance.delete_run(run.run_id)


def test_a_tick_of_another_time_zone_is_one_moment(tmp_path: Path, instance: dg.DagsterInstance):
    local = datetime.fromisoformat("2026-10-25T02:30:00+01:00")  # the second half past two
    asked = {"cron": "30 2 * * SUN", "timezone": "Europe/Berlin"}
    assert tick(tmp_path, instance, at=local, **asked) == ["2026-10-25T01:30:00+00:00"]


def test_a_store_that_cannot_be_read_does_not_cost_the_tick(
    tmp_path: Path, instance: dg.DagsterInstance
):
    """The run says what is wrong with it, is tried again, and raises an alarm."""
    (tmp_path / "store").write_text("no folder")
    for catch_up in ("latest", "all"):
        assert tick(tmp_path, instance, catch_up=catch_up) == iso(TICK)
