"""How sure a comparison of forecasts is: standard errors, tests, and who may be the best.

Which forecasts are compared does not belong here.
"""

import numpy as np

from forecast_assets.models.base import Values

RESAMPLED = 200  # times; a chance of 10 % is then known to 2 points
AT_ONCE = 4_000_000  # numbers; bounds the memory


def mean_and_error(terms: Values, *, horizon: int) -> tuple[Values, Values]:
    """The mean over folds and its standard error: [..., K] -> [...]; NaN for fewer than two.

    Forecasts of `horizon` weeks overlap, so the variance takes the autocovariances up to
    horizon - 1 (Diebold & Mariano (1995), Comparing predictive accuracy, eq. 5), and where they
    make it negative, none of them.
    """
    n = terms.shape[-1]
    if n < 2:  # noqa: PLR2004 - a spread needs two values
        return terms.sum(axis=-1), np.full(terms.shape[:-1], np.nan)
    mean = terms.mean(axis=-1)
    centred = terms - mean[..., None]
    alone = (centred * centred).mean(axis=-1)
    variance = alone.copy()
    for lag in range(1, min(horizon, n)):
        variance += 2 * (centred[..., lag:] * centred[..., : n - lag]).sum(axis=-1) / n
    return mean, np.sqrt(np.where(variance > 0, variance, alone) / n)


def p_of_gain(gains: Values, *, horizon: int) -> Values:
    """The chance of a mean gain this large if the true one were zero: [..., K] -> [...], or NaN.

    The one-sided Diebold-Mariano test with the correction of Harvey, Leybourne & Newbold (1997),
    Testing the equality of prediction mean squared errors, eq. 9, against Student's t with K - 1
    degrees of freedom.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - only scoring needs it

    n = gains.shape[-1]
    mean, error = mean_and_error(gains, horizon=horizon)
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n if n else 0.0
    is_testable = (error > 0) & (correction > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / error * np.sqrt(max(correction, 0.0))
    return np.where(is_testable, stdtr(max(n - 1, 1), -statistic), np.nan)


def chance_of_share(shares: Values, promised: float) -> float:
    """The chance of a mean this far from the promised one, from one share a week: [n] -> 0 to 1.

    Student's t of the weekly shares; where they are all alike, the binomial test of as many weeks.
    """
    from scipy import stats  # noqa: PLC0415 - only a verdict needs it

    if np.ptp(shares) == 0:
        n_covered = round(float(shares.sum()))
        return float(stats.binomtest(n_covered, len(shares), promised).pvalue)
    return float(stats.ttest_1samp(shares, promised).pvalue)


def p_best(losses: Values, *, horizon: int) -> Values:
    """The chance that each of C candidates belongs to the best, by K losses: [C, S, K] -> [C, S].

    At 0.1 and above a candidate is in the 90 % model confidence set: the losses cannot tell it from
    the best. NaN where a candidate has no losses, and for all where there are fewer than two folds.

    Hansen, Lunde & Nason (2011), The model confidence set, section 3.1.2: T_max with its
    elimination rule, on a bootstrap of circular blocks (Politis & Romano (1992)) that is the same
    for every series.
    """
    n_candidates, n_series, n = losses.shape
    found = np.full((n_candidates, n_series), np.nan)
    size = max(AT_ONCE // (RESAMPLED * max(n_candidates, 1)), 1)
    if n > 1:
        drawn = _blocks(n, length=max(horizon, round(n ** (1 / 3))))
        for first in range(0, n_series, size):
            some = slice(first, first + size)
            found[:, some] = _p_best(losses[:, some], drawn)
    return found


def _p_best(losses: Values, drawn: Values) -> Values:
    n_candidates, n_series, _ = losses.shape
    is_left = np.asarray(np.isfinite(losses).all(axis=2)).T  # [S, C]
    given = np.where(is_left.T[:, :, None], losses, 0.0).transpose(1, 2, 0)  # [S, K, C]
    mean = given.mean(axis=1)
    moved = np.matmul(drawn, given) - mean[:, None]  # [S, B, C]
    found = np.where(is_left, 1.0, np.nan)
    chance, each = np.zeros(n_series), np.arange(n_series)
    for _ in range(n_candidates - 1):
        n_left = np.maximum(is_left.sum(axis=1), 1)
        excess = mean - (mean * is_left).sum(axis=1, keepdims=True) / n_left[:, None]
        shift = moved - np.matmul(moved, is_left[:, :, None] / n_left[:, None, None])
        spread = np.sqrt(np.einsum("sbc,sbc->sc", shift, shift) / len(drawn))
        tiny = 1e-12 * np.abs(mean).max(axis=1, keepdims=True)
        is_sure = spread <= tiny  # it differs from the others by the same in every fold
        inverse = np.where(is_sure, 0.0, 1 / np.where(is_sure, 1.0, spread))
        t = np.where(is_sure & (excess > tiny), np.inf, excess * inverse)
        t = np.where(is_left, t, -np.inf)
        shift *= inverse[:, None]
        greatest = np.where(is_left[:, None], shift, -np.inf).max(axis=2)  # [S, B]
        worst = t.argmax(axis=1)
        chance = np.maximum(chance, (greatest >= t[each, worst][:, None]).mean(axis=1))
        goes = is_left.sum(axis=1) > 1
        found[each[goes], worst[goes]] = chance[goes]
        is_left[each[goes], worst[goes]] = False
    return found.T


def _blocks(n: int, *, length: int) -> Values:
    """How often each of n folds is drawn, as shares, each time that they are resampled: [B, n]."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n, size=(RESAMPLED, -(-n // length)))
    folds = ((starts[:, :, None] + np.arange(length)) % n).reshape(RESAMPLED, -1)[:, :n]
    counts = np.zeros((RESAMPLED, n))
    np.add.at(counts, (np.arange(RESAMPLED)[:, None], folds), 1.0)
    return counts / n
