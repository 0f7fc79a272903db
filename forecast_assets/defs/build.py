"""The Definitions for given settings: assets, checks, job, schedule, sensors, resources.

What an asset does is in the modules `*_assets`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.baseline import source_code_version
from forecast_assets.defs.backtest_assets import (
    best_model,
    build_backtest_predictions,
    metrics,
)
from forecast_assets.defs.console_logger import console_progress_logger
from forecast_assets.defs.data_assets import raw_data, series
from forecast_assets.defs.io_manager import delta_version_io_manager
from forecast_assets.defs.metadata import column_schema
from forecast_assets.defs.publication_assets import (
    forecast_accuracy,
    next_week_forecast,
    weekly_report,
)
from forecast_assets.defs.resources import backtest_executor
from forecast_assets.defs.runs import WEEK_TAG, WHOLE_WEEK
from forecast_assets.defs.schedules import (
    JOB,
    all_models_tags,
    build_schedule,
    freshness_policy,
)
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import build_alarms
from forecast_assets.defs.sensors.stale_assets import build_poll, build_stale_assets
from forecast_assets.models import enabled
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts

OWNER = "team:forecast"
WITH_DEADLINE = ("next_week_forecast", "weekly_report")


class AssetLabels(NamedTuple):
    """What the UI shows about an asset, and the version of the code that computes it."""

    group: str
    kinds: frozenset[str]
    code_version: str


LABELS: Mapping[str, AssetLabels] = {
    # The code version of raw_data is that of its source's settings.
    "raw_data": AssetLabels("data", frozenset({"deltalake", "pandas"}), ""),
    "series": AssetLabels("data", frozenset({"deltalake", "pandas"}), "2"),
    "backtest_predictions": AssetLabels("backtest", frozenset({"deltalake", "numpy"}), "1"),
    "metrics": AssetLabels("backtest", frozenset({"deltalake", "numpy"}), "1"),
    "best_model": AssetLabels("backtest", frozenset({"deltalake", "pandas"}), "1"),
    "next_week_forecast": AssetLabels("forecast", frozenset({"deltalake", "numpy"}), "1"),
    "forecast_accuracy": AssetLabels("forecast", frozenset({"deltalake", "pandas"}), "1"),
    "weekly_report": AssetLabels("report", frozenset({"deltalake", "html"}), "1"),
}


def build_store(settings: Settings) -> Store:
    """Return the store that the settings name."""
    return Store(settings.store_uri, table_contracts(settings.forecast.levels), var=settings.var)


def build_defs(settings: Settings) -> dg.Definitions:
    """Return everything that Dagster runs.

    Raises ModelError where an enabled model does not exist, SettingsError for an invalid cron.
    """
    models = [model.name for model in enabled(settings)]
    store = build_store(settings)
    schedule = build_schedule(settings, store)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="The whole week: fetch, backtest every model, choose, forecast, report. To run"
        " it by hand press Materialize all, choose All, and Launch backfill: it is one run.",
        tags={**all_models_tags(settings), WEEK_TAG: WHOLE_WEEK},
    )
    sensors = [
        build_missed_week(settings, store),
        build_stale_assets(settings, store),
        build_alarms(settings),
    ]
    if settings.schedule.poll:
        sensors.append(build_poll(settings.schedule.poll))
    return dg.Definitions(
        assets=_build_assets(settings, store, models),
        jobs=[job],
        schedules=[schedule],
        sensors=sensors,
        executor=dg.in_process_executor,
        loggers={
            "console": dg.colored_console_logger,
            "progress": console_progress_logger,
            "teller": console_progress_logger,  # in the run configuration of version 0.1
        },
        resources={
            "io_manager": delta_version_io_manager,
            "records": dg.FilesystemIOManager(),
            "settings": settings,
            "store": store,
            "compute": backtest_executor,
        },
    )


def _build_assets(
    settings: Settings, store: Store, models: list[str]
) -> Sequence[dg.AssetsDefinition]:
    deadline = freshness_policy(settings)

    def with_labels(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.path[-1]
        labels = LABELS[name]
        return spec.replace_attributes(
            group_name=labels.group,
            kinds=set(labels.kinds),
            owners=[OWNER],
            code_version=labels.code_version or source_code_version(settings),
            freshness_policy=deadline if name in WITH_DEADLINE else None,
            metadata={
                **spec.metadata,
                "dagster/column_schema": column_schema(store.tables[name]),
                "dagster/uri": store.location(name),
            },
        )

    assets = [
        raw_data,
        series,
        build_backtest_predictions(models),
        metrics,
        best_model,
        next_week_forecast,
        forecast_accuracy,
        weekly_report,
    ]
    return dg.map_asset_specs(with_labels, assets)
