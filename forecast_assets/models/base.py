"""The interfaces of a model: an object that is fitted to past values and predicts the next ones.

A local model sees one series, a global model all series. `backtesting.fitting` calls them.
"""

from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Not imported here, so that the process of a model that does not need it starts in a third of the
# time.
if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
Positions = NDArray[np.int64]

# The fewest values that a seasonal model is fitted to, however short its season is.
MIN_VALUES = 12


class NotForThisSeries(ValueError):
    """Raised by `fit` or `update` to decline a series, such as one with negative values.

    The model does not compete on that series, and the report counts no failure.
    """


@runtime_checkable
class Forecaster(Protocol):
    """A local model: it is fitted to one series at a time.

    It raises an exception where it cannot forecast. It may declare:

    - `min_train_size`, the fewest values that it can be fitted to: a number, or a function of
      `season_length`;
    - `update(y_new) -> self`, which takes in the values after the known ones without a new fit.
      A fitted model with `update` must survive pickling.
    """

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the model to y, the values up to and including the cutoff; shape [n]."""
        ...

    def predict(self, h: int) -> Values:
        """Forecast the h weeks after the cutoff; shape [h]."""
        ...


@runtime_checkable
class GlobalForecaster(Protocol):
    """A global model: one fit covers all series at a cutoff. It declares `is_global = True`.

    Its input is a frame `unique_id, ds, y` of all series up to the cutoff, sorted by `unique_id`
    and `ds`, where `unique_id` is an integer. It may declare `min_train_size` (of each series) and
    `update(new)`, as a local model may.
    """

    is_global: bool

    def fit(self, series: "pd.DataFrame", *, season_length: int) -> Self:
        """Fit the model to all series, up to and including the cutoff."""
        ...

    def predict(self, h: int) -> Values:
        """Forecast h weeks after the end of each series: shape [series, h], in frame order."""
        ...


def min_train_size(model: object, *, season_length: int) -> int:
    """Return the fewest values that the model can be fitted to; 1 unless it declares more."""
    declared = getattr(model, "min_train_size", 1)
    return int(declared(season_length) if callable(declared) else declared)


def two_seasons(season_length: int) -> int:
    """Return the fewest values that separate a season from a trend; used as `min_train_size`."""
    return max(2 * season_length, MIN_VALUES)


def fourier(start: int, stop: int, *, season_length: int, n_pairs: int) -> Values:
    """Return sines, then cosines, of the first harmonics at weeks start to stop - 1.

    The shape is [weeks, 2 * pairs]. Harmonics at or above half the season are left out: there the
    sine is zero or the pair repeats another one.
    """
    week = np.arange(start, stop)[:, None]
    harmonic = np.arange(1, min(n_pairs, (season_length - 1) // 2) + 1)
    angle = 2 * np.pi * harmonic * week / season_length
    columns: Values = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return columns
