"""Combine models' backtest forecasts into ensembles, which are candidates like any model.

A model's weight at a cutoff depends only on folds whose target weeks were over by then. The members
of an ensemble forecast every fold of the series since it was long enough for them; except for the
best subset they are the few with the lowest mean absolute error so far, on the series and on the
whole panel, over naive's on the same folds. In weeks with a large holiday they know of it: see
`twins`. Which ensemble is best by evidence is decided in `evidence`; choosing among candidates
belongs to `selection`.

The mean and the median of a few diverse models are hard to beat (Petropoulos & Svetunkov (2020), A
simple combination of univariate models, International Journal of Forecasting 36:110-115); those of
all models are not (docs/choosing.md). Inverse-error weights follow Bates & Granger (1969), The
combination of forecasts, section 3, with absolute errors. The best subset grows greedily, with
replacement, as in Caruana, Niculescu-Mizil, Crew & Ksikes (2004), Ensemble selection from libraries
of models.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.eligibility import INELIGIBLE, SCORED, TOO_FEW
from forecast_assets.forecasting.fold_blocks import SeriesBlock
from forecast_assets.models.base import Positions, Values

# From errors [M, S, K, H], 0 where the actual is unknown, which models are able [M, S], how many
# folds have a known actual [S], and each model's error on the whole panel over naive's [M], to
# weights [M, S] that sum to 1.
Weigh = Callable[[Values, NDArray[np.bool_], Positions, Values], Values]
Pool = Callable[[Values, Values], Values]

# The median of five to seven members did best, and the weighted mean of three (docs/choosing.md).
MAX_MEMBERS = 5
MAX_WEIGHTED_MEMBERS = 3
# Models in the best subset, repetitions counted.
GREEDY_ROUNDS = 5
# With fewer folds, the best subset is the few best models with equal weights.
MIN_FOLDS_FOR_SUBSET = 8
NO_MEMBER = "no model forecast every fold"


def equal_weights(
    errors: Values, is_able: NDArray[np.bool_], n_known: Positions, panel: Values
) -> Values:
    """Give each member the same weight: [M, S, K, H], [M, S], [S] and [M] -> [M, S]."""
    return _shares(_members(errors, is_able, n_known, panel, MAX_MEMBERS).astype(np.float64))


def inverse_error_weights(
    errors: Values, is_able: NDArray[np.bool_], n_known: Positions, panel: Values
) -> Values:
    """Weight each member by the inverse of its expected error; a perfect one takes all."""
    members = _members(errors, is_able, n_known, panel, MAX_WEIGHTED_MEMBERS)
    error = _expected_error(errors, members, panel)
    lowest = error.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(lowest > 0, lowest / error, 0.0)
    inverse = np.where((error == 0) | np.isinf(lowest), 1.0, inverse)  # none has a fold yet
    return _shares(np.where(members, inverse, 0.0))


def best_of_panel_weights(
    errors: Values, is_able: NDArray[np.bool_], n_known: Positions, panel: Values
) -> Values:
    """Give all weight to the model with the lowest error on the whole panel, once they differ."""
    if (panel == panel[:1]).all():
        return equal_weights(errors, is_able, n_known, panel)
    best = np.where(is_able, panel[:, None], np.inf).argmin(axis=0)
    is_best = np.arange(len(is_able))[:, None] == best
    return _shares((is_able & is_best).astype(np.float64))


def greedy_weights(
    errors: Values, is_able: NDArray[np.bool_], n_known: Positions, panel: Values
) -> Values:
    """Add the member that lowers the error of the mean most, round by round, with replacement."""
    few = n_known < MIN_FOLDS_FOR_SUBSET
    if few.all():
        return equal_weights(errors, is_able, n_known, panel)
    n_models, n_series = is_able.shape
    flat = np.where(is_able[:, :, None], errors.reshape(n_models, n_series, -1), np.inf)
    total = np.zeros(flat.shape[1:])
    counts, kept = np.zeros((n_models, n_series)), np.zeros((n_models, n_series))
    lowest, index = np.full(n_series, np.inf), np.arange(n_series)
    for size in range(1, GREEDY_ROUNDS + 1):
        loss = np.abs(total + flat).mean(axis=2) / size  # [M, S]
        best = loss.argmin(axis=0)
        total += flat[best, index]
        counts[best, index] += 1
        is_better = loss[best, index] < lowest
        lowest = np.where(is_better, loss[best, index], lowest)
        kept = np.where(is_better, counts, kept)
    few = few | np.isinf(lowest)
    if few.any():
        kept[:, few] = equal_weights(errors[:, few], is_able[:, few], n_known[few], panel)
    return _shares(np.where(is_able, kept, 0.0))


def mean(y_hat: Values, weights: Values) -> Values:
    """Return the weighted mean of the members that forecast: [M, S, H] and [M, S] -> [S, H]."""
    shares = _surviving(y_hat, weights)[:, :, None]
    is_in = shares > 0
    pooled = np.where(is_in, shares * np.nan_to_num(y_hat), 0.0).sum(axis=0)
    # Rounding must not move the mean of equal forecasts away from them.
    low, high = (
        np.where(is_in, y_hat, np.inf).min(axis=0),
        np.where(is_in, y_hat, -np.inf).max(axis=0),
    )
    return np.where(is_in.any(axis=0), np.clip(pooled, low, high), np.nan)


def median(y_hat: Values, weights: Values) -> Values:
    """Return the unweighted median of the members that forecast: [M, S, H], [M, S] -> [S, H]."""
    is_in = _surviving(y_hat, weights) > 0
    ordered = np.sort(np.where(is_in[:, :, None], y_hat, np.nan), axis=0)  # NaN comes last
    n = is_in.sum(axis=0)
    low, high = np.maximum(n - 1, 0) // 2, np.minimum(n // 2, len(y_hat) - 1)
    index = np.arange(len(n))
    return np.asarray((ordered[low, index] + ordered[high, index]) / 2)


@dataclass(frozen=True)
class Ensemble:
    """A rule that combines members: how they are weighted and how their forecasts are pooled."""

    weigh: Weigh
    pool: Pool

    def weights(self, block: SeriesBlock) -> Values:
        """Return the weights of M models on S series by all folds of a block: [M, S]."""
        errors, naive, n_known = _known_errors(block)
        known = _complete(errors, naive, block.is_scored)
        is_able = block.members.keep(block.is_scored, -1)
        return self.weigh(known, is_able, n_known[:, -1], block.panel_ratio[:, -1])

    def combine_folds(self, block: SeriesBlock, *, n_over: Positions) -> Values:
        """Combine the forecasts of every fold of a block: [S, K, H].

        The weights at fold k use the first `n_over[k]` folds: those whose weeks were over. Only
        models that forecast the fold have any.
        """
        y_hat = block.y_hat
        errors, naive, n_known = _known_errors(block)
        pooled = np.empty_like(block.y)
        for k, n in enumerate(n_over):
            known = _complete(errors[:, :, :n], naive[:, :n], block.is_scored)
            is_able = block.is_scored & np.isfinite(y_hat[:, :, k]).all(axis=2)
            is_able = block.members.keep(is_able, k)
            weights = self.weigh(known, is_able, n_known[:, n], block.panel_ratio[:, k])
            pooled[:, k] = self.pool(y_hat[:, :, k], weights)
        return pooled


COMBINATIONS: Mapping[str, Ensemble] = MappingProxyType(
    {
        "combination_mean": Ensemble(equal_weights, mean),
        "combination_median": Ensemble(equal_weights, median),
        "combination_inverse_error": Ensemble(inverse_error_weights, mean),
        "combination_best_subset": Ensemble(greedy_weights, mean),
        "combination_best_model": Ensemble(best_of_panel_weights, mean),
    }
)


def add_ensembles(results: BacktestResults, names: Collection[str]) -> BacktestResults:
    """Add the forecasts that the named ensembles of the models would have made at each fold."""
    ensembles = [name for name in COMBINATIONS if name in names]
    y_hat = [_combine(results, COMBINATIONS[name])[None] for name in ensembles]
    status, reason = _status_of_members(results)
    shape = (len(ensembles), len(results.planned))
    return replace(
        results,
        models=[*results.models, *ensembles],
        y_hat=np.concatenate([results.y_hat, *y_hat]),
        fit_seconds=np.concatenate([results.fit_seconds, np.zeros(shape)]),
        status=np.concatenate([results.status, np.broadcast_to(status, shape)]),
        reason=np.concatenate([results.reason, np.broadcast_to(reason, shape)]),
    )


def _combine(results: BacktestResults, ensemble: Ensemble) -> Values:
    """Return the forecasts of an ensemble at every fold: [F, H]."""
    y_hat = np.full(results.y.shape, np.nan)
    for block in results.blocks():
        n_over = np.searchsorted(block.weeks, block.weeks - results.y.shape[1], side="right")
        of_block = ensemble.combine_folds(block, n_over=n_over)
        y_hat[block.folds[block.has_fold]] = of_block[block.has_fold]
    return y_hat


def _status_of_members(
    results: BacktestResults,
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return the status of every ensemble on each series, and its reason: [S] each."""
    is_scored, is_few = ((results.status == one).any(axis=0) for one in (SCORED, TOO_FEW))
    status = np.where(is_scored, SCORED, np.where(is_few, TOO_FEW, INELIGIBLE)).astype(object)
    reason = np.full(len(status), NO_MEMBER, dtype=object)
    reason[is_scored] = None
    for s in np.flatnonzero(is_few):
        reason[s] = results.reason[results.status[:, s] == TOO_FEW, s][0]
    return status, reason


