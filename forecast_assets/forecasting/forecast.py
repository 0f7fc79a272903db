"""The choice to next week's numbers: each series forecast by its candidate, with intervals.

Who forecasts where the chosen one fails: `ladder`. How wide an interval is: `intervals`.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds, latest_folds
from forecast_assets.config.settings import Settings, column_suffix
from forecast_assets.forecasting.backtest_results import BacktestResults, as_weeks
from forecast_assets.forecasting.ensembles import add_ensembles
from forecast_assets.forecasting.fallback import fallback_order, forecast_with_fallback
from forecast_assets.forecasting.intervals import half_widths, recent_volatility
from forecast_assets.models.base import Values


def forecast(
    best_model: pd.DataFrame,
    series: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Settings,
    *,
    compute: BacktestExecutor,
    as_of: datetime,
    made_at: datetime,
) -> pd.DataFrame:
    """Forecast `horizon` weeks after each series' last: rows of next_week_forecast.

    An interval is drawn from the errors that the same candidate made in its backtest; where there
    are too few for its level it is null. No forecast lies below the settings' minimum.
    """
    evidence = BacktestResults.of(predictions, series, settings)
    targets = latest_folds(series)
    columns = (best_model[name] for name in ("unique_id", "model", "rung", "runner_up"))
    choice = {unique_id: fallback_order(*rest) for unique_id, *rest in zip(*columns, strict=True)}
    chosen = [one for one in targets if one.unique_id in choice]
    ladders = {one.unique_id: choice[one.unique_id] for one in chosen}
    made = forecast_with_fallback(ladders, targets, evidence, settings, compute)
    makers = [one.model for one in made.values()]
    y_hat = np.stack([one.y_hat for one in made.values()])  # [S, H]
    members = [", ".join(one.members) or None for one in made.values()]
    widths, mae = interval_half_widths(
        chosen,
        makers,
        add_ensembles(evidence, set(makers), behind=settings.backtest.overlap),
        settings,
    )
    horizon = settings.backtest.horizon
    h = np.arange(1, horizon + 1)
    cutoff = np.array([one.ds[-1] for one in chosen], dtype="datetime64[ns]")
    least = -np.inf if settings.forecast.minimum is None else settings.forecast.minimum
    ends = {}
    for level, radius in zip(settings.forecast.levels, widths, strict=True):
        ends[f"lo_{column_suffix(level)}"] = np.maximum(y_hat - radius, least).ravel()
        ends[f"hi_{column_suffix(level)}"] = np.maximum(y_hat + radius, least).ravel()
    return pd.DataFrame(
        {
            "unique_id": np.repeat([one.unique_id for one in chosen], horizon),
            "h": np.tile(h, len(chosen)),
            "ds": (cutoff[:, None] + 7 * h * np.timedelta64(1, "D")).ravel(),
            "y_hat": np.maximum(y_hat, least).ravel(),
            **ends,
            "backtest_mae": mae.ravel(),
            "model": np.repeat(makers, horizon),
            "members": np.repeat(np.array(members, dtype=object), horizon),
            "rung": np.repeat([one.rung for one in made.values()], horizon),
            "cutoff": np.repeat(cutoff, horizon),
            "made_at": made_at,
            "as_of": as_of,
        }
    )


def interval_half_widths(
    chosen: Sequence[SeriesFolds],
    makers: Sequence[str],
    evidence: BacktestResults,
    settings: Settings,
) -> tuple[Values, Values]:
    """The radii of each series' interval by its maker's errors, and their mean: [L, S, H], [S, H].

    NaN where the maker has not forecast every fold.
    """
    horizon, levels = settings.backtest.horizon, settings.forecast.levels
    found = np.full((len(levels), len(chosen), horizon), np.nan)
    mae = np.full((len(chosen), horizon), np.nan)
    place = {one.unique_id: i for i, one in enumerate(chosen)}
    to = np.array([place.get(one.unique_id, -1) for one in evidence.planned], dtype=np.int64)
    now = np.array([recent_volatility(one.y)[-1] for one in chosen])
    by = np.array(makers)
    weeks = np.unique(as_weeks(np.array([one.ds[-1] for one in chosen])))
    for m, name in enumerate(evidence.models):
        if name not in makers:
            continue
        pools = evidence.pools(m, weeks)
        for block in evidence.blocks():
            rows = to[block.series]
            here = np.flatnonzero((rows >= 0) & (by[rows] == name) & block.is_scored[m])
            if not len(here):
                continue
            rows, size = rows[here], np.abs(block.errors[m, here])
            at = np.array([block.now])
            widths = half_widths(
                size,
                block.recent_volatility[here],
                block.weeks,
                levels,
                [pool.at(np.searchsorted(weeks, at)) for pool in pools],
                at=at,
                noise_then=now[rows, None],
            )
            found[:, rows] = widths[:, :, 0]
            mae[rows] = size.mean(axis=1)
    return found, mae
