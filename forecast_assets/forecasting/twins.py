"""Compare twins, a model with and without regressors, and say when only the first may be used.

Most weeks say nothing about holidays: in the errors of past weeks, a model that does not know of
them may look as good as its twin until the first one. So in weeks with a large holiday or event,
one that changed the series more than usual before, the members of ensembles are models that know of
it, unless in such weeks the best of them was clearly worse than the best model of all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.config.settings import Settings
from forecast_assets.data.calendar import NEIGHBOURS
from forecast_assets.forecasting.weekly_losses import WeeklyLosses
from forecast_assets.models.base import Positions, Values
from forecast_assets.models.registry import WITH_REGRESSORS, with_regressors

# Standard errors by which models are clearly worse. With fewer weeks a standard error says little.
CLEARLY_WORSE = 2
MIN_WEEKS = 8
# With fewer weeks, but as many, models with so many times the error of others are far worse.
MIN_WEEKS_FAR_WORSE = 3
FAR_WORSE = 2
# A holiday is large if in its past weeks the changes of the series were so many times the usual
# ones. Of fourteen holidays, four are so large for the sales of 45 stores; in the weeks of the
# others the estimated effects are mostly noise (docs/causes.md).
LARGE = 1.5
# Series that tell how large a holiday is, evenly drawn.
MAX_SERIES = 1000


def twins_of(models: Iterable[str], settings: Settings) -> list[tuple[str, str]]:
    """Return the pairs of a model without and with regressors, sorted by the second."""
    names = set(models)
    pairs = [(n.removesuffix(WITH_REGRESSORS), n) for n in sorted(with_regressors(names, settings))]
    return [(plain, name) for plain, name in pairs if plain in names]


@dataclass(frozen=True, eq=False)
class MembersThatKnow:
    """Which of M models know the calendar, and at which of K cutoffs only these are members."""

    knows: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    is_alone: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def keep(self, is_able: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
        """Leave the able models that know, where a series has any: [M, S] -> [M, S]."""
        if not self.is_alone.any() or not self.is_alone[k]:
            return is_able
        kept = is_able & self.knows[:, None]
        return np.where(kept.any(axis=0), kept, is_able)


@dataclass(frozen=True, eq=False)
class Holidays:
    """The weeks with a large holiday or event, and what is known of models in them."""

    knows: NDArray[np.bool_]  # [M]
    weeks: Positions  # as `as_weeks` counts them
    is_worse: NDArray[np.bool_]  # [W + 1]; by the first n cutoff weeks those that know were worse
    horizon: int

    @classmethod
    def of(
        cls,
        knows: NDArray[np.bool_],
        planned: Sequence[SeriesFolds],
        weekly: WeeklyLosses,
        y_hat: Values,
        is_own: NDArray[np.bool_],
    ) -> Self:
        """Compare M models in these weeks: knows [M], y_hat [M, F, H], is_own [M, F]."""
        horizon, n_weeks = y_hat.shape[2], len(weekly.weeks)
        weeks, is_worse = np.zeros(0, dtype=np.int64), np.zeros(n_weeks + 1, dtype=bool)
        if knows.any():
            weeks = _weeks_of_large_events(planned, weekly.weeks[:1], horizon=horizon)
        if not len(weeks):
            return cls(knows, weeks, is_worse, horizon)
        found = cls(knows, weeks, is_worse, horizon)
        is_ahead = found.are_ahead(weekly.weeks)
        is_worse[1:] = _are_worse(_leading_losses(knows, weekly, y_hat, is_own, is_ahead))
        return found

    def are_ahead(self, cutoffs: Positions) -> NDArray[np.bool_]:
        """Tell for each cutoff week whether most of the weeks ahead are such weeks: [K]."""
        ahead = np.asarray(cutoffs)[:, None] + np.arange(1, self.horizon + 1)
        return np.asarray(np.isin(ahead, self.weeks).mean(axis=1) > 1 / 2)

    def members(self, cutoffs: Positions, n_over: Positions) -> MembersThatKnow:
        """Return when only models that know are members, by what is known at each cutoff."""
        return MembersThatKnow(self.knows, self.are_ahead(cutoffs) & ~self.is_worse[n_over])


def _weeks_of_large_events(
    planned: Sequence[SeriesFolds], cutoffs: Positions, *, horizon: int
) -> Positions:
    """Return the weeks after the first of the cutoffs that have a large holiday or event.

    How large it is, is judged by what was known `horizon` weeks before. An event that never was
    before is not large, because no model has seen it.
    """
    x = planned[0].x if planned else None
    names = list(x.common.names) if x is not None else []
    events = [i for i, name in enumerate(names) if name + NEIGHBOURS[0] in names]
    if x is None or not events or not len(cutoffs):
        return np.zeros(0, dtype=np.int64)
    first = _as_week(x.common.first)
    has_event = x.common.values[:, events] > 0  # [W, events]
    drawn = planned[:: -(-len(planned) // MAX_SERIES)]
    changes = np.full((len(drawn), len(has_event)), np.nan)
    for row, folds in zip(changes, drawn, strict=True):
        start = _as_week(folds.ds[0]) - first
        row[start + 1 : start + len(folds.y)] = np.abs(np.diff(folds.real_y))
    after = int(cutoffs[0]) - first + 1
    weeks = np.arange(after, len(has_event))[has_event[after:].any(axis=1)]
    is_large = [
        _is_large(changes[:, : max(week - horizon + 1, 0)], has_event[:, has_event[week]])
        for week in weeks.tolist()
    ]
    return np.asarray(first + weeks[np.array(is_large, dtype=bool)])


def _is_large(changes: Values, has_event: NDArray[np.bool_]) -> bool:
    """Tell whether any event is large by the changes so far: [S, n] and [W, events]."""
    is_known = ~np.isnan(changes)
    changes = np.where(is_known, changes, 0.0)
    usual = changes.sum(axis=1) / np.maximum(is_known.sum(axis=1), 1)  # of each series
    relative = np.divide(changes, usual[:, None], out=np.zeros_like(changes), where=changes > 0)
    n = is_known.sum(axis=0)
    if not n.any():
        return False
    mean = relative.sum(axis=0) / np.maximum(n, 1)  # of each week
    threshold = LARGE * np.median(mean[n > 0])
    weeks = has_event[: len(mean)] & (n > 0)[:, None]
    return any(mean[of_event].mean() > threshold for of_event in weeks.T if of_event.any())


def _as_week(day: np.datetime64) -> int:
    """Count weeks as `fold_blocks.as_weeks` does."""
    return int(day.astype("datetime64[D]").astype(np.int64)) // 7


def _leading_losses(
    knows: NDArray[np.bool_],
    weekly: WeeklyLosses,
    y_hat: Values,
    is_own: NDArray[np.bool_],
    is_ahead: NDArray[np.bool_],
) -> Values:
    """Return the losses [2, W] of the best model that knows, and of the best of all.

    Best is who had the lowest loss in such weeks that were over by then. Both losses
    are on the folds that both models have; NaN in other weeks, and where none was known.
    """
    every = zip(y_hat, is_own, strict=True)
    total, n = np.stack([weekly.totals(*of_model) for of_model in every], axis=1)  # [M, W] each
    total, n = (np.cumsum(np.where(is_ahead, values, 0.0), axis=1) for values in (total, n))
    mean = np.divide(total, n, out=np.full(total.shape, np.inf), where=n > 0)
    # A model of few series says little of the panel.
    of_all = np.where(knows[:, None] | (2 * n >= n.max(axis=0)), mean, np.inf)
    known = np.where(knows[:, None], mean, np.inf)
    n_over, losses = weekly.n_over(weekly.weeks), np.full((2, len(weekly.weeks)), np.nan)
    leaders = np.stack([known.argmin(axis=0), of_all.argmin(axis=0)])[:, n_over - 1]
    counts = is_ahead & (n_over > 0) & np.isfinite(known.min(axis=0))[n_over - 1]
    for i, j in np.unique(leaders[:, counts], axis=1).T.tolist():
        both = is_own[i] & is_own[j]
        (of_i, n_both), (of_j, _) = (weekly.totals(y_hat[model], both) for model in (i, j))
        at = counts & (leaders == [[i], [j]]).all(axis=0) & (n_both > 0)
        losses[:, at] = np.stack([of_i, of_j])[:, at] / n_both[at]
    return losses


def _are_worse(losses: Values) -> NDArray[np.bool_]:
    """Tell from losses [2, W] so far whether the first are clearly or far worse: [W]."""
    counts = ~np.isnan(losses[0])
    n = np.cumsum(counts)
    first, second = np.cumsum(np.where(counts, losses, 0.0), axis=1)
    is_far = (n >= MIN_WEEKS_FAR_WORSE) & (first > FAR_WORSE * second)
    behind = np.where(counts, losses[0] - losses[1], 0.0)
    mean, square = (np.cumsum(part) / np.maximum(n, 1) for part in (behind, behind**2))
    error = np.sqrt(np.maximum(square - mean**2, 0.0) / np.maximum(n - 1, 1))
    is_clear = (n >= MIN_WEEKS) & (mean > CLEARLY_WORSE * error)
    return np.asarray(is_far | is_clear)
