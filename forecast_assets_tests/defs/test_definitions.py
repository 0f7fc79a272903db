"""The graph as Dagster sees it, pinned by name."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.loader import parse
from forecast_assets.defs.build import build_defs
from forecast_assets.errors import ModelError, SettingsError
from forecast_assets.storage.tables import ASSETS, table_contracts
from forecast_assets_tests.builders import make_settings

MODELS = ["drift", "naive", "theta_log"]


@pytest.fixture
def defs(tmp_path: Path) -> dg.Definitions:
    return build_defs(make_settings(tmp_path, models={"enabled": MODELS}))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """Every asset's spec by its name."""
    return {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}


def test_the_graph_is_the_one_that_is_documented(defs: dg.Definitions):
    deps = {
        name: {dep.asset_key.path[-1] for dep in spec.deps} for name, spec in specs(defs).items()
    }
    assert deps == {
        "raw_data": set(),
        "series": {"raw_data"},
        "backtest_predictions": {"series"},
        "metrics": {"backtest_predictions", "series"},
        "best_model": {"metrics"},
        "next_week_forecast": {"best_model", "series", "backtest_predictions"},
        "forecast_accuracy": {"next_week_forecast", "series"},
        "weekly_report": {
            "next_week_forecast",
            "best_model",
            "metrics",
            "series",
            "forecast_accuracy",
        },
    }


def test_groups_follow_the_week(defs: dg.Definitions):
    assert {name: spec.group_name for name, spec in specs(defs).items()} == {
        "raw_data": "data",
        "series": "data",
        "backtest_predictions": "bake_off",
        "metrics": "bake_off",
        "best_model": "bake_off",
        "next_week_forecast": "publication",
        "forecast_accuracy": "publication",
        "weekly_report": "publication",
    }


def test_every_asset_is_described_owned_and_versioned(defs: dg.Definitions):
    for name, spec in specs(defs).items():
        assert spec.description, name
        assert spec.owners == ["team:forecast"], name
        assert re.fullmatch(r"\d(-\w{8})?", str(spec.code_version)), name
        assert "deltalake" in spec.kinds, name


def test_rows_of_another_source_are_of_another_code_version():
    def version(**source: object) -> str | None:
        given = {"source": source} if source else {}
        settings = parse(given, root=Path("/root"), var=Path("/var"), origin="a test")
        return specs(build_defs(settings))["raw_data"].code_version

    sold = {"kind": "file", "path": "a.csv", "y": "sold"}
    assert len({version(), version(**sold), version(**sold), version(**{**sold, "y": "y"})}) == 3


def test_every_column_is_described_in_the_ui(defs: dg.Definitions):
    contracts = table_contracts((80, 95))
    for name, spec in specs(defs).items():
        schema = spec.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == contracts[name].names
        assert all(column.description for column in schema.columns)


def test_the_backtest_is_partitioned_by_model_in_the_settings_order(defs: dg.Definitions):
    partitions = specs(defs)["backtest_predictions"].partitions_def
    assert partitions is not None
    assert list(partitions.get_partition_keys()) == MODELS


def test_every_asset_can_be_part_of_one_run(defs: dg.Definitions):
    for asset in defs.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        assert asset.backfill_policy == dg.BackfillPolicy.single_run()


def test_every_step_is_retried(defs: dg.Definitions):
    nodes = defs.resolve_job_def("weekly_forecast").all_node_defs
    ops = [node for node in nodes if isinstance(node, dg.OpDefinition)]
    assert [op.name for op in ops if op.retry_policy is None] == []


def checks(defs: dg.Definitions) -> list[dg.AssetCheckSpec]:
    """Every check's spec."""
    assets = [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    return [spec for asset in assets for spec in asset.check_specs]


def test_the_checks_are_named_for_what_they_hold(defs: dg.Definitions):
    found = {(spec.asset_key.path[-1], spec.name) for spec in checks(defs)}
    assert found == {
        ("series", "series_can_be_backtested"),
        ("series", "weeks_are_known"),
        ("series", "something_is_new"),
        ("series", "values_stand"),
        ("series", "history_stands"),
        ("series", "weeks_are_their_own"),
        ("series", "no_week_is_gone"),
        ("series", "source_is_on_time"),
        ("series", "rows_keep_the_contract"),
        ("series", "newest_week_is_whole"),
        ("series", "rows_come_once"),
        ("series", "rows_keep_their_weekday"),
        ("series", "no_week_is_missing"),
        ("series", "values_are_in_range"),
        ("series", "series_are_known"),
        ("series", "no_series_is_gone"),
        ("series", "newest_values_are_usual"),
        ("series", "units_stand"),
        ("series", "no_series_is_stuck"),
        ("metrics", "no_model_failed"),
        ("next_week_forecast", "champions_forecast"),
        ("forecast_accuracy", "live_forecasts_keep_their_promise"),
        ("weekly_report", "everyone_was_told"),
    }


def test_the_job_carries_the_range_of_all_models(defs: dg.Definitions):
    job = defs.resolve_job_def("weekly_forecast")
    assert job.tags["dagster/asset_partition_range_start"] == "drift"
    assert job.tags["dagster/asset_partition_range_end"] == "theta_log"
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == set(ASSETS)


def test_the_schedule_is_on_in_the_time_zone_of_the_settings(tmp_path: Path):
    settings = make_settings(
        tmp_path, schedule={"cron": "30 6 * * MON", "timezone": "Europe/Berlin"}
    )
    schedule = build_defs(settings).resolve_schedule_def("every_week")
    assert schedule.cron_schedule == "30 6 * * MON"
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_every_sensor_is_on(tmp_path: Path):
    settings = make_settings(tmp_path, schedule={"poll": "6h"})
    for at, names in (
        (make_settings(tmp_path), {"missed_week", "the_rest_follows", "alarms"}),
        (settings, {"missed_week", "the_rest_follows", "alarms", "new_data"}),
    ):
        sensors = {sensor.name: sensor for sensor in build_defs(at).sensors or []}
        assert sensors.keys() == names
        assert {sensor.default_status for sensor in sensors.values()} == {
            dg.DefaultSensorStatus.RUNNING
        }


def test_a_cron_expression_that_is_none_stops_the_definitions(tmp_path: Path):
    settings = make_settings(tmp_path, schedule={"cron": "99 0 * * MON"})
    with pytest.raises(SettingsError, match=r"'99 0 \* \* MON', which is no cron expression"):
        build_defs(settings)


def test_an_enabled_model_that_does_not_exist_stops_the_definitions(tmp_path: Path):
    with pytest.raises(ModelError, match="There is no model 'thetta'"):
        build_defs(make_settings(tmp_path, models={"enabled": ["thetta"]}))


def test_loading_the_definitions_imports_nothing_heavy():
    heavy = ["dask", "jinja2", "matplotlib", "scipy", "statsforecast", "statsmodels"]
    code = (
        "import sys, forecast_assets.definitions;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
