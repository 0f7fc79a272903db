"""Compute weighted conformal prediction intervals from backtest errors, for each week ahead.

An interval is the forecast plus and minus a half-width: the recent volatility at the cutoff times a
quantile of scores, which are earlier errors divided by the volatility at their own cutoffs. Recent
errors have more weight. The new error counts as infinite with a weight of 1, which is the
finite-sample correction of Barber, Candes, Ramdas & Tibshirani (2023), Conformal prediction beyond
exchangeability, eq. 11. The errors of all other series join as one pool of bounded weight: a new
series has hardly any of its own, and an old one gains too (docs/choosing.md). Where the weights do
not suffice for a level, there is no half-width. Scores of forecasts with intervals are here too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from forecast_assets.models.base import Positions, Values

# Chosen on public series (docs/choosing.md): the weight of an error falls by 1 % a week, the weight
# of a weekly change halves in 26 weeks, and the pool has the weight of at most 50 errors.
WEEKLY_DECAY = 0.99
VOLATILITY_HALF_LIFE = 26
MAX_POOL_WEIGHT = 50
POOL_POINTS = 50
# A change larger than so many usual ones counts as that many; changes of how many weeks are recent.
OUTLIER = 5
OUTLIER_WINDOW = 26
# With fewer changes before it, none is an outlier.
MIN_CHANGES = 8
# Numbers held at once: 32 MB of float64.
CHUNK_SIZE = 4_000_000


def recent_volatility(panel: Sequence[Values]) -> Iterator[Values]:
    """Yield the exponentially weighted mean size of each series' changes: [n] -> [n].

    In the series' unit; 0 until the series first moves, positive from then on. A change is that
    from one real value to the next; a filled week is NaN and keeps the volatility before it.
    """
    is_real = [~np.isnan(y) for y in panel]
    volatility = _real_volatility([y[real] for y, real in zip(panel, is_real, strict=True)])
    for values, real in zip(volatility, is_real, strict=True):
        yield values if real.all() else values[np.cumsum(real) - 1]


def _real_volatility(panel: Sequence[Values]) -> Iterator[Values]:
    """Yield the volatility of series without filled weeks."""
    keep = 0.5 ** (1 / VOLATILITY_HALF_LIFE)
    n = np.arange(max(map(len, panel), default=0))[:, None]
    weight = (1 - keep**n) / (1 - keep)  # the first value has no step
    width = max(CHUNK_SIZE // max(len(n), 1), 1)
    for first in range(0, len(panel), width):
        chunk = panel[first : first + width]
        steps = np.zeros((len(n), len(chunk)))
        for s, y in enumerate(chunk):
            steps[: len(y), s] = np.abs(np.diff(y, prepend=y[:1]))
        total = np.zeros(steps.shape)
        for t in range(1, len(total)):
            now = steps[t]
            if t >= MIN_CHANGES:
                now = _limit_outliers(steps, t, usual=total[t - 1] / weight[t - 1])
            total[t] = now + keep * total[t - 1]
        shape, is_known = steps.shape, weight > 0
        mean = np.divide(total, weight, out=np.zeros(shape), where=is_known)
        whole = np.divide(np.cumsum(steps, axis=0), n, out=np.zeros(shape), where=is_known)
        volatility = np.maximum(mean, 1e-3 * whole)
        yield from (volatility[: len(y), s] for s, y in enumerate(chunk))


def _limit_outliers(steps: Values, t: int, *, usual: Values) -> Values:
    """Return the changes at t, none above OUTLIER times the usual size of changes: [S].

    `steps` [n, S] are all changes, `usual` [S] is their weighted mean before t. Where the median of
    the recent changes other than 0 is larger, that is the usual size: a series that moves rarely,
    or has begun to move more, has no outliers.
    """
    now: Values = steps[t]
    large = np.flatnonzero(now > OUTLIER * usual)
    if not len(large):
        return now
    recent = steps[max(t + 1 - OUTLIER_WINDOW, 1) : t + 1, large]
    ranked = np.sort(np.where(recent > 0, recent, np.inf), axis=0)
    middle = ((recent > 0).sum(axis=0) - 1) // 2
    median = ranked[middle, np.arange(len(large))]
    limited = now.copy()
    limited[large] = np.minimum(now[large], OUTLIER * np.maximum(usual[large], median))
    return limited


def scale_errors(abs_errors: Values, volatility: Values) -> Values:
    """Divide errors by the volatility at their cutoff: [..., K, H], [..., K] -> [..., K, H].

    Where a series had never moved, an error is infinite, and a zero error stays zero. A NaN stays.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(abs_errors == 0, 0.0, abs_errors / volatility[..., None])


