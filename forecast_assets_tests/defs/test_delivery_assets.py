"""Deliveries as the last steps of a real week: one fails, is repeated alone, and later versions."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from forecast_assets.config.loader import load
from forecast_assets.defs import delivery_assets, replay
from forecast_assets.defs.asset_decorator import RETRIES
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.console_logger import failure_cause
from forecast_assets.defs.delivery_assets import delivery_keys
from forecast_assets.defs.runs import AS_OF_TAG
from forecast_assets.defs.schedules import last_tick, settled_state
from forecast_assets.defs.sensors.run_failures import run_notifications
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets.notifications.routing import Notification
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import select
from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records

DELIVER = """
[deliver.erp]
kind = "sql"
url = "sqlite:///erp.db"
table = "forecasts"
[deliver.sheet]
kind = "file"
path = "sheet.csv"
"""


@dataclass(frozen=True)
class Week:
    """The folder of a week, what its run printed, and the instance of Dagster."""

    folder: Path
    printed: str
    instance: dg.DagsterInstance

    def alarm(self) -> Notification:
        """Return the notification of the newest run that failed."""
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
        (record, *_) = self.instance.get_run_records(failed, limit=1)
        return next(run_notifications(record, self.instance))

    def materialize(self, **tags: str) -> dict[str, str]:
        """Run the deliveries alone; return the text of each."""
        keys = delivery_keys(load())
        job = build_defs(load()).resolve_implicit_job_def_def_for_assets(keys)
        assert job is not None
        result = job.execute_in_process(instance=self.instance, asset_selection=keys, tags=tags)
        return {
            event.asset_key.path[-1]: str(event.materialization.metadata["text"].value)
            for event in result.all_events
            if event.is_step_materialization and event.asset_key
        }

    def delivered(self) -> tuple[list[float], list[float]]:
        """Return the newest forecasts in the database and in the file."""
        with sqlite3.connect(self.folder / "erp.db") as connection:
            query = "SELECT y_hat FROM forecasts ORDER BY as_of DESC, unique_id LIMIT 2"
            database = [row[0] for row in connection.execute(query)]
        connection.close()
        return database, list(
            pd.read_csv(self.folder / "sheet.csv", float_precision="round_trip")["y_hat"]
        )


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """Run a week that cannot deliver its file; the tests follow each other."""
    folder = tmp_path_factory.mktemp("week")
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(folder, monkeypatch, SMALL + DELIVER)
        (folder / "sheet.csv").write_text("of,somebody\n1,2\n")
        printed = output_of("run", exit_code=1)
        with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
            yield Week(folder, printed, instance)


def week_job() -> dg.JobDefinition:
    """Load the job for the settings in force, as a re-execution does."""
    return build_defs(load()).resolve_job_def("weekly_forecast")


def test_a_delivery_that_fails_fails_the_run_of_a_week_that_is_published(week: Week):
    assert "2024-10-11" in week.printed  # the forecast
    said = "The week is published, but was not delivered to sheet; see the errors above. Correct"
    assert f"{said} the cause, then: forecast-assets deliver sheet" in week.printed
    store, now = build_store(load()), datetime.now(UTC)
    assert settled_state(store, last_tick(load(), until=now), now=now) == "published"
    lines = {row["name"]: row for row in records("status")}
    assert (lines["delivered"]["value"], lines["delivered"]["is_well"]) == (["sheet"], False)
    alarm = week.alarm()
    assert alarm.title.endswith("UTC: published, but not delivered to sheet")
    assert (alarm.event, alarm.severity) == ("run_failed", "error")
    assert "sheet.csv exists and was written by another program. It was not changed" in alarm.text
    assert "repeats the delivery alone, or: `forecast-assets deliver sheet`" in alarm.text


def test_a_run_re_executed_from_failure_repeats_the_delivery_alone(week: Week):
    (week.folder / "sheet.csv").unlink()
    (failed, *_) = week.instance.get_runs(limit=1)
    options = dg.ReexecutionOptions.from_failure(failed.run_id, week.instance)
    job = dg.reconstructable(week_job)
    with dg.execute_job(job, instance=week.instance, reexecution_options=options) as result:
        assert result.success
        steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert steps == {"delivery__sheet"}
    database, file = week.delivered()
    assert database == file
    assert {row["name"]: row["is_well"] for row in records("status")}["delivered"] is True


def test_the_same_version_is_delivered_again_without_a_change(week: Week):
    texts = week.materialize()
    assert set(texts) == {"erp", "sheet"}
    assert all(text.endswith("nothing changed.") for text in texts.values())


def test_a_run_of_a_past_week_or_of_an_older_version_delivers_nothing(week: Week):
    store = build_store(load())
    (newest,) = select(store, FORECAST)
    before = week.delivered()
    past = Commit(FORECAST, None, "past", datetime(2024, 12, 2, tzinfo=UTC), "1", newest.inputs)
    store.write(store.read([newest]), past)
    text = "Nothing was delivered: version 1 of next_week_forecast is of a past week. `forecast-"
    for said in week.materialize(**{AS_OF_TAG: "2024-12-02"}).values():
        assert said.startswith(text)
    assert week.delivered() == before
    settings = load()
    plan = replay.ReplayPlan(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
    replayed = replay._replay_settings(settings, plan)  # noqa: SLF001 - what a replay runs with
    assert replayed.deliver == {}


def test_a_later_version_of_the_newest_week_is_delivered_with_what_is_rebuilt(week: Week):
    """As an override writes one."""
    store, settings = build_store(load()), load()
    (newest,) = select(store, FORECAST)
    rows = store.read([newest])
    again = Commit(FORECAST, None, newest.run_id, newest.as_of, "1", newest.inputs)
    store.write(rows.assign(y_hat=rows["y_hat"] + 0.01), again)
    sensor, cursor, requests = build_stale_assets(settings, store), "", []
    for _ in range(2):
        context = dg.build_sensor_context(
            week.instance, cursor=cursor, definitions=build_defs(settings)
        )
        tick = sensor.evaluate_tick(context)
        cursor, requests = tick.cursor or "", list(tick.run_requests or [])
    keys = {key.to_user_string() for key in requests[0].asset_selection or []}
    assert {"delivery/erp", "delivery/sheet", "weekly_report"} <= keys
    assert all("2 of them new or changed" in text for text in week.materialize().values())
    database, file = week.delivered()
    assert database == file == list(rows["y_hat"] + 0.01)


def test_a_delivery_fails_with_its_message_after_the_last_retry(
    week: Week, monkeypatch: pytest.MonkeyPatch
):
    delivery = '[deliver.book]\nkind = "file"\npath = "book.xlsx"\n'
    configure(week.folder, monkeypatch, SMALL + delivery)
    (week.folder / "~$book.xlsx").write_text("locked")
    retries = dg.RetryPolicy(max_retries=RETRIES.max_retries, delay=0)
    monkeypatch.setattr(delivery_assets, "RETRIES", retries)
    keys = delivery_keys(load())
    job = build_defs(load()).resolve_implicit_job_def_def_for_assets(keys)
    assert job is not None
    result = job.execute_in_process(
        instance=week.instance, asset_selection=keys, raise_on_error=False
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure_cause(failure).startswith("The delivery book was not written to ")
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 2
    configure(week.folder, monkeypatch, SMALL + DELIVER)  # for the next test


def test_a_withdrawal_takes_the_rows_back(week: Week):
    store = build_store(load())
    (newest,) = select(store, FORECAST)
    output = output_of("withdraw", "--as-of", newest.as_of.isoformat(), "--reason", "wrong")
    assert "Taken back: erp, sheet." in output
    assert not (week.folder / "sheet.csv").exists()
    with sqlite3.connect(week.folder / "erp.db") as connection:
        assert connection.execute("SELECT count(*) FROM forecasts").fetchall() == [(0,)]
    connection.close()
    withdrawn = invoke("deliver", "erp", "--version", str(newest.version))
    assert withdrawn.exit_code == 2
    assert f"Version {newest.version} of next_week_forecast, as of" in withdrawn.output
    assert "was withdrawn, so erp did not receive it" in withdrawn.output
