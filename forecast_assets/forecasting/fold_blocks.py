"""Lay out the folds of series with the same calendar as arrays, with or without filled weeks.

Which series have the same calendar is decided in `backtest_results`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecast_assets.forecasting.scales import Scale
from forecast_assets.forecasting.twins import MembersThatKnow
from forecast_assets.models.base import Positions, Values

# The position of a fold that does not exist.
NO_FOLD = -1


@dataclass(frozen=True, eq=False)
class SeriesBlock:
    """Series that end in the same week, and K cutoffs at which any of them has a fold.

    Where a series has no fold, all of its values are NaN; `y` is NaN where the week was filled too.
    """

    series: Positions  # [S]
    folds: Positions  # [S, K]; their positions in the whole, or NO_FOLD
    weeks: Positions  # [K]; of the cutoffs, as `as_weeks` counts them
    last: Values  # [S, K]; the value at the cutoff
    recent_volatility: Values  # [S, K, H]; at the cutoff, for each of the weeks ahead
    y: Values  # [S, K, H]
    y_hat: Values  # [M, S, K, H]; NaN where a model did not forecast
    is_scored: NDArray[np.bool_]  # [M, S]: forecast every fold since the series was long enough
    # [M, K + 1]: each model's error over naive's on the whole panel, as known at each cutoff and,
    # last, by all folds
    panel_ratio: Values
    recency: Values  # [K]; the weight of an error of each week when members are chosen
    scale: Scale
    is_on_scale: NDArray[np.bool_]  # [S, 1, 1]; else its errors are measured on the level
    members: MembersThatKnow = field(default_factory=MembersThatKnow)  # [K + 1] as above

    @property
    def errors(self) -> Values:
        """Forecast minus actual: [M, S, K, H]."""
        return self.y_hat - self.y

    def scaled_errors(self, model: int) -> Values:
        """Return the size of a model's errors on the scale: [S, K, H]."""
        y_hat, y = (self.scale.forward(v, self.is_on_scale) for v in (self.y_hat[model], self.y))
        return np.abs(y_hat - y)

    @property
    def has_fold(self) -> NDArray[np.bool_]:
        """Where a series has a fold: [S, K]."""
        return np.asarray(self.folds != NO_FOLD)

    @property
    def is_own(self) -> NDArray[np.bool_]:
        """The folds that a scored model has: [M, S, K]."""
        has_forecast = np.isfinite(self.y_hat).all(axis=-1)
        return np.asarray(has_forecast & self.is_scored[:, :, None])

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """The folds that all scored models have: [S, K]."""
        is_shared = (self.is_own | ~self.is_scored[:, :, None]).all(axis=0)
        return np.asarray(is_shared & self.has_fold)

    def mean_ahead(self, values: Values) -> Values:
        """Return the mean over the weeks ahead that were not filled: [..., S, K, H] -> [..., S, K].

        NaN where a value of such a week is NaN, or the series has no fold.
        """
        is_real = ~np.isnan(self.y)
        n_real = is_real.sum(axis=-1)
        total = np.where(is_real, values, 0.0).sum(axis=-1)
        return np.asarray(total / np.where(n_real > 0, n_real, np.nan))

    def by_own_folds(
        self, shared: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[Positions, Any, tuple[Any, Any]]]:
        """Yield candidates, series, and the index [s, k] of the folds that they have.

        Candidates that lack no fold come together, as `by_n_known` yields them. With `shared`
        [S, K], all come together on these folds.
        """
        everyone = np.arange(len(self.is_scored))
        if shared is not None:
            yield from ((everyone, rows, folds) for rows, folds in by_n_known(shared))
            return
        is_own = self.is_own | (~self.is_scored[:, :, None] & self.has_fold)
        is_whole = (is_own == self.has_fold).all(axis=(1, 2))
        if is_whole.any():
            for rows, folds in by_n_known(self.has_fold):
                yield everyone[is_whole], rows, folds
        for candidate in everyone[~is_whole]:
            for rows, folds in by_n_known(is_own[candidate]):
                yield np.array([candidate]), rows, folds


def by_n_known(is_known: NDArray[np.bool_]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    """Yield series with equal numbers of known folds, and the index of these folds: [S, K].

    With the index, values [..., S, K] become [..., s, k] without unknown folds.
    """
    if is_known.all():
        yield slice(None), (slice(None), slice(None))
        return
    n_known = is_known.sum(axis=1)
    known_first = np.argsort(~is_known, axis=1, kind="stable")
    for n in np.unique(n_known):
        rows = np.flatnonzero(n_known == n)
        yield rows, (rows[:, None], known_first[rows, :n])


def as_weeks(ds: "NDArray[np.datetime64]") -> Positions:
    """Convert days to whole weeks since 1970."""
    return ds.astype("datetime64[D]").astype(np.int64) // 7
