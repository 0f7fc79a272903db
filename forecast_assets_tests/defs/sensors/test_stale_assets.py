"""The sensors that rebuild stale assets and poll the source, on real weeks."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.sensors.stale_assets import build_poll, build_stale_assets
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import make_series, write_source
from forecast_assets_tests.dagster_runs import PANEL, materialize, small_week
from forecast_assets_tests.http_servers import Reply, csv_reply, serve

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def fetch_more(settings: Settings, instance: dg.DagsterInstance, *values: float) -> None:
    """Materialize the data by hand, after values were added to every series of the source."""
    write_source(settings.root, make_series(**{name: [*y, *values] for name, y in PANEL.items()}))
    assert materialize(settings, instance, "raw_data", "series").success


def selected(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or []]


class Sensor:
    """The sensor `stale_assets`, evaluated again and again."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._sensor = build_stale_assets(settings, build_store(settings))
        self._instance, self._cursor = instance, ""
        self._defs = build_defs(settings)

    def tick(self) -> dg.RunRequest | str:
        """Return the run that a tick requests, or the reason for none."""
        context = dg.build_sensor_context(
            self._instance, cursor=self._cursor or None, definitions=self._defs
        )
        result = self._sensor.evaluate_tick(context)
        self._cursor = result.cursor if result.cursor is not None else self._cursor
        requests = result.run_requests or []
        return requests[0] if requests else str(result.skip_message)

    def request(self) -> dg.RunRequest:
        """Return the run that the second of two ticks requests."""
        assert "at the next tick" in str(self.tick())
        request = self.tick()
        assert isinstance(request, dg.RunRequest)
        return request


def test_nothing_is_stale_after_a_whole_week_or_before_the_first(
    published: Settings, instance: dg.DagsterInstance
):
    assert Sensor(published, instance).tick() == "No asset is stale."
    shutil.rmtree(published.var)
    assert Sensor(published, instance).tick() == "No asset is stale."


def test_new_data_make_every_model_and_the_forecast_stale_until_each_is_rebuilt(
    published: Settings, instance: dg.DagsterInstance
):
    """Dagster ignores a run key that it has seen, and a run that makes nothing changes none."""
    fetch_more(published, instance, 130.0)
    sensor = Sensor(published, instance)
    request = sensor.request()
    assert selected(request) == list(ASSETS[2:])
    assert request.tags["dagster/asset_partition_range_end"] == "window_average"
    tags = dict(request.tags)
    assert materialize(published, instance, *ASSETS[2:-1], **tags).success  # no report yet
    store = build_store(published)
    weeks = [store.read([commit])["ds"].max() for commit in store.history("next_week_forecast")]
    assert weeks[1] - weeks[0] == timedelta(weeks=1)
    second = sensor.request()
    assert selected(second) == ["weekly_report"]
    assert "dagster/asset_partition_range_end" not in second.tags
    fetch_more(published, instance, 130.0)  # the same data
    again = sensor.tick()
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == second.run_key
    assert materialize(published, instance, "weekly_report").success
    assert sensor.tick() == "No asset is stale."


def test_the_sensor_waits_for_runs_of_this_project_and_for_changes_to_end(
    published: Settings, instance: dg.DagsterInstance
):
    fetch_more(published, instance, 130.0)
    sensor = Sensor(published, instance)
    assert "at the next tick" in str(sensor.tick())
    active = [
        create_run_for_test(instance, job_name="x", status=dg.DagsterRunStatus.STARTED, tags=tags)
        for tags in ({"another": "project"}, {"forecast_assets/week": "whole"})
    ]
    assert sensor.tick() == "A run is in progress; stale assets are looked for after it."
    instance.delete_run(active[1].run_id)
    fetch_more(published, instance, 130.0, 131.0)
    sensor.request()


def test_the_source_is_polled_as_often_as_set(tmp_path: Path, instance: dg.DagsterInstance):
    settings = small_week(tmp_path)
    cursor, requests, defs = "", [], build_defs(settings)
    for hours in (0, 1, 5.9, 6, 7, 12, 11):
        at = NOON + timedelta(hours=hours)
        sensor = build_poll("6h", settings, build_store(settings), clock=lambda at=at: at)
        context = dg.build_sensor_context(instance, cursor=cursor or None, definitions=defs)
        result = sensor.evaluate_tick(context)
        cursor = result.cursor or cursor
        requests.append([selected(request) for request in result.run_requests or []])
    fetch = [["raw_data", "series"]]
    assert requests == [[], [], [], fetch, [], fetch, []]


def test_a_poll_that_is_told_that_nothing_changed_starts_no_run(
    tmp_path: Path, instance: dg.DagsterInstance
):
    """Asked with the validators of the last fetch that was stored."""
    rows = make_series(**PANEL)[["unique_id", "ds", "y"]].to_csv(index=False).encode()
    replies = [csv_reply(rows, ETag='"1"'), Reply(status=304), csv_reply(rows, ETag='"2"')]
    with serve(replies) as server:
        settings = small_week(tmp_path, source={"kind": "http", "url": server.url()})
        assert materialize(settings, instance, "raw_data").success
        answers = []
        for _ in range(2):
            sensor = build_poll("6h", settings, build_store(settings))
            context = dg.build_sensor_context(
                instance, cursor="2020-01-01T00:00:00+00:00", definitions=build_defs(settings)
            )
            answers.append(sensor.evaluate_tick(context))
        conditions = [request.headers.get("If-None-Match") for request in server.requests]
    assert answers[0].skip_message == "The source has no new data."
    assert len(answers[1].run_requests or []) == 1
    assert conditions == [None, '"1"', '"1"']
