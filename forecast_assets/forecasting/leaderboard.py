"""The candidates over all series: who errs least, how sure that is, and how often intervals held.

Scores of single series: `metrics`.
"""

from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.forecasting.backtest_results import (
    INELIGIBLE,
    SCORED,
    BacktestResults,
    comparable_candidates_and_series,
)
from forecast_assets.forecasting.metrics import Scores
from forecast_assets.forecasting.significance import hac_mean_and_error, model_confidence_set
from forecast_assets.models.base import Values


def leaderboard(
    evidence: BacktestResults, scores: Scores, *, metric: str, overlap: int
) -> pd.DataFrame:
    """One row a candidate, the least mean of the metric first.

    The metric, `mase` and `skill_vs_naive` are means over the series of `evidence.in_common`, null
    for one that is not scored on all of them: `n_series` is on how many it is scored at all.
    `may_be_best` is `comparing.may_be_best` of its weekly mean errors there, each over its series'
    naive error before the first cutoff. `coverage_L` is the share of all values in their interval,
    and `coverage_L_error` its standard error, of weekly shares.
    """
    is_scored, counts = (
        evidence.status == SCORED,
        comparable_candidates_and_series(evidence.status.T != INELIGIBLE)[1],
    )
    size, _ = _scaled(evidence)
    at = np.isfinite(size) & (is_scored & counts)[:, _series_of(evidence), None]
    weekly = _by_week(evidence, np.where(at, size, 0.0), at)
    is_there = is_scored[:, counts].all(axis=1) & counts.any()
    weekly[~is_there] = np.nan
    is_known = ~np.isnan(weekly[is_there]).any(axis=0)

    def mean(name: str) -> Values:
        return np.where(is_there, _mean_of(scores.by_series[name][:, counts]), np.nan)

    found = {
        "model": list(evidence.models),
        **{name: mean(name) for name in dict.fromkeys((metric, "mase", "skill_vs_naive"))},
        "n_series": is_scored.sum(axis=1),
        "may_be_best": model_confidence_set(weekly[:, None, is_known], overlap=overlap)[:, 0],
    }
    for name, inside in scores.n_inside.items():
        n_inside, n = (one.sum(axis=2) for one in (inside, scores.n_intervals[name]))  # [C, W]
        with np.errstate(invalid="ignore"):
            found[f"coverage_{name}"] = n_inside.sum(axis=1) / n.sum(axis=1)
            shares = [i[m > 0] / m[m > 0] for i, m in zip(n_inside, n, strict=True)]
        errors = [float(hac_mean_and_error(share, overlap=overlap)[1]) for share in shares]
        found[f"coverage_{name}_error"] = np.array(errors)
    return pd.DataFrame(found).sort_values(metric, ignore_index=True, kind="stable")


def by_horizon(evidence: BacktestResults, scores: Scores) -> pd.DataFrame:
    """Each candidate over all series that it is scored on, one row for each week ahead.

    `mase`, `rmsse` and `bias` are the means over series of errors over naive's before the first
    cutoff, forecast less value; `coverage_L` is the share of values in their interval.
    """
    horizon, n_candidates = evidence.y.shape[1], len(evidence.models)
    starts = np.cumsum(evidence.n_folds) - evidence.n_folds

    def of_series(values: Values) -> Values:
        means = np.zeros((n_candidates, 0, horizon))
        if len(starts):
            means = np.add.reduceat(values, starts, axis=1) / evidence.n_folds[:, None]
        is_known = (evidence.status == SCORED)[:, :, None] & np.isfinite(means)
        return np.where(is_known, means, np.nan)

    size, signed = map(of_series, _scaled(evidence))
    squared = np.sqrt(of_series(_scaled(evidence, is_squared=True)[0] ** 2))
    shares = {}
    for name, inside in scores.n_inside.items():
        with np.errstate(invalid="ignore"):
            share = inside.sum(axis=1) / scores.n_intervals[name].sum(axis=1)  # [C, H]
        shares[f"coverage_{name}"] = share.ravel()
    return pd.DataFrame(
        {
            "model": np.repeat(evidence.models, horizon),
            "h": np.tile(np.arange(1, horizon + 1), n_candidates),
            "n_series": np.isfinite(size).sum(axis=1).ravel(),
            "mase": _mean_of(size).ravel(),
            "rmsse": _mean_of(squared).ravel(),
            "bias": _mean_of(signed).ravel(),
            **shares,
        }
    ).sort_values(["h", "mase"], ignore_index=True, kind="stable")


