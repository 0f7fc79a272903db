"""Compare the candidates over all series: mean scores, significance, coverage, errors by horizon.

Scores of single series: `metrics`.
"""

import numpy as np
import pandas as pd

from forecast_assets.forecasting.backtest_results import BacktestResults, mean_of_known
from forecast_assets.forecasting.eligibility import (
    ELIGIBLE,
    SCORED,
    comparable_candidates_and_series,
    pivot_eligible,
    pivot_scores,
)
from forecast_assets.forecasting.metrics import Scores
from forecast_assets.forecasting.significance import hac_mean_and_error, model_confidence_set
from forecast_assets.models.base import Values


def leaderboard(metrics: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """Rank the candidates by the mean of the metric over the same series: one row each, best first.

    `metrics` is the table of that name. Candidates are compared on the series on which all usual
    candidates are eligible and any has the metric; `n_compared` counts them. The metric and
    `skill_vs_naive` are means over these series, null for a candidate that failed on one of them:
    it must not gain from that. `wins` is the share of them on which a candidate is the best (ties
    are shared), `may_be_best` the share on which it is not significantly worse than the best.
    `n_series` counts the series on which it is scored at all.
    """
    models = list(dict.fromkeys(metrics["model"]))
    score, skill, may_be_best = (
        pivot_scores(metrics, name, models) for name in (metric, "skill_vs_naive", "may_be_best")
    )
    is_comparable = comparable_candidates_and_series(pivot_eligible(metrics, models))[1]
    is_compared = is_comparable & ~np.isnan(score).all(axis=1)
    score = score[is_compared]
    is_best = score == np.fmin.reduce(score, axis=1, initial=np.inf)[:, None]
    n_scored = metrics.loc[metrics["status"] == SCORED, "model"].value_counts()
    ranked = pd.DataFrame(
        {
            "model": models,
            metric: _mean_over_compared(score),
            "skill_vs_naive": _mean_over_compared(skill[is_compared]),
            "wins": _mean_over_compared(is_best / is_best.sum(axis=1, keepdims=True)),
            "may_be_best": _mean_over_compared(np.nan_to_num(may_be_best[is_compared])),
            "n_series": n_scored.reindex(models, fill_value=0).to_numpy(),
            "n_compared": int(is_compared.sum()),
        }
    )
    return ranked.sort_values([metric, "model"], ignore_index=True)


def pooled_statistics(results: BacktestResults, scores: Scores, *, overlap: int) -> pd.DataFrame:
    """Return what only the single forecasts tell about each candidate: one row each.

    `may_be_best_overall` says whether the model confidence set of the weekly mean errors holds the
    candidate; errors are scaled by the naive error of their series before the first cutoff, and a
    candidate that is not scored on every compared series is not in it. `coverage_L` is the share of
    all values inside their interval, `coverage_L_error` its standard error over weeks.
    """
    is_scored = results.status == SCORED
    is_compared = comparable_candidates_and_series(np.isin(results.status.T, ELIGIBLE))[1]
    size = np.abs(_scaled_errors(results))
    is_in = np.repeat(is_scored & is_compared, results.n_folds, axis=1)  # [C, F]
    is_complete = is_scored[:, is_compared].all(axis=1) & is_compared.any()
    counts = np.isfinite(size) & is_in[:, :, None]
    counts &= counts[is_complete].all(axis=0)  # the folds that all of them have
    weekly = _by_week(results, np.where(counts, size, 0.0), counts)
    weekly[~is_complete] = np.nan
    is_known = ~np.isnan(weekly[is_complete]).any(axis=0)
    in_set = model_confidence_set(weekly[:, None, is_known], overlap=overlap)[:, 0]
    columns = {"model": list(results.models), "may_be_best_overall": in_set}
    for level, tables in scores.coverage.items():
        n_inside, n = (table.sum(axis=2) for table in tables)  # [C, W]
        with np.errstate(invalid="ignore"):
            columns[f"coverage_{level}"] = n_inside.sum(axis=1) / n.sum(axis=1)
        shares = [i[m > 0] / m[m > 0] for i, m in zip(n_inside, n, strict=True)]
        errors = [hac_mean_and_error(share, overlap=overlap)[1] for share in shares]
        columns[f"coverage_{level}_error"] = np.array(errors)
    return pd.DataFrame(columns)


def by_horizon(results: BacktestResults, scores: Scores) -> pd.DataFrame:
    """Return the errors of each candidate by week ahead, over all series on which it is scored.

    `mase`, `rmsse` and `bias` (forecast less value) are means over series of errors divided by the
    naive error of the series before the first cutoff, on a candidate's own folds; where it lacks
    any, the first two are its ratio to naive on its own folds times naive's error on all of them.
    `coverage_L` is the share of values inside their interval.
    """
    horizon, n_candidates = results.y.shape[1], len(results.models)
    errors, squares = _scaled_errors(results), _scaled_errors(results, is_squared=True) ** 2
    size = _over_naive(results, np.abs(errors), np.abs(_naive_errors(results)))
    squared = np.sqrt(_over_naive(results, squares, _naive_errors(results, is_squared=True) ** 2))
    signed = _mean_by_series(results, errors, results.is_own)
    with np.errstate(invalid="ignore"):
        shares = {
            f"coverage_{name}": (n_inside.sum(axis=1) / n.sum(axis=1)).ravel()
            for name, (n_inside, n) in scores.coverage.items()
        }
    return pd.DataFrame(
        {
            "model": np.repeat(results.models, horizon),
            "h": np.tile(np.arange(1, horizon + 1), n_candidates),
            "n_series": np.isfinite(size).sum(axis=1).ravel(),
            "mase": mean_of_known(size, axis=1).ravel(),
            "rmsse": mean_of_known(squared, axis=1).ravel(),
            "bias": mean_of_known(signed, axis=1).ravel(),
            **shares,
        }
    ).sort_values(["h", "mase"], ignore_index=True, kind="stable")


def _over_naive(results: BacktestResults, losses: Values, naive: Values) -> Values:
    """Return mean losses by week ahead, those of missing folds estimated: [C, F, H] -> [C, S, H].

    `naive` [F, H] are the losses of the naive forecast.
    """
    own = _mean_by_series(results, losses, results.is_own)
    of_naive = [
        _mean_by_series(results, naive[None], is_in)
        for is_in in (results.is_own, np.ones_like(results.is_own))
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = of_naive[1] / of_naive[0]
    return own * np.where(np.isfinite(rise), rise, 1.0)


def _mean_by_series(
    results: BacktestResults, values: Values, is_in: "np.typing.NDArray[np.bool_]"
) -> Values:
    """Return the mean of values [C, F, H] over the real weeks of some folds [C, F]: [C, S, H].

    NaN where a candidate is not scored.
    """
    counts = ~np.isnan(results.y) & is_in[:, :, None]
    if not len(results.planned):
        return np.zeros((len(counts), 0, counts.shape[2]))
    starts = np.cumsum(results.n_folds) - results.n_folds
    total = np.add.reduceat(np.where(counts, values, 0.0), starts, axis=1)
    n = np.add.reduceat(counts, starts, axis=1, dtype=np.int64)
    is_known = (results.status == SCORED)[:, :, None] & (n > 0) & np.isfinite(total)
    return np.where(is_known, total / np.maximum(n, 1), np.nan)


def _scaled_errors(results: BacktestResults, *, is_squared: bool = False) -> Values:
    """Return errors over the naive error of their series: [C, F, H]."""
    return (results.y_hat - results.y) / _naive_scale(results, is_squared=is_squared)


def _naive_errors(results: BacktestResults, *, is_squared: bool = False) -> Values:
    """Return naive's errors over its error before the first cutoff: [F, H]."""
    return (results.last[:, None] - results.y) / _naive_scale(results, is_squared=is_squared)


def _naive_scale(results: BacktestResults, *, is_squared: bool) -> Values:
    """Return the naive error of each fold's series before its first cutoff: [F, 1]."""
    scale = np.repeat(results.naive_error(is_squared=is_squared), results.n_folds)
    return np.where(scale > 0, scale, np.nan)[:, None]


def _by_week(
    results: BacktestResults, values: Values, counts: "np.typing.NDArray[np.bool_]"
) -> Values:
    """Return the mean of the counted values at each cutoff, over series and weeks ahead: [C, W]."""
    _, week = np.unique(results.weeks, return_inverse=True)
    total, n = (
        np.stack([np.bincount(week, row) for row in table.sum(axis=2)])
        for table in (values, counts)
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(total / n)


def _mean_over_compared(values: Values) -> Values:
    """Return the mean over series with any value: [S, C] -> [C]; NaN where one is missing."""
    rows = values[~np.isnan(values).all(axis=1)]
    return rows.mean(axis=0) if len(rows) else np.full(values.shape[1], np.nan)
