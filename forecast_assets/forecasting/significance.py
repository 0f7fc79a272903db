"""Turn losses into standard errors, p-values and model confidence sets.

This module does not decide which forecasts are compared.
"""

import math

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Values

# The probability that the model confidence set holds the best candidate.
MCS_CONFIDENCE = 0.9
# With 200 resamples a probability of 10 % has a standard error of 2 points.
N_RESAMPLES = 200
# Numbers held at once: 32 MB of float64.
CHUNK_SIZE = 4_000_000


def hac_mean_and_error(terms: Values, *, overlap: int) -> tuple[Values, Values]:
    """Return the mean over folds and its standard error: [..., K] -> [...].

    The targets of `overlap` consecutive folds overlap (1: none do), so the variance includes the
    autocovariances up to lag `overlap - 1` (Diebold & Mariano (1995), Comparing predictive
    accuracy, eq. 5); where they make it negative, it includes none. The error is NaN for fewer
    than two folds.
    """
    n = terms.shape[-1]
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return terms.sum(axis=-1), np.full(terms.shape[:-1], np.nan)
    mean = terms.mean(axis=-1)
    centred = terms - mean[..., None]
    alone = (centred * centred).mean(axis=-1)
    variance = alone.copy()
    for lag in range(1, min(overlap, n)):
        variance += 2 * (centred[..., lag:] * centred[..., : n - lag]).sum(axis=-1) / n
    return mean, np.sqrt(np.where(variance > 0, variance, alone) / n)


def diebold_mariano_pvalue(gains: Values, *, overlap: int) -> Values:
    """Return the probability of a mean gain this large if the true mean were zero.

    [..., K] -> [...], NaN where there is no spread. One-sided Diebold-Mariano test with the
    correction of Harvey, Leybourne & Newbold (1997), Testing the equality of prediction mean
    squared errors, eq. 9, against Student's t with K - 1 degrees of freedom.
    """
    from scipy.special import stdtr

    n = gains.shape[-1]
    mean, error = hac_mean_and_error(gains, overlap=overlap)
    square = (n + 1 - 2 * overlap + overlap * (overlap - 1) / n) / n if n else 0.0
    factor = math.sqrt(max(square, 0.0))
    is_testable = (error > 0) & (factor > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / error * factor
    return np.where(is_testable, stdtr(max(n - 1, 1), -statistic), np.nan)


def coverage_pvalue(shares: Values, nominal: float) -> float:
    """Return the two-sided p-value of a mean coverage against its nominal level: [n] -> 0 to 1.

    Uses Student's t on the shares; where all are 0 or 1, or all are equal, the binomial test.
    NaN for fewer than two shares.
    """
    n = len(shares)
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return math.nan
    from scipy import stats

    if np.isin(shares, (0, 1)).all() or np.ptp(shares) == 0:
        return float(stats.binomtest(round(float(shares.sum())), n, nominal).pvalue)
    return float(stats.ttest_1samp(shares, nominal).pvalue)


def model_confidence_set(losses: Values, *, overlap: int) -> NDArray[np.bool_]:
    """Return which candidates are in the 90 % model confidence set: [C, S, K] -> [C, S].

    The set holds the candidates that the losses cannot distinguish from the best one. A candidate
    without losses is never in it; with fewer than two folds all others are.

    Hansen, Lunde & Nason (2011), The model confidence set, section 3.1.2: T_max with its
    elimination rule, on a circular block bootstrap (Politis & Romano (1992)) that is the same for
    every series.
    """
    n_candidates, n_series, n = losses.shape
    is_left = np.asarray(np.isfinite(losses).all(axis=2)).T & (n > 0)  # [S, C]
    if n > 1:
        weights = _circular_block_weights(n, length=max(overlap, round(n ** (1 / 3))))
        size = max(CHUNK_SIZE // (N_RESAMPLES * max(n_candidates, 1)), 1)
        for first in range(0, n_series, size):
            chunk = slice(first, first + size)
            known = np.where(is_left[chunk].T[:, :, None], losses[:, chunk], 0.0)
            _eliminate(is_left[chunk], known.transpose(1, 2, 0), weights)
    return np.asarray(is_left.T)


def _eliminate(is_left: NDArray[np.bool_], losses: Values, weights: Values) -> None:
    """Remove the worst candidate of each series while it is significantly worse, in place.

    `is_left` [S, C], `losses` [S, K, C], bootstrap `weights` [B, K].
    """
    mean = losses.mean(axis=1)
    deviations = np.matmul(weights, losses) - mean[:, None]  # [S, B, C]
    open_series = np.flatnonzero(is_left.sum(axis=1) > 1)
    while len(open_series):
        left = is_left[open_series]
        share = left / left.sum(axis=1, keepdims=True)
        level = mean[open_series]
        excess = level - (level * share).sum(axis=1, keepdims=True)
        shift = deviations[open_series]
        shift -= np.matmul(shift, share[:, :, None])
        spread = np.sqrt(np.einsum("sbc,sbc->sc", shift, shift) / len(weights))
        tiny = 1e-12 * np.abs(level).max(axis=1, keepdims=True)
        is_constant = spread <= tiny  # it differs from the others by the same in every fold
        inverse = np.where(is_constant, 0.0, 1 / np.where(is_constant, 1.0, spread))
        t = np.where(is_constant & (excess > tiny), np.inf, excess * inverse)
        t = np.where(left, t, -np.inf)
        shift *= inverse[:, None]
        t_max = np.where(left[:, None], shift, -np.inf).max(axis=2)  # [S, B]
        worst = t.argmax(axis=1)
        t_worst = t[np.arange(len(t)), worst]
        is_worse = (t_max >= t_worst[:, None]).mean(axis=1) < 1 - MCS_CONFIDENCE
        is_left[open_series[is_worse], worst[is_worse]] = False
        open_series = open_series[is_worse]
        open_series = open_series[is_left[open_series].sum(axis=1) > 1]


def _circular_block_weights(n: int, *, length: int) -> Values:
    """Return the share of each of n folds in each bootstrap sample: [B, n]."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n, size=(N_RESAMPLES, -(-n // length)))
    folds = ((starts[:, :, None] + np.arange(length)) % n).reshape(N_RESAMPLES, -1)[:, :n]
    counts = np.zeros((N_RESAMPLES, n))
    np.add.at(counts, (np.arange(N_RESAMPLES)[:, None], folds), 1.0)
    return counts / n
