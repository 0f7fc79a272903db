"""Correct the newest values for the revision that they usually see after they are published.

Formula and evidence: docs/choosing.md. Which vintages are known belongs to `vintages`.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The newest weeks of a series that are corrected.
N_LAGS = 2
# Weeks after which a value counts as revised, and after which an old revision counts half.
MATURE_WEEKS = 2
HALF_LIFE_WEEKS = 13
# Older vintages have a weight of less than a sixteenth.
MAX_AGE_WEEKS = 52
# A series' own revisions count as many as it has; those of all series together as so many.
POOL_OBSERVATIONS = 4
# With fewer vintages of its own a series is not corrected.
MIN_VINTAGES = 4
# A log ratio: a value is not multiplied or divided by more than 2.7.
MAX_FACTOR = 1.0


def revision_factors(then: Floats, now: Floats, age_weeks: Floats) -> Floats:
    """Return the log of the usual now / then of each series and lag: [S, U, K], [U] -> [S, K].

    `then[s, u, k]` is the value k weeks before the newest one of series s in past vintage u, and
    `now[s, u, k]` the value of the same week as it is known at the time of correction; NaN where
    there is none. Vintages are `age_weeks` old; those younger than MATURE_WEEKS or older than
    MAX_AGE_WEEKS do not count.

    It is the median over vintages, weighted by 0.5 ** (age / HALF_LIFE_WEEKS), shrunk to that over
    all series: (n * own + POOL_OBSERVATIONS * pooled) / (n + POOL_OBSERVATIONS), within MAX_FACTOR.
    It is 0 where the pooled median is 0, and for a series with fewer than MIN_VINTAGES.
    """
    factors = np.zeros((then.shape[0], then.shape[2]))
    is_used = (age_weeks >= MATURE_WEEKS) & (age_weeks <= MAX_AGE_WEEKS)
    then, now = then[:, is_used], now[:, is_used]
    weight = 0.5 ** (age_weeks[is_used] / HALF_LIFE_WEEKS)
    is_ratio = (then > 0) & (now > 0)  # false for NaN
    ratio = np.full(then.shape, np.nan)
    ratio[is_ratio] = np.log(now[is_ratio] / then[is_ratio])
    for lag in range(then.shape[2]):
        ratios = ratio[:, :, lag]
        pooled = weighted_median(
            ratios.reshape(1, -1), np.tile(weight, len(ratios)).reshape(1, -1)
        )[0]
        if np.isnan(pooled) or pooled == 0:
            continue
        n = (~np.isnan(ratios)).sum(axis=1)
        own = np.nan_to_num(weighted_median(ratios, np.broadcast_to(weight, ratios.shape)))
        shrunk = (n * own + POOL_OBSERVATIONS * pooled) / (n + POOL_OBSERVATIONS)
        factors[:, lag] = np.where(n >= MIN_VINTAGES, shrunk, 0.0)
    clipped: Floats = np.clip(factors, -MAX_FACTOR, MAX_FACTOR)
    return clipped


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Return the weighted median of each row, NaN where all are NaN: [R, N], [R, N] -> [R].

    It is the least value up to which the weights sum up to half of all; where that is met exactly,
    the mean of it and the next one.
    """
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    order = np.argsort(values, axis=1, kind="stable")  # NaN last
    ordered = np.take_along_axis(values, order, axis=1)
    weight = np.where(np.isnan(ordered), 0.0, np.take_along_axis(weights, order, axis=1))
    total = np.cumsum(weight, axis=1)
    half = total[:, -1:] / 2
    low = (total >= half * (1 - 1e-12)).argmax(axis=1)
    high = (total > half * (1 + 1e-12)).argmax(axis=1)
    rows = np.arange(len(values))
    median: Floats = (ordered[rows, low] + ordered[rows, high]) / 2
    return median


def correct(newest: Floats, factors: Floats) -> Floats:
    """Multiply the newest values, newest first, by exp(factor): [S, K], [S, K] -> [S, K].

    A value that is not positive stays, because the ratios are of positive ones.
    """
    corrected: Floats = np.where(newest > 0, newest * np.exp(factors), newest)
    return corrected
