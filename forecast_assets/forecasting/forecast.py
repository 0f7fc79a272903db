"""Turn `best_model` into `next_week_forecast`: point forecasts with prediction intervals.

Which candidate forecasts a series belongs to `fallback`, the width of an interval to `intervals`.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds, latest_folds
from forecast_assets.config.settings import Settings, column_suffix
from forecast_assets.forecasting.backtest_results import BacktestResults, as_weeks, mean_of_known
from forecast_assets.forecasting.ensembles import add_ensembles
from forecast_assets.forecasting.fallback import (
    LatestForecasts,
    fallback_order,
    forecast_with_fallback,
)
from forecast_assets.forecasting.intervals import half_widths, recent_volatility
from forecast_assets.models.base import Values


def forecast(
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    *,
    executor: BacktestExecutor,
    as_of: datetime,
    made_at: datetime,
) -> pd.DataFrame:
    """Forecast the `horizon` weeks after each series' last: rows of `next_week_forecast`.

    The errors that the same candidate made in its backtest give the interval; where they are too
    few for its level, it is null. No value is below `forecast.minimum`.
    """
    results = BacktestResults.from_predictions(predictions, series, settings)
    targets = latest_folds(series)
    columns = best_model[["unique_id", "model", "rung", "runner_up"]].to_numpy()
    choice = {unique_id: fallback_order(*rest) for unique_id, *rest in columns}
    chosen = [target for target in targets if target.unique_id in choice]
    orders = {target.unique_id: choice[target.unique_id] for target in chosen}
    forecasts = forecast_with_fallback(
        orders, LatestForecasts(targets, results, settings, executor)
    )
    models = [made.model for made in forecasts]
    y_hat = np.stack([made.y_hat for made in forecasts])  # [S, H]
    members = [", ".join(made.members) or None for made in forecasts]
    with_ensembles = add_ensembles(results, set(models))
    widths, mae = interval_half_widths(chosen, models, with_ensembles, settings)
    horizon = settings.backtest.horizon
    h = np.arange(1, horizon + 1)
    cutoff = np.array([target.ds[-1] for target in chosen], dtype="datetime64[ns]")
    minimum = -np.inf if settings.forecast.minimum is None else settings.forecast.minimum
    bounds = {}
    for level, width in zip(settings.forecast.levels, widths, strict=True):
        bounds[f"lo_{column_suffix(level)}"] = np.maximum(y_hat - width, minimum).ravel()
        bounds[f"hi_{column_suffix(level)}"] = np.maximum(y_hat + width, minimum).ravel()
    return pd.DataFrame(
        {
            "unique_id": np.repeat([target.unique_id for target in chosen], horizon),
            "h": np.tile(h, len(chosen)),
            "ds": (cutoff[:, None] + 7 * h * np.timedelta64(1, "D")).ravel(),
            "y_hat": np.maximum(y_hat, minimum).ravel(),
            **bounds,
            "backtest_mae": mae.ravel(),
            "model": np.repeat(models, horizon),
            "members": np.repeat(np.array(members, dtype=object), horizon),
            "rung": np.repeat([made.rung for made in forecasts], horizon),
            "cutoff": np.repeat(cutoff, horizon),
            "made_at": made_at,
            "as_of": as_of,
        }
    )


def interval_half_widths(
    chosen: Sequence[SeriesFolds],
    models: Sequence[str],
    results: BacktestResults,
    settings: Settings,
) -> tuple[Values, Values]:
    """Return each series' interval half-widths and backtest MAE: [L, S, H] and [S, H].

    Both come from the errors of the series' own model (`models` [S]), in the series' unit; NaN
    where it did not forecast every fold.
    """
    horizon, levels = settings.backtest.horizon, settings.forecast.levels
    half = np.full((len(levels), len(chosen), horizon), np.nan)
    mae = np.full((len(chosen), horizon), np.nan)
    ids = pd.Index([target.unique_id for target in chosen])
    positions = ids.get_indexer(pd.Index([series.unique_id for series in results.planned]))
    volatility = np.array([v[-1] for v in recent_volatility([target.real_y for target in chosen])])
    model_of = np.array(models)
    weeks = np.unique(as_weeks(np.array([target.ds[-1] for target in chosen])))
    for m, name in enumerate(results.models):
        if name not in models:
            continue
        pools = results.error_pools(m, weeks)
        for block in results.blocks():
            rows = positions[block.series]
            here = np.flatnonzero((rows >= 0) & (model_of[rows] == name) & block.is_scored[m])
            if not len(here):
                continue
            rows, abs_errors = rows[here], np.abs(block.errors[m, here])
            now = as_weeks(chosen[rows[0]].ds[-1:])
            widths = half_widths(
                abs_errors,
                block.recent_volatility[here],
                block.weeks,
                levels,
                [pool.at_weeks(np.searchsorted(weeks, now)) for pool in pools],
                target_weeks=now,
                target_volatility=volatility[rows, None],
            )
            half[:, rows] = widths[:, :, 0]
            mae[rows] = mean_of_known(abs_errors, 1)
    return half, mae