def _known_errors(block: SeriesBlock) -> tuple[Values, Values, Positions]:
    """Return errors, those of naive, and a count: [M, S, K, H], [S, K, H] and [S, K + 1].

    Recent ones have more weight. Errors are 0 where the actual is unknown, and NaN where a model
    has no forecast. The count [:, k] is how many of the first k folds have a known actual.
    """
    is_known = ~np.isnan(block.y)
    errors, naive = block.errors, block.last[:, :, None] - block.y
    if not is_known.all():
        errors, naive = (np.where(is_known, values, 0.0) for values in (errors, naive))
    counts = np.cumsum(is_known.any(axis=2), axis=1)
    errors, naive = (values * block.recency[:, None] for values in (errors, naive))
    return errors, naive, np.pad(counts, ((0, 0), (1, 0)))


def _complete(errors: Values, naive: Values, is_scored: NDArray[np.bool_]) -> Values:
    """Give a scored model the error of naive, times its ratio to naive, on the folds that it lacks.

    Its mean absolute error then is the ratio on its own folds times naive's error on all of them;
    infinite where it has no fold at all: [M, S, K, H], [S, K, H] and [M, S] -> [M, S, K, H].
    """
    is_missing = np.isnan(errors) & is_scored[:, :, None, None]
    if not is_missing.any():
        return errors
    own, of_naive = (
        np.where(is_missing, 0.0, np.abs(values)).sum(axis=(2, 3)) for values in (errors, naive)
    )
    has_any = ~is_missing.all(axis=(2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(of_naive > 0, own / of_naive, np.where(own > 0, np.inf, 1.0))
        filled = np.where(has_any, ratio, np.inf)[:, :, None, None] * np.abs(naive)
    filled = np.where(np.isfinite(filled), filled, np.inf)  # also where naive's error is zero
    return np.where(is_missing, filled, errors)


def _expected_error(errors: Values, is_in: NDArray[np.bool_], panel: Values) -> Values:
    """Return the error to expect of each model: [M, S]; infinite for one excluded.

    It is the geometric mean of the model's mean absolute error on the series and its error on the
    panel, because a few folds of one series tell too little. Only ratios between models matter.
    """
    n_errors = max(errors.shape[2] * errors.shape[3], 1)
    mae = np.abs(errors).sum(axis=(2, 3)) / n_errors
    return np.where(is_in, np.sqrt(mae * panel[:, None]), np.inf)


def _members(
    errors: Values, is_able: NDArray[np.bool_], n_known: Positions, panel: Values, n_members: int
) -> NDArray[np.bool_]:
    """Return the few models with the lowest error, ties by order; before any is known all."""
    error = _expected_error(errors, is_able, panel)
    rank = error.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.asarray(is_able & ((rank < n_members) | (n_known == 0)))


def _shares(weights: Values) -> Values:
    total = weights.sum(axis=0)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def _surviving(y_hat: Values, weights: Values) -> Values:
    return _shares(np.where(np.isfinite(y_hat).all(axis=2), weights, 0.0))
