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
    counts = np.isfinite(size) & is_in[:, :, None]
    weekly = _by_week(results, np.where(counts, size, 0.0), counts)
    is_complete = is_scored[:, is_compared].all(axis=1) & is_compared.any()
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
    naive error of the series before the first cutoff; `coverage_L` is the share of values inside
    their interval.
    """
    horizon, n_candidates = results.y.shape[1], len(results.models)
    starts = np.cumsum(results.n_folds) - results.n_folds

    is_real = ~np.isnan(results.y)

    def mean_by_series(values: Values) -> Values:
        means = np.zeros((n_candidates, 0, horizon))
        if len(starts):
            total = np.add.reduceat(np.where(is_real, values, 0.0), starts, axis=1)
            n_real = np.add.reduceat(is_real, starts, axis=0, dtype=np.int64)
            means = total / np.where(n_real > 0, n_real, np.nan)
        is_known = (results.status == SCORED)[:, :, None] & np.isfinite(means)
        return np.where(is_known, means, np.nan)

    errors = _scaled_errors(results)
    size, signed = mean_by_series(np.abs(errors)), mean_by_series(errors)
    squared = np.sqrt(mean_by_series(_scaled_errors(results, is_squared=True) ** 2))
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


def _scaled_errors(results: BacktestResults, *, is_squared: bool = False) -> Values:
    """Return errors over the naive error of their series: [C, F, H]."""
    scale = np.repeat(results.naive_error(is_squared=is_squared), results.n_folds)
    return (results.y_hat - results.y) / np.where(scale > 0, scale, np.nan)[:, None]


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