def _series_of(evidence: BacktestResults) -> "np.typing.NDArray[np.int64]":
    """The series that each fold belongs to: [F]."""
    return np.repeat(np.arange(len(evidence.planned)), evidence.n_folds)


def _scaled(evidence: BacktestResults, *, is_squared: bool = False) -> tuple[Values, Values]:
    """Every error over its series' naive error, its size and itself: [C, F, H] each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = evidence.naive_error(is_squared=is_squared)[_series_of(evidence)]
        errors = (evidence.y_hat - evidence.y) / np.where(scale > 0, scale, np.nan)[:, None]
    return np.abs(errors), errors


def _by_week(
    evidence: BacktestResults, values: Values, counts: "np.typing.NDArray[np.bool_]"
) -> Values:
    """The mean of what counts at each cutoff, over series and weeks ahead: [C, W]."""
    weeks, week = np.unique(evidence.weeks, return_inverse=True)
    total, n = (
        np.stack([np.bincount(week, each, minlength=len(weeks)) for each in one.sum(axis=2)])
        for one in (values, counts)
    )
    with np.errstate(invalid="ignore"):
        found: Values = total / n
    return found


def _mean_of(values: Values) -> Values:
    """The mean over series of what is known: [C, S, ...] -> [C, ...]; NaN where nothing is."""
    known = ~np.isnan(values)
    n = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def standings(metrics: pd.DataFrame) -> pd.DataFrame:
    """Every candidate over the same series, the least mean MASE first.

    Those series are the ones of `evidence.in_common` that have a score: who failed on one of them
    does not take it out for the rest. `mase` and `skill_vs_naive` are means over them, null for a
    candidate that lacks one; `wins`, the share of them on which it has the least MASE (a tie is
    shared); `may_be_best`, on which it is not told from the best; `n_series`, on how many of all it
    is scored; `n_compared`, how many those series are.
    """
    models = list(dict.fromkeys(metrics["model"]))
    is_scored = metrics["status"] == SCORED

    def wide(values: "pd.Series[Any]") -> Values:
        table = metrics.assign(value=values).pivot(
            index="unique_id", columns="model", values="value"
        )
        return table.reindex(columns=models).to_numpy(dtype=np.float64)  # [S, M]

    mase, skill, may = (
        wide(metrics[name].astype(float).where(is_scored))
        for name in ("mase", "skill_vs_naive", "may_be_best")
    )
    counts = comparable_candidates_and_series(wide(metrics["status"] != INELIGIBLE) == 1)[1]
    is_there = ~np.isnan(mase)
    counts &= is_there.any(axis=1)
    least = np.fmin.reduce(mase[counts], axis=1, initial=np.inf)
    is_least = mase[counts] == least[:, None]
    n_scored = metrics[is_scored].groupby("model").size()
    found = pd.DataFrame(
        {
            "model": models,
            "mase": _mean_over_series(mase[counts]),
            "skill_vs_naive": _mean_over_series(skill[counts]),
            "wins": _mean_over_series(is_least / is_least.sum(axis=1, keepdims=True)),
            "may_be_best": _mean_over_series(np.nan_to_num(may[counts])),
            "n_series": n_scored.reindex(models, fill_value=0).to_numpy(),
            "n_compared": int(counts.sum()),
        }
    )
    return found.sort_values(["mase", "model"], ignore_index=True)


def _mean_over_series(values: Values) -> Values:
    """The mean over the series where anybody has a value: [S, M] -> [M]; null for who lacks one."""
    known = values[~np.isnan(values).all(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(values.shape[1], np.nan)
