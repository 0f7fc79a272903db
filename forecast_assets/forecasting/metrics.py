"""Turn backtest predictions into `metrics`: one row of scores for each series and candidate.

Candidates are the models and the ensembles of them. Choosing among them belongs to `selection`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting import significance
from forecast_assets.forecasting.backtest_results import BacktestResults, mean_of_known
from forecast_assets.forecasting.eligibility import INELIGIBLE, SCORED, TOO_FEW
from forecast_assets.forecasting.ensembles import COMBINATIONS, add_ensembles
from forecast_assets.forecasting.evidence import RULES, errors_behind
from forecast_assets.forecasting.fold_blocks import SeriesBlock, by_n_known
from forecast_assets.forecasting.intervals import half_widths, weighted_interval_score
from forecast_assets.forecasting.losses import SCALED, losses_by_series
from forecast_assets.forecasting.scale_choice import as_published
from forecast_assets.models.base import Values


def collect(
    predictions: pd.DataFrame,
    series: pd.DataFrame,
    settings: Settings,
    *,
    planned: Sequence[SeriesFolds] | None = None,
) -> BacktestResults:
    """Collect what every candidate would have published at every fold, ensembles included.

    `planned` are the folds with what each saw, by default today's values.

    Raises DataError where a model's folds differ from those that data and settings plan.
    """
    results = BacktestResults.from_predictions(predictions, series, settings, planned=planned)
    return as_published(add_ensembles(results, COMBINATIONS), settings)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of C candidates on S series, and their interval coverage over W weeks."""

    by_series: dict[str, Values]  # [C, S] each; NaN where a candidate is not scored
    may_be_best: NDArray[np.bool_]  # [C, S]; in the model confidence set
    # [C, W, H] each, by level: the values inside their interval, and the forecasts that have one
    coverage: dict[str, tuple[Values, Values]]


def compute(results: BacktestResults, settings: Settings) -> Scores:
    """Score every candidate on every series that has folds."""
    shape = (len(results.models), len(results.planned))
    is_scored = results.status == SCORED
    weeks = np.unique(results.weeks)
    panels = [results.errors_of_panel(c, weeks) for c in range(shape[0])]
    names = [column_suffix(level) for level in settings.forecast.levels]
    horizon = settings.backtest.horizon
    n_inside, n_intervals = np.zeros((2, len(names), shape[0], len(weeks), horizon))
    others = ["wis", "skill_vs_naive", "p_vs_naive", "standard_error"]
    others += [f"coverage_{name}" for name in names]
    scores = {**losses_by_series(results), **{name: np.full(shape, np.nan) for name in others}}
    may_be_best = np.zeros(shape, dtype=bool)
    for block in results.blocks():
        position = np.searchsorted(weeks, block.weeks)
        by_candidate = [
            half_widths(
                block.scaled_errors(c),
                block.recent_volatility,
                block.weeks,
                settings.forecast.levels,
                panel,
            )
            for c, panel in enumerate(panels)
        ]
        bounds = block.scale.bounds(  # [L, C, S, K, H] each
            block.y_hat,
            np.stack(by_candidate, axis=1),
            block.is_on_scale,
            minimum=settings.forecast.minimum,
        )
        is_inside, has_interval = _coverage(block, bounds)
        for name, values in _block_scores(block, results, bounds, settings).items():
            scores[name][:, block.series] = values
        loss = np.where(block.is_scored[:, :, None], block.mean_ahead(np.abs(block.errors)), np.nan)
        for rows, folds in by_n_known(block.is_shared):
            may_be_best[:, block.series[rows]] = significance.model_confidence_set(
                loss[:, *folds], overlap=settings.backtest.overlap
            )
        n_inside[:, :, position] += is_inside.sum(axis=2)
        n_intervals[:, :, position] += has_interval.sum(axis=2)
    scores = {name: np.where(is_scored, values, np.nan) for name, values in scores.items()}
    counts = zip(n_inside, n_intervals, strict=True)
    return Scores(scores, may_be_best, dict(zip(names, counts, strict=True)))


def to_frame(results: BacktestResults, scores: Scores) -> pd.DataFrame:
    """Return the scores in the columns of `metrics`, one row a candidate and series.

    A candidate is `scored` only where it forecast every planned fold since the series was long
    enough for it: leaving out a bad week must not help it. All other rows have a reason and no
    scores, and so have all rows of a series that has no week to hold out.
    """
    planned = [folds.unique_id for folds in results.planned]
    shape = results.status.shape
    scored = pd.DataFrame(
        {
            "unique_id": np.tile(planned, shape[0]),
            "model": np.repeat(results.models, shape[1]),
            "n_folds": np.tile(results.n_folds, shape[0]),
            "n_real": np.tile(results.n_real, shape[0]),
            **{name: values.ravel() for name, values in scores.by_series.items()},
            "may_be_best": scores.may_be_best.ravel(),
            "errors_behind": np.repeat(_errors_behind(results), shape[1]),
            "panel_error": np.repeat(_panel_error(results), shape[1]),
            "fit_seconds": results.fit_seconds.ravel(),
            "vintage_share": np.tile(_vintage_share(results), shape[0]),
            "status": results.status.ravel(),
            "reason": results.reason.ravel(),
        }
    )
    unscored = [
        {
            "unique_id": unique_id,
            "model": model,
            "n_folds": 0,
            "n_real": 0,
            "may_be_best": False,
            "fit_seconds": 0.0,
            "status": TOO_FEW if too_few else INELIGIBLE,
            "reason": too_few or "the series has no week to hold out",
        }
        for unique_id, too_few in results.without_folds.items()
        for model in results.models
    ]
    return pd.concat([scored, pd.DataFrame(unscored)], ignore_index=True)


