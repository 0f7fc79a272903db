"""The candidates over all series: who errs least, how sure that is, and how often intervals held.

Scores of single series: `metrics`.
"""

import numpy as np
import pandas as pd

from forecast_assets.comparing import may_be_best, mean_and_error
from forecast_assets.evidence import SCORED, Evidence
from forecast_assets.metrics import Scores
from forecast_assets.models.base import Values


def over_all(evidence: Evidence, scores: Scores) -> pd.DataFrame:
    """One row a candidate, the least error first.

    `mase` and `skill_vs_naive` are the means over the `n_series` that it is scored on;
    `may_be_best` is `comparing.may_be_best` of the weekly mean errors, each over its series' naive
    error before the first cutoff, of those who are scored wherever anybody is; `coverage_L` is the
    share of values in their interval, and `coverage_L_error` its standard error, of weekly shares.
    """
    horizon = evidence.y.shape[1]
    size, _ = _scaled(evidence)
    counts = np.isfinite(size) & (evidence.status == SCORED)[:, _series_of(evidence), None]
    is_everywhere = counts.sum(axis=(1, 2)) == counts.any(axis=0).sum()
    weekly = _by_week(evidence, np.where(counts, size, 0.0), counts)
    is_known = ~np.isnan(weekly[is_everywhere]).any(axis=0)
    weekly[~is_everywhere] = np.nan
    found = {
        "model": list(evidence.models),
        "n_series": (evidence.status == SCORED).sum(axis=1),
        "mase": _mean_of(scores.by_series["mase"]),
        "skill_vs_naive": _mean_of(scores.by_series["skill_vs_naive"]),
        "may_be_best": may_be_best(weekly[:, None, is_known], horizon=horizon)[:, 0],
    }
    for name, n_inside in scores.n_inside.items():
        n = scores.n_intervals[name]
        total = n.sum(axis=1)
        with np.errstate(invalid="ignore"):
            found[f"coverage_{name}"] = n_inside.sum(axis=1) / total
            shares = [i[m > 0] / m[m > 0] for i, m in zip(n_inside, n, strict=True)]
        errors = [float(mean_and_error(share, horizon=horizon)[1]) for share in shares]
        found[f"coverage_{name}_error"] = np.array(errors)
    return pd.DataFrame(found).sort_values("mase", ignore_index=True, kind="stable")


def by_weeks_ahead(evidence: Evidence) -> pd.DataFrame:
    """Each candidate over all series that it is scored on, one row for each week ahead.

    `mase` and `bias` are the means over series of errors over the naive error before the first
    cutoff; forecast less value.
    """
    horizon = evidence.y.shape[1]
    is_scored = evidence.status == SCORED
    starts = np.cumsum(evidence.n_folds) - evidence.n_folds
    found = []
    for values in _scaled(evidence):
        means = np.add.reduceat(values, starts, axis=1) / evidence.n_folds[:, None]  # [C, S, H]
        found.append(np.where(is_scored[:, :, None] & np.isfinite(means), means, np.nan))
    size, signed = found
    return pd.DataFrame(
        {
            "model": np.repeat(evidence.models, horizon),
            "h": np.tile(np.arange(1, horizon + 1), len(evidence.models)),
            "n_series": np.isfinite(size).sum(axis=1).ravel(),
            "mase": _mean_of(size).ravel(),
            "bias": _mean_of(signed).ravel(),
        }
    ).sort_values(["h", "mase"], ignore_index=True, kind="stable")


def _series_of(evidence: Evidence) -> "np.typing.NDArray[np.int64]":
    """The series that each fold belongs to: [F]."""
    return np.repeat(np.arange(len(evidence.planned)), evidence.n_folds)


def _scaled(evidence: Evidence) -> tuple[Values, Values]:
    """Every error over its series' naive error, its size and itself: [C, F, H] each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = evidence.naive_error()[_series_of(evidence)]
        errors = (evidence.y_hat - evidence.y) / np.where(scale > 0, scale, np.nan)[:, None]
    return np.abs(errors), errors


def _by_week(evidence: Evidence, values: Values, counts: "np.typing.NDArray[np.bool_]") -> Values:
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
