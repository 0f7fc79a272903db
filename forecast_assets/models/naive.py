"""Closed forms: models whose forecast repeats or extends the past by a formula.

Each formula works on positions in one array, so that many folds are one expression. Source:
Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 5.2;
`WindowAverage` is that section's mean method on the last weeks only.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from forecast_assets.models.base import Positions, Values


@dataclass(frozen=True, eq=False)
class FoldPositions:
    """The folds of a closed form: fold i sees y[starts[i] : lasts[i] + 1]."""

    y: Values
    starts: Positions
    lasts: Positions
    horizon: int
    season_length: int


class _ClosedFormModel:
    """The interface for one series on top of `forecast_folds`."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Keep the values."""
        self._y, self._season_length = y, season_length
        return self

    def predict(self, h: int) -> Values:
        """Evaluate the formula at the last value."""
        start, last = np.array([0]), np.array([len(self._y) - 1])
        (y_hat,) = self.forecast_folds(FoldPositions(self._y, start, last, h, self._season_length))
        return np.asarray(y_hat)

    def forecast_folds(self, folds: FoldPositions) -> Values:
        """Forecast from the values of each fold: shape [folds, horizon]."""
        raise NotImplementedError


class Naive(_ClosedFormModel):
    """Forecast the last value."""

    min_train_size = 1

    def forecast_folds(self, folds: FoldPositions) -> Values:
        """Repeat the last value in each week of the horizon."""
        return np.repeat(folds.y[folds.lasts][:, None], folds.horizon, axis=1)


class SeasonalNaive(_ClosedFormModel):
    """Forecast the value of the same week one season earlier."""

    @staticmethod
    def min_train_size(season_length: int) -> int:
        """Return the length of one season."""
        return season_length

    def forecast_folds(self, folds: FoldPositions) -> Values:
        """Repeat the last season from its first week."""
        ahead = np.arange(folds.horizon) % folds.season_length
        y_hat: Values = folds.y[folds.lasts[:, None] + (1 - folds.season_length) + ahead]
        return y_hat


class Drift(_ClosedFormModel):
    """Extend the line through the first and the last value."""

    min_train_size = 2

    def forecast_folds(self, folds: FoldPositions) -> Values:
        """Add the mean weekly change once for each week ahead."""
        last = folds.y[folds.lasts]
        step = (last - folds.y[folds.starts]) / (folds.lasts - folds.starts)
        y_hat: Values = last[:, None] + step[:, None] * np.arange(1, folds.horizon + 1)
        return y_hat


class WindowAverage(_ClosedFormModel):
    """Forecast the mean of the last `window` values."""

    def __init__(self, window: int = 4) -> None:
        if window < 1:
            raise ValueError(f"window is {window}, but a mean needs at least one value")
        self.window = self.min_train_size = window

    def forecast_folds(self, folds: FoldPositions) -> Values:
        """Repeat the mean of the last `window` values."""
        total = folds.y[folds.lasts].copy()
        for back in range(1, self.window):  # same order of additions for one fold and for many
            total += folds.y[folds.lasts - back]
        return np.repeat((total / self.window)[:, None], folds.horizon, axis=1)
