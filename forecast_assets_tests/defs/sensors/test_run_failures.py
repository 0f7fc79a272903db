"""The sensor that tells people of runs and checks that failed, and is their postman."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.sensors.run_failures import MOST_RUNS, build_alarms
from forecast_assets_tests.builders import make_series, walk, week_settings
from forecast_assets_tests.notification_servers import Webhook, webhook

PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}


class Watcher:
    """The sensor with one channel, asked again and again."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **tables: object) -> None:
        self.settings: Settings = week_settings(folder, make_series(**PANEL), **tables)  # type: ignore[arg-type]
        self._instance, self._cursor = instance, ""

    def look(self, *, later: timedelta = timedelta(0)) -> str:
        """What it says of a look, so much later than now."""
        sensor = build_alarms(self.settings, clock=lambda: datetime.now(UTC) + later)
        context = dg.build_sensor_context(self._instance, cursor=self._cursor or None)
        answer = sensor.evaluate_tick(context)
        self._cursor = answer.cursor or self._cursor
        return str(answer.skip_message)

    def run_week(self) -> dg.ExecuteInProcessResult:
        """One run of the job."""
        job = build_defs(self.settings).resolve_job_def("weekly_forecast")
        return job.execute_in_process(instance=self._instance, raise_on_error=False)


def channel(hook: Webhook) -> dict[str, object]:
    """Settings that tell the webhook of alarms."""
    return {"rules": [{"urls": [hook.url], "events": ["run_failed", "check_failed"]}]}


def text(hook: Webhook) -> str:
    """The message of the one notice that came."""
    ((_, _, said),) = hook.asked
    return str(said["message"])


def test_a_sound_week_raises_no_alarm(tmp_path: Path, instance: dg.DagsterInstance):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        assert watcher.run_week().success
        assert watcher.look() == "0 new notices of runs that ended. All is delivered."
        assert hook.told == []


def test_a_week_that_failed_is_told_once_with_its_cause(
    tmp_path: Path, instance: dg.DagsterInstance
):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        (tmp_path / "source.csv").write_text("unique_id,ds,y\na,monday,1\n")
        run = watcher.run_week()
        assert watcher.look().startswith("1 new notices")
        assert watcher.look().startswith("0 new notices")
        (title,) = hook.told
        assert title.startswith("The week as of 20")
        assert title.endswith("UTC failed")
        assert "raw_data" in text(hook)
        assert "monday" in text(hook)
        assert f"/runs/{run.run_id}" in text(hook)


def test_checks_that_failed_are_told_though_the_week_succeeded(
    tmp_path: Path, instance: dg.DagsterInstance
):
    broken = tmp_path / "broken_for_alarms.py"
    broken.write_text(
        "class Broken:\n"
        "    def fit(self, y, *, season_length):\n"
        "        raise RuntimeError('no licence')\n"
        "    def predict(self, h):\n"
        "        raise AssertionError\n"
    )
    models = {
        "enabled": ["naive", "drift", "mine"],
        "mine": {"factory": "broken_for_alarms:Broken"},
    }
    with webhook() as hook, pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        patched.setenv("PYTHONPATH", str(tmp_path))
        watcher = Watcher(tmp_path, instance, notify=channel(hook), models=models)
        watcher.look()
        assert watcher.run_week().success
        watcher.look()
        (title,) = hook.told
        assert title.endswith("1 checks failed")
        assert "no_model_failed" in text(hook)
        assert "no licence" in text(hook)


def test_a_channel_that_fails_is_tried_again_and_shown_on_the_report_s_page(
    tmp_path: Path, instance: dg.DagsterInstance
):
    with webhook(500) as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        (tmp_path / "source.csv").unlink()
        watcher.run_week()
        assert "Not delivered: 'The week as of" in watcher.look()
        assert shown(instance) == (False, True)
        hook.answer = 200
        assert "All is delivered." in watcher.look(later=timedelta(minutes=2))
        assert shown(instance) == (True, False)
        assert len(hook.told) == 2


def shown(instance: dg.DagsterInstance) -> tuple[bool, bool]:
    """Whether the last check of the report's delivery passed, and whether it names a notice."""
    key = dg.AssetCheckKey(dg.AssetKey("weekly_report"), "everyone_was_told")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    return evaluation.passed, "The week as of" in str(evaluation.description)


def test_runs_of_other_projects_are_none_of_ours(tmp_path: Path, instance: dg.DagsterInstance):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        failed = dg.DagsterRunStatus.FAILURE
        create_run_for_test(instance, job_name="another_job", status=failed)
        assert watcher.look().startswith("0 new notices")


def test_what_failed_before_the_watch_began_is_no_news(
    tmp_path: Path, instance: dg.DagsterInstance
):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        failed = dg.DagsterRunStatus.FAILURE
        create_run_for_test(instance, job_name="weekly_forecast", status=failed)
        assert watcher.look(later=timedelta(minutes=1)).startswith("0 new notices")


def test_many_runs_that_fail_at_once_are_all_told(tmp_path: Path, instance: dg.DagsterInstance):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        failed, ours = dg.DagsterRunStatus.FAILURE, {"forecast_assets/week": "whole"}
        for _ in range(2 * MOST_RUNS + 3):
            create_run_for_test(instance, job_name="weekly_forecast", status=failed, tags=ours)
        for _ in range(4):
            watcher.look()
        create_run_for_test(instance, job_name="weekly_forecast", status=failed, tags=ours)
        watcher.look()
        assert len(hook.told) == 2 * MOST_RUNS + 4


def test_looks_for_new_data_that_fail_are_told_once_a_day(
    tmp_path: Path, instance: dg.DagsterInstance
):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        tags = {"dagster/sensor_name": "new_data", "forecast_assets/process": "p"}
        for day in ("2026-11-16", "2026-11-16", "2026-11-17"):
            said = {**tags, "forecast_assets/as_of": day}
            failed = dg.DagsterRunStatus.FAILURE
            create_run_for_test(instance, job_name="x", status=failed, tags=said)
        watcher.look()
        assert len(hook.told) == 2


def test_what_is_told_is_safe_to_read(tmp_path: Path, instance: dg.DagsterInstance):
    with webhook() as hook:
        watcher = Watcher(tmp_path, instance, notify=channel(hook))
        watcher.look()
        hostile = "<img src=http://evil/x.png> [pay](http://evil)"
        (tmp_path / "source.csv").write_text(f'unique_id,ds,y\na,"{hostile}",1\n')
        watcher.run_week()
        watcher.look()
        assert "evil" in text(hook)
        assert "<img" not in text(hook)
        assert "[pay](" not in text(hook)
