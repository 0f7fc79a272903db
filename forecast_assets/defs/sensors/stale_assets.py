"""The sensors that rebuild stale assets in one run, and that poll the source for new data.

`AutomationCondition.eager()` would rebuild after each of several partitions. This sensor waits
until all models are of one vintage.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.defs import runs
from forecast_assets.defs.delivery_assets import delivery_keys
from forecast_assets.defs.schedules import all_models_tags, is_withdrawn, last_tick
from forecast_assets.forecasting.held_forecast import is_held_forecast_current
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.lineage import BACKTEST, find_stale
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST
from forecast_assets.storage.versions import newest_of_each

INTERVAL_SECONDS = 60
SOURCE_ASSETS = ("raw_data", "series")
NEW_DATA = "new_data"


def build_stale_assets(
    settings: Settings, store: Store, *, clock: runs.Clock = runs.now
) -> dg.SensorDefinition:
    """Build the sensor that rebuilds assets with inputs older than the newest versions, once."""

    @dg.sensor(
        name="stale_assets",
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Rebuilds the assets whose inputs have newer versions, in one run. Waits until"
        " no run is in progress and nothing has changed for a minute.",
    )
    def stale_assets(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if _is_busy(context.instance):
            return dg.SkipReason("A run is in progress; stale assets are looked for after it.")
        now = clock()
        stale = find_stale(
            store,
            models=settings.models.enabled,
            as_of=now,
            optional=[
                *([BENCHMARK_FORECASTS] if settings.benchmark else []),
                *([REGRESSORS] if settings.regressors else []),
            ],
        )
        if stale is None:
            return dg.SensorResult(skip_reason="No asset is stale.", cursor="")
        (fetch,) = newest_of_each(store, SOURCE_ASSETS[0], as_of=now)
        if is_withdrawn(store, last_tick(settings, until=fetch.as_of), now=now):
            reason = "The forecast of these data's week is withdrawn. Only a person publishes it."
            return dg.SensorResult(skip_reason=reason, cursor="")
        if what := _held_back(context.instance, store, first=stale.assets[0], now=now):
            return dg.SensorResult(skip_reason=f"The newest {what} held back.", cursor="")
        if context.cursor != stale.state:
            reason = (
                f"Stale: {', '.join(stale.assets)}. Rebuilt at the next tick if nothing changes."
            )
            return dg.SensorResult(skip_reason=reason, cursor=stale.state)
        models = all_models_tags(settings) if BACKTEST in stale.assets else {}
        request = dg.RunRequest(
            run_key=stale.state,
            # Each later version of the newest week is delivered, too.
            asset_selection=[*_keys(stale.assets), *delivery_keys(settings)],
            tags={runs.WEEK_TAG: runs.STALE_PART, **models},
        )
        return dg.SensorResult(run_requests=[request])

    return stale_assets


def build_poll(
    every: str, settings: Settings, store: Store, *, clock: runs.Clock = runs.now
) -> dg.SensorDefinition:
    """Build the sensor that fetches the data between the ticks of the schedule."""

    @dg.sensor(
        name=NEW_DATA,
        asset_selection=dg.AssetSelection.assets(*SOURCE_ASSETS),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Fetches the data every {every}. Where they have changed, the sensor"
        " stale_assets rebuilds the rest.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = clock()
        last = datetime.fromisoformat(context.cursor) if context.cursor else None
        # A clock that was set back would otherwise stop the polling until it has caught up.
        if last is None or at < last:
            return dg.SensorResult(skip_reason="Polling begins.", cursor=at.isoformat())
        due = last + parse_duration(every)
        if at < due:
            return dg.SkipReason(f"The next fetch is due at {due:%Y-%m-%d %H:%M} UTC.")
        if _is_busy(context.instance):
            return dg.SkipReason("A run is in progress.")
        from forecast_assets.data.sources.http.reader import is_unchanged  # imports slowly

        stored, request = (
            newest_of_each(store, SOURCE_ASSETS[0], as_of=at),
            FetchRequest(settings, at),
        )
        if stored and is_unchanged(request, stored_as_of=stored[0].as_of):
            return dg.SensorResult(skip_reason="The source has no new data.", cursor=at.isoformat())
        run = dg.RunRequest(run_key=at.isoformat(), asset_selection=_keys(SOURCE_ASSETS))
        return dg.SensorResult(run_requests=[run], cursor=at.isoformat())

    return new_data


def _held_back(
    instance: dg.DagsterInstance, store: Store, *, first: str, now: datetime
) -> str | None:
    """Say what a run held back that would be held again if the asset `first` were rebuilt."""
    if first == FORECAST:
        return "forecast is" if is_held_forecast_current(store, now=now) else None
    is_held = first == SOURCE_ASSETS[-1] and any(
        any(runs.held_runs(instance, **{runs.HELD_TAG: commit.data_version}))
        for commit in newest_of_each(store, SOURCE_ASSETS[0], as_of=now)
    )
    return "data are" if is_held else None


def _is_busy(instance: dg.DagsterInstance) -> bool:
    unfinished = instance.get_runs(dg.RunsFilter(statuses=runs.UNFINISHED_STATUSES))
    return any(runs.is_project_run(run) for run in unfinished)


def _keys(assets: Sequence[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey(asset) for asset in assets]
