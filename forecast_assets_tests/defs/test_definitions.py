"""The definitions: what the settings decide about them, and what every asset has."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from forecast_assets.config.loader import parse
from forecast_assets.defs.build import build_defs
from forecast_assets.errors import ModelError, SettingsError
from forecast_assets.storage.tables import ASSETS, table_contracts
from forecast_assets_tests.builders import make_settings


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    models = {"enabled": ["drift", "naive", "theta_log"]}
    return build_defs(make_settings(tmp_path_factory.mktemp("defs"), models=models))


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """Return every asset's spec by name."""
    return {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}


def test_every_asset_is_described_owned_versioned_and_may_be_part_of_one_run(
    defs: dg.Definitions,
):
    contracts = table_contracts((80, 95))
    for name, spec in specs(defs).items():
        assert spec.description, name
        assert spec.owners == ["team:forecast"], name
        assert re.fullmatch(r"\d(-\w{8})?", str(spec.code_version)), name
        assert "deltalake" in spec.kinds, name
        columns = spec.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == contracts[name].names
        assert all(column.description for column in columns)
    for asset in defs.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        assert asset.backfill_policy == dg.BackfillPolicy.single_run()


def test_rows_of_another_source_have_another_code_version():
    def version(**source: object) -> str | None:
        given = {"source": source} if source else {}
        settings = parse(given, root=Path("/root"), var=Path("/var"), origin="a test")
        return specs(build_defs(settings))["raw_data"].code_version

    sales = {"kind": "file", "path": "a.csv", "y": "sold"}
    assert len({version(), version(**sales), version(**sales), version(**{**sales, "y": "y"})}) == 3


def test_the_job_has_all_assets_and_models_and_retries_every_step(defs: dg.Definitions):
    job = defs.resolve_job_def("weekly_forecast")
    assert job.tags["dagster/asset_partition_range_start"] == "drift"
    assert job.tags["dagster/asset_partition_range_end"] == "theta_log"
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == set(ASSETS)
    ops = [node for node in job.all_node_defs if isinstance(node, dg.OpDefinition)]
    assert [op.name for op in ops if op.retry_policy is None] == []


def test_the_schedule_follows_the_settings(tmp_path: Path):
    settings = make_settings(
        tmp_path, schedule={"cron": "30 6 * * MON", "timezone": "Europe/Berlin"}
    )
    schedule = build_defs(settings).resolve_schedule_def("every_week")
    assert schedule.cron_schedule == "30 6 * * MON"
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_every_sensor_is_on_and_the_source_is_polled_only_if_set(
    tmp_path: Path, defs: dg.Definitions
):
    polling = build_defs(make_settings(tmp_path, schedule={"poll": "6h"})).sensors or []
    added = {sensor.name for sensor in polling} - {sensor.name for sensor in defs.sensors or []}
    assert added == {"new_data"}
    assert {sensor.default_status for sensor in polling} == {dg.DefaultSensorStatus.RUNNING}


@pytest.mark.parametrize(
    ("cron", "deadline_cron"), [("30 6 * * MON", "30 12 * * MON"), ("*/5 * * * *", None)]
)
def test_the_ui_shows_a_forecast_as_overdue_after_its_deadline(
    tmp_path: Path, cron: str, deadline_cron: str | None
):
    schedule = {"cron": cron, "timezone": "Europe/Vienna", "deadline": "6h"}
    built = specs(build_defs(make_settings(tmp_path, schedule=schedule)))
    policies = {
        name: spec.freshness_policy for name, spec in built.items() if spec.freshness_policy
    }
    if deadline_cron is None:
        assert policies == {}
        return
    policy = dg.FreshnessPolicy.cron(deadline_cron, timedelta(hours=6), "Europe/Vienna")
    assert policies == {"next_week_forecast": policy, "weekly_report": policy}


def test_an_invalid_cron_expression_or_model_is_refused(tmp_path: Path):
    for cron in ("99 0 * * MON", "0 0 31 4 *"):
        with pytest.raises(SettingsError, match=rf"`schedule\.cron` is '{re.escape(cron)}'"):
            build_defs(make_settings(tmp_path, schedule={"cron": cron}))
    with pytest.raises(ModelError, match="There is no model 'thetta'"):
        build_defs(make_settings(tmp_path, models={"enabled": ["thetta"]}))


def test_loading_the_definitions_imports_nothing_heavy():
    heavy = ["dask", "jinja2", "matplotlib", "scipy", "statsforecast", "statsmodels"]
    code = (
        "import sys; from forecast_assets.definitions import defs; defs();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
