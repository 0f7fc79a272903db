"""Models of the library statsforecast behind our interface.

None is given 52 seasonal states: a few years of weeks cannot estimate them. Each says in its
docstring how it handles the year: not at all (it forecasts level and trend), or in a few terms.
The library is imported where a model is made: it takes two seconds.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from forecast_assets.models.base import NotForThisSeries, Values, fourier, two_seasons

HARMONICS = 2  # pairs of sine and cosine for the year


class FromStatsforecast:
    """Any model of statsforecast: `params = { kind = "AutoTheta", season_length = 1 }`."""

    min_train_size: ClassVar[Any] = 4  # fewer values than parameters to estimate tell nothing

    def __init__(self, kind: str, **params: Any) -> None:
        from statsforecast import models  # noqa: PLC0415 - takes two seconds

        self._model = getattr(models, kind)(**params)

    def fit(self, y: Values, *, season_length: int) -> Self:  # noqa: ARG002 - see the module
        """Fit the library's model; raises what it raises."""
        self._model = self._model.fit(y)  # another model, where the values are all the same
        return self

    def predict(self, h: int) -> Values:
        """The library's mean forecast."""
        return np.asarray(self._model.predict(h)["mean"], dtype=np.float64)


class MovedStatsforecast(FromStatsforecast):
    """A model whose parameters stand while its state moves on over new values."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model; raises what it raises."""
        self._y, self._is_moved = y, False
        return super().fit(y, season_length=season_length)

    def update(self, y_new: Values) -> Self:
        """Take in the values after those known, keeping the parameters."""
        self._y, self._is_moved = np.concatenate([self._y, y_new]), True
        return self

    def predict(self, h: int) -> Values:
        """The library's mean forecast."""
        if not self._is_moved:
            return super().predict(h)
        return np.asarray(self._model.forward(self._y, h)["mean"], dtype=np.float64)


class _Preset(MovedStatsforecast):
    """A class of statsforecast with the parameters that make it this model."""

    kind: ClassVar[str]
    given: ClassVar[Mapping[str, Any]] = {"season_length": 1}

    def __init__(self, **params: Any) -> None:
        super().__init__(self.kind, **{**self.given, **params})


class SES(FromStatsforecast):
    """Simple exponential smoothing, its weight found by least squares (Brown 1956). No year."""

    def __init__(self, **params: Any) -> None:
        super().__init__("SimpleExponentialSmoothingOptimized", **params)


class Holt(_Preset):
    """Exponential smoothing of level and trend (Holt 1957). No year."""

    kind = "AutoETS"
    given: ClassVar = {"season_length": 1, "model": "AAN", "damped": False}
    min_train_size = 9  # the library refuses 8


class DampedHolt(_Preset):
    """Holt's method with a trend that flattens out (Gardner & McKenzie 1985). No year."""

    kind = "AutoETS"
    given: ClassVar = {"season_length": 1, "model": "AAN", "damped": True}
    min_train_size = 10  # the library refuses 9


class AutoETS(_Preset):
    """The exponential smoothing model of least AICc (Hyndman, Koehler, Snyder & Grose 2002).

    No year.
    """

    kind = "AutoETS"
    min_train_size = 8  # with 7 values the AICc divides by zero, with fewer the library refuses


class AutoCES(_Preset):
    """Complex exponential smoothing, level and trend in one (Svetunkov, Kourentzes & Ord 2022).

    No year.
    """

    kind = "AutoCES"
    given: ClassVar = {"season_length": 1, "model": "N"}
    min_train_size = 8


class Theta(_Preset):
    """The standard Theta method (Assimakopoulos & Nikolopoulos 2000). No year."""

    kind = "Theta"


class OptimizedTheta(_Preset):
    """Theta, its second line's slope estimated (Fiorucci et al. 2016). No year."""

    kind = "OptimizedTheta"


class AutoARIMA(_Preset):
    """ARIMA, its orders found stepwise by AICc (Hyndman & Khandakar 2008). No year."""

    kind = "AutoARIMA"
    min_train_size = 12


class HarmonicARIMA(_Preset):
    """Dynamic harmonic regression: the year as two harmonics, ARIMA errors of automatic order.

    Hyndman & Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), section 10.5.
    """

    kind = "AutoARIMA"
    min_train_size = staticmethod(two_seasons)

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the regression; raises what the library raises."""
        self._y, self._is_moved, self._season_length = y, False, season_length
        self._model.fit(y, X=self._year(0, len(y)))
        return self

    def predict(self, h: int) -> Values:
        """The library's mean forecast."""
        n = len(self._y)
        ahead = self._year(n, n + h)
        if self._is_moved:
            said = self._model.forward(self._y, h, X=self._year(0, n), X_future=ahead)
        else:
            said = self._model.predict(h, X=ahead)
        return np.asarray(said["mean"], dtype=np.float64)

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=HARMONICS)


class _MSTL(MovedStatsforecast):
    """STL takes the year out, a model forecasts the rest, last year's pattern is put back."""

    rest: ClassVar[tuple[str, Mapping[str, Any]]]
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        self._params = params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Decompose, and fit the model of the rest. Raises NotForThisSeries without a season."""
        from statsforecast import models  # noqa: PLC0415 - takes two seconds

        if season_length == 1:
            raise NotForThisSeries("with a season of one week there is no year to take out")
        name, params = self.rest
        rest = getattr(models, name)(**{**params, **self._params})
        self._model = models.MSTL(season_length=season_length, trend_forecaster=rest)
        return super().fit(y, season_length=season_length)


class MSTLWithETS(_MSTL):
    """MSTL (Bandara, Hyndman & Bergmeir 2021); the rest by exponential smoothing of least AICc."""

    rest = ("AutoETS", {"season_length": 1, "model": "ZZN"})


class MSTLWithARIMA(_MSTL):
    """MSTL (Bandara, Hyndman & Bergmeir 2021); the rest by ARIMA of automatic order."""

    rest = ("AutoARIMA", {"season_length": 1})


class TBATS(FromStatsforecast):
    """Trigonometric seasons, Box-Cox, ARMA errors (De Livera, Hyndman & Snyder 2011).

    The year is a few harmonics, their number found by AIC. About two seconds a fit.
    """

    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        self._params = params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model; raises what it raises."""
        from statsforecast import models  # noqa: PLC0415 - takes two seconds

        self._model = models.AutoTBATS(season_length=[season_length], **self._params)
        return super().fit(y, season_length=season_length)


class _Intermittent(FromStatsforecast):
    """Demand that is zero in many weeks."""

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Fit the library's model. Raises NotForThisSeries where it has no demand to learn from."""
        if (y < 0).any() or not y.any():
            raise NotForThisSeries("it needs values of zero or more, and one above zero")
        return super().fit(y, season_length=season_length)


class Croston(_Intermittent):
    """Croston (1972): size and interval of demand smoothed apart, weights by least squares."""

    def __init__(self, **params: Any) -> None:
        super().__init__("CrostonOptimized", **params)


class TSB(_Intermittent):
    """Teunter, Syntetos & Babai (2011): size and probability of demand; forgets what has ended."""

    def __init__(self, alpha_d: float = 0.2, alpha_p: float = 0.2) -> None:
        super().__init__("TSB", alpha_d=alpha_d, alpha_p=alpha_p)
