"""What a model is: an object that is fitted to one series and says what comes next."""

from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@runtime_checkable
class Forecaster(Protocol):
    """A model of one series.

    It sees a float64 array that ends at the cutoff, and nothing else. It raises when it cannot
    forecast. It may declare `min_train_size`, the fewest values that it can be fitted to: a number,
    or a function of `season_length`.
    """

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Learn from y, the values up to and including the cutoff; shape [n]."""
        ...

    def predict(self, h: int) -> Values:
        """Forecast the h weeks after the cutoff; shape [h]."""
        ...


def min_train_size(model: object, *, season_length: int) -> int:
    """The fewest values that the model can be fitted to; 1 where it declares nothing."""
    declared = getattr(model, "min_train_size", 1)
    return int(declared(season_length) if callable(declared) else declared)
