"""Adapters for the models of the library statsforecast; `registry` names the models.

No model estimates 52 seasonal states: a few years of weeks are too short for that. A model either
ignores the year, and forecasts level and trend, or describes it by a few terms. The library is
imported when a model is made, because the import takes two seconds.
"""

from typing import Any, Self

import numpy as np

from forecast_assets.models.base import NotForThisSeries, Values, fourier, two_seasons

# Pairs of sine and cosine for the year.
YEAR_PAIRS = 2


class FromStatsforecast:
    """Any model of statsforecast: `params = { kind = "AutoTheta", season_length = 1 }`.

    With fewer values than parameters the estimates mean nothing: set `min_train_size` by the model.
    """

    def __init__(self, kind: str, min_train_size: int = 4, **params: Any) -> None:
        from statsforecast import models

        self.min_train_size: Any = min_train_size
        self._model = getattr(models, kind)(**params)

    def fit(self, y: Values, *, season_length: int) -> Self:  # noqa: ARG002 - see the module
        """Fit the library's model and raise what it raises."""
        self._model = self._model.fit(y)  # the library returns another model for constant values
        return self

    def predict(self, h: int) -> Values:
        """Return the library's mean forecast."""
        return np.asarray(self._model.predict(h)["mean"], dtype=np.float64)


class MovedStatsforecast(FromStatsforecast):
    """A model of statsforecast with `forward`: new values update its state, not its parameters."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model and raise what it raises."""
        self._y, self._is_updated = y, False
        return super().fit(y, season_length=season_length)

    def update(self, y_new: Values) -> Self:
        """Append new values and keep the parameters."""
        self._y, self._is_updated = np.concatenate([self._y, y_new]), True
        return self

    def predict(self, h: int) -> Values:
        """Return the library's mean forecast."""
        if not self._is_updated:
            return super().predict(h)
        return np.asarray(self._model.forward(self._y, h)["mean"], dtype=np.float64)


class HarmonicARIMA(MovedStatsforecast):
    """Dynamic harmonic regression: two harmonics for the year, ARIMA errors of automatic order.

    Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 10.5.
    """

    def __init__(self, **params: Any) -> None:
        super().__init__("AutoARIMA", **{"season_length": 1, **params})
        self.min_train_size = two_seasons

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the regression and raise what the library raises."""
        self._y, self._is_updated, self._season_length = y, False, season_length
        self._model.fit(y, X=self._year(0, len(y)))
        return self

    def predict(self, h: int) -> Values:
        """Return the library's mean forecast."""
        n = len(self._y)
        future = self._year(n, n + h)
        if self._is_updated:
            forecast = self._model.forward(self._y, h, X=self._year(0, n), X_future=future)
        else:
            forecast = self._model.predict(h, X=future)
        return np.asarray(forecast["mean"], dtype=np.float64)

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=YEAR_PAIRS)


class MSTL(MovedStatsforecast):
    """STL removes the year, a model `kind` forecasts the remainder, the last year is added back.

    Bandara, Hyndman & Bergmeir (2021).
    """

    min_train_size = staticmethod(two_seasons)

    def __init__(self, kind: str, **params: Any) -> None:
        self._kind, self._params = kind, {"season_length": 1, **params}

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Decompose y and fit the remainder. Raises NotForThisSeries for a season of one week."""
        from statsforecast import models

        if season_length == 1:
            raise NotForThisSeries("a season of one week leaves no year to remove")
        remainder = getattr(models, self._kind)(**self._params)
        self._model = models.MSTL(season_length=season_length, trend_forecaster=remainder)
        return super().fit(y, season_length=season_length)


class TBATS(FromStatsforecast):
    """Trigonometric seasons, Box-Cox, ARMA errors (De Livera, Hyndman & Snyder 2011).

    The year is a few harmonics, their number chosen by AIC. A fit takes about two seconds.
    """

    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        self._params = params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model and raise what it raises."""
        from statsforecast import models

        self._model = models.AutoTBATS(season_length=[season_length], **self._params)
        return super().fit(y, season_length=season_length)


class Intermittent(FromStatsforecast):
    """A model of demand that is zero in many weeks."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model. Raises NotForThisSeries for a negative value or all zeros."""
        if (y < 0).any() or not y.any():
            raise NotForThisSeries("it needs values of zero or more, and one above zero")
        return super().fit(y, season_length=season_length)
