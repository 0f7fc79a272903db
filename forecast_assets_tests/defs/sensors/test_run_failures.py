"""Tests of the sensor that reports failed runs and checks, and delivers what is queued."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.defs.sensors.run_failures import MAX_RUNS_PER_TICK, build_alarms
from forecast_assets_tests.builders import make_series, write_source
from forecast_assets_tests.dagster_runs import PANEL, materialize, run_week, small_week
from forecast_assets_tests.notification_servers import Webhook, webhook

DELIVERY_CHECK = "notifications_delivered"


class Watcher:
    """The sensor with one channel, evaluated again and again; it has had its first tick."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, hook: Webhook) -> None:
        self.hook, self._instance, self._cursor = hook, instance, ""
        rule = {"urls": [hook.url], "events": ["run_failed", "check_failed"]}
        self.settings = small_week(folder, notify={"rules": [rule]})
        self.tick()

    def tick(self, *, later: timedelta = timedelta(0)) -> str:
        """Evaluate the sensor, so much later than now, and return its message."""
        sensor = build_alarms(self.settings, clock=lambda: datetime.now(UTC) + later)
        context = dg.build_sensor_context(self._instance, cursor=self._cursor or None)
        result = sensor.evaluate_tick(context)
        self._cursor = result.cursor or self._cursor
        return str(result.skip_message)

    def run_week(self, source: str) -> dg.ExecuteInProcessResult:
        """Run the weekly job, of this text as source."""
        (self.settings.root / "source.csv").write_text(source)
        return run_week(self.settings, self._instance)

    def end_run(self, **tags: str) -> None:
        """Write a failed run."""
        failed = dg.DagsterRunStatus.FAILURE
        create_run_for_test(self._instance, job_name="weekly_forecast", status=failed, tags=tags)


@pytest.fixture
def watcher(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Watcher]:
    with webhook() as hook:
        yield Watcher(tmp_path, instance, hook)


def test_failed_checks_of_a_run_that_succeeds_are_reported(
    watcher: Watcher, instance: dg.DagsterInstance
):
    data = ("raw_data", "series")
    assert materialize(watcher.settings, instance, *data).success
    assert watcher.tick() == "New notifications: 0. All delivered."
    write_source(watcher.settings.root, make_series(**PANEL, short=[1.0]))
    assert materialize(watcher.settings, instance, *data).success
    watcher.tick()
    (message,) = watcher.hook.messages
    assert message["title"].startswith("The run of raw_data, series as of 20")
    assert message["title"].endswith(" failed check")
    assert message["type"] == "warning"
    assert message["message"].startswith("- series, long_enough: 1 of 4 series")


def test_a_failed_run_is_reported_once_with_its_cause(watcher: Watcher):
    hostile = "<img src=http://evil/x.png> [pay](http://evil)"
    run = watcher.run_week(source=f'unique_id,ds,y\na,"{hostile}",1\n')
    assert watcher.tick() == "New notifications: 1. All delivered."
    assert watcher.tick() == "New notifications: 0. All delivered."
    (message,) = watcher.hook.messages
    assert message["title"].startswith("The weekly run as of 20")
    assert message["title"].endswith("UTC failed")
    text = message["message"]
    assert text.startswith("- raw_data: ")
    assert "`forecast-assets run --as-of 20" in text
    assert text.endswith(f"Run page: /runs/{run.run_id}")
    assert "evil" in text
    assert "<img" not in text
    assert "[pay](" not in text


def test_a_channel_that_fails_is_retried_and_shown_on_the_page_of_the_report(
    watcher: Watcher, instance: dg.DagsterInstance
):
    watcher.hook.answer = 500
    watcher.run_week(source="")
    assert "Not delivered: 'The weekly run as of" in watcher.tick()
    check = delivery_check(instance)
    assert not check.passed
    assert "The weekly run as of" in str(check.description)
    watcher.hook.answer = 200
    assert "All delivered." in watcher.tick(later=timedelta(minutes=2))
    assert delivery_check(instance).passed
    assert len(watcher.hook.messages) == 2


def delivery_check(instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    """Return the last evaluation of the check of weekly_report."""
    key = dg.AssetCheckKey(dg.AssetKey("weekly_report"), DELIVERY_CHECK)
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    evaluation: dg.AssetCheckEvaluation = (
        record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    )
    return evaluation


def test_runs_of_other_projects_and_older_runs_are_not_reported(
    tmp_path: Path, instance: dg.DagsterInstance
):
    ours = {"forecast_assets/week": "whole"}
    failed = dg.DagsterRunStatus.FAILURE
    create_run_for_test(instance, job_name="weekly_forecast", status=failed, tags=ours)
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, hook)
        create_run_for_test(instance, job_name="another_job", status=failed)
        assert watcher.tick(later=timedelta(minutes=1)) == "New notifications: 0. All delivered."


def test_all_of_many_runs_are_reported_and_a_poll_once_a_day(watcher: Watcher):
    for _ in range(MAX_RUNS_PER_TICK + 3):
        watcher.end_run(**{"forecast_assets/week": "whole"})
    for _ in range(3):
        watcher.tick()
    poll = {"dagster/sensor_name": "new_data", "forecast_assets/process": "p"}
    for day in ("2026-11-16", "2026-11-16", "2026-11-17"):
        watcher.end_run(**poll, **{"forecast_assets/as_of": day})
    watcher.tick()
    assert len(watcher.hook.messages) == MAX_RUNS_PER_TICK + 3 + 2
