"""Prediction intervals from a backtest's own errors: split conformal, by weeks ahead.

An interval is the forecast plus and minus a radius. The radius at a level is the k-th smallest
absolute error, k = ceil((n + 1) * level / 100) of n errors: Lei, G'Sell, Rinaldo, Tibshirani &
Wasserman (2018), Distribution-free predictive inference for regression, section 2.2. With fewer
than level / (100 - level) errors no radius keeps the level, and there is none.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Values


def radius(abs_errors: Values, level: float) -> Values:
    """The radius from n absolute errors along the first axis: [n, ...] -> [...]; NaN if too few."""
    n = len(abs_errors)
    k = math.ceil((n + 1) * level / 100 - 1e-9)  # 20 * 0.95 is 19 in floats only by luck
    if k > n:
        return np.full(abs_errors.shape[1:], np.nan)
    smallest: Values = np.partition(abs_errors, k - 1, axis=0)[k - 1]
    return smallest


def rolling_radii(abs_errors: Values, levels: Sequence[float], *, step: int) -> Values:
    """The radius that each fold would have been given: [K, H, ...] -> [L, K, H, ...].

    Only errors that were known at a fold's cutoff count: those of folds that lie at least h weeks
    (h / step folds) before it.
    """
    n_folds, horizon = abs_errors.shape[:2]
    radii = np.full((len(levels), *abs_errors.shape), np.nan)
    for h in range(1, horizon + 1):
        behind = math.ceil(h / step)
        for fold in range(behind, n_folds):
            known = abs_errors[: fold - behind + 1, h - 1]
            for i, level in enumerate(levels):
                radii[i, fold, h - 1] = radius(known, level)
    return radii


def weighted_interval_score(
    y: Values, y_hat: Values, radii: Values, levels: Sequence[float]
) -> Values:
    """The score of a forecast with its intervals: [...] and [L, ...] -> [...]; lower is better.

    WIS = (|y - y_hat| / 2 + sum_l a_l / 2 * IS_l) / (L + 1/2), a_l = 1 - level_l / 100, and
    IS_l = width + 2 / a_l * (how far y lies outside): Bracher, Ray, Gneiting & Reich (2021),
    Evaluating epidemic forecasts in an interval format, eq. 1 and 2.
    """
    error = np.abs(y - y_hat)
    alphas: NDArray[np.float64] = 1 - np.asarray(levels, dtype=np.float64) / 100
    total = error / 2
    for alpha, half_width in zip(alphas, radii, strict=True):
        outside = np.maximum(error - half_width, 0.0)
        total = total + alpha / 2 * (2 * half_width + 2 / alpha * outside)
    result: Values = total / (len(levels) + 0.5)
    return result
