"""Compute weighted conformal prediction intervals from backtest errors, for each week ahead.

An interval is the forecast plus and minus a half-width, on the panel's scale (`scales`): the recent
volatility at the cutoff, times the size to expect of the series' scores over those of the panel,
times a quantile of what is left of past errors when they are divided by both. Recent errors have
more weight. The errors of all other series join as one pool of bounded weight (`panel_errors`): a
new series has hardly any of its own, and an old one gains too (docs/choosing.md).

The largest of n scores is exceeded with a probability of 1 / (n + 1): the new one may be larger
than all (Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world, section 2.2). So
the weights of a sample reach n / (n + 1) of its total, where n is its effective size (sum w)^2 /
sum w^2 (Kish (1965), Survey sampling, section 11.7). Where own and pooled weights do not reach a
level, there is no half-width. Scores of forecasts with intervals are here too.
"""

from collections.abc import Sequence

import numpy as np

from forecast_assets.forecasting.panel_errors import (
    POOL_POINTS,
    POOL_SHARES,
    ErrorPool,
    PanelErrors,
    scale_errors,
    weights_by_age,
)
from forecast_assets.models.base import Positions, Values

# Chosen on public series (docs/choosing.md): the pool has the weight of at most 200 errors.
MAX_POOL_WEIGHT = 200
# Numbers held at once: 32 MB of float64.
CHUNK_SIZE = 4_000_000


