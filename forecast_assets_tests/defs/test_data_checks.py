"""The verdict in real runs: what is held stops, what is accepted goes through, and who is told."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.evaluate import KINDS
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.checks import NAMES
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import build_alarms
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source
from forecast_assets_tests.notification_servers import deliveries

PANEL = {"a": walk(45, seed=1), "b": walk(45, seed=2), "c": walk(45, seed=3)}
NEVER = "json://127.0.0.1:1"  # a channel that takes nothing: what is put for it stays
ALARMS = ["run_failed", "check_failed", "week_missed"]
TICK = datetime(2026, 11, 16, tzinfo=UTC)


class House:
    """A week's source, store and Dagster instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **tables: Any) -> None:
        self.folder, self.instance = folder, instance
        given = {"notify": {"rules": [{"urls": [NEVER], "events": ALARMS}]}, **tables}
        self.settings: Settings = week_settings(folder, make_series(**PANEL), **given)
        self.store = build_store(self.settings)

    def source(self, **series: Sequence[float]) -> None:
        """Let the source say something else."""
        write_source(self.folder, make_series(**series))

    def run(self, **tags: str) -> dg.ExecuteInProcessResult:
        """A run of the whole week."""
        job = build_defs(self.settings).resolve_job_def("weekly_forecast")
        return job.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def fetch(self, **tags: str) -> dg.ExecuteInProcessResult:
        """A run of the data alone, as the UI and `dagster asset materialize` start it."""
        defs, keys = build_defs(self.settings), [dg.AssetKey("raw_data"), dg.AssetKey("series")]
        job = defs.resolve_implicit_job_def_def_for_assets(keys)
        assert job is not None
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, tags=tags, raise_on_error=False
        )

    def n_versions(self) -> dict[str, int]:
        """How many versions there are of each asset that has one."""
        every = {name: len(self.store.history(name)) for name in self.store.tables}
        return {name: n for name, n in every.items() if n}

    def told(self) -> list[str]:
        """The titles of the alarms, the oldest first."""
        return [row["title"] for row in deliveries(self.settings.var / "outbox")]

    def look_for_alarms(self) -> str:
        """What the sensor of alarms says."""
        beginning = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
        context = dg.build_sensor_context(self.instance, cursor=beginning)
        return str(build_alarms(self.settings).evaluate_tick(context).skip_message)


@pytest.fixture
def house(tmp_path: Path, instance: dg.DagsterInstance) -> House:
    return House(tmp_path, instance)


def evaluations(result: dg.ExecuteInProcessResult) -> Mapping[str, dg.AssetCheckEvaluation]:
    return {
        one.check_name: one
        for one in result.get_asset_check_evaluations()
        if one.asset_key.path[-1] == "series"
    }


def steps(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key for event in result.all_events if event.is_step_success}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the step that failed said."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    said = event.step_failure_data.user_failure_data
    assert said is not None
    return str(said.description)


def test_every_kind_has_a_check_of_its_own():
    assert tuple(NAMES) == KINDS
    assert len({name for name, _ in NAMES.values()}) == len(KINDS)


def test_an_ordinary_week_passes_every_check(house: House):
    house.run()
    house.source(**{name: [*y, y[-1] + 0.5] for name, y in PANEL.items()})
    result = house.run()
    assert result.success
    found = evaluations(result)
    assert set(found) == {name for name, _ in NAMES.values()} | {"series_can_be_backtested"}
    assert [name for name, one in found.items() if not one.passed] == []
    said = str(found["weeks_are_known"].description)
    assert said == "The week ending 2024-11-15 is new, of 3 of 3 series."
    assert found["weeks_are_known"].metadata["n_problems"].value == 3


def test_what_is_held_back_stops_and_keeps_its_checks(house: House):
    house.run()
    before = house.n_versions()
    house.source(a=PANEL["a"], b=PANEL["b"])
    result = house.run()
    assert not result.success
    assert steps(result) == {"raw_data", "backtest_predictions.fan"}  # which names the models
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []
    said = failure(result)
    assert said.startswith("The data are held back: what came does not look like the next week")
    assert "- vanished_series: 1 of 3 series of the previous version are gone: c." in said
    assert "`forecast-assets run --accept`" in said
    found = evaluations(result)
    assert [name for name, one in found.items() if not one.passed] == ["no_series_is_gone"]
    assert found["no_series_is_gone"].severity == dg.AssetCheckSeverity.ERROR
    assert found["no_series_is_gone"].metadata["series"].value == ["c"]
    assert house.n_versions() == {**before, "raw_data": before["raw_data"] + 1}


def test_no_way_of_starting_it_gets_around(house: House):
    house.fetch()
    house.source(a=PANEL["a"])
    assert not house.fetch().success
    assert house.n_versions() == {"raw_data": 2, "series": 1}