@dataclass(frozen=True, eq=False)
class ErrorPool:
    """The scores of many series known at each of T weeks, summarized by weighted quantiles."""

    points: Values  # [T, POOL_POINTS]; quantiles at (i + 1/2) / POOL_POINTS
    weight: Values  # [T]; their total weight

    @classmethod
    def from_scores(cls, scores: Values, weeks: Positions, at_weeks: Positions, *, h: int) -> Self:
        """Pool n scores of h weeks ahead, made at cutoffs `weeks` [n], as known at T `at_weeks`.

        Weeks are counted from any common day. A score that is NaN does not count.
        """
        is_known = ~np.isnan(scores)
        scores, weeks = scores[is_known], weeks[is_known]
        n_weeks = len(at_weeks)
        points, weight = np.full((n_weeks, POOL_POINTS), np.inf), np.zeros(n_weeks)
        order = np.argsort(scores, kind="stable")
        ranked, made = scores[order], weeks[order]
        newest = max(at_weeks, default=0)
        weights = WEEKLY_DECAY ** (newest - made).astype(np.float64)
        shares = (np.arange(POOL_POINTS) + 0.5) / POOL_POINTS
        for t, week in enumerate(at_weeks):
            cumulative = np.cumsum(np.where(week - made >= h, weights, 0.0))
            if len(cumulative) and cumulative[-1] > 0:
                weight[t] = cumulative[-1] / WEEKLY_DECAY ** float(newest - week)
                points[t] = ranked[np.searchsorted(cumulative, shares * cumulative[-1])]
        return cls(points, weight)

    def at_weeks(self, positions: Positions) -> Self:
        """Select some of the pool's weeks by position."""
        return type(self)(self.points[positions], self.weight[positions])


