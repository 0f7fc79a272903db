"""Models that repeat the past: the bar that every other model has to clear.

Formulas: Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 5.2.
"""

from typing import Self

import numpy as np

from forecast_assets.models.base import Values


class Naive:
    """Every week to come is as the last one."""

    min_train_size = 1

    def fit(self, y: Values, *, season_length: int) -> Self:  # noqa: ARG002 - the interface's
        """Keep the last value."""
        self._last = y[-1]
        return self

    def predict(self, h: int) -> Values:
        """Repeat the last value h times."""
        return np.full(h, self._last)


class SeasonalNaive:
    """Every week to come is as the same week a season ago."""

    @staticmethod
    def min_train_size(season_length: int) -> int:
        """One whole season."""
        return season_length

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Keep the last season."""
        self._season = y[-season_length:].copy()
        return self

    def predict(self, h: int) -> Values:
        """Repeat the last season, from its first week on."""
        return np.resize(self._season, h)


class Drift:
    """The line through the first and the last value, drawn on."""

    min_train_size = 2

    def fit(self, y: Values, *, season_length: int) -> Self:  # noqa: ARG002 - the interface's
        """Keep the last value and the mean step."""
        self._last = y[-1]
        self._step = (y[-1] - y[0]) / (len(y) - 1)
        return self

    def predict(self, h: int) -> Values:
        """Add one mean step a week."""
        return np.asarray(self._last + self._step * np.arange(1, h + 1), dtype=np.float64)
