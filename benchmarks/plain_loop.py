"""The same models over the same folds as the week in force, one by one: what teams did by hand.

Models that the settings have moved forward between fits are moved here too.
Usage: python benchmarks/plain_loop.py AS_OF   (FORECAST_CONFIG names the settings)
"""

import copy
import json
import sys
import time
import warnings
from datetime import UTC, datetime

import numpy as np

from forecast_assets.backtesting import folds
from forecast_assets.config import loader
from forecast_assets.data import weekly
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.models import ModelSpec, enabled


def main() -> None:
    """Print the seconds of the fits and how many there were."""
    in_force = loader.load()
    as_of = datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC)
    weeks = weekly.to_weeks(fetch.fetch(FetchRequest(in_force, as_of)), in_force, as_of=as_of).frame
    weeks = weeks[["unique_id", "ds", "y"]]
    planned = folds.plan(weeks, in_force.backtest)
    warnings.simplefilter("ignore")
    started, n_fits = time.perf_counter(), 0
    for model in enabled(in_force):
        if model.is_global:
            n_fits += all_series(model, weeks, planned)
        else:
            n_fits += sum(one_series(model, one.y, one.ends) for one in planned)
    print(json.dumps({"seconds": time.perf_counter() - started, "n_fits": n_fits}))


def one_series(model: ModelSpec, y: np.ndarray, ends: np.ndarray) -> int:
    """Forecast one series at each cutoff."""
    fitted, at, n_fits = None, -1, 0
    for end in ends:
        anchor = end - end % model.refit_every
        if anchor != at:
            fitted, at = model.make().fit(y[:anchor].copy(), season_length=52), anchor
            n_fits += 1
        moved = fitted if end == at else copy.deepcopy(fitted).update(y[at:end])
        moved.predict(1)
    return n_fits


def all_series(model: ModelSpec, weeks, planned) -> int:  # noqa: ANN001 - a frame and a plan
    """Forecast every series at each cutoff."""
    frame = weeks.assign(unique_id=weeks["unique_id"].astype("category").cat.codes)
    days = sorted({one.ds[end - 1] for one in planned for end in one.ends})
    fitted, at, n_fits = None, None, 0
    for day in days:
        week = day.astype("datetime64[D]").astype(int) // 7
        anchor = day - np.timedelta64(7 * (week % model.refit_every), "D")
        if anchor != at:
            fitted = model.make().fit(frame[frame["ds"] <= anchor], season_length=52)
            at, n_fits = anchor, n_fits + 1
        new = frame[(frame["ds"] > at) & (frame["ds"] <= day)]
        moved = fitted if new.empty else copy.deepcopy(fitted).update(new)
        moved.predict(1)
    return n_fits


if __name__ == "__main__":
    main()
