"""Regression on what is known at the cutoff: lags of the series, and where in the year it is.

The library, scikit-learn, is imported where a model is fitted: it takes a second.
"""

from typing import Any, Self

import numpy as np

from forecast_assets.models.base import Values
from forecast_assets.models.harmonics import fourier

HARMONICS = 3  # pairs of sine and cosine for the year
PENALTIES = np.logspace(-3, 3, 13)


class Ridge:
    """Ridge regression of each week's change on past changes and harmonics (Hoerl & Kennard 1970).

    The penalty is the one of least leave-one-out error. Further weeks ahead are forecast one by
    one, each from the forecasts before it. The year is three harmonics and the change of the same
    week a season ago, where the values reach as far back.
    """

    def __init__(self, n_lags: int = 8) -> None:
        self.n_lags = n_lags
        self.min_train_size = 3 * n_lags

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Find the weights and the penalty."""
        from sklearn.linear_model import RidgeCV  # noqa: PLC0415 - takes a second

        has_year = season_length > 1 and len(y) > season_length + self.min_train_size
        self._lags = [*range(1, self.n_lags + 1), *([season_length] if has_year else [])]
        self._season_length = season_length
        self._last, change = y[-1], np.diff(y)
        self._scale = float(np.std(change)) or 1.0
        self._change = change / self._scale
        first, n = max(self._lags), len(change)
        rows = [self._change[first - lag : n - lag] for lag in self._lags]
        known = np.column_stack([*rows, self._year(first, n)])
        self._model: Any = RidgeCV(PENALTIES).fit(known, self._change[first:])
        return self

    def predict(self, h: int) -> Values:
        """Forecast week by week."""
        change = list(self._change)
        for _ in range(h):
            n = len(change)
            known = np.concatenate([[change[-lag] for lag in self._lags], self._year(n, n + 1)[0]])
            change.append(float(self._model.predict(known[None])[0]))
        ahead: Values = self._last + self._scale * np.cumsum(change[-h:])
        return ahead

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=HARMONICS)
