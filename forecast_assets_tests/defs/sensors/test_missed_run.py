"""Tests of the sensor that starts and reports a week without a forecast."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.defs.runs import AS_OF_TAG, LATE_TAG, WEEK_TAG
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.storage.withdrawals import Withdrawal, forecasts_as_of, withdraw
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

    def withdraw(self, as_of: datetime) -> None:
        """Withdraw the forecasts as of a time, a minute later."""
        at = min(as_of, TICK) + HOUR / 60
        row = Withdrawal(as_of, reason="It was wrong", by="ann", at=at)
        withdraw(self.store, forecasts_as_of(self.store, as_of), row)

    def tick(self, now: datetime) -> list[str] | str:
        """Return the weeks that the sensor starts, or why it starts none."""
        sensor = build_missed_week(self.settings, self.store, clock=lambda: now)
        context = dg.build_sensor_context(self._instance, cursor=self._cursor or None)
        result = sensor.evaluate_tick(context)
        self._cursor = result.cursor or self._cursor
        requests = result.run_requests or []
        keys = [str(request.run_key).split()[0] for request in requests]
        assert [request.tags[LATE_TAG] for request in requests] == keys
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
    for _ in range(3):  # both forecasts are from the future then, and the sensor is new
        assert watcher.tick(TICK - 3 * WEEK) == (
            "No week has been due since this sensor was turned on."
        )
    assert watcher.titles == []


def test_a_withdrawn_week_is_settled_until_a_person_runs_it(watcher: Watcher):
    watcher.publish(TICK)
    watcher.withdraw(TICK)
    for hours in (6, 7, 100):
        message = watcher.tick(TICK + hours * HOUR)
        assert message == "The forecast of the week of 2026-11-23 00:00 UTC is withdrawn."
    assert watcher.titles == []
    assert "There is no forecast" in watcher.tick(TICK + WEEK + 6 * HOUR)
    watcher.publish(TICK + 2 * HOUR)
    assert "is published" in watcher.tick(TICK + 8 * HOUR)


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_a_forecast_from_the_future_does_not_count_also_if_it_is_withdrawn(
    watcher: Watcher, *, is_withdrawn: bool
):
    watcher.publish(TICK + 20 * WEEK)
    if is_withdrawn:
        watcher.withdraw(TICK + 20 * WEEK)
    assert watcher.tick(TICK + 6 * HOUR) == f"{ALARM}. A run starts at the next tick."
    assert watcher.tick(TICK + 6.1 * HOUR) == [TICK.isoformat()]
    if is_withdrawn:  # nor when its time has come
        assert "There is no forecast" in watcher.tick(TICK + 20 * WEEK + 7 * HOUR)


def test_a_first_tick_of_a_wrong_clock_does_not_hide_later_weeks(
    tmp_path: Path, instance: dg.DagsterInstance
):
    watcher = Watcher(tmp_path, instance)
    for now in (TICK + 20 * WEEK, TICK - 1 * HOUR):
        assert watcher.tick(now) == "No week has been due since this sensor was turned on."
    watcher.tick(TICK + 6 * HOUR)
    assert watcher.tick(TICK + 7 * HOUR) == [TICK.isoformat()]


def test_with_catch_up_all_every_missed_week_is_started_again_at_each_deadline(
    tmp_path: Path, instance: dg.DagsterInstance
):
    watcher = Watcher(tmp_path, instance, catch_up="all")
    watcher.publish(TICK - 3 * WEEK)
    missed = [(TICK - n * WEEK).isoformat() for n in (2, 1, 0)]
    watcher.tick(TICK + 6 * HOUR)
    assert watcher.tick(TICK + 7 * HOUR) == missed
    later = (TICK + WEEK).isoformat()
    watcher.tick(TICK + WEEK + 6 * HOUR)
    assert watcher.tick(TICK + WEEK + 7 * HOUR) == [*missed, later]


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
