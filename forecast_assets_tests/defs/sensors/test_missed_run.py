"""The sensor that notices a week without a forecast."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.settings import Settings
from forecast_assets.defs.notifications import outbox
from forecast_assets.defs.runs import AS_OF_TAG, WEEK_TAG
from forecast_assets.defs.schedules import JOB
from forecast_assets.defs.sensors.missed_run import LATE_TAG, build_missed_week
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

TICK = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
NEVER = "json://127.0.0.1:1"  # a channel that takes nothing: what is put for it stays


class Watcher:
    """The sensor over one store, asked at one moment after the other."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **schedule: Any) -> None:
        tables = {"schedule": {"deadline": "6h", **schedule}, "notify": {"urls": [NEVER]}}
        self.settings: Settings = make_settings(folder, **tables)
        self.store, self._instance, self._cursor = make_store(folder), instance, ""

    def published(self, moment: datetime) -> None:
        """Let there be a forecast that was made for the moment."""
        self.store.write(make_forecast(), make_commit("next_week_forecast", as_of=moment))

    def look(self, at: datetime) -> list[str] | str:
        """What it says at a moment: the ticks whose week it starts, or why none."""
        sensor = build_missed_week(self.settings, self.store, clock=lambda: at)
        context = dg.build_sensor_context(self._instance, cursor=self._cursor or None)
        answer = sensor.evaluate_tick(context)
        self._cursor = answer.cursor or self._cursor
        requests = answer.run_requests or []
        assert [one.tags[LATE_TAG] for one in requests] == [one.run_key for one in requests]
        return [one.tags[AS_OF_TAG] for one in requests] or str(answer.skip_message)

    @property
    def told(self) -> list[str]:
        """The title of every notice, the oldest first."""
        letters = outbox(self.settings).letters()
        return [one.title for one in reversed(letters)]


def late_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.FAILURE
) -> dg.DagsterRun:
    """The run that the sensor asked for, as it ended."""
    tags = {AS_OF_TAG: TICK.isoformat(), LATE_TAG: TICK.isoformat(), WEEK_TAG: "whole"}
    return create_run_for_test(instance, job_name=JOB, status=status, tags=tags)


def test_a_week_that_is_there_is_left_alone(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK)
    for hours in (6, 7, 100):
        said = watcher.look(TICK + hours * HOUR)
        assert said == "The forecast of the week of 2026-11-23 00:00 UTC is there."
    assert watcher.told == []


def test_a_week_is_not_missed_before_its_deadline(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    for _ in range(3):
        said = watcher.look(TICK + 5.9 * HOUR)
        assert said == "The forecast of the week of 2026-11-16 00:00 UTC is there."


def test_a_missed_week_is_run_at_the_second_look(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    said = watcher.look(TICK + 6 * HOUR)
    assert said == (
        "There is no forecast of the week of 2026-11-23 00:00 UTC: the next look acts on it."
    )
    assert watcher.look(TICK + 6.1 * HOUR) == [TICK.isoformat()]
    assert watcher.told == ["The week of 2026-11-23 00:00 UTC is late"]


def test_a_late_run_that_fails_raises_one_alarm(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    watcher.look(TICK + 6 * HOUR)
    watcher.look(TICK + 6.1 * HOUR)
    run = late_run(instance)
    for hours in (7, 8, 9):
        said = watcher.look(TICK + hours * HOUR)
        assert said == f"The late run {run.run_id[:8]} ended as FAILURE."
    assert watcher.told[1:] == ["There is no forecast of the week of 2026-11-23 00:00 UTC"]


def test_a_late_run_that_succeeds_ends_the_matter(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    watcher.look(TICK + 6 * HOUR)
    watcher.look(TICK + 6.1 * HOUR)
    late_run(instance, dg.DagsterRunStatus.SUCCESS)
    watcher.published(TICK)
    assert "is there" in watcher.look(TICK + 7 * HOUR)
    assert len(watcher.told) == 1


def test_no_run_is_started_beside_one_that_is_under_way(
    tmp_path: Path, instance: dg.DagsterInstance
):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    run = late_run(instance, dg.DagsterRunStatus.STARTED)
    for hours in (6, 6.1, 11):
        said = watcher.look(TICK + hours * HOUR)
        assert said == (
            f"The run {run.run_id[:8]} of the week of 2026-11-23 00:00 UTC is under way."
        )
    assert watcher.told == []


def test_a_run_that_does_not_end_raises_an_alarm(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    late_run(instance, dg.DagsterRunStatus.STARTED)
    watcher.look(TICK + 12.1 * HOUR)
    assert watcher.told == ["There is no forecast of the week of 2026-11-23 00:00 UTC"]


def test_where_missed_weeks_are_let_go_there_is_an_alarm_alone(
    tmp_path: Path, instance: dg.DagsterInstance
):
    watcher = Watcher(tmp_path, instance, catch_up="skip")
    watcher.published(TICK - WEEK)
    looks = [watcher.look(TICK + hours * HOUR) for hours in (6, 6.1, 6.2)]
    assert looks[1:] == ['No late run was started: `catch_up` is "skip".'] * 2
    assert watcher.told == ["There is no forecast of the week of 2026-11-23 00:00 UTC"]


def test_weeks_from_before_the_watch_are_not_missed(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    for hours in (30, 31, 32):
        assert watcher.look(TICK + hours * HOUR) == "No week was due since this is watched."
    watcher.look(TICK + WEEK + 6 * HOUR)
    assert watcher.look(TICK + WEEK + 7 * HOUR) == [(TICK + WEEK).isoformat()]


def test_a_clock_that_is_put_back_starts_nothing(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK)
    watcher.look(TICK + 7 * HOUR)
    for _ in range(3):
        assert "is there" in watcher.look(TICK - 3 * WEEK)
    assert watcher.told == []


def test_a_store_that_cannot_be_read_raises_an_alarm(tmp_path: Path, instance: dg.DagsterInstance):
    watcher = Watcher(tmp_path, instance)
    watcher.published(TICK - WEEK)
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "store").write_text("no folder")
    for hours in (6, 6.1, 6.2):
        assert "Could not read the history of" in watcher.look(TICK + hours * HOUR)
    assert watcher.told == ["There is no forecast of the week of 2026-11-23 00:00 UTC"]
