"""Adapters for the state space models of the library statsmodels.

statsforecast has no models with regressors and components of this kind. The library is imported
when a model is fitted, because the import takes a second.
"""

import warnings
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np

from forecast_assets.models.base import Values, fourier, two_seasons

# Pairs of sine and cosine for the year.
YEAR_PAIRS = 2
# 47 of 48 fits on the demo data converge in 23 to 43 iterations; Powell's method takes the other.
MAX_ITERATIONS = 100


class FromStatsmodels:
    """Any state space model of statsmodels, by its path below `statsmodels.tsa`.

    `params = { kind = "statespace.exponential_smoothing:ExponentialSmoothing", trend = true }`.
    Parameters are estimated by maximum likelihood on values scaled to unit standard deviation. A
    fit that does not converge in `most_iterations` raises ConvergenceWarning.
    """

    min_train_size: ClassVar[Any] = 12

    def __init__(self, kind: str, most_iterations: int = MAX_ITERATIONS, **params: Any) -> None:
        self._kind, self._max_iterations, self._params = kind, most_iterations, params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Estimate the parameters. Raises ConvergenceWarning and what the library raises."""
        from statsmodels.tools.sm_exceptions import ConvergenceWarning

        self._y, self._season_length = y, season_length
        self._scale = float(np.std(y)) or 1.0
        model, max_iterations = self._library_model(), self._max_iterations
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = model.fit(disp=0, maxiter=max_iterations)
            if not result.mle_retvals["converged"]:  # continue by a method without gradients
                result = model.fit(result.params, disp=0, method="powell", maxiter=max_iterations)
        if not result.mle_retvals["converged"]:
            raise ConvergenceWarning(f"no optimum in {max_iterations} iterations, nor by Powell")
        self._estimates: Values = np.asarray(result.params)
        return self

    def update(self, y_new: Values) -> Self:
        """Append new values and keep the parameters."""
        self._y = np.concatenate([self._y, y_new])
        return self

    def predict(self, h: int) -> Values:
        """Return the mean forecast of the Kalman filter."""
        n = len(self._y)
        future = {"exog": self._year(n, n + h)} if "exog" in self._regressors() else {}
        forecast = self._library_model().filter(self._estimates).forecast(h, **future)
        return np.asarray(forecast, dtype=np.float64) * self._scale

    def _library_model(self) -> Any:
        module, _, name = self._kind.partition(":")
        factory = getattr(import_module(f"statsmodels.tsa.{module}"), name)
        return factory(self._y / self._scale, **self._params, **self._regressors())

    def _regressors(self) -> dict[str, Values]:
        return {}

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=YEAR_PAIRS)


class SARIMAX(FromStatsmodels):
    """Two harmonics for the year with ARIMA(1, 1, 1) errors (Durbin & Koopman 2012, ch. 3)."""

    defaults: ClassVar = {"order": (1, 1, 1)}
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        super().__init__("statespace.sarimax:SARIMAX", **{**self.defaults, **params})

    def _regressors(self) -> dict[str, Values]:
        return {"exog": self._year(0, len(self._y))}


class UnobservedComponents(FromStatsmodels):
    """Random walk of level and slope, two harmonics for the year that vary slowly (Harvey 1989)."""

    defaults: ClassVar = {"level": "local linear trend"}
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        kind = "statespace.structural:UnobservedComponents"
        super().__init__(kind, **{**self.defaults, **params})

    def _regressors(self) -> dict[str, Any]:
        n_pairs = min(YEAR_PAIRS, (self._season_length - 1) // 2)
        year = {"period": self._season_length, "harmonics": n_pairs}
        return {"freq_seasonal": [year]} if n_pairs else {}
