"""Definitions from settings: the assets with their contracts on, and what they run on."""

from collections.abc import Mapping

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.baseline import source_code_version
from forecast_assets.defs.backtest_assets import build_backtest_predictions
from forecast_assets.defs.console_logger import teller
from forecast_assets.defs.data_assets import ASSETS
from forecast_assets.defs.io_manager import versioned_tables
from forecast_assets.defs.metadata import column_schema
from forecast_assets.defs.publication_assets import PUBLICATION
from forecast_assets.defs.resources import compute
from forecast_assets.defs.schedules import build_job, build_schedule
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import build_alarms
from forecast_assets.defs.sensors.stale_assets import build_stale_assets, build_poll
from forecast_assets.models import enabled
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts

OWNER = "team:forecast"
GROUPS: Mapping[str, tuple[str, frozenset[str], str]] = {
    # asset: its group, its kinds, the version of the code that makes it
    "raw_data": ("data", frozenset({"deltalake", "pandas"}), ""),  # as its source's settings
    "series": ("data", frozenset({"deltalake", "pandas"}), "2"),
    "backtest_predictions": ("backtest", frozenset({"deltalake", "numpy"}), "1"),
    "metrics": ("backtest", frozenset({"deltalake", "numpy"}), "1"),
    "best_model": ("backtest", frozenset({"deltalake", "pandas"}), "1"),
    "next_week_forecast": ("forecast", frozenset({"deltalake", "numpy"}), "1"),
    "forecast_accuracy": ("forecast", frozenset({"deltalake", "pandas"}), "1"),
    "weekly_report": ("report", frozenset({"deltalake", "html"}), "1"),
}


def build_store(settings: Settings) -> Store:
    """The store that the settings name."""
    return Store(settings.store_uri, table_contracts(settings.forecast.levels), var=settings.var)


def build_defs(settings: Settings) -> dg.Definitions:
    """Everything that Dagster runs, for these settings.

    Raises ModelError where a model that is enabled does not exist.
    """
    models = [model.name for model in enabled(settings)]
    store = build_store(settings)
    job = build_job(settings)
    assets = dg.map_asset_specs(
        lambda spec: _described(spec, store, settings),
        [*ASSETS, *PUBLICATION, build_backtest_predictions(models)],
    )
    sensors = [
        build_missed_week(settings, store, job),
        build_stale_assets(settings, store),
        build_alarms(settings),
    ]
    if settings.schedule.poll:
        sensors.append(build_poll(settings.schedule.poll))
    return dg.Definitions(
        assets=assets,
        jobs=[job],
        schedules=[build_schedule(settings, store, job)],
        sensors=sensors,
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "teller": teller},
        resources={
            "io_manager": versioned_tables,
            "records": dg.FilesystemIOManager(),
            "settings": settings,
            "store": store,
            "compute": compute,
        },
    )


def _described(spec: dg.AssetSpec, store: Store, settings: Settings) -> dg.AssetSpec:
    name = spec.key.path[-1]
    group, kinds, code_version = GROUPS[name]
    return spec.replace_attributes(
        group_name=group,
        kinds=set(kinds),
        owners=[OWNER],
        code_version=source_code_version(settings) if name == "raw_data" else code_version,
        metadata={
            **spec.metadata,
            "dagster/column_schema": column_schema(store.tables[name]),
            "dagster/uri": store.location(name),
        },
    )