def test_what_is_accepted_goes_through_with_a_warning_and_is_compared_with_from_then_on(
    house: House,
):
    house.run()
    house.source(a=PANEL["a"], b=PANEL["b"])
    assert not house.run(**{"forecast_assets/accept": "no"}).success
    result = house.run(**{"forecast_assets/accept": "yes"})
    assert result.success
    one = evaluations(result)["no_series_is_gone"]
    assert (one.passed, one.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(one.description).endswith("It was accepted, so it is published.")
    again = house.run()
    assert again.success
    assert [name for name, one in evaluations(again).items() if not one.passed] == []


def test_the_same_data_are_the_same_version_and_nothing_follows(house: House):
    house.run()
    result = house.fetch()
    assert result.success
    for asset in ("raw_data", "series"):
        versions = house.store.history(asset)
        assert len(versions) == 2
        assert len({one.data_version for one in versions}) == 1
    said = evaluations(result)["something_is_new"]
    assert said.passed
    assert str(said.description).startswith("Every value of 3 series is that of the previous")
    sensor = build_stale_assets(house.settings, house.store)
    context = dg.build_sensor_context(house.instance, definitions=build_defs(house.settings))
    assert str(sensor.evaluate_tick(context).skip_message) == "No asset is stale."


def test_what_is_held_back_is_not_tried_again_by_the_sensor(house: House):
    house.run()
    house.source(a=PANEL["a"])
    house.fetch()
    sensor = build_stale_assets(house.settings, house.store)
    defs = build_defs(house.settings)
    for _ in range(3):
        answer = sensor.evaluate_tick(dg.build_sensor_context(house.instance, definitions=defs))
        assert not answer.run_requests
        assert str(answer.skip_message) == "The newest data are held back."
    house.fetch(**{"forecast_assets/accept": "yes"})
    answer = sensor.evaluate_tick(dg.build_sensor_context(house.instance, definitions=defs))
    assert "are behind" in str(answer.skip_message)


def test_a_held_week_raises_one_alarm_however_often_it_is_run(house: House):
    house.run()
    house.source(a=PANEL["a"], b=[*PANEL["b"][:-1], 200.0])
    house.run()
    assert house.look_for_alarms().startswith("New notifications: 1.")
    house.run()
    house.fetch()
    assert house.look_for_alarms().startswith("New notifications: 0.")
    (title,) = house.told()
    assert title.startswith("The weekly run as of 20")
    assert title.endswith("UTC: data held back")


def test_the_late_run_of_a_held_week_is_started_once_and_quietly(
    tmp_path: Path, instance: dg.DagsterInstance
):
    house = House(tmp_path, instance, schedule={"deadline": "6h"})
    as_of = {"forecast_assets/as_of": TICK.isoformat()}
    house.run(**{"forecast_assets/as_of": (TICK - timedelta(weeks=1)).isoformat()})
    house.source(a=PANEL["a"])
    house.run(**as_of)
    cursor, asked, said = "", [], ""
    for hours in (7, 8, 9, 10):
        at = TICK + timedelta(hours=hours)
        sensor = build_missed_week(house.settings, house.store, clock=lambda at=at: at)
        answer = sensor.evaluate_tick(dg.build_sensor_context(instance, cursor=cursor or None))
        cursor, said = answer.cursor or cursor, str(answer.skip_message)
        for request in answer.run_requests or []:
            asked.append(request.tags["forecast_assets/late"])
            house.run(**dict(request.tags))
    assert asked == [TICK.isoformat()]
    assert said.endswith("held its data back.")
    house.look_for_alarms()
    assert house.told() == ["The weekly run as of 2026-11-16 00:00 UTC: data held back"]


def test_a_run_that_carries_on_a_held_one_is_judged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, source = tmp_path / "forecast.toml", write_source(tmp_path, make_series(**PANEL))
    config.write_text(
        f"source = {{ kind = 'file', path = {json.dumps(str(source))} }}\n"
        "models = { enabled = ['naive'] }\nbacktest = { n_windows = 4 }\n"
    )
    monkeypatch.setenv("FORECAST_CONFIG", str(config))
    monkeypatch.setenv("FORECAST_VAR", str(tmp_path / "var"))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        job = dg.reconstructable(week_job)
        with dg.execute_job(job, instance=instance) as first:
            assert first.success
        write_source(tmp_path, make_series(a=PANEL["a"]))
        with dg.execute_job(job, instance=instance) as held:
            assert not held.success
        run = instance.get_run_by_id(held.run_id)
        assert run is not None
        assert "forecast_assets/held" in run.tags
        carried_on = dg.ReexecutionOptions.from_failure(held.run_id, instance)
        accepted = {**run.tags, "forecast_assets/accept": "yes"}  # as the UI does
        with dg.execute_job(
            job, instance=instance, reexecution_options=carried_on, tags=accepted
        ) as result:
            assert result.success
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.tags["forecast_assets/held"] == "none"


def week_job() -> dg.JobDefinition:
    """The job for the settings of the environment, to be loaded anew for a re-execution."""
    from forecast_assets.config.loader import load  # noqa: PLC0415 - anew

    return build_defs(load()).resolve_job_def("weekly_forecast")
