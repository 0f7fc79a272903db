"""The Definitions for given settings: assets, checks, job, schedule, sensors, resources.

What an asset does is in the modules `*_assets`.
"""

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.stored_versions import source_code_version
from forecast_assets.defs import (
    backtest_assets,
    benchmarks,
    data_assets,
    delivery_assets,
    publication_assets,
    regressor_assets,
)
from forecast_assets.defs.console_logger import console_progress_logger
from forecast_assets.defs.inputs import RunInputs, build_store
from forecast_assets.defs.io_manager import delta_version_io_manager
from forecast_assets.defs.metadata import column_schema
from forecast_assets.defs.override import build_override_job
from forecast_assets.defs.replay import build_replay_job
from forecast_assets.defs.resources import backtest_executor
from forecast_assets.defs.run_config import WEEK, build_week
from forecast_assets.defs.runs import WEEK_TAG, WHOLE_WEEK, now
from forecast_assets.defs.schedules import JOB, all_models_tags, build_schedule, freshness_policy
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import build_alarms
from forecast_assets.defs.sensors.stale_assets import build_poll, build_stale_assets
from forecast_assets.models.registry import enabled, with_candidates
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store


def build_defs(settings: Settings, inputs: RunInputs | None = None) -> dg.Definitions:
    """Return everything that Dagster runs; `inputs` are those of a replay.

    Raises ModelError where an enabled model does not exist, SettingsError for an invalid cron.
    """
    settings = with_candidates(settings)
    models = [model.name for model in enabled(settings)]
    store = build_store(settings)
    schedule = build_schedule(settings, store)  # first: it checks the cron expression
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="The whole week: fetch, backtest every model, choose, forecast, report. To run"
        " it by hand press Materialize all, choose All, and Launch backfill: it is one run.",
        tags={**all_models_tags(settings), WEEK_TAG: WHOLE_WEEK},
    )
    assets = [
        data_assets.raw_data,
        data_assets.series,
        *([regressor_assets.regressors] if settings.regressors else []),
        *([benchmarks.benchmark_forecasts] if settings.benchmark else []),
        backtest_assets.build_backtest_predictions(
            models,
            after=[
                *([REGRESSORS] if settings.regressors else []),
                *([BENCHMARK_FORECASTS] if settings.used_benchmarks else []),
            ],
        ),
        backtest_assets.metrics,
        backtest_assets.best_model,
        publication_assets.next_week_forecast,
        publication_assets.build_forecast_accuracy(
            after=[BENCHMARK_FORECASTS] if settings.benchmark else []
        ),
        publication_assets.weekly_report,
    ]
    poll = settings.schedule.poll
    sensors = [
        build_missed_week(settings, store),
        build_stale_assets(settings, store),
        build_alarms(settings),
        *([build_poll(poll, settings, store)] if poll else []),
    ]
    return dg.Definitions(
        assets=[
            *dg.map_asset_specs(lambda spec: _with_settings(spec, store, settings), assets),
            *delivery_assets.build_deliveries(settings),
        ],
        jobs=[
            job,
            build_replay_job(settings, store, _week_job),
            build_override_job(settings, store),
        ],
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
            "inputs": inputs or RunInputs(),
            "compute": backtest_executor,
            WEEK: build_week(store, clock=now),
        },
    )


def _week_job(settings: Settings, inputs: RunInputs) -> dg.JobDefinition:
    return build_defs(settings, inputs).resolve_job_def(JOB)


def _with_settings(spec: dg.AssetSpec, store: Store, settings: Settings) -> dg.AssetSpec:
    """Add what an asset's spec takes from the settings."""
    name = spec.key.path[-1]
    has_deadline = name in ("next_week_forecast", "weekly_report")
    return spec.replace_attributes(
        code_version=source_code_version(settings) if name == "raw_data" else spec.code_version,
        freshness_policy=freshness_policy(settings) if has_deadline else None,
        metadata={
            **spec.metadata,
            "dagster/column_schema": column_schema(store.tables[name]),
            "dagster/uri": store.location(name),
        },
    )
