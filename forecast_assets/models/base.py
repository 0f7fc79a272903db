"""What a model is: an object that is fitted to values and says what comes next.

A local model sees one series, a global one all series up to a cutoff. Running them: `fitting`.
"""

from typing import Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Values = NDArray[np.float64]
Positions = NDArray[np.int64]


class NotForThisSeries(ValueError):
    """Raise it in `fit` where a series is not of the model's kind: no failure, it does not compete.

    Negative values for a model of logarithms are such a case.
    """


@runtime_checkable
class Forecaster(Protocol):
    """A local model: one series at a time.

    It sees a float64 array that ends at the cutoff, and nothing else. It raises when it cannot
    forecast. It may declare

    - `min_train_size`, the fewest values that it can be fitted to: a number, or a function of
      `season_length`;
    - `update(y_new) -> self`, where it can be moved forward over the values after those that it was
      fitted to without being fitted again; it must survive pickle then.
    """

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Learn from y, the values up to and including the cutoff; shape [n]."""
        ...

    def predict(self, h: int) -> Values:
        """Forecast the h weeks after the cutoff; shape [h]."""
        ...


@runtime_checkable
class GlobalForecaster(Protocol):
    """A global model: one fit over all series at a cutoff. It declares `is_global = True`.

    It sees a frame `unique_id, ds, y` of every series up to the cutoff, ordered by `unique_id` and
    `ds`; `unique_id` is a number that stands for the series in this frame. It may declare
    `min_train_size` (of each series) and `update(new)`, as a local model may.
    """

    is_global: bool

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Learn from all series, the weeks up to and including the cutoff."""
        ...

    def predict(self, h: int) -> Values:
        """Forecast the h weeks after each series' last: shape [series, h], in the frame's order."""
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """A local model whose forecast is a formula: every fold at once, without a fit or a loop."""

    def forecast_folds(
        self, y: Values, starts: Positions, lasts: Positions, *, h: int, season_length: int
    ) -> Values:
        """Forecast from each fold's values y[starts[i] : lasts[i] + 1]: shape [folds, h]."""
        ...


def min_train_size(model: object, *, season_length: int) -> int:
    """The fewest values that the model can be fitted to; 1 where it declares nothing."""
    declared = getattr(model, "min_train_size", 1)
    return int(declared(season_length) if callable(declared) else declared)


FEWEST = 12  # values for the parameters that such a model has besides, where a season is short


def two_seasons(season_length: int) -> int:
    """The fewest values that tell a season from a trend: `min_train_size` of the models here."""
    return max(2 * season_length, FEWEST)


def fourier(start: int, stop: int, *, season_length: int, n_pairs: int) -> Values:
    """Sine and cosine of the first harmonics at weeks start to stop - 1: shape [weeks, columns].

    `n_pairs` pairs, fewer where the season is too short to tell them apart: no harmonic at or above
    half the season, where the sine is zero or the pair repeats another.
    """
    week = np.arange(start, stop)[:, None]
    harmonic = np.arange(1, min(n_pairs, (season_length - 1) // 2) + 1)
    angle = 2 * np.pi * harmonic * week / season_length
    waves: Values = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return waves