def quantiles(scores: Values, weights: Values, levels: Sequence[float], pool: ErrorPool) -> Values:
    """Return the weighted quantiles of n own scores and a pool: [N, n], [T, n] -> [L, N, T].

    A level's quantile is the lowest score up to which the weights sum to `level` % of the total,
    which includes 1 for the new score; NaN where all of them do not. A score that is NaN does not
    count. The pool contributes its weight beyond that of the own scores, which it contains, and at
    most MAX_POOL_WEIGHT.
    """
    n_rows, n = scores.shape
    result = np.full((len(levels), n_rows, len(weights)), np.nan)
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    is_known = ~np.isnan(scores)
    ranked_known = np.take_along_axis(is_known, order, axis=1)
    ranked[~ranked_known] = np.inf
    has_unknown = not is_known.all()
    size = max(CHUNK_SIZE // max(n_rows * n, 1), 1)
    rows = np.arange(n_rows)
    for first in range(0, len(weights), size):
        chunk = slice(first, first + size)
        own, each = weights[chunk].sum(axis=1)[:, None], weights[chunk][:, order]  # [t, N, n]
        if has_unknown:
            own = (weights[chunk][:, None] * is_known).sum(axis=2)
            each *= ranked_known
        point_weight = np.clip(pool.weight[chunk, None] - own, 0, MAX_POOL_WEIGHT) / POOL_POINTS
        cumulative = np.cumsum(each, axis=2)
        n_below = [np.searchsorted(points, ranked, side="right") for points in pool.points[chunk]]
        combined = cumulative + point_weight[:, :, None] * np.stack(n_below)
        total = own + POOL_POINTS * point_weight + 1  # [t, N], or [t, 1] if all scores are known
        for i, level in enumerate(levels):
            # 1e-12 absorbs rounding: 20 * 0.95 is 19 only by luck.
            needed = total * level / 100 * (1 - 1e-12)
            rank = (combined < needed[:, :, None]).sum(axis=2)  # [t, N]
            lowest = np.full(rank.shape, np.inf)
            if n:
                lowest = np.where(rank < n, ranked[rows, np.minimum(rank, n - 1)], np.inf)
                below = np.take_along_axis(cumulative, np.maximum(rank - 1, 0)[:, :, None], axis=2)
                needed = needed - np.where(rank > 0, below[:, :, 0], 0.0)
            lowest = np.minimum(lowest, _pool_quantile(pool.points[chunk], needed, point_weight))
            result[i, :, chunk] = np.where(np.isfinite(lowest), lowest, np.nan).T
    return result


def _pool_quantile(points: Values, needed: Values, point_weight: Values) -> Values:
    """Return the lowest point at which the pool's weights reach `needed`, else infinity.

    [t, P], [t, N], [t, N] -> [t, N].
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        n_points = np.where(point_weight > 0, needed / point_weight, np.inf)
    last = np.clip(np.ceil(n_points * (1 - 1e-12)), 1, POOL_POINTS).astype(np.int64) - 1
    quantile = np.take_along_axis(points, last, axis=1)
    return np.where(n_points * (1 - 1e-12) <= POOL_POINTS, quantile, np.inf)


def half_widths(
    abs_errors: Values,
    volatility: Values,
    weeks: Positions,
    levels: Sequence[float],
    pools: Sequence[ErrorPool],
    *,
    target_weeks: Positions | None = None,
    target_volatility: Values | None = None,
) -> Values:
    """Return the interval half-widths of S series at each of T weeks: [L, S, T, H].

    `abs_errors` [S, K, H] were made at cutoffs `weeks` [K] with `volatility` [S, K]; at the cutoffs
    `target_weeks` [T], by default the same, it is `target_volatility` [S, T]. `pools` holds one
    pool for each of the H weeks ahead. Only errors whose target week was over count, and none that
    is NaN. As long as a series has never moved, the pool does not count: there is no unit to scale
    it to.
    """
    target_weeks = weeks if target_weeks is None else target_weeks
    target_volatility = volatility if target_volatility is None else target_volatility
    scores, age = scale_errors(abs_errors, volatility), target_weeks[:, None] - weeks
    result = _quantiles_by_week_ahead(scores, age, levels, pools)
    never_moved = target_volatility == 0
    rows = np.flatnonzero(never_moved.any(axis=1))
    if len(rows):
        empty = ErrorPool.from_scores(scores[0, :0, 0], weeks[:0], target_weeks, h=1)
        alone = _quantiles_by_week_ahead(scores[rows], age, levels, [empty] * len(pools))
        result[:, rows] = np.where(never_moved[rows, :, None], alone, result[:, rows])
    return result * target_volatility[:, :, None]


def _quantiles_by_week_ahead(
    scores: Values, age: Positions, levels: Sequence[float], pools: Sequence[ErrorPool]
) -> Values:
    """Return the quantiles of scores of an age in weeks: [S, K, H], [T, K] -> [L, S, T, H]."""
    weights = WEEKLY_DECAY ** np.maximum(age, 0)
    by_week = [
        # An error is known once its target week, h + 1 after the cutoff, is over.
        quantiles(scores[:, :, h], np.where(age > h, weights, 0.0), levels, pool)
        for h, pool in enumerate(pools)
    ]
    return np.stack(by_week, axis=-1)


def weighted_interval_score(
    y: Values, y_hat: Values, widths: Values, levels: Sequence[float]
) -> Values:
    """Score forecasts with their interval half-widths: [...], [L, ...] -> [...]; lower is better.

    WIS = (|y - y_hat| / 2 + sum_l a_l / 2 * IS_l) / (L + 1/2), a_l = 1 - level_l / 100, and
    IS_l = width + 2 / a_l * (how far y lies outside): Bracher, Ray, Gneiting & Reich (2021),
    Evaluating epidemic forecasts in an interval format, eq. 1 and 2.
    """
    error = np.abs(y - y_hat)
    alphas = 1 - np.asarray(levels, dtype=np.float64) / 100
    total = error / 2
    for alpha, half_width in zip(alphas, widths, strict=True):
        outside = np.maximum(error - half_width, 0.0)
        total = total + alpha / 2 * (2 * half_width + 2 / alpha * outside)
    return np.asarray(total / (len(levels) + 0.5))
