"""The sensors that make the rest follow, and look for new data, on real weeks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.sensors.stale_assets import build_stale_assets, build_poll
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import make_series, walk, week_settings, write_source

PANEL = {"a": walk(40, seed=1), "b": walk(45, seed=2)}
MODELS = ["naive", "window_average", "drift"]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return week_settings(tmp_path, make_series(**PANEL), models={"enabled": MODELS})


def run(
    settings: Settings, instance: dg.DagsterInstance, request: dg.RunRequest | None = None
) -> dg.ExecuteInProcessResult:
    """The whole week, or the run that a sensor asks for."""
    defs = build_defs(settings)
    if request is None:
        return defs.resolve_job_def("weekly_forecast").execute_in_process(instance=instance)
    assert request.asset_selection is not None
    job = defs.resolve_implicit_job_def_def_for_assets(request.asset_selection)
    assert job is not None
    return job.execute_in_process(
        instance=instance,
        tags=dict(request.tags),
        asset_selection=list(request.asset_selection),
        raise_on_error=False,
    )


def materialize(settings: Settings, instance: dg.DagsterInstance, *names: str, **tags: str) -> None:
    """What a person makes by hand."""
    defs, keys = build_defs(settings), [dg.AssetKey(name) for name in names]
    job = defs.resolve_implicit_job_def_def_for_assets(keys)
    assert job is not None
    assert job.execute_in_process(instance=instance, tags=tags, asset_selection=keys).success


class Follower:
    """The sensor, asked again and again."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._settings, self._instance, self._cursor = settings, instance, ""

    def look(self) -> dg.RunRequest | str:
        """The run that it asks for, or why there is none."""
        sensor = build_stale_assets(self._settings, build_store(self._settings))
        context = dg.build_sensor_context(
            self._instance, cursor=self._cursor or None, definitions=build_defs(self._settings)
        )
        answer = sensor.evaluate_tick(context)
        self._cursor = answer.cursor if answer.cursor is not None else self._cursor
        requests = answer.run_requests or []
        return requests[0] if requests else str(answer.skip_message)

    def looks(self) -> dg.RunRequest:
        """The run that it asks for at the second look."""
        assert "at the next look" in str(self.look())
        asked = self.look()
        assert isinstance(asked, dg.RunRequest)
        return asked


def selected(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or []]


def test_nothing_follows_a_whole_week(settings: Settings, instance: dg.DagsterInstance):
    follower = Follower(settings, instance)
    assert follower.look() == "Nothing is behind."
    run(settings, instance)
    assert follower.look() == "Nothing is behind."


def test_new_data_is_followed_by_the_whole_bake_off_and_a_new_forecast(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
):
    run(settings, instance)
    longer = {name: [*values, 130.0] for name, values in PANEL.items()}
    write_source(tmp_path, make_series(**longer))
    materialize(settings, instance, "raw_data", "series")
    request = Follower(settings, instance).looks()
    assert selected(request) == list(ASSETS[2:])
    assert request.tags["dagster/asset_partition_range_end"] == "drift"
    assert run(settings, instance, request).success
    store = build_store(settings)
    forecasts = [store.read([one]) for one in store.history("next_week_forecast")]
    gained = forecasts[1]["ds"].max() - forecasts[0]["ds"].max()
    assert gained == pd.Timedelta(weeks=1)
    assert Follower(settings, instance).look() == "Nothing is behind."


def test_a_model_made_again_with_other_results_is_followed_by_its_scores(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
):
    run(settings, instance)
    longer = {"window_average": {"params": {"window": 12}}}
    other = week_settings(tmp_path, make_series(**PANEL), models={"enabled": MODELS, **longer})
    materialize(other, instance, "backtest_predictions", **{"dagster/partition": "window_average"})
    request = Follower(other, instance).looks()
    assert selected(request) == list(ASSETS[3:])
    assert "dagster/asset_partition_range_start" not in request.tags
    assert run(other, instance, request).success
    assert Follower(other, instance).look() == "Nothing is behind."


def test_what_is_begun_by_hand_is_waited_for(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
):
    run(settings, instance)
    write_source(tmp_path, make_series(**{name: [*y, 130.0] for name, y in PANEL.items()}))
    materialize(settings, instance, "raw_data", "series")
    follower = Follower(settings, instance)
    assert "at the next look" in str(follower.look())
    begun = [
        create_run_for_test(instance, job_name="x", status=dg.DagsterRunStatus.STARTED, tags=tags)
        for tags in ({"another": "project"}, {"forecast_assets/week": "whole"})
    ]
    assert follower.look() == "A run is under way; what it leaves behind follows after it."
    instance.delete_run(begun[1].run_id)
    write_source(tmp_path, make_series(**{name: [*y, 130.0, 131.0] for name, y in PANEL.items()}))
    materialize(settings, instance, "raw_data", "series")
    assert "at the next look" in str(follower.look())  # something changed since
    assert isinstance(follower.look(), dg.RunRequest)


def test_a_run_that_fails_is_not_begun_again_and_again(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
):
    """Dagster drops a request whose key it has seen: the failing run changes none."""
    run(settings, instance)
    write_source(tmp_path, make_series(**{name: [*y, 130.0] for name, y in PANEL.items()}))
    materialize(settings, instance, "raw_data", "series")
    follower = Follower(settings, instance)
    first = follower.looks()
    folder = settings.var / "reports"
    folder.rename(settings.var / "no longer a folder")
    folder.write_text("in the way of the report")
    assert not run(settings, instance, first).success
    second = follower.looks()  # what is left is the report
    assert selected(second) == ["weekly_report"]
    assert not run(settings, instance, second).success
    again = follower.look()
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == second.run_key
    materialize(settings, instance, "raw_data", "series")  # the same data once more
    assert isinstance(again := follower.look(), dg.RunRequest)
    assert again.run_key == second.run_key


def test_new_data_is_looked_for_as_often_as_is_asked(
    settings: Settings, instance: dg.DagsterInstance
):
    cursor, asked, defs = "", [], build_defs(settings)
    for hours in (0, 1, 5.9, 6, 7, 12, 11):
        at = NOON + timedelta(hours=hours)
        sensor = build_poll("6h", clock=lambda at=at: at)
        context = dg.build_sensor_context(instance, cursor=cursor or None, definitions=defs)
        answer = sensor.evaluate_tick(context)
        cursor = answer.cursor or cursor
        asked.append([selected(request) for request in answer.run_requests or []])
    fetch = [["raw_data", "series"]]
    assert asked == [[], [], [], fetch, [], fetch, []]
