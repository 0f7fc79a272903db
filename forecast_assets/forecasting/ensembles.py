"""Combinations of models as candidates in their own right: no fit, only what their members said.

What a model weighs at a cutoff comes from the folds whose weeks were over by then. Only models that
forecast every fold of a series may be members there, and but for the best subset the few of them
with the least mean absolute error so far are. Choosing among candidates: `selection`.

Why these: the mean and the median of a few diverse models are hard to beat (Petropoulos &
Svetunkov (2020), A simple combination of univariate models, International Journal of Forecasting
36:110-115), those of all models are not (docs/choosing.md); weights by inverse error are those of
Bates & Granger (1969), The combination of forecasts, section 3, with absolute errors; the best
subset grows greedily, with replacement, as in Caruana, Niculescu-Mizil, Crew & Ksikes (2004),
Ensemble selection from libraries of models.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from forecast_assets.forecasting.backtest_results import INELIGIBLE, SCORED, BacktestResults
from forecast_assets.models.base import Values

Weigh = Callable[[Values, NDArray[np.bool_]], Values]
Pool = Callable[[Values, Values], Values]

MEMBERS = 5  # that are combined: of three to ten, five to seven did best (docs/choosing.md)
ROUNDS = 5  # models that the best subset may hold, repetitions counted
NO_MEMBER = "no model forecast every fold"
LEAST_FOLDS = 8  # that a choice among subsets rests on; with fewer, the few best weigh the same


def equal_weights(errors: Values, is_able: NDArray[np.bool_]) -> Values:
    """Each member weighs the same: [M, S, k, H] and [M, S] -> [M, S]."""
    return _shares(_members(errors, is_able).astype(np.float64))


def by_inverse_error(errors: Values, is_able: NDArray[np.bool_]) -> Values:
    """Each member weighs the inverse of its mean absolute error; one that made none, all."""
    members = _members(errors, is_able)
    mae = _mae(errors, members)
    least = mae.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(mae == 0, 1.0, np.where(least > 0, least / mae, 0.0))
    return _shares(np.where(members, inverse, 0.0))


def greedy_weights(errors: Values, is_able: NDArray[np.bool_]) -> Values:
    """Those whose mean has the least absolute error, found one by one, each as often as taken."""
    n_models, n_series, n_folds, _ = errors.shape
    if n_folds < LEAST_FOLDS:
        return equal_weights(errors, is_able)
    flat = np.where(is_able[:, :, None], errors.reshape(n_models, n_series, -1), np.inf)
    total = np.zeros(flat.shape[1:])
    taken, kept = np.zeros((n_models, n_series)), np.zeros((n_models, n_series))
    least, each = np.full(n_series, np.inf), np.arange(n_series)
    for size in range(1, ROUNDS + 1):
        loss = np.abs(total + flat).mean(axis=2) / size  # [M, S]
        best = loss.argmin(axis=0)
        total += flat[best, each]
        taken[best, each] += 1
        is_better = loss[best, each] < least
        least = np.where(is_better, loss[best, each], least)
        kept = np.where(is_better, taken, kept)
    return _shares(np.where(is_able, kept, 0.0))


def mean(y_hat: Values, weights: Values) -> Values:
    """The weighted mean of the members that forecast: [M, S, H] and [M, S] -> [S, H]."""
    shares = _surviving(y_hat, weights)[:, :, None]
    pooled = np.where(shares > 0, shares * np.nan_to_num(y_hat), 0.0).sum(axis=0)
    return np.where(shares.sum(axis=0) > 0, pooled, np.nan)


def median(y_hat: Values, weights: Values) -> Values:
    """The median of the members that forecast, whatever they weigh: as `mean`."""
    is_in = _surviving(y_hat, weights) > 0
    ordered = np.sort(np.where(is_in[:, :, None], y_hat, np.nan), axis=0)  # NaN comes last
    n = is_in.sum(axis=0)
    low, high = np.maximum(n - 1, 0) // 2, np.minimum(n // 2, len(y_hat) - 1)
    each = np.arange(len(n))
    middle: Values = (ordered[low, each] + ordered[high, each]) / 2
    return middle


@dataclass(frozen=True)
class Ensemble:
    """How members' forecasts become one: what each weighs, and how they are pooled."""

    weigh: Weigh
    pool: Pool

    def folds(self, y_hat: Values, y: Values, is_able: NDArray[np.bool_], *, behind: int) -> Values:
        """The combination at every fold: [M, S, K, H] and [S, K, H] -> [S, K, H].

        A fold's weights see only the folds that lie at least `behind` before it.
        """
        errors = y_hat - y
        pooled = np.empty_like(y)
        for k in range(y.shape[1]):
            weights = self.weigh(errors[:, :, : max(k - behind + 1, 0)], is_able)
            pooled[:, k] = self.pool(y_hat[:, :, k], weights)
        return pooled


COMBINATIONS: Mapping[str, Ensemble] = MappingProxyType(
    {
        "combination_mean": Ensemble(equal_weights, mean),
        "combination_median": Ensemble(equal_weights, median),
        "combination_inverse_error": Ensemble(by_inverse_error, mean),
        "combination_best_subset": Ensemble(greedy_weights, mean),
    }
)


def add_ensembles(
    evidence: BacktestResults, names: Collection[str], *, behind: int
) -> BacktestResults:
    """The evidence, and what those combinations of its models would have said, beside it."""
    some = [name for name in COMBINATIONS if name in names]
    y_hat = np.full((len(some), *evidence.y.shape), np.nan)
    for block in evidence.blocks():
        for said, name in zip(y_hat, some, strict=True):
            said[block.folds] = COMBINATIONS[name].folds(
                block.y_hat, block.y, block.is_scored, behind=behind
            )
    is_any = (evidence.status == SCORED).any(axis=0)
    shape = (len(some), len(is_any))
    return evidence.joined(
        replace(
            evidence,
            models=some,
            y_hat=y_hat,
            fit_seconds=np.zeros(shape),
            status=np.broadcast_to(np.where(is_any, SCORED, INELIGIBLE), shape).astype(object),
            reason=np.broadcast_to(np.array([NO_MEMBER, None])[is_any.astype(int)], shape),
        )
    )


def _mae(errors: Values, is_in: NDArray[np.bool_]) -> Values:
    """Each model's mean absolute error so far, 0 before any; infinite for one that is out."""
    n_errors = max(errors.shape[2] * errors.shape[3], 1)
    return np.where(is_in, np.abs(errors).sum(axis=(2, 3)) / n_errors, np.inf)


def _members(errors: Values, is_able: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The few of the least error, of equals the first; before any fold all: [M, S]."""
    if not errors.shape[2]:
        return is_able
    rank = _mae(errors, is_able).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    members: NDArray[np.bool_] = is_able & (rank < MEMBERS)
    return members


def _shares(weights: Values) -> Values:
    total = weights.sum(axis=0)
    shares: Values = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return shares


def _surviving(y_hat: Values, weights: Values) -> Values:
    return _shares(np.where(np.isfinite(y_hat).all(axis=2), weights, 0.0))
