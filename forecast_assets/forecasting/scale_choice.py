"""Choose the scale on which a panel's errors are measured, by the scores of past intervals.

Intervals come from `intervals`, scales from `scales`.
"""

import numpy as np

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting import significance
from forecast_assets.forecasting.backtest_results import MAX_POOL_SERIES, BacktestResults
from forecast_assets.forecasting.eligibility import MIN_REAL_WEEKS, SCORED
from forecast_assets.forecasting.intervals import half_widths, weighted_interval_score
from forecast_assets.forecasting.scales import SCALES, Scale
from forecast_assets.models.base import Values


def as_published(results: BacktestResults, settings: Settings) -> BacktestResults:
    """Apply the settings' minimum to the forecasts, and their scale to the errors.

    The candidates include the ensemble that the settings name.
    """
    raised = results.raised_to(settings.forecast.minimum)
    if settings.forecast.scale != "auto":
        return raised.on_scale(Scale(settings.forecast.scale))
    return raised.on_scale(choose_scale(raised, settings))


def choose_scale(results: BacktestResults, settings: Settings) -> Scale:
    """Return the simplest scale whose past intervals score within one standard error of the best.

    The intervals are those that the settings' ensemble would have had at each fold, from earlier
    folds alone. The scores of a series are divided by their mean on the level, so that all series
    count the same; the standard error is that of the mean difference over weeks, and with fewer
    than MIN_REAL_WEEKS of them the level is chosen.
    """
    model = list(results.models).index(settings.selection.combination)
    series = np.flatnonzero((results.status[model] == SCORED) & results.is_on_scale)
    if not len(series):
        return Scale()
    drawn = results.select(model, series[:: -(-len(series) // MAX_POOL_SERIES)])
    by_scale = np.stack([_fold_scores(drawn.on_scale(Scale(name)), settings) for name in SCALES])
    weekly = _weekly_means(by_scale, drawn)  # [scales, W]
    if weekly.shape[1] < MIN_REAL_WEEKS:
        return Scale()
    best = weekly[weekly.mean(axis=1).argmin()]
    excess, error = significance.hac_mean_and_error(
        weekly - best, overlap=settings.backtest.overlap
    )
    return Scale(list(SCALES)[int((excess <= error).argmax())])


def _fold_scores(results: BacktestResults, settings: Settings) -> Values:
    """Return the WIS of one model at each fold, mean of the weeks ahead: [F]; NaN where unknown."""
    weeks = np.unique(results.weeks)
    panel, levels = results.errors_of_panel(0, weeks), settings.forecast.levels
    scores = np.full(len(results.weeks), np.nan)
    for block in results.blocks():
        widths = half_widths(
            block.scaled_errors(0),
            block.recent_volatility,
            block.weeks,
            levels,
            panel,
        )
        bounds = results.scale.bounds(
            block.y_hat[0], widths, block.is_on_scale, minimum=settings.forecast.minimum
        )
        wis = weighted_interval_score(block.y, block.y_hat[0], *bounds, levels)
        scores[block.folds[block.has_fold]] = block.mean_ahead(wis)[block.has_fold]
    return scores


def _weekly_means(scores: Values, results: BacktestResults) -> Values:
    """Average over series, each relative to its mean on the first scale: [N, F] -> [N, W]."""
    is_known = ~np.isnan(scores).any(axis=0)
    series = np.repeat(np.arange(len(results.planned)), results.n_folds)[is_known]
    known = scores[:, is_known]
    total = np.bincount(series, known[0], minlength=len(results.planned))
    n = np.bincount(series, minlength=len(results.planned))
    usual = (total / np.maximum(n, 1))[series]
    relative = np.divide(known, usual, out=np.ones_like(known), where=usual > 0)
    _, week = np.unique(results.weeks[is_known], return_inverse=True)
    return np.stack([np.bincount(week, row) for row in relative]) / np.bincount(week)
