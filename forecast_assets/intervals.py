"""Prediction intervals from a backtest's own errors: conformal, by weeks ahead.

An interval is the forecast plus and minus a radius: the noise at the cutoff times a quantile of
earlier errors over the noise at theirs. Recent errors count more. The quantile of weighted errors
takes the new one for infinitely large, with a weight of 1, which is the finite-sample correction:
Barber, Candes, Ramdas & Tibshirani (2023), Conformal prediction beyond exchangeability, eq. 11.
Where the known errors weigh too little for a level, there is no radius.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Values

RECENCY = 0.99  # an error weighs this much less a week later
HALF_LIFE = 26  # weeks in which a step's say in the noise halves
AT_ONCE = 4_000_000  # numbers; bounds the memory


def noise(y: Values) -> Values:
    """The mean size of a series' weekly steps so far, recent ones counting more: [n] -> [n].

    In the series' unit, above 0: where nothing ever moved it is 1.
    """
    from scipy.signal import lfilter  # noqa: PLC0415 - only intervals need it

    steps = np.abs(np.diff(y, prepend=y[:1]))
    keep = 0.5 ** (1 / HALF_LIFE)
    weight = (1 - keep ** np.arange(len(y))) / (1 - keep)  # of the steps so far: the first is none
    total = lfilter([1.0], [1.0, -keep], steps)
    mean: Values = np.divide(total, weight, out=np.zeros(len(y)), where=weight > 0)
    whole = np.divide(np.cumsum(steps), np.arange(len(y)), out=np.zeros(len(y)), where=weight > 0)
    least = 1e-3 * np.where(whole > 0, whole, 1.0)
    return np.where(mean > least, mean, np.where(whole > 0, least, 1.0))


def quantiles(scores: Values, weights: Values, levels: Sequence[float]) -> Values:
    """The weighted quantiles of n scores under each of T weightings: [N, n], [T, n] -> [L, N, T].

    A level's quantile is the least score that those up to it reach `level` % of the whole weight
    with, 1 for the score to come included; NaN where all together do not.
    """
    n_rows, n = scores.shape
    found = np.full((len(levels), n_rows, len(weights)), np.nan)
    if not n:
        return found
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    size = max(AT_ONCE // (n_rows * n), 1)
    rows = np.arange(n_rows)
    for first in range(0, len(weights), size):
        some = weights[first : first + size]
        reached = np.cumsum(some[:, order], axis=2)  # [t, N, n]
        whole = some.sum(axis=1) + 1
        for i, level in enumerate(levels):
            needed = whole * level / 100 * (1 - 1e-12)  # 20 * 0.95 is 19 in floats only by luck
            at = (reached < needed[:, None, None]).sum(axis=2)
            radii = np.where(at < n, ranked[rows, np.minimum(at, n - 1)], np.nan)
            found[i, :, first : first + size] = radii.T
    return found


def rolling_radii(
    abs_errors: Values, noise_at: Values, levels: Sequence[float], *, step: int
) -> Values:
    """The radius that each fold would have been given: [..., S, K, H], [S, K] -> [L, ..., S, K, H].

    Only errors that were known at a fold's cutoff count: those of folds that lie at least h weeks
    (h / step folds) before it.
    """
    n_folds, horizon = abs_errors.shape[-2:]
    radii = np.full((len(levels), *abs_errors.shape), np.nan)
    scores = abs_errors / noise_at[:, :, None]
    age = np.arange(n_folds)[:, None] - np.arange(n_folds)
    for h in range(1, horizon + 1):
        weights = np.where(age >= math.ceil(h / step), RECENCY ** (age * step), 0.0)
        rows = scores[..., h - 1].reshape(-1, n_folds)
        found = quantiles(rows, weights, levels)
        radii[..., h - 1] = found.reshape(len(levels), *abs_errors.shape[:-1])
    radii *= noise_at[:, :, None]
    return radii


def newest_radii(
    abs_errors: Values, noise_at: Values, noise_now: Values, levels: Sequence[float], *, step: int
) -> Values:
    """The radius of the forecast after the last fold: [S, K, H], [S, K], [S] -> [L, S, H]."""
    n_folds, horizon = abs_errors.shape[-2:]
    scores = abs_errors / noise_at[:, :, None]
    age = (n_folds - np.arange(n_folds)) * step
    found = [
        quantiles(scores[:, :, h], RECENCY ** age[None, :], levels)[:, :, 0] for h in range(horizon)
    ]
    radii: Values = np.stack(found, axis=-1) * noise_now[:, None]
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
