"""Tests of the sensor that starts and reports a week without a forecast."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.defs.runs import AS_OF_TAG, WEEK_TAG
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.missed_run import LATE_TAG, build_missed_week
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.notification_servers import deliveries
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

TICK = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
UNREACHABLE = "json://127.0.0.1:1"
LATE = "The forecast of the week of 2026-11-23 00:00 UTC is late"
ALARM = "There is no forecast of the week of 2026-11-23 00:00 UTC"


class Watcher:
    """The sensor on one store, evaluated at one time after the other."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **schedule: Any) -> None:
        tables = {"schedule": {"deadline": "6h", **schedule}, "notify": {"urls": [UNREACHABLE]}}
        self.settings = make_settings(folder, **tables)
        self.store, self._instance, self._cursor = make_store(folder), instance, ""

    def publish(self, as_of: datetime) -> None:
        """Write a forecast."""
        self.store.write(make_forecast(), make_commit("next_week_forecast", as_of=as_of))

    def tick(self, now: datetime) -> list[str] | str:
        """Return the weeks that the sensor starts, or why it starts none."""
        sensor = build_missed_week(self.settings, self.store, clock=lambda: now)
        context = dg.build_sensor_context(self._instance, cursor=self._cursor or None)
        result = sensor.evaluate_tick(context)
        self._cursor = result.cursor or self._cursor
        requests = result.run_requests or []
        assert [request.tags[LATE_TAG] for request in requests] == [
            request.run_key for request in requests
        ]
        return [request.tags[AS_OF_TAG] for request in requests] or str(result.skip_message)

    @property
    def titles(self) -> list[str]:
        """The titles of the queued notifications, oldest first."""
        folder = self.settings.var / "outbox"
        return [row["title"] for row in deliveries(folder)] if folder.exists() else []


@pytest.fixture
def watcher(tmp_path: Path, instance: dg.DagsterInstance) -> Watcher:
    """Return the sensor, with a forecast of the week before TICK."""
    watcher = Watcher(tmp_path, instance)
    watcher.publish(TICK - WEEK)
    return watcher


def create_late_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """Write the run that the sensor requested; return the start of its id."""
    tags = {AS_OF_TAG: TICK.isoformat(), LATE_TAG: TICK.isoformat(), WEEK_TAG: "whole"}
    return create_run_for_test(instance, job_name=JOB, status=status, tags=tags).run_id[:8]


def test_a_published_week_is_left_alone_also_if_the_clock_is_set_back(watcher: Watcher):
    message = "The forecast of the week of {:%Y-%m-%d} 00:00 UTC is published."
    assert watcher.tick(TICK + 5.9 * HOUR) == message.format(TICK - WEEK)
    watcher.publish(TICK)
    for hours in (6, 7, 100):
        assert watcher.tick(TICK + hours * HOUR) == message.format(TICK)
    for _ in range(3):
        assert "is published" in watcher.tick(TICK - 3 * WEEK)
    assert watcher.titles == []


def test_a_missed_week_is_started_at_the_second_tick_and_raises_one_alarm_if_that_run_fails(
    watcher: Watcher, instance: dg.DagsterInstance
):
    assert watcher.tick(TICK + 6 * HOUR) == f"{ALARM}. A run starts at the next tick."
    assert watcher.tick(TICK + 6.1 * HOUR) == [TICK.isoformat()]
    assert watcher.titles == [LATE]
    run_id = create_late_run(instance, dg.DagsterRunStatus.FAILURE)
    for hours in (7, 8):
        message = watcher.tick(TICK + hours * HOUR)
        assert message == f"The late run {run_id} ended with status FAILURE."
    watcher.publish(TICK)
    assert "is published" in watcher.tick(TICK + 9 * HOUR)
    assert watcher.titles == [LATE, ALARM]


def test_an_active_run_prevents_another_and_raises_an_alarm_after_twice_the_deadline(
    watcher: Watcher, instance: dg.DagsterInstance
):
    run_id = create_late_run(instance, dg.DagsterRunStatus.STARTED)
    for hours, titles in ((6, []), (6.1, []), (11, []), (12.1, [ALARM])):
        message = watcher.tick(TICK + hours * HOUR)
        assert message == f"The run {run_id} of the week of 2026-11-23 00:00 UTC is active."
        assert watcher.titles == titles


def test_without_catch_up_a_missed_week_raises_an_alarm(
    tmp_path: Path, instance: dg.DagsterInstance
):
    watcher = Watcher(tmp_path, instance, catch_up="skip")
    watcher.publish(TICK - WEEK)
    messages = [watcher.tick(TICK + hours * HOUR) for hours in (6, 6.1, 6.2)]
    assert messages[1:] == ['No late run was started, because `catch_up` is "skip".'] * 2
    assert watcher.titles == [ALARM]


def test_weeks_before_the_first_tick_are_not_missed(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    for hours in (30, 31):
        message = watcher.tick(TICK + hours * HOUR)
        assert message == "No week has been due since this sensor was turned on."
    watcher.settings.var.write_text("no folder")  # a queue that cannot be used prevents no run
    watcher.tick(TICK + WEEK + 6 * HOUR)
    assert watcher.tick(TICK + WEEK + 7 * HOUR) == [(TICK + WEEK).isoformat()]


def test_a_store_that_cannot_be_read_raises_an_alarm(watcher: Watcher, tmp_path: Path):
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "store").write_text("no folder")
    for hours in (6, 6.1, 6.2):
        assert "Could not read the history of" in watcher.tick(TICK + hours * HOUR)
    assert watcher.titles == [ALARM]
