"""Adapters for the models of the library statsforecast.

No model estimates 52 seasonal states: a few years of weeks are too short for that. A model either
ignores the year, and forecasts level and trend, or describes it by a few terms; its docstring says
which. The library is imported when a model is made, because the import takes two seconds.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from forecast_assets.models.base import NotForThisSeries, Values, fourier, two_seasons

# Pairs of sine and cosine for the year.
YEAR_PAIRS = 2


class FromStatsforecast:
    """Any model of statsforecast: `params = { kind = "AutoTheta", season_length = 1 }`."""

    # With fewer values than parameters the estimates mean nothing.
    min_train_size: ClassVar[Any] = 4

    def __init__(self, kind: str, **params: Any) -> None:
        from statsforecast import models

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


class _Preset(MovedStatsforecast):
    """A class of statsforecast with default parameters."""

    kind: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {"season_length": 1}

    def __init__(self, **params: Any) -> None:
        super().__init__(self.kind, **{**self.defaults, **params})


class SES(FromStatsforecast):
    """Simple exponential smoothing, weight by least squares (Brown 1956). Ignores the year."""

    def __init__(self, **params: Any) -> None:
        super().__init__("SimpleExponentialSmoothingOptimized", **params)


class Holt(_Preset):
    """Exponential smoothing of level and trend (Holt 1957). Ignores the year."""

    kind = "AutoETS"
    defaults: ClassVar = {"season_length": 1, "model": "AAN", "damped": False}
    min_train_size = 9  # the library refuses 8


class DampedHolt(_Preset):
    """Holt's method with a damped trend (Gardner & McKenzie 1985). Ignores the year."""

    kind = "AutoETS"
    defaults: ClassVar = {"season_length": 1, "model": "AAN", "damped": True}
    min_train_size = 10  # the library refuses 9


class AutoETS(_Preset):
    """Exponential smoothing model of least AICc (Hyndman, Koehler, Snyder & Grose 2002).

    Ignores the year.
    """

    kind = "AutoETS"
    min_train_size = 8  # with 7 values the AICc divides by zero, fewer are refused by the library


class AutoCES(_Preset):
    """Complex exponential smoothing (Svetunkov, Kourentzes & Ord 2022). Ignores the year."""

    kind = "AutoCES"
    defaults: ClassVar = {"season_length": 1, "model": "N"}
    min_train_size = 8


class Theta(_Preset):
    """Standard Theta method (Assimakopoulos & Nikolopoulos 2000). Ignores the year."""

    kind = "Theta"


class OptimizedTheta(_Preset):
    """Theta method with an estimated theta line (Fiorucci et al. 2016). Ignores the year."""

    kind = "OptimizedTheta"


class AutoARIMA(_Preset):
    """ARIMA, orders by stepwise search of AICc (Hyndman & Khandakar 2008). Ignores the year."""

    kind = "AutoARIMA"
    min_train_size = 12


class HarmonicARIMA(_Preset):
    """Dynamic harmonic regression: two harmonics for the year, ARIMA errors of automatic order.

    Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 10.5.
    """

    kind = "AutoARIMA"
    min_train_size = staticmethod(two_seasons)

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


class _MSTL(MovedStatsforecast):
    """STL removes the year, a second model forecasts the remainder, the last year is added back."""

    remainder: ClassVar[tuple[str, Mapping[str, Any]]]
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        self._params = params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Decompose y and fit the remainder. Raises NotForThisSeries for a season of one week."""
        from statsforecast import models

        if season_length == 1:
            raise NotForThisSeries("a season of one week leaves no year to remove")
        kind, defaults = self.remainder
        remainder = getattr(models, kind)(**{**defaults, **self._params})
        self._model = models.MSTL(season_length=season_length, trend_forecaster=remainder)
        return super().fit(y, season_length=season_length)


class MSTLWithETS(_MSTL):
    """MSTL (Bandara, Hyndman & Bergmeir 2021), remainder by exponential smoothing of least AICc."""

    remainder = ("AutoETS", {"season_length": 1, "model": "ZZN"})


class MSTLWithARIMA(_MSTL):
    """MSTL (Bandara, Hyndman & Bergmeir 2021), remainder by ARIMA of automatic order."""

    remainder = ("AutoARIMA", {"season_length": 1})


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


class _Intermittent(FromStatsforecast):
    """A model of demand that is zero in many weeks."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model. Raises NotForThisSeries for a negative value or all zeros."""
        if (y < 0).any() or not y.any():
            raise NotForThisSeries("it needs values of zero or more, and one above zero")
        return super().fit(y, season_length=season_length)


class Croston(_Intermittent):
    """Croston (1972): smooths size and interval of demand, weights by least squares."""

    def __init__(self, **params: Any) -> None:
        super().__init__("CrostonOptimized", **params)


class TSB(_Intermittent):
    """Teunter, Syntetos & Babai (2011): smooths size and probability, so it follows a decline."""

    def __init__(self, alpha_d: float = 0.2, alpha_p: float = 0.2) -> None:
        super().__init__("TSB", alpha_d=alpha_d, alpha_p=alpha_p)
