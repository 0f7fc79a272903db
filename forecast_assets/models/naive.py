"""Models that repeat the past: the bar that every other model has to clear.

Each is a formula on positions in an array, so that half a million folds are one expression.
Formulas: Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 5.2;
the window average is the simple moving average of the last weeks, the same section's mean method
on a window.
"""

from typing import Self

import numpy as np

from forecast_assets.models.base import Positions, Values


class _Formula:
    """The one-series interface on top of `forecast_folds`."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Keep the values."""
        self._y, self._season_length = y, season_length
        return self

    def predict(self, h: int) -> Values:
        """Evaluate the formula at the end of the values."""
        first, last = np.array([0]), np.array([len(self._y) - 1])
        season_length = self._season_length
        said = self.forecast_folds(self._y, first, last, h=h, season_length=season_length)
        forecast: Values = said[0]
        return forecast

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Forecast from each fold's values y[starts[i] : lasts[i] + 1]: shape [folds, h]."""
        raise NotImplementedError


class Naive(_Formula):
    """Every week to come is as the last one."""

    min_train_size = 1

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Repeat the last value h times."""
        del starts, season_length
        return np.repeat(y[lasts][:, None], h, axis=1)


class SeasonalNaive(_Formula):
    """Every week to come is as the same week a season ago."""

    @staticmethod
    def min_train_size(season_length: int) -> int:
        """One whole season."""
        return season_length

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Repeat the last season, from its first week on."""
        del starts
        ahead = np.arange(h) % season_length
        forecast: Values = y[lasts[:, None] + (1 - season_length) + ahead]
        return forecast


class Drift(_Formula):
    """The line through the first and the last value, drawn on."""

    min_train_size = 2

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Add one mean step a week."""
        del season_length
        last = y[lasts]
        step = (last - y[starts]) / (lasts - starts)
        forecast: Values = last[:, None] + step[:, None] * np.arange(1, h + 1)
        return forecast


class WindowAverage(_Formula):
    """Every week to come is as the mean of the last few."""

    def __init__(self, window: int = 4) -> None:
        if window < 1:
            raise ValueError(f"window is {window}: a mean needs one value at least")
        self.window = self.min_train_size = window

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Repeat the mean of the last `window` values."""
        del starts, season_length
        total = y[lasts].copy()
        for back in range(1, self.window):  # added in this order for one fold as for all
            total += y[lasts - back]
        return np.repeat((total / self.window)[:, None], h, axis=1)
