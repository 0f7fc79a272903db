"""Models in state space form of the library statsmodels behind our interface.

statsforecast has none of these with regressors and components of one's own. The library is
imported where a model is fitted: it takes a second.
"""

import warnings
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np

from forecast_assets.models.base import Values, fourier, two_seasons

HARMONICS = 2  # pairs of sine and cosine for the year
MOST_ITERATIONS = 100
# On the demo 47 of 48 fits converge in 23 to 43; the other stops short and is left to Powell.


class FromStatsmodels:
    """Any state space model of statsmodels.

    `params = { kind = "statespace.exponential_smoothing:ExponentialSmoothing", trend = true }`,
    the model's place below `statsmodels.tsa`. Its parameters are found by maximum likelihood on
    values scaled to unit deviation; a fit that does not converge in `most_iterations` is an error.
    """

    min_train_size: ClassVar[Any] = 12

    def __init__(self, kind: str, most_iterations: int = MOST_ITERATIONS, **params: Any) -> None:
        self._kind, self._most_iterations, self._params = kind, most_iterations, params

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Find the parameters. Raises what the library raises, ConvergenceWarning among it."""
        from statsmodels.tools.sm_exceptions import ConvergenceWarning  # noqa: PLC0415 - heavy

        self._y, self._season_length = y, season_length
        self._scale = float(np.std(y)) or 1.0
        model, most = self._built(), self._most_iterations
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = model.fit(disp=0, maxiter=most)
            if not found.mle_retvals["converged"]:  # a second way from where the first one stopped
                found = model.fit(found.params, disp=0, method="powell", maxiter=most)
        if not found.mle_retvals["converged"]:
            raise ConvergenceWarning(f"no optimum in {most} iterations, nor by Powell")
        self._found: Values = np.asarray(found.params)
        return self

    def update(self, y_new: Values) -> Self:
        """Take in the values after those known, keeping the parameters."""
        self._y = np.concatenate([self._y, y_new])
        return self

    def predict(self, h: int) -> Values:
        """The filter's mean forecast."""
        n = len(self._y)
        ahead = {"exog": self._year(n, n + h)} if "exog" in self._regressors() else {}
        said = self._built().filter(self._found).forecast(h, **ahead)
        return np.asarray(said, dtype=np.float64) * self._scale

    def _built(self) -> Any:
        module, _, name = self._kind.partition(":")
        factory = getattr(import_module(f"statsmodels.tsa.{module}"), name)
        return factory(self._y / self._scale, **self._params, **self._regressors())

    def _regressors(self) -> dict[str, Values]:
        return {}

    def _year(self, start: int, stop: int) -> Values:
        return fourier(start, stop, season_length=self._season_length, n_pairs=HARMONICS)


class SARIMAX(FromStatsmodels):
    """ARIMA(1, 1, 1) errors around the year as two harmonics (Durbin & Koopman 2012, ch. 3)."""

    given: ClassVar = {"order": (1, 1, 1)}
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        super().__init__("statespace.sarimax:SARIMAX", **{**self.given, **params})

    def _regressors(self) -> dict[str, Values]:
        return {"exog": self._year(0, len(self._y))}


class UnobservedComponents(FromStatsmodels):
    """A level and a slope that wander, and the year as two harmonics that wander (Harvey 1989)."""

    given: ClassVar = {"level": "local linear trend"}
    min_train_size = staticmethod(two_seasons)

    def __init__(self, **params: Any) -> None:
        super().__init__("statespace.structural:UnobservedComponents", **{**self.given, **params})

    def _regressors(self) -> dict[str, Any]:
        n_pairs = min(HARMONICS, (self._season_length - 1) // 2)
        year = {"period": self._season_length, "harmonics": n_pairs}
        return {"freq_seasonal": [year]} if n_pairs else {}
