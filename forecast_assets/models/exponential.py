"""Exponential smoothing and its kin, by statsforecast.

None of them is given a season of 52 weeks: it would need 52 states for a few years of data. They
forecast the level and the trend; the year is for the models that carry it in a few terms.
"""

from typing import Any, ClassVar, Self

import numpy as np

from forecast_assets.models.base import Values


class _ByStatsforecast:
    """A statsforecast model behind our interface."""

    min_train_size = 4  # fewer values than parameters to estimate tell nothing
    factory: ClassVar[str]

    def __init__(self, **params: Any) -> None:
        from statsforecast import models  # noqa: PLC0415 - takes two seconds

        self._model = getattr(models, self.factory)(**params)

    def fit(self, y: Values, *, season_length: int) -> Self:  # noqa: ARG002 - no season, see above
        """Fit the library's model; raises what it raises."""
        self._fitted = self._model.fit(y)
        return self

    def predict(self, h: int) -> Values:
        """The library's mean forecast."""
        return np.asarray(self._fitted.predict(h)["mean"], dtype=np.float64)


class SES(_ByStatsforecast):
    """Simple exponential smoothing, its weight found by least squares (Brown 1956)."""

    factory = "SimpleExponentialSmoothingOptimized"


class Theta(_ByStatsforecast):
    """The standard Theta method (Assimakopoulos & Nikolopoulos 2000)."""

    factory = "Theta"

    def __init__(self, **params: Any) -> None:
        super().__init__(season_length=1, **params)


class AutoETS(_ByStatsforecast):
    """The exponential smoothing model of least AICc (Hyndman, Koehler, Snyder & Grose 2002)."""

    factory = "AutoETS"
    min_train_size = 8  # with 7 values the AICc divides by zero, with fewer the library refuses

    def __init__(self, **params: Any) -> None:
        super().__init__(season_length=1, **params)
