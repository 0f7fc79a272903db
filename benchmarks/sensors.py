"""A tick of each sensor, timed where 500 weeks lie behind: in the store, and as runs of Dagster.

Usage: python benchmarks/sensors.py. Prints the seconds of a daemon's first tick and of a later one.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
from dagster._core.test_utils import create_run_for_test

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_defs, build_store
from forecast_assets.defs.schedules import JOB, last_tick
from forecast_assets.defs.sensors.missed_run import build_missed_week
from forecast_assets.defs.sensors.run_failures import OVERLAP, build_alarms
from forecast_assets.defs.sensors.stale_assets import build_stale_assets
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS

WEEKS = 500
MODELS = ("naive", "drift", "window_average")
READS = {
    "series": ("raw_data",),
    "backtest_predictions": ("series",),
    "metrics": ("backtest_predictions", "series"),
    "best_model": ("metrics",),
    "next_week_forecast": ("best_model", "series", "backtest_predictions"),
    "forecast_accuracy": ("next_week_forecast", "series"),
    "weekly_report": ("next_week_forecast", "metrics", "series"),
}


def fill(store: Store, ticks: list[datetime]) -> None:
    """Write every table of every week; what rows they hold does not matter to a sensor."""
    for tick in ticks:
        made: dict[str, list[Commit]] = {}
        for asset in ASSETS:
            read = [one.as_input for name in READS.get(asset, ()) for one in made[name]]
            partitions = MODELS if store.tables[asset].partition_by else (None,)
            made[asset] = [
                store.write(
                    store.tables[asset].empty(),
                    Commit(asset, part, tick.isoformat(), tick, "1", tuple(read)),
                )
                for part in partitions
            ]


def tick(
    build: Callable[[], dg.SensorDefinition], instance: dg.DagsterInstance, defs: dg.Definitions
) -> float:
    """Return the seconds that one tick of a sensor takes."""
    sensor = build()
    context = dg.build_sensor_context(instance, definitions=defs, cursor=None)
    began = time.perf_counter()
    sensor.evaluate_tick(context)
    return time.perf_counter() - began


def sensors(settings: Settings, store: Store) -> dict[str, Callable[[], dg.SensorDefinition]]:
    """Return the sensors by name, over a store that was just opened."""
    return {
        "missed_week": lambda: build_missed_week(settings, store),
        "stale_assets": lambda: build_stale_assets(settings, store),
        "alarms": lambda: build_alarms(settings),
    }


def main() -> None:
    """Fill a store and an instance, and time the ticks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {"models": {"enabled": list(MODELS)}}
        settings = parse(tables, root=folder, var=folder, origin="the benchmark")
        newest = last_tick(settings, until=pd.Timestamp.now(UTC).to_pydatetime())
        ticks = [newest - timedelta(weeks=weeks) for weeks in range(WEEKS)][::-1]
        fill(build_store(settings), ticks)
        (folder / "dagster").mkdir()
        with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
            for one in ticks:
                tags = {"forecast_assets/as_of": one.isoformat()}
                done = dg.DagsterRunStatus.SUCCESS
                create_run_for_test(instance, job_name=JOB, status=done, tags=tags)
            defs = build_defs(settings)
            time.sleep(OVERLAP.total_seconds() + 1)  # until those runs have long ended
            for sensor in sensors(settings, build_store(settings)):
                fresh = sensors(settings, build_store(settings))[sensor]  # as a daemon that starts
                print(f"first:{sensor} {tick(fresh, instance, defs):.3f} s")
                print(f"later:{sensor} {tick(fresh, instance, defs):.3f} s")


if __name__ == "__main__":
    main()