def _errors_behind(results: BacktestResults) -> Values:
    """Return how many standard errors each ensemble is behind the best: [C]; NaN for models."""
    behind = dict(zip(RULES, errors_behind(results), strict=True))
    return np.array([behind.get(model, np.nan) for model in results.models])


def _panel_error(results: BacktestResults) -> Values:
    """Return the standard error of each mean error over all series, as a share of it: [C]."""
    losses = np.stack([results.weekly.means(y_hat) for y_hat in results.y_hat])
    is_known = ~np.isnan(losses)
    shares = np.full(len(losses), np.nan)
    for c, known in enumerate(is_known):
        if known.sum() > 1:
            mean, error = significance.hac_mean_and_error(
                losses[c, known], overlap=results.weekly.overlap
            )
            shares[c] = error / mean if mean > 0 else np.nan
    return shares


def _vintage_share(results: BacktestResults) -> Values:
    """Return the share of the folds of each series that saw a vintage: [S]; NaN if none did."""
    n_vintages = np.array([len(folds.vintage_ends) for folds in results.planned], dtype=float)
    return np.where(n_vintages > 0, n_vintages, np.nan) / results.n_folds


def _coverage(
    block: SeriesBlock, bounds: tuple[Values, Values]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which values lie inside their interval, and which have one: [L, C, S, K, H] each."""
    lows, highs = bounds
    has_interval = ~np.isnan(lows) & block.is_scored[:, :, None, None] & ~np.isnan(block.y)
    return has_interval & (lows <= block.y) & (block.y <= highs), has_interval


def _block_scores(
    block: SeriesBlock,
    results: BacktestResults,
    bounds: tuple[Values, Values],
    settings: Settings,
) -> dict[str, Values]:
    """Return the scores that are no losses: coverage, WIS, skill and its test; each [C, S]."""
    overlap, levels = settings.backtest.overlap, settings.forecast.levels
    errors = np.abs(block.errors)  # [C, S, K, H]
    is_inside, has_interval = _coverage(block, bounds)
    covered = mean_of_known(np.where(has_interval, is_inside, np.nan), (3, 4))
    names = [f"coverage_{column_suffix(level)}" for level in levels]
    scores = dict(zip(names, covered, strict=True))
    wis = weighted_interval_score(block.y, block.y_hat, *bounds, levels)
    # When a candidate first has an interval depends on its errors elsewhere, which must not help
    # it: only folds count for which all competing candidates have one.
    is_missing = np.isnan(wis) & block.is_scored[:, :, None, None] & ~np.isnan(block.y)
    wis = np.where(is_missing.any(axis=(0, 3), keepdims=True), np.nan, wis)
    scores["wis"] = mean_of_known(wis, (2, 3))
    naive = np.abs(block.last[:, :, None] - block.y)  # [S, K, H]
    own_naive = np.where(np.isnan(errors), np.nan, naive)
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = 1 - mean_of_known(errors, (2, 3)) / mean_of_known(own_naive, (2, 3))
    scores["skill_vs_naive"] = np.where(np.isfinite(skill), skill, np.nan)
    gains = block.mean_ahead(naive) - block.mean_ahead(errors)  # [C, S, K]
    scores["p_vs_naive"] = np.full(gains.shape[:2], np.nan)
    for candidates, rows, folds in block.by_own_folds():
        pvalues = significance.diebold_mariano_pvalue(gains[candidates][:, *folds], overlap=overlap)
        scores["p_vs_naive"][candidates[:, None], np.arange(gains.shape[1])[rows]] = pvalues
    scores["standard_error"] = _standard_error(block, results, wis, settings)
    return scores


def _standard_error(
    block: SeriesBlock, results: BacktestResults, wis: Values, settings: Settings
) -> Values:
    """Return the standard error of the settings' metric: [C, S]."""
    metric, error = settings.selection.metric, np.abs(block.errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "wis":
            terms = wis
        elif metric == "mape":
            terms = error / np.abs(block.y)
        elif metric == "smape":
            size = np.abs(block.y_hat) + np.abs(block.y)
            terms = np.where(size == 0, 0.0, error / size)
        else:
            terms = error**2 if metric in ("rmse", "rmsse") else error
        terms = block.mean_ahead(terms)  # [C, S, K]
        mean, spread = np.full((2, *terms.shape[:2]), np.nan)
        shared = np.asarray(~np.isnan(terms).all(axis=0)) if metric == "wis" else None
        for candidates, rows, folds in block.by_own_folds(shared):
            index = candidates[:, None], np.arange(terms.shape[1])[rows]
            mean[index], spread[index] = significance.hac_mean_and_error(
                terms[candidates][:, *folds], overlap=settings.backtest.overlap
            )
        if metric in ("rmse", "rmsse"):
            spread = spread / (2 * np.sqrt(mean))  # delta method for a square root
        if metric in SCALED:
            spread = spread / results.naive_error(is_squared=metric == "rmsse")[block.series]
    return np.where(np.isfinite(spread), spread, np.nan)
