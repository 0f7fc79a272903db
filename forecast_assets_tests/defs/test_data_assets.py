"""Test defs.data_assets in real runs: what is held stops, what is accepted goes through."""

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.cli.status_lines import status_lines
from forecast_assets.config.loader import load
from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.stored_versions import findings_of
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.checks import DATA_CHECKS
from forecast_assets.defs.health import health_problems
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import build_alarms
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets_tests.builders import make_series, write_source
from forecast_assets_tests.dagster_runs import PANEL, materialize, run_week, small_week
from forecast_assets_tests.notification_servers import deliveries

CLOSED = "json://127.0.0.1:1"  # a channel that takes nothing, so that notifications stay queued
ALARMS = ["run_failed", "check_failed", "week_missed"]
TICK = datetime(2024, 12, 9, tzinfo=UTC)
ACCEPT = {"forecast_assets/accept": "yes"}
WITHOUT_C = {"a": PANEL["a"], "b": PANEL["b"]}


class Project:
    """A source, settings and the store of a published week, and a Dagster instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        rule = {"urls": [CLOSED], "events": ALARMS}
        tables = {"notify": {"rules": [rule]}, "schedule": {"deadline": "6h"}}
        self.settings, self.instance = small_week(folder, **tables), instance
        self.store = build_store(self.settings)

    def set_source(self, series: Mapping[str, Sequence[float]]) -> None:
        """Let the source have these series from now on."""
        write_source(self.settings.root, make_series(**series))

    def run(self, **tags: str) -> dg.ExecuteInProcessResult:
        """Run the whole week."""
        return run_week(self.settings, self.instance, **tags)

    def fetch(self, **tags: str) -> dg.ExecuteInProcessResult:
        """Run raw_data and series alone."""
        return materialize(self.settings, self.instance, "raw_data", "series", **tags)

    @functools.cached_property
    def _defs(self) -> dg.Definitions:
        return build_defs(self.settings)

    def stale_assets(self) -> Any:
        """Evaluate the sensor of stale assets."""
        sensor = build_stale_assets(self.settings, self.store)
        return sensor.evaluate_tick(dg.build_sensor_context(self.instance, definitions=self._defs))

    def alarms(self) -> list[str]:
        """Evaluate the sensor of failed runs; return the titles of the queued notifications."""
        beginning = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
        context = dg.build_sensor_context(self.instance, cursor=beginning)
        build_alarms(self.settings).evaluate_tick(context)
        return [row["title"] for row in deliveries(self.settings.var / "outbox")]


@pytest.fixture
def project(published: Settings, instance: dg.DagsterInstance) -> Project:
    return Project(published.root, instance)


def evaluations(result: dg.ExecuteInProcessResult) -> Mapping[str, dg.AssetCheckEvaluation]:
    """Return the evaluations of the checks of `series`, by name."""
    return {
        check.check_name: check
        for check in result.get_asset_check_evaluations()
        if check.asset_key.path[-1] == "series"
    }


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the names of the checks that failed."""
    return [name for name, check in evaluations(result).items() if not check.passed]


def test_an_ordinary_week_passes_every_check(project: Project):
    project.set_source({name: [*y, y[-1] + 0.5] for name, y in PANEL.items()})
    result = project.fetch()
    assert result.success
    assert set(evaluations(result)) == {*DATA_CHECKS, "long_enough"}
    assert failed_checks(result) == []
    description = str(evaluations(result)["same_history"].description)
    assert description == "The week ending 2024-11-15 is new for 3 of 3 series."


def test_a_held_fetch_stops_the_run_and_keeps_its_checks_and_findings(project: Project):
    project.set_source(WITHOUT_C)
    result = project.run(**{"forecast_assets/as_of": TICK.isoformat()})
    assert not result.success
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert steps == {"raw_data"}
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    (event,) = [event for event in result.all_events if event.is_step_failure]
    message = str(event.step_failure_data.user_failure_data.description)
    assert message.startswith("The data are held back, because they do not look like the next week")
    assert "- vanished_series: 1 of 3 series of the previous version are missing: c." in message
    assert "`forecast-assets run --accept`" in message
    assert failed_checks(result) == ["same_series"]
    check = evaluations(result)["same_series"]
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.metadata["series"].value == ["c"]
    n_versions = {name: len(project.store.history(name)) for name in project.store.tables}
    n_models = n_versions.pop("backtest_predictions")
    written = {name for name, n in n_versions.items() if n == 2}
    assert (written, n_models) == ({"raw_data", "data_findings"}, 2)
    commit = project.store.history("data_findings")[-1]
    rows = project.store.read([commit]).query("policy == 'hold'")
    assert (commit.run_id, commit.inputs[0].version) == (result.run_id, 1)
    assert rows["kind"].tolist() == ["vanished_series"] * 2
    assert rows["unique_id"].tolist() == ["c", None]
    for now in (TICK, datetime.now(UTC)):
        problem = health_problems(project.settings, project.store, now=now, has_daemon=False)[0]
        held = f"the data as of {TICK:%Y-%m-%d %H:%M} UTC are held back"
        assert problem.endswith(f"{held}, because of vanished series (1)")