def quantiles(scores: Values, weights: Values, levels: Sequence[float], pool: ErrorPool) -> Values:
    """Return the weighted quantiles of n own scores and a pool: [N, n], [T, n] -> [L, N, T].

    A level's quantile is the lowest score up to which the weights sum to `level` % of the total;
    NaN where all of them do not. A score that is NaN does not count. The pool contributes its
    weight beyond that of the own scores, which it contains, and at most MAX_POOL_WEIGHT; between
    its points its weight is spread evenly.
    """
    n_rows, n = scores.shape
    result = np.full((len(levels), n_rows, len(weights)), np.nan)
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    is_known = ~np.isnan(scores)
    ranked_known = np.take_along_axis(is_known, order, axis=1)
    ranked[~ranked_known] = np.inf
    size = max(CHUNK_SIZE // max(n_rows * n, 1), 1)
    rows = np.arange(n_rows)
    for first in range(0, len(weights), size):
        chunk = slice(first, first + size)
        each = weights[chunk][:, order]  # [t, N, n]
        if not is_known.all():
            each *= ranked_known
        # In C order, so that a sum is the same to the last bit whatever the chunk.
        each = np.ascontiguousarray(each)
        own, squares = each.sum(axis=2), (each * each).sum(axis=2)
        extra = np.clip(pool.weight[chunk, None] - own, 0, MAX_POOL_WEIGHT)  # [t, N]
        total = np.where(own + extra > 0, own + extra, np.inf)
        cumulative = np.cumsum(each, axis=2)
        cumulative *= _reached(own**2, squares)[:, :, None]
        extra *= _reached(pool.n_effective[chunk, None], 1.0)
        knots = np.pad(pool.points[chunk], ((0, 0), (1, 0)))
        below = np.stack([np.interp(ranked, of_week, POOL_SHARES) for of_week in knots])
        combined = cumulative + extra[:, :, None] * below
        for i, level in enumerate(levels):
            # 1e-12 absorbs rounding: 20 * 0.95 is 19 only by luck.
            needed = total * level / 100 * (1 - 1e-12)
            rank = (combined < needed[:, :, None]).sum(axis=2)  # [t, N]
            lowest = np.full(rank.shape, np.inf)
            if n:
                lowest = np.where(rank < n, ranked[rows, np.minimum(rank, n - 1)], np.inf)
                before = np.take_along_axis(cumulative, np.maximum(rank - 1, 0)[:, :, None], axis=2)
                needed = needed - np.where(rank > 0, before[:, :, 0], 0.0)
            lowest = np.minimum(lowest, _pool_quantile(knots, needed, extra))
            result[i, :, chunk] = np.where(np.isfinite(lowest), lowest, np.nan).T
    return result


def _reached(square_of_sum: Values, sum_of_squares: Values | float) -> Values:
    """Return the share n / (n + 1) of its total that a sample of effective size n reaches."""
    total = square_of_sum + sum_of_squares
    return np.divide(square_of_sum, total, out=np.zeros_like(total), where=total > 0)


def _pool_quantile(knots: Values, needed: Values, extra: Values) -> Values:
    """Return the score up to which the pool's weights reach `needed`, infinity where they do not.

    [t, P + 1], [t, N], [t, N] -> [t, N].
    """
    share = np.divide(needed, extra, out=np.full(needed.shape, np.inf), where=extra > 0)
    position = POOL_POINTS * (1 - np.sqrt(1 - np.clip(share, 0, 1)))
    low = np.minimum(position.astype(np.int64), POOL_POINTS - 1)
    left, right = (np.take_along_axis(knots, i, axis=1) for i in (low, low + 1))
    return np.where(share <= 1, left + (position - low) * (right - left), np.inf)


def half_widths(
    abs_errors: Values,
    volatility: Values,
    weeks: Positions,
    levels: Sequence[float],
    panel: PanelErrors,
    *,
    target_weeks: Positions | None = None,
    target_volatility: Values | None = None,
) -> Values:
    """Return the interval half-widths of S series at each of T weeks: [L, S, T, H].

    `abs_errors` [S, K, H] were made at cutoffs `weeks` [K] with `volatility` [S, K, H]; at the
    cutoffs `target_weeks` [T], by default the same, it is `target_volatility` [S, T, H]. `panel`
    has pools at the target weeks. Only errors whose target week was over count, and none that is
    NaN. As long as a series has never moved, the pool does not count: there is no unit to scale it
    to.
    """
    target_weeks = weeks if target_weeks is None else target_weeks
    target_volatility = volatility if target_volatility is None else target_volatility
    scores, age = scale_errors(abs_errors, volatility), target_weeks[:, None] - weeks
    size = panel.expected_size(scores, weeks, target_weeks)
    scores = scores / panel.expected_size(scores, weeks, weeks)
    position = np.searchsorted(panel.pool_weeks, target_weeks)
    pools = [pool.at_weeks(position) for pool in panel.pools]
    result = _quantiles_by_week_ahead(scores, age, levels, pools)
    never_moved = target_volatility[:, :, 0] == 0
    rows = np.flatnonzero(never_moved.any(axis=1))
    if len(rows):
        empty = ErrorPool.from_scores(scores[0, :0, 0], weeks[:0], target_weeks, h=1)
        alone = _quantiles_by_week_ahead(scores[rows], age, levels, [empty] * len(pools))
        result[:, rows] = np.where(never_moved[rows, :, None], alone, result[:, rows])
    return result * (size * target_volatility)


def _quantiles_by_week_ahead(
    scores: Values, age: Positions, levels: Sequence[float], pools: Sequence[ErrorPool]
) -> Values:
    """Return the quantiles of scores of an age in weeks: [S, K, H], [T, K] -> [L, S, T, H]."""
    weights = weights_by_age(np.maximum(age, 0))
    by_week = [
        # An error is known once its target week, h + 1 after the cutoff, is over.
        quantiles(scores[:, :, h], np.where(age > h, weights, 0.0), levels, pool)
        for h, pool in enumerate(pools)
    ]
    return np.stack(by_week, axis=-1)


def weighted_interval_score(
    y: Values, y_hat: Values, lows: Values, highs: Values, levels: Sequence[float]
) -> Values:
    """Score forecasts with the ends of their intervals: [...], [L, ...] -> [...]; lower is better.

    WIS = (|y - y_hat| / 2 + sum_l a_l / 2 * IS_l) / (L + 1/2), a_l = 1 - level_l / 100, and
    IS_l = width + 2 / a_l * (how far y lies outside): Bracher, Ray, Gneiting & Reich (2021),
    Evaluating epidemic forecasts in an interval format, eq. 1 and 2.
    """
    alphas = 1 - np.asarray(levels, dtype=np.float64) / 100
    total = np.abs(y - y_hat) / 2
    for alpha, low, high in zip(alphas, lows, highs, strict=True):
        outside = np.maximum(np.maximum(low - y, y - high), 0.0)
        total = total + alpha / 2 * (high - low + 2 / alpha * outside)
    return np.asarray(total / (len(levels) + 0.5))
