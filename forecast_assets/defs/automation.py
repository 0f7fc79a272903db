"""The job of the week and its schedule."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._utils.schedules import is_valid_cron_schedule

from forecast_assets.defs.moment import AS_OF_TAG, RANGE_END, RANGE_START
from forecast_assets.errors import SettingsError
from forecast_assets.settings import Settings

JOB = "weekly_forecast"


def build_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """The job: every asset and every model in one run.

    Its tags carry the range of all models, which makes one run materialize every partition beside
    the unpartitioned assets.
    """
    models = settings.models.enabled
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description=(
            "The whole week: fetch, backtest every model, choose, forecast, report. To run it"
            " by hand press Materialize all, choose All, and Launch backfill: it is one run."
        ),
        tags={RANGE_START: models[0], RANGE_END: models[-1]},
    )


def build_schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The schedule: on as soon as the daemon runs; one run a tick, standing for the tick's moment.

    A run that starts late still stands for its tick, and a tick that comes twice has one run.
    Raises SettingsError where the cron expression is none.
    """
    if not is_valid_cron_schedule(settings.schedule.cron):
        raise SettingsError(
            f"`schedule.cron` is {settings.schedule.cron!r}, which is no cron expression, so the"
            f" week would never run by itself. Nothing was loaded. Write five fields (minute hour"
            f" day month weekday) in forecast.toml, such as '0 0 * * MON'."
        )

    @dg.schedule(
        job=job,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        name="every_week",
        description="Runs the week by itself, for as long as the Dagster daemon is up.",
    )
    def every_week(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tick = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=tick, tags={AS_OF_TAG: tick})

    return every_week
