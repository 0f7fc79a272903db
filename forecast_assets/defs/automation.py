"""The job of the week and its schedule."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from forecast_assets.defs.bake_off import RANGE_END, RANGE_START
from forecast_assets.defs.moment import AS_OF_TAG
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
        description="The whole week: fetch, backtest every model, choose, forecast, report.",
        tags={RANGE_START: models[0], RANGE_END: models[-1]},
    )


def build_schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The schedule: on as soon as the daemon runs; one run a tick, standing for the tick's moment.

    A run that starts late still stands for its tick, and a tick that comes twice has one run.
    """

    @dg.schedule(
        job=job,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        name="every_week",
        description="Runs the week by itself.",
    )
    def every_week(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tick = context.scheduled_execution_time.isoformat()
        return dg.RunRequest(run_key=tick, tags={AS_OF_TAG: tick})

    return every_week