def test_an_accepted_fetch_is_published_with_a_warning_and_compared_with_next(project: Project):
    project.set_source(WITHOUT_C)
    assert not project.fetch(**{"forecast_assets/accept": "no"}).success
    result = project.fetch(**ACCEPT)
    assert result.success
    check = evaluations(result)["same_series"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).endswith("It was accepted, so the data are published.")
    again = project.fetch()
    assert again.success
    assert failed_checks(again) == []


def test_what_was_held_is_accepted_and_what_came_since_is_judged_anew(project: Project):
    project.set_source(WITHOUT_C)
    held = project.fetch()
    version = project.store.history("raw_data")[-1].data_version
    record = project.instance.get_run_by_id(held.run_id)
    assert record is not None
    assert record.tags["forecast_assets/held"] == version
    project.set_source({"a": PANEL["a"]})
    for tag in (ACCEPT, {"forecast_assets/accept": version}):  # the second is not the newest
        assert not project.fetch(**tag).success
    project.set_source(WITHOUT_C)
    assert project.fetch(**{"forecast_assets/accept": version}).success


def test_days_of_the_present_week_change_nothing_that_was_accepted(project: Project):
    project.set_source(WITHOUT_C)
    assert not project.fetch().success
    with (project.settings.root / "source.csv").open("a") as source:
        source.write(f"a,{datetime.now(UTC):%Y-%m-%d},7\n")
    assert project.fetch(**ACCEPT).success
    first, second = project.store.history("raw_data")[1:]
    assert first.data_version != second.data_version


def test_stale_assets_are_made_neither_from_the_same_data_nor_from_held_data(project: Project):
    result = project.fetch()
    for asset in ("raw_data", "series"):
        first, second = project.store.history(asset)
        assert first.data_version == second.data_version
    check = evaluations(result)["on_time"]
    assert check.passed
    assert str(check.description).startswith("All values of 3 series equal those of the previous")
    assert str(project.stale_assets().skip_message) == "No asset is stale."
    project.set_source({"a": PANEL["a"]})
    project.fetch()
    for _ in range(3):
        tick = project.stale_assets()
        assert not tick.run_requests
        assert str(tick.skip_message) == "The newest data are held back."
    lines = status_lines(project.settings, project.store, now=datetime.now(UTC))
    texts = [line.text for line in lines if line.name == "data"]
    assert [str(text).partition(",")[0] for text in texts] == ["held back: vanished series (2)"]
    project.fetch(**ACCEPT)
    assert str(project.stale_assets().skip_message).startswith("Stale: backtest_predictions")


def test_the_late_run_of_a_held_week_is_started_once_and_there_is_one_alarm(project: Project):
    project.set_source({"a": PANEL["a"]})
    project.run(**{"forecast_assets/as_of": TICK.isoformat()})
    cursor, requested, message = "", [], ""
    for hours in (7, 8, 9, 10):
        now = TICK + timedelta(hours=hours)
        sensor = build_missed_week(project.settings, project.store, clock=lambda now=now: now)
        context = dg.build_sensor_context(project.instance, cursor=cursor or None)
        tick = sensor.evaluate_tick(context)
        cursor, message = tick.cursor or cursor, str(tick.skip_message)
        for request in tick.run_requests or []:
            requested.append(request.tags["forecast_assets/late"])
            project.run(**dict(request.tags))
    assert requested == [TICK.isoformat()]
    assert message.endswith("held its data back.")
    assert project.alarms() == ["The weekly run as of 2024-12-09 00:00 UTC: data held back"]


def test_a_held_run_is_re_executed_from_failure_and_its_findings_are_kept_once(
    published: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = write_source(tmp_path, make_series(a=PANEL["a"]))
    config = tmp_path / "forecast.toml"
    config.write_text(f"source = {{ kind = 'file', path = {json.dumps(str(source))} }}\n")
    monkeypatch.setenv("FORECAST_CONFIG", str(config))
    monkeypatch.setenv("FORECAST_VAR", str(published.var))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        job = dg.reconstructable(data_job)
        with dg.execute_job(job, instance=instance) as held:
            assert not held.success
        run = instance.get_run_by_id(held.run_id)
        assert run is not None
        assert "forecast_assets/held" in run.tags
        from_failure = dg.ReexecutionOptions.from_failure(held.run_id, instance)
        tags = {**run.tags, **ACCEPT}  # as the UI does
        with dg.execute_job(
            job, instance=instance, reexecution_options=from_failure, tags=tags
        ) as result:
            assert result.success
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags["forecast_assets/held"] == "none"
    store = build_store(published)
    assert [commit.run_id for commit in store.history("data_findings")][1:] == [held.run_id]
    series = store.history("series")[-1]
    assert series.run_id == result.run_id
    findings = findings_of(store, series, published)
    assert [item.policy for item in findings if item.kind == "vanished_series"] == ["hold"]


def data_job() -> dg.JobDefinition:
    """Return a job of the data alone, for the settings of the environment."""
    job = dg.define_asset_job("data", selection=["raw_data", "series"])
    both = dg.Definitions.merge(build_defs(load()), dg.Definitions(jobs=[job]))
    return both.resolve_job_def("data")
