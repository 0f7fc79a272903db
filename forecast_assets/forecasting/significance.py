"""How sure a comparison of forecasts is: standard errors, tests, and who may be the best.

Which forecasts are compared does not belong here.
"""

import math

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Values

CONFIDENCE = 0.9  # that the best is among those that may be
RESAMPLED = 200  # times; a chance of 10 % is then known to 2 points
AT_ONCE = 4_000_000  # numbers; bounds the memory


def hac_mean_and_error(terms: Values, *, overlap: int) -> tuple[Values, Values]:
    """The mean over folds and its standard error: [..., K] -> [...]; NaN for fewer than two.

    The weeks of `overlap` folds in a row overlap (1: none do), so the variance takes the
    autocovariances up to overlap - 1 (Diebold & Mariano (1995), Comparing predictive accuracy,
    eq. 5), and where they make it negative, none of them.
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
    """The chance of a mean gain this large if the true one were zero: [..., K] -> [...], or NaN.

    The one-sided Diebold-Mariano test with the correction of Harvey, Leybourne & Newbold (1997),
    Testing the equality of prediction mean squared errors, eq. 9, against Student's t with K - 1
    degrees of freedom.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - only scoring needs it

    n = gains.shape[-1]
    mean, error = hac_mean_and_error(gains, overlap=overlap)
    factor = _correction(n, overlap)
    is_testable = (error > 0) & (factor > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / error * factor
    return np.where(is_testable, stdtr(max(n - 1, 1), -statistic), np.nan)


def coverage_pvalue(shares: Values, promised: float) -> float:
    """The chance of a mean this far from the promised one: [n] -> 0 to 1, NaN for fewer than two.

    Student's t of the shares; where all are 0 or 1, or all alike, the binomial test of as many.
    """
    from scipy import stats  # noqa: PLC0415 - only a verdict needs it

    n = len(shares)
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return math.nan
    if np.isin(shares, (0, 1)).all() or np.ptp(shares) == 0:
        return float(stats.binomtest(round(float(shares.sum())), n, promised).pvalue)
    return float(stats.ttest_1samp(shares, promised).pvalue)


def _correction(n: int, overlap: int) -> float:
    """What Harvey, Leybourne & Newbold's eq. 9 multiplies the statistic by; 0 where it has none."""
    square = (n + 1 - 2 * overlap + overlap * (overlap - 1) / n) / n if n else 0.0
    return math.sqrt(max(square, 0.0))


def model_confidence_set(losses: Values, *, overlap: int) -> NDArray[np.bool_]:
    """Which of C candidates are in the 90 % model confidence set, by K losses: [C, S, K] -> [C, S].

    The losses cannot tell them from the best, which is one of them in nine cases of ten. A
    candidate that has no losses is out; with fewer than two folds all others are in.

    Hansen, Lunde & Nason (2011), The model confidence set, section 3.1.2: T_max with its
    elimination rule, on a bootstrap of circular blocks (Politis & Romano (1992)) that is the same
    for every series.
    """
    n_candidates, n_series, n = losses.shape
    is_left = np.asarray(np.isfinite(losses).all(axis=2)).T & (n > 0)  # [S, C]
    if n > 1:
        drawn = _blocks(n, length=max(overlap, round(n ** (1 / 3))))
        size = max(AT_ONCE // (RESAMPLED * max(n_candidates, 1)), 1)
        for first in range(0, n_series, size):
            some = slice(first, first + size)
            given = np.where(is_left[some].T[:, :, None], losses[:, some], 0.0)
            _eliminate(is_left[some], given.transpose(1, 2, 0), drawn)
    found: NDArray[np.bool_] = is_left.T
    return found


def _eliminate(is_left: NDArray[np.bool_], losses: Values, drawn: Values) -> None:
    """Take the worst out of each series until none is surely worse: [S, C], [S, K, C], [B, K]."""
    mean = losses.mean(axis=1)
    moved = np.matmul(drawn, losses) - mean[:, None]  # [S, B, C]
    open_ones = np.flatnonzero(is_left.sum(axis=1) > 1)
    while len(open_ones):
        left = is_left[open_ones]
        share = left / left.sum(axis=1, keepdims=True)
        level = mean[open_ones]
        excess = level - (level * share).sum(axis=1, keepdims=True)
        shift = moved[open_ones]
        shift -= np.matmul(shift, share[:, :, None])
        spread = np.sqrt(np.einsum("sbc,sbc->sc", shift, shift) / len(drawn))
        tiny = 1e-12 * np.abs(level).max(axis=1, keepdims=True)
        is_sure = spread <= tiny  # it differs from the others by the same in every fold
        inverse = np.where(is_sure, 0.0, 1 / np.where(is_sure, 1.0, spread))
        t = np.where(is_sure & (excess > tiny), np.inf, excess * inverse)
        t = np.where(left, t, -np.inf)
        shift *= inverse[:, None]
        greatest = np.where(left[:, None], shift, -np.inf).max(axis=2)  # [S, B]
        worst = t.argmax(axis=1)
        least = t[np.arange(len(t)), worst]
        is_worse = (greatest >= least[:, None]).mean(axis=1) < 1 - CONFIDENCE
        is_left[open_ones[is_worse], worst[is_worse]] = False
        open_ones = open_ones[is_worse]
        open_ones = open_ones[is_left[open_ones].sum(axis=1) > 1]


def _blocks(n: int, *, length: int) -> Values:
    """How often each of n folds is drawn, as shares, each time that they are resampled: [B, n]."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n, size=(RESAMPLED, -(-n // length)))
    folds = ((starts[:, :, None] + np.arange(length)) % n).reshape(RESAMPLED, -1)[:, :n]
    counts = np.zeros((RESAMPLED, n))
    np.add.at(counts, (np.arange(RESAMPLED)[:, None], folds), 1.0)
    return counts / n
