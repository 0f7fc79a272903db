"""The public surface by name: what the UI, stored runs, users' settings and their code rely on."""

from importlib import metadata

import dagster as dg
import pytest

import forecast_assets.models
from forecast_assets import errors
from forecast_assets.config.loader import parse
from forecast_assets.config.settings import ROOT
from forecast_assets.defs import backtest_assets, runs
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.sensors import run_failures
from forecast_assets.models import base, by_statsforecast, by_statsmodels
from forecast_assets_tests.store_builders import make_commit

# asset: its group, and the assets that it reads
GRAPH = {
    "raw_data": ("data", set()),
    "series": ("data", {"raw_data"}),
    "backtest_predictions": ("backtest", {"series"}),
    "metrics": ("backtest", {"backtest_predictions", "series"}),
    "best_model": ("backtest", {"metrics"}),
    "next_week_forecast": ("forecast", {"best_model", "series", "backtest_predictions"}),
    "forecast_accuracy": ("forecast", {"next_week_forecast", "series"}),
    "weekly_report": (
        "report",
        {"next_week_forecast", "best_model", "metrics", "series", "forecast_accuracy"},
    ),
}
CHECKS = {
    "series": {
        "long_enough",
        "rows",
        "on_time",
        "complete",
        "same_series",
        "same_history",
        "plausible_values",
    },
    "metrics": {"models_complete"},
    "next_week_forecast": {"champions_used"},
    "forecast_accuracy": {"intervals_and_skill"},
    "weekly_report": {"notifications_delivered", "pages_written"},
}
ERRORS = {
    "ForecastAssetsError": Exception,
    "SettingsError": errors.ForecastAssetsError,
    "SourceError": errors.ForecastAssetsError,
    "SourceUnavailable": errors.SourceError,
    "DataError": errors.ForecastAssetsError,
    "ModelError": errors.ForecastAssetsError,
    "ComputeError": errors.ForecastAssetsError,
    "DeliveryError": errors.ForecastAssetsError,
    "DeliveryUnavailable": errors.DeliveryError,
    "StoreError": errors.ForecastAssetsError,
    "VersionNotFoundError": errors.StoreError,
    "VersionPrunedError": errors.StoreError,
    "VersionWithdrawnError": errors.StoreError,
    "MixedVintagesError": errors.StoreError,
    # The names of version 0.1.
    "UnknownVersion": errors.StoreError,
    "PrunedVersion": errors.StoreError,
    "MixedVintages": errors.StoreError,
}
COMMIT_KEYS = {
    "run_id", "asset", "partition", "as_of", "code_version", "data_version", "content", "n_rows",
    "inputs", "seal",
}  # fmt: skip
MODELS = ["naive", "drift", "theta_log"]


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """Return the definitions with everything that is optional switched on."""
    given = {"models": {"enabled": MODELS}, "schedule": {"poll": "6h"}}
    folder = tmp_path_factory.mktemp("surface")
    return build_defs(parse(given, root=folder, var=folder / "var", origin="a test"))


def test_the_graph_has_these_assets_groups_and_dependencies(defs: dg.Definitions):
    assert {
        spec.key.to_user_string(): (
            spec.group_name,
            {dep.asset_key.to_user_string() for dep in spec.deps},
        )
        for spec in defs.resolve_all_asset_specs()
    } == GRAPH


def test_only_the_backtest_is_partitioned_by_the_models_in_their_order(defs: dg.Definitions):
    assert {
        spec.key.to_user_string(): list(spec.partitions_def.get_partition_keys())
        for spec in defs.resolve_all_asset_specs()
        if spec.partitions_def
    } == {"backtest_predictions": MODELS}


def test_the_checks_have_these_names(defs: dg.Definitions):
    found: dict[str, set[str]] = {}
    for asset in defs.assets or []:
        assert isinstance(asset, dg.AssetsDefinition)
        for spec in asset.check_specs:
            found.setdefault(spec.asset_key.to_user_string(), set()).add(spec.name)
    assert found == CHECKS


def test_jobs_schedules_sensors_and_resources_have_these_names(defs: dg.Definitions):
    assert {job.name for job in defs.jobs or []} == {"weekly_forecast", "replay", "override"}
    assert {schedule.name for schedule in defs.schedules or []} == {"every_week"}
    assert {sensor.name for sensor in defs.sensors or []} == {
        "alarms",
        "missed_week",
        "new_data",
        "stale_assets",
    }
    assert set(defs.resources or {}) == {
        "compute",
        "inputs",
        "io_manager",
        "records",
        "settings",
        "store",
        "week",
    }


def test_the_code_location_has_one_name_for_every_way_to_load_it():
    for file, line in {
        "workspace.yaml": "location_name: forecast_assets",
        "pyproject.toml": 'code_location_name = "forecast_assets"',
    }.items():
        assert line in (ROOT / file).read_text(encoding="utf-8")


def test_run_tags_have_these_keys():
    assert {
        runs.AS_OF_TAG,
        runs.ACCEPT_TAG,
        runs.WEEK_TAG,
        runs.HELD_TAG,
        runs.PROCESS_TAG,
        runs.LATE_TAG,
        backtest_assets.DASHBOARD_TAG,
    } == {
        f"forecast_assets/{key}"
        for key in ("as_of", "accept", "week", "held", "process", "late", "dask_dashboard")
    }
    assert (runs.ACCEPTED, runs.WHOLE_WEEK, runs.STALE_PART) == ("yes", "whole", "the rest")
    assert run_failures.SENSOR_TAG == "dagster/sensor_name"


def test_a_commit_of_the_store_has_these_keys():
    assert make_commit("backtest_predictions", "naive").to_metadata().keys() == COMMIT_KEYS


@pytest.mark.parametrize(("name", "base"), ERRORS.items())
def test_errors_have_these_names_and_bases(name: str, base: type[Exception]):
    assert issubclass(getattr(errors, name), base)


def test_models_of_users_build_on_these_names():
    assert {"MODELS", "make", "names", "NotForThisSeries"} <= set(forecast_assets.models.__all__)
    assert issubclass(base.NotForThisSeries, ValueError)
    assert by_statsforecast.FromStatsforecast
    assert by_statsforecast.MovedStatsforecast
    assert by_statsmodels.FromStatsmodels


def test_the_command_line_has_one_name():
    scripts = metadata.entry_points(group="console_scripts", name="forecast-assets")
    assert {script.value for script in scripts} == {"forecast_assets.cli:main"}
