"""Sum the scaled errors of all series by week, because a panel has good and bad weeks together."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forecast_assets.models.base import Positions, Values

# Which models are good changes with the times, but it takes many errors to tell them apart: when
# members are chosen, the weight of an error falls by half in as many weeks as the panel needs for
# so many errors, and no faster than in so many weeks. Chosen on public series (docs/choosing.md).
HALF_LIFE_ERRORS = 600
MIN_HALF_LIFE_WEEKS = 10


def recency_weights(weeks: Positions, *, n_series: int) -> Values:
    """Return weights of errors made at ascending cutoff weeks, relative to each other: [K] -> [K].

    They grow from 1 on with the week, so that those of the first weeks hold whatever comes later.
    """
    half_life = max(HALF_LIFE_ERRORS / max(n_series, 1), MIN_HALF_LIFE_WEEKS)
    return np.asarray(2.0 ** ((weeks - weeks[:1]) / half_life))


@dataclass(frozen=True, eq=False)
class WeeklyLosses:
    """F folds by the W weeks that are the cutoff of any."""

    weeks: Positions  # [W], ascending
    position: Positions  # [F]; of each fold's cutoff among the weeks
    y: Values  # [F, H]; NaN where the actual is unknown
    unit: Values  # [F]; NaN where a series has none

    @classmethod
    def of(cls, cutoffs: Positions, y: Values, unit: Values) -> Self:
        """Arrange folds by their cutoffs [F]; a series whose unit is 0 has none."""
        weeks, position = np.unique(cutoffs, return_inverse=True)
        return cls(weeks, position.reshape(-1), y, np.where(unit > 0, unit, np.nan))

    @property
    def overlap(self) -> int:
        """How many successive cutoff weeks have a target week in common."""
        horizon = self.y.shape[1]
        step = min([horizon, *np.diff(self.weeks).tolist()])
        return int(-(-horizon // step))

    def n_over(self, weeks: Positions) -> Positions:
        """Return how many cutoff weeks had all their target weeks over by given weeks."""
        return np.asarray(np.searchsorted(self.weeks, weeks - self.y.shape[1], side="right"))

    def totals(
        self, y_hat: Values, is_in: NDArray[np.bool_] | None = None
    ) -> tuple[Values, Values]:
        """Return the sum of the absolute errors in each week and how many: [F, H] -> [W], [W].

        An error is the mean over the weeks ahead that are known, in the series' unit. Only folds in
        `is_in` [F] count.
        """
        errors = np.abs(y_hat - self.y)
        n_known = (~np.isnan(errors)).sum(axis=1)
        loss = np.nansum(errors, axis=1) / np.where(n_known > 0, n_known, np.nan) / self.unit
        counts = np.isfinite(loss) if is_in is None else is_in & np.isfinite(loss)
        position, n_weeks = self.position[counts], len(self.weeks)
        total, n = np.zeros((2, n_weeks))
        np.add.at(total, position, loss[counts])
        np.add.at(n, position, 1.0)
        return total, n

    def means(self, y_hat: Values) -> Values:
        """Return the mean absolute error in each week: [F, H] -> [W]; NaN where none is known."""
        total, n = self.totals(y_hat)
        return total / np.where(n > 0, n, np.nan)

    def ratios(
        self, y_hat: Values, is_in: NDArray[np.bool_], base: Values, weights: Values
    ) -> Values:
        """Return the error of forecasts over that of others by the first n weeks: [W + 1].

        Both are forecasts [F, H] on the folds in `is_in` [F], each week with its weight [W]; 1
        where there is none.
        """
        error, of_base = (
            np.cumsum(self.totals(values, is_in)[0] * weights) for values in (y_hat, base)
        )
        ratio = np.ones(len(self.weeks) + 1)
        np.divide(error, of_base, out=ratio[1:], where=of_base > 0)
        return ratio
