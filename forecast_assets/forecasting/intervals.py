"""Prediction intervals from a backtest's own errors: conformal, by weeks ahead.

An interval is the forecast plus and minus a radius: the noise at the cutoff times a quantile of
earlier errors over the noise at theirs. Recent errors count more. The quantile of weighted errors
takes the new one for infinitely large, with a weight of 1, which is the finite-sample correction:
Barber, Candes, Ramdas & Tibshirani (2023), Conformal prediction beyond exchangeability, eq. 11.
Beside a series' own errors speak those of all the others, together as one pool of bounded weight:
a new series has hardly anything else, and an old one gains by it too (docs/choosing.md). Where
errors weigh too little for a level all the same, there is no radius.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Positions, Values

RECENCY = 0.99  # an error weighs this much less a week later
HALF_LIFE = 26  # weeks in which a step's say in the noise halves
POOLED = 50  # errors that the pool weighs as much as, at most
POINTS = 50  # that the pool is kept as
AT_ONCE = 4_000_000  # numbers; bounds the memory


def recent_volatility(y: Values) -> Values:
    """The mean size of a series' weekly steps so far, recent ones counting more: [n] -> [n].

    In the series' unit; 0 as long as nothing ever moved, above 0 from then on.
    """
    from scipy.signal import lfilter  # noqa: PLC0415 - only intervals need it

    steps = np.abs(np.diff(y, prepend=y[:1]))
    keep = 0.5 ** (1 / HALF_LIFE)
    weight = (1 - keep ** np.arange(len(y))) / (1 - keep)  # of the steps so far: the first is none
    total = lfilter([1.0], [1.0, -keep], steps)
    mean: Values = np.divide(total, weight, out=np.zeros(len(y)), where=weight > 0)
    whole = np.divide(np.cumsum(steps), np.arange(len(y)), out=np.zeros(len(y)), where=weight > 0)
    floored: Values = np.maximum(mean, 1e-3 * whole)
    return floored


def scaled(abs_errors: Values, noise_at: Values) -> Values:
    """Errors over the noise at their cutoff: [..., K, H], [..., K].

    Where nothing had ever moved, an error is infinitely large, and none is none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = abs_errors / noise_at[..., None]
    return np.where(abs_errors == 0, 0.0, scores)


@dataclass(frozen=True, eq=False)
class ErrorPool:
    """The scaled errors of many series that were known at each of T weeks, as a few like them."""

    points: Values  # [T, POINTS]: their weighted quantiles at (i + 1/2) / POINTS
    weight: Values  # [T]: what they weigh in all

    @classmethod
    def of(cls, scores: Values, weeks: Positions, at: Positions, *, h: int) -> Self:
        """Pool n errors made h weeks ahead at cutoffs `weeks`, as known at each of `at`: [n], [T].

        Weeks are counted from any day on.
        """
        points, weight = np.full((len(at), POINTS), np.inf), np.zeros(len(at))
        order = np.argsort(scores, kind="stable")
        ranked, made = scores[order], weeks[order]
        newest = max(at, default=0)
        weights = RECENCY ** (newest - made).astype(np.float64)  # as of then
        shares = (np.arange(POINTS) + 0.5) / POINTS
        for t, week in enumerate(at):
            reached = np.cumsum(np.where(week - made >= h, weights, 0.0))
            if len(reached) and reached[-1] > 0:
                weight[t] = reached[-1] / RECENCY ** float(newest - week)
                points[t] = ranked[np.searchsorted(reached, shares * reached[-1])]
        return cls(points, weight)

    def at(self, which: Positions) -> Self:
        """The pool at some of its weeks."""
        return type(self)(self.points[which], self.weight[which])


