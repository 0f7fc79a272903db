"""The sensors that make the rest follow what was made out of turn, and that look for new data.

`AutomationCondition.eager()` fires after one of several partitions: here the rest follows once
every model is of one vintage, in one run.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from forecast_assets.config.settings import Settings, parse_duration
from forecast_assets.defs.runs import (
    HELD_TAG,
    THE_REST,
    UNFINISHED,
    WEEK_TAG,
    Clock,
    held_runs,
    is_project_run,
    now,
)
from forecast_assets.defs.schedules import every_model
from forecast_assets.storage.lineage import BACKTEST, find_stale
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest

EVERY_SECONDS = 60
SOURCE = ("raw_data", "series")
NEW_DATA = "new_data"


def build_stale_assets(settings: Settings, store: Store, *, clock: Clock = now) -> dg.SensorDefinition:
    """The sensor: what was made from older versions than there are is made again, once."""

    @dg.sensor(
        name="stale_assets",
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Where a model, or the data, was made again out of turn, makes all that is"
        " behind it, in one run. Waits until nothing changes and no run is under way.",
    )
    def stale_assets(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if _is_busy(context.instance):
            return dg.SkipReason("A run is under way; what it leaves behind follows after it.")
        found = find_stale(store, models=settings.models.enabled, as_of=clock())
        if found is None:
            return dg.SensorResult(skip_reason="Nothing is behind.", cursor="")
        if found.assets[0] == SOURCE[-1] and _is_held(context.instance, store):
            return dg.SensorResult(skip_reason="The newest data are held back.", cursor="")
        if context.cursor != found.state:
            first = found.assets[0]
            why = f"{first} and what follows are behind; made at the next look if all is quiet."
            return dg.SensorResult(skip_reason=why, cursor=found.state)
        models = every_model(settings) if BACKTEST in found.assets else {}
        request = dg.RunRequest(
            run_key=found.state,
            asset_selection=_keys(found.assets),
            tags={WEEK_TAG: THE_REST, **models},
        )
        return dg.SensorResult(run_requests=[request])

    return stale_assets


def build_poll(every: str, *, clock: Clock = now) -> dg.SensorDefinition:
    """The sensor that looks for new data between the ticks of the schedule."""

    @dg.sensor(
        name=NEW_DATA,
        asset_selection=dg.AssetSelection.assets(*SOURCE),
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Fetches the data every {every}; where it has changed, the rest follows.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = clock()
        last = datetime.fromisoformat(context.cursor) if context.cursor else None
        if last is None or at < last:  # just begun, or a clock that was put back
            return dg.SensorResult(skip_reason="The watch begins.", cursor=at.isoformat())
        if at < last + parse_duration(every):
            return dg.SkipReason(f"Next at {last + parse_duration(every):%Y-%m-%d %H:%M} UTC.")
        if _is_busy(context.instance):
            return dg.SkipReason("A run is under way.")
        request = dg.RunRequest(run_key=at.isoformat(), asset_selection=_keys(SOURCE))
        return dg.SensorResult(run_requests=[request], cursor=at.isoformat())

    return new_data


def _is_held(instance: dg.DagsterInstance, store: Store) -> bool:
    """Whether a run refused the newest rows of the source: they would be refused again."""
    commit = newest(store.history(SOURCE[0]))
    return commit is not None and any(held_runs(instance, **{HELD_TAG: commit.data_version}))


def _is_busy(instance: dg.DagsterInstance) -> bool:
    unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return any(is_project_run(run) for run in unfinished)


def _keys(assets: Sequence[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey(asset) for asset in assets]
