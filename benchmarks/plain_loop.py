"""Time a plain loop over the models and folds of the settings, for comparison with the package.

Models that the settings update between two fits are updated here too.
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
    """Print the number of fits and their seconds."""
    settings = loader.load()
    as_of = datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC)
    raw = fetch.fetch(FetchRequest(settings, as_of))
    weeks = weekly.to_weeks(raw, settings, as_of=as_of).frame
    all_folds = folds.plan(weeks, settings.backtest)
    warnings.simplefilter("ignore")
    started, n_fits = time.perf_counter(), 0
    for model in enabled(settings):
        if model.is_global:
            n_fits += backtest_all_series(model, weeks, all_folds)
        else:
            n_fits += sum(backtest_series(model, series.y, series.ends) for series in all_folds)
    print(json.dumps({"seconds": time.perf_counter() - started, "n_fits": n_fits}))


def backtest_series(model: ModelSpec, y: np.ndarray, ends: np.ndarray) -> int:
    """Forecast one series at each cutoff and return the number of fits."""
    fitted, fitted_end, n_fits = None, -1, 0
    for end in ends:
        anchor = end - end % model.refit_every
        if anchor != fitted_end:
            fitted, fitted_end = model.make().fit(y[:anchor].copy(), season_length=52), anchor
            n_fits += 1
        updated = fitted if end == anchor else copy.deepcopy(fitted).update(y[anchor:end])
        updated.predict(1)
    return n_fits


def backtest_all_series(model: ModelSpec, weeks, all_folds) -> int:  # noqa: ANN001 - frame, folds
    """Forecast every series at each cutoff and return the number of fits."""
    frame = weeks.assign(unique_id=weeks["unique_id"].astype("category").cat.codes)
    days = sorted({series.ds[end - 1] for series in all_folds for end in series.ends})
    fitted, fitted_day, n_fits = None, None, 0
    for day in days:
        week = day.astype("datetime64[D]").astype(int) // 7
        anchor = day - np.timedelta64(7 * (week % model.refit_every), "D")
        if anchor != fitted_day:
            fitted = model.make().fit(frame[frame["ds"] <= anchor], season_length=52)
            fitted_day, n_fits = anchor, n_fits + 1
        new = frame[(frame["ds"] > anchor) & (frame["ds"] <= day)]
        updated = fitted if new.empty else copy.deepcopy(fitted).update(new)
        updated.predict(1)
    return n_fits


if __name__ == "__main__":
    main()