def quantiles(scores: Values, weights: Values, levels: Sequence[float], pool: ErrorPool) -> Values:
    """The weighted quantiles of n scores and a pool at T weeks: [N, n], [T, n] -> [L, N, T].

    A level's quantile is the least score that those up to it reach `level` % of the whole weight
    with, 1 for the score to come included; NaN where all together do not. The pool weighs what it
    has beside the n scores, which are in it too, and no more than POOLED.
    """
    n_rows, n = scores.shape
    found = np.full((len(levels), n_rows, len(weights)), np.nan)
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    size = max(AT_ONCE // max(n_rows * n, 1), 1)
    rows = np.arange(n_rows)
    for first in range(0, len(weights), size):
        now = slice(first, first + size)
        own = weights[now].sum(axis=1)
        point = np.clip(pool.weight[now] - own, 0, POOLED) / POINTS  # what one of them weighs
        reached = np.cumsum(weights[now][:, order], axis=2)  # [t, N, n]
        n_below = [np.searchsorted(one, ranked, side="right") for one in pool.points[now]]
        together = reached + point[:, None, None] * np.stack(n_below)
        whole = own + POINTS * point + 1
        for i, level in enumerate(levels):
            needed = (whole * level / 100 * (1 - 1e-12))[:, None]  # 20 * 0.95 is 19 only by luck
            at = (together < needed[:, :, None]).sum(axis=2)  # [t, N]
            radii = np.full(at.shape, np.inf)
            if n:
                radii = np.where(at < n, ranked[rows, np.minimum(at, n - 1)], np.inf)
                before = np.take_along_axis(reached, np.maximum(at - 1, 0)[:, :, None], axis=2)
                needed = needed - np.where(at > 0, before[:, :, 0], 0.0)
            radii = np.minimum(radii, _nth_point(pool.points[now], needed, point))
            found[i, :, now] = np.where(np.isfinite(radii), radii, np.nan).T
    return found


def _nth_point(points: Values, needed: Values, point: Values) -> Values:
    """The least point that the points weigh enough up to: [t, P], [t, N], [t] -> [t, N]."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        nth = np.where(point[:, None] > 0, needed / point[:, None], np.inf)
    last = np.clip(np.ceil(nth * (1 - 1e-12)), 1, POINTS).astype(np.int64) - 1
    found = np.take_along_axis(points, last, axis=1)
    return np.where(nth * (1 - 1e-12) <= POINTS, found, np.inf)


def half_widths(
    abs_errors: Values,
    noise_at: Values,
    weeks: Positions,
    levels: Sequence[float],
    pools: Sequence[ErrorPool],
    *,
    at: Positions,
    noise_then: Values,
) -> Values:
    """The radii that S series would have been given at each of T weeks: [L, S, T, H].

    `abs_errors` [S, K, H] were made at cutoffs `weeks` [K], when the noise was `noise_at` [S, K];
    at the weeks `at` [T] it was `noise_then` [S, T]. `pools` has one for each of the H weeks ahead.
    Only errors whose own week was over by then count, and of the pool's none as long as the series
    never moved: there is nothing to measure it with.
    """
    scores, age = scaled(abs_errors, noise_at), at[:, None] - weeks
    found = _by_weeks_ahead(scores, age, levels, pools)
    never_moved = noise_then == 0
    rows = np.flatnonzero(never_moved.any(axis=1))
    if len(rows):
        nothing = ErrorPool.of(scores[0, :0, 0], weeks[:0], at, h=1)
        alone = _by_weeks_ahead(scores[rows], age, levels, [nothing] * len(pools))
        found[:, rows] = np.where(never_moved[rows, :, None], alone, found[:, rows])
    widths: Values = found * noise_then[:, :, None]
    return widths


def _by_weeks_ahead(
    scores: Values, age: Positions, levels: Sequence[float], pools: Sequence[ErrorPool]
) -> Values:
    """The quantiles of scores of that age: [S, K, H], [T, K] -> [L, S, T, H]."""
    found = [
        quantiles(scores[:, :, h], _weights(age, h + 1), levels, pool)
        for h, pool in enumerate(pools)
    ]
    return np.stack(found, axis=-1)


def _weights(age: Positions, h: int) -> Values:
    """What errors of h weeks ahead weigh, so many weeks after their cutoffs."""
    return np.where(age >= h, RECENCY ** np.maximum(age, 0), 0.0)


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
