"""The sensors that make the rest follow what was made out of turn, and that look for new data.

`AutomationCondition.eager()` fires after one of several partitions: here the rest follows once
every model is of one vintage, in one run.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from forecast_assets.defs.automation import every_model
from forecast_assets.defs.moment import WEEK_TAG, Clock, now
from forecast_assets.defs.under_way import UNFINISHED
from forecast_assets.lineage import BAKE_OFF, behind
from forecast_assets.settings import Settings, span
from forecast_assets.store import Store
from forecast_assets.tables import ASSETS

EVERY_SECONDS = 60
SOURCE = ("raw_data", "series")


def build_follow_up(settings: Settings, store: Store, *, clock: Clock = now) -> dg.SensorDefinition:
    """The sensor: what was made from older versions than there are is made again, once."""

    @dg.sensor(
        name="the_rest_follows",
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Where a model, or the data, was made again out of turn, makes all that is"
        " behind it, in one run. Waits until nothing changes and no run is under way.",
    )
    def the_rest_follows(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
            return dg.SkipReason("A run is under way; what it leaves behind follows after it.")
        models = settings.models.enabled
        assets = behind(store, models=models, as_of=clock())
        if not assets:
            return dg.SensorResult(skip_reason="Nothing is behind.", cursor="")
        state = _state(store, assets[0])
        if context.cursor != state:
            why = f"{assets[0]} and what follows are behind; made at the next look if all is quiet."
            return dg.SensorResult(skip_reason=why, cursor=state)
        tags = {WEEK_TAG: "the rest", **(every_model(settings) if BAKE_OFF in assets else {})}
        request = dg.RunRequest(run_key=state, asset_selection=_keys(assets), tags=tags)
        return dg.SensorResult(run_requests=[request])

    return the_rest_follows


def build_poll(every: str, *, clock: Clock = now) -> dg.SensorDefinition:
    """The sensor that looks for new data between the ticks of the schedule."""

    @dg.sensor(
        name="new_data",
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
        if at < last + span(every):
            return dg.SkipReason(f"Next at {last + span(every):%Y-%m-%d %H:%M} UTC.")
        if context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
            return dg.SkipReason("A run is under way.")
        request = dg.RunRequest(run_key=at.isoformat(), asset_selection=_keys(SOURCE))
        return dg.SensorResult(run_requests=[request], cursor=at.isoformat())

    return new_data


def _state(store: Store, first: str) -> str:
    """A digest of what is behind, and of the versions above it.

    Two looks with the same one saw nothing change. A run that fails leaves the same state, or one
    further down: none is begun twice.
    """
    above = ASSETS[: ASSETS.index(first)]
    said = [first, *(f"{asset} {len(store.history(asset))}" for asset in above)]
    return hashlib.blake2b(" ".join(said).encode(), digest_size=16).hexdigest()


def _keys(assets: Sequence[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey(asset) for asset in assets]
