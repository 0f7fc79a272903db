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
# Fewer folds cannot tell candidates apart.
MIN_FOLDS = 3
# A spread below so much of the size of the values is rounding.
TINY = 1e-12
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


def cosine_mean_and_error(terms: Values, *, n_terms: int) -> tuple[Values, Values]:
    """Return the mean over weeks and its standard error under dependence: [..., K] -> [...].

    The variance is that of `n_terms` slow cosines in the weeks, so that weeks may depend on those
    around them for as long as K / n_terms weeks; mean / error has Student's t distribution with
    `n_terms` degrees of freedom. Lazarus, Lewis, Stock & Watson (2018), HAR inference:
    recommendations for practice, section 3.
    """
    n = terms.shape[-1]
    weights = _cosines(n, n_terms)
    return terms.mean(axis=-1), np.sqrt(((terms @ weights.T) ** 2).mean(axis=-1))


def _cosines(n: int, n_terms: int) -> Values:
    """Return weights of n weeks whose sums have the variance of the mean: [n_terms, n]."""
    half_weeks = np.arange(n) + 0.5
    return (
        math.sqrt(2)
        / n
        * np.asarray(np.cos(np.pi * np.arange(1, n_terms + 1)[:, None] * half_weeks / n))
    )


def n_slow_cosines(n: int) -> int:
    """Return how many cosines of n weeks allow for dependence over months, such as volatility's.

    With 52 weeks, log volatility of autocorrelation 0.9 to 0.98 and nominally 0.5 % false alarms,
    2 cosines gave 0.2 to 1.4 %, 3 gave 0.7 to 2.8 %, and independent weeks 24 to 45 %.
    """
    return max(2, round(0.15 * math.pow(n, 2 / 3)))


def slow_pvalue(terms: Values) -> float:
    """Return the probability of a mean as far above 0 if the true mean were 0: [n] -> 0 to 1.

    NaN where there is no spread, or fewer than four weeks.
    """
    from scipy.special import stdtr

    n_terms = n_slow_cosines(len(terms))
    if len(terms) <= n_terms + 1:
        return math.nan
    mean, error = cosine_mean_and_error(terms, n_terms=n_terms)
    return float(stdtr(n_terms, -mean / error)) if error > TINY * np.abs(terms).max() else math.nan


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

    `shares` are in the order of their weeks, which may depend on each other: volatility persists.
    Where all are 0 or 1, counts of independent weeks must be as rare too, and where all are equal
    these alone decide. NaN for fewer than two shares.
    """
    n = len(shares)
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return math.nan
    from scipy import stats

    pvalue = 2 * slow_pvalue(np.abs(shares.mean() - nominal) + shares - shares.mean())
    if np.isin(shares, (0, 1)).all() or math.isnan(pvalue):
        count = round(float(shares.sum()))
        return float(np.nanmax([pvalue, stats.binomtest(count, n, nominal).pvalue]))
    return pvalue


def model_confidence_set(losses: Values, *, overlap: int) -> NDArray[np.bool_]:
    """Return which candidates are in the 90 % model confidence set: [C, S, K] -> [C, S].

    The set holds the candidates that the losses cannot distinguish from the best one. A candidate
    without losses is never in it; with fewer than three folds all others are.

    Hansen, Lunde & Nason (2011), The model confidence set, section 3.1.2: T_max with its
    elimination rule, on a circular block bootstrap (Politis & Romano (1992)) that is the same for
    every series. With few folds, or losses that depend on earlier ones, the bootstrap finds too
    little spread. So the statistics have the standard errors of `cosine_mean_and_error`, and each
    bootstrap sample is divided by a draw of what these do to Student's t.
    """
    n_candidates, n_series, n = losses.shape
    is_left = np.asarray(np.isfinite(losses).all(axis=2)).T & (n > 0)  # [S, C]
    if n >= MIN_FOLDS:
        n_terms = _n_cosines(n, overlap)
        weights = _circular_block_weights(n, length=max(overlap, round(n ** (1 / 3))))
        cosines, draws = _cosines(n, n_terms), _spread_draws(n_terms)
        size = max(CHUNK_SIZE // (N_RESAMPLES * max(n_candidates, 1)), 1)
        for first in range(0, n_series, size):
            chunk = slice(first, first + size)
            known = np.where(is_left[chunk].T[:, :, None], losses[:, chunk], 0.0)
            _eliminate(is_left[chunk], known.transpose(1, 2, 0), weights, cosines, draws)
    return np.asarray(is_left.T)


def _n_cosines(n: int, overlap: int) -> int:
    """Return how many cosines of n folds the confidence set uses.

    0.4 n^(2/3) of them (Lazarus et al. 2018), but 3 for few folds, and none faster than an overlap.
    Of two equal candidates it then leaves out one in 9 to 12 % of cases with 5 to 52 folds, and in
    10 % with 52 whose autocorrelation is 0.5.
    """
    return max(1, min(max(3, round(0.4 * math.pow(n, 2 / 3))), n - 1, n // overlap))


def _spread_draws(n_terms: int) -> Values:
    """Return draws of a standard error over the true one, in random order: [B]."""
    from scipy.special import gammaincinv

    ranks = np.random.default_rng(1).permutation(N_RESAMPLES)
    squares = 2 * gammaincinv(n_terms / 2, (ranks + 0.5) / N_RESAMPLES)  # of chi-squared
    return np.asarray(np.sqrt(squares / n_terms))


def _eliminate(
    is_left: NDArray[np.bool_], losses: Values, weights: Values, cosines: Values, draws: Values
) -> None:
    """Remove the worst candidate of each series while it is significantly worse, in place.

    `is_left` [S, C], `losses` [S, K, C], bootstrap `weights` [B, K], `cosines` [T, K], `draws` [B].
    """
    mean = losses.mean(axis=1)
    deviations = np.matmul(weights, losses) - mean[:, None]  # [S, B, C]
    slow = np.matmul(cosines, losses)  # [S, T, C]
    open_series = np.flatnonzero(is_left.sum(axis=1) > 1)
    while len(open_series):
        left = is_left[open_series]
        share = left / left.sum(axis=1, keepdims=True)
        level = mean[open_series]
        excess = level - (level * share).sum(axis=1, keepdims=True)
        shift = deviations[open_series]
        shift -= np.matmul(shift, share[:, :, None])
        spread = np.sqrt(np.einsum("sbc,sbc->sc", shift, shift) / len(weights))
        waves = slow[open_series]
        waves = waves - np.matmul(waves, share[:, :, None])
        error = np.sqrt((waves * waves).mean(axis=1))
        tiny = TINY * np.abs(level).max(axis=1, keepdims=True)
        is_constant = spread <= tiny  # it differs from the others by the same in every fold
        inverse = np.where(is_constant, 0.0, 1 / np.where(is_constant, 1.0, spread))
        t = excess / np.maximum(error, tiny + np.finfo(float).tiny)
        t = np.where(is_constant, np.where(excess > tiny, np.inf, 0.0), t)
        t = np.where(left, t, -np.inf)
        shift *= inverse[:, None]
        t_max = np.where(left[:, None], shift, -np.inf).max(axis=2) / draws  # [S, B]
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
