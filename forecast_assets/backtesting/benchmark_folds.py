"""Look up the folds of a benchmark that competes like a model: what it forecast at each tick.

Which of its forecasts are stored belongs to `data.benchmarks`.
"""

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import NOT_FOR, TOO_SHORT, FoldForecasts
from forecast_assets.backtesting.model_job import BacktestRequest, ModelBacktest
from forecast_assets.data.benchmarks import last_known
from forecast_assets.data.regressor_frame import WeekTicks

NONE_YET = f"{TOO_SHORT}it needs forecasts made in time and has 0"
# Later than every forecast.
END_OF_TIME = pd.Timestamp("2200-01-01", tz="UTC")


def benchmark_folds(
    request: BacktestRequest, forecasts: pd.DataFrame, *, horizon: int, week_ticks: WeekTicks
) -> ModelBacktest:
    """Return the forecasts that were made by the tick of each fold: the first after its cutoff.

    `forecasts` are rows of `benchmark_forecasts`; a fold at the end of its series takes the newest
    of them. A fold without a forecast of each week of the horizon has an error, and is declined.
    """
    planned, name = request.planned, request.model.name
    ids = np.repeat([item.unique_id for item in planned], [len(item.ends) for item in planned])
    nothing = np.array([], dtype="datetime64[ns]")
    cutoffs = np.concatenate([item.ds[item.ends - 1] for item in planned] or [nothing])
    is_latest = np.concatenate([item.ends == len(item.y) for item in planned] or [nothing])
    weeks = cutoffs[:, None] + 7 * np.arange(1, horizon + 1) * np.timedelta64(1, "D")  # [F, H]
    days, position = np.unique(cutoffs.astype("datetime64[D]"), return_inverse=True)
    ticks = pd.Series(pd.to_datetime(week_ticks(days.tolist()), utc=True))[position]
    as_of = ticks.where(~is_latest, END_OF_TIME)
    rows = pd.DataFrame(
        {
            "unique_id": np.repeat(ids, horizon),
            "ds": weeks.ravel(),
            "as_of": as_of.repeat(horizon).to_numpy(),
        }
    )
    matched = last_known(rows, forecasts[forecasts["benchmark"] == name])
    y_hat = matched["y_hat"].to_numpy(dtype=np.float64).reshape(weeks.shape)
    is_known = np.isfinite(y_hat).all(axis=1)
    y_hat[~is_known] = np.nan
    has_begun = pd.Series(is_known).groupby(ids).cummax().to_numpy()
    missing = weeks[np.arange(len(weeks)), np.isnan(y_hat).argmax(axis=1)].astype("datetime64[D]")
    gaps = [f"no forecast of the week ending {week} was made in time" for week in missing]
    errors = np.array([f"{NOT_FOR}{gap}" for gap in gaps], dtype=object)
    errors[~has_begun] = NONE_YET
    errors[is_latest] = np.array(gaps, dtype=object)[is_latest]
    errors[is_known] = None
    folds = FoldForecasts(y_hat, np.zeros(len(y_hat)), errors, ~is_known & ~is_latest)
    return ModelBacktest(name, planned, folds)
