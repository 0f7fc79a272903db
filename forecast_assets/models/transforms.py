"""Models on a transformed target: `theta_log` is the model `theta` on logarithms.

Forecasts are transformed back by the plain inverse. A forecast is the median on the transformed
scale, and a monotone inverse keeps the median, which minimizes the absolute error (Hyndman &
Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 5.6). Negative forecasts on
the transformed scale are outside the range of the transform and are set to zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from forecast_assets.models.base import NotForThisSeries, Values

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Transform:
    """A monotone function with f(0) = 0 on values of zero or more, and its inverse.

    `forward` and `inverse` take the values and the parameter that `estimate` finds in a series of
    a given season length. `version` is part of the fingerprint, as that of a model is.
    """

    forward: Callable[[Values, float], Values]
    inverse: Callable[[Values, float], Values]
    estimate: Callable[[Values, int], float] = lambda _y, _season_length: 0.0
    libraries: tuple[str, ...] = ()
    version: int = 1


def _box_cox_lambda(y: Values, season_length: int) -> float:
    """Return the lambda in [0, 1] that gives the same spread at every level (Guerrero 1993)."""
    from coreforecast.scalers import boxcox_lambda

    season = max(season_length, 2) if len(y) >= 2 * season_length else 2
    return float(boxcox_lambda(1.0 + y, method="guerrero", season_length=season, lower=0, upper=1))


def _box_cox(y: Values, lam: float) -> Values:
    return np.log1p(y) if lam == 0 else np.expm1(lam * np.log1p(y)) / lam


def _inverse_box_cox(z: Values, lam: float) -> Values:
    return np.expm1(z) if lam == 0 else np.expm1(np.log1p(lam * z) / lam)


# log and box_cox transform 1 + y, so that zero is allowed.
TRANSFORMS: Mapping[str, Transform] = MappingProxyType(
    {
        "log": Transform(lambda y, _: np.log1p(y), lambda z, _: np.expm1(z)),
        "sqrt": Transform(lambda y, _: np.sqrt(y), lambda z, _: z**2),
        "box_cox": Transform(_box_cox, _inverse_box_cox, _box_cox_lambda, ("coreforecast",)),
    }
)


class Transformed:
    """A local model on a transformed target. Raises NotForThisSeries for negative values."""

    def __init__(self, model: Any, transform: str) -> None:
        self._model, self._transform = model, transform
        self.min_train_size = getattr(model, "min_train_size", 1)

    def fit(self, y: Values, *, season_length: int, **x: Values) -> Self:
        """Estimate the transform, then fit the model to the transformed values."""
        self._lam = _estimate(self._transform, y, season_length)
        transformed = TRANSFORMS[self._transform].forward(y, self._lam)
        self._model = self._model.fit(transformed, season_length=season_length, **x)
        return self

    def predict(self, h: int, **x: Values) -> Values:
        """Return the model's forecast on the original scale."""
        return _invert(self._transform, self._model.predict(h, **x), self._lam)


class UpdatableTransformed(Transformed):
    """A transformed local model that has `update`."""

    def update(self, y_new: Values, **x: Values) -> Self:
        """Append new values. Raises NotForThisSeries for negative ones."""
        _refuse_negative(self._transform, y_new)
        transformed = TRANSFORMS[self._transform].forward(y_new, self._lam)
        self._model = self._model.update(transformed, **x)
        return self


class TransformedGlobal:
    """A global model on a transformed target; each series has its own transform parameter."""

    is_global = True

    def __init__(self, model: Any, transform: str) -> None:
        self._model, self._transform = model, transform
        self.min_train_size = getattr(model, "min_train_size", 1)

    def fit(self, series: "pd.DataFrame", *, season_length: int, **x: Values) -> Self:
        """Estimate the transforms, then fit the model to the transformed series."""
        forward = TRANSFORMS[self._transform].forward
        values = [y.to_numpy(dtype=np.float64) for _, y in series.groupby("unique_id")["y"]]
        self._lams = [_estimate(self._transform, y, season_length) for y in values]
        transformed = [forward(y, lam) for y, lam in zip(values, self._lams, strict=True)]
        frame = series.assign(y=np.concatenate(transformed))
        self._model = self._model.fit(frame, season_length=season_length, **x)
        return self

    def predict(self, h: int, **x: Values) -> Values:
        """Return the model's forecasts on the original scale."""
        forecasts = zip(self._model.predict(h, **x), self._lams, strict=True)
        return np.stack([_invert(self._transform, z, lam) for z, lam in forecasts])


def apply(model: Any, transform: str) -> Any:
    """Wrap a model so that it is fitted to transformed values."""
    if getattr(model, "is_global", False):
        return TransformedGlobal(model, transform)
    return (UpdatableTransformed if hasattr(model, "update") else Transformed)(model, transform)


def _estimate(transform: str, y: Values, season_length: int) -> float:
    _refuse_negative(transform, y)
    return TRANSFORMS[transform].estimate(y, season_length)


def _invert(transform: str, z: Values, lam: float) -> Values:
    in_range = np.maximum(np.asarray(z, dtype=np.float64), 0.0)
    return TRANSFORMS[transform].inverse(in_range, lam)


def _refuse_negative(transform: str, y: Values) -> None:
    if (y < 0).any():
        raise NotForThisSeries(f"the transform {transform} needs values of zero or more")
