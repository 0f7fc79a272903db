"""Models on a transformed target: `theta_log` is the model `theta` on logarithms.

The way back is the inverse, and nothing added. A model's forecast on the transformed scale is the
middle of what it expects there; a monotone way back takes the middle to the middle, so the forecast
is a median, which is what absolute errors reward (Hyndman & Athanasopoulos, Forecasting: Principles
and Practice, 3rd ed., section 5.6). The one bias a plain inverse has is where a forecast leaves the
transform's range: below zero, which each takes zero to, it is held at zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_assets.models.base import NotForThisSeries, Values


@dataclass(frozen=True)
class Transform:
    """A monotone function of values of zero or more, which takes zero to zero, and the way back."""

    there: Callable[[Values, float], Values]
    back: Callable[[Values, float], Values]
    learn: Callable[[Values, int], float] = lambda _y, _season_length: 0.0  # its parameter
    libraries: tuple[str, ...] = ()  # that learn it


def _box_cox_lambda(y: Values, season_length: int) -> float:
    """The parameter that makes the spread the same at every level (Guerrero 1993), in [0, 1]."""
    from coreforecast.scalers import boxcox_lambda  # noqa: PLC0415 - only this transform needs it

    season = max(season_length, 2) if len(y) >= 2 * season_length else 2
    return float(boxcox_lambda(1.0 + y, method="guerrero", season_length=season, lower=0, upper=1))


def _box_cox(y: Values, lam: float) -> Values:
    return np.log1p(y) if lam == 0 else np.expm1(lam * np.log1p(y)) / lam


def _box_cox_back(z: Values, lam: float) -> Values:
    return np.expm1(z) if lam == 0 else np.expm1(np.log1p(lam * z) / lam)


TRANSFORMS: Mapping[str, Transform] = MappingProxyType(
    {
        "log": Transform(lambda y, _: np.log1p(y), lambda z, _: np.expm1(z)),
        "sqrt": Transform(lambda y, _: np.sqrt(y), lambda z, _: z**2),
        "box_cox": Transform(_box_cox, _box_cox_back, _box_cox_lambda, ("coreforecast",)),
    }
)
# log and box_cox are of 1 + y, so that zero is a value too.


class Transformed:
    """A local model behind a transform. Raises NotForThisSeries where a value is out of range."""

    def __init__(self, model: Any, transform: str) -> None:
        self._model, self._transform = model, transform
        if hasattr(model, "min_train_size"):
            self.min_train_size = model.min_train_size

    def fit(self, y: Values, *, season_length: int) -> Self:
        """Learn the transform, then the model on what it gives."""
        self._lam = _learnt(self._transform, y, season_length)
        there = TRANSFORMS[self._transform].there(y, self._lam)
        self._model = self._model.fit(there, season_length=season_length)
        return self

    def predict(self, h: int) -> Values:
        """The model's forecast, taken back."""
        return _inverse(self._transform, self._model.predict(h), self._lam)


class UpdatableTransformed(Transformed):
    """The same, around a model that can be moved forward without a fit."""

    def update(self, y_new: Values) -> Self:
        """Take in the values after those known. Raises NotForThisSeries as `fit` does."""
        _refuse_out_of_range(self._transform, y_new)
        there = TRANSFORMS[self._transform].there(y_new, self._lam)
        self._model = self._model.update(there)
        return self


class TransformedGlobal:
    """A global model behind a transform, learnt for each series by itself."""

    is_global = True

    def __init__(self, model: Any, transform: str) -> None:
        self._model, self._transform = model, transform
        self.min_train_size = getattr(model, "min_train_size", 1)

    def fit(self, series: pd.DataFrame, *, season_length: int) -> Self:
        """Learn the transforms, then the model on what they give."""
        self._lams = {
            unique_id: _learnt(self._transform, y.to_numpy(dtype=np.float64), season_length)
            for unique_id, y in series.groupby("unique_id")["y"]
        }
        self._model = self._model.fit(self._there(series), season_length=season_length)
        return self

    def predict(self, h: int) -> Values:
        """The model's forecasts, taken back."""
        said = zip(self._model.predict(h), self._lams.values(), strict=True)
        return np.stack([_inverse(self._transform, z, lam) for z, lam in said])

    def _there(self, series: pd.DataFrame) -> pd.DataFrame:
        there = TRANSFORMS[self._transform].there
        parts = [
            there(y.to_numpy(dtype=np.float64), self._lams[unique_id])
            for unique_id, y in series.groupby("unique_id")["y"]
        ]
        return series.assign(y=np.concatenate(parts))


def apply(model: Any, transform: str) -> Any:
    """The model behind a transform of that name."""
    if getattr(model, "is_global", False):
        return TransformedGlobal(model, transform)
    return (UpdatableTransformed if hasattr(model, "update") else Transformed)(model, transform)


def _learnt(transform: str, y: Values, season_length: int) -> float:
    _refuse_out_of_range(transform, y)
    return TRANSFORMS[transform].learn(y, season_length)


def _inverse(transform: str, z: Values, lam: float) -> Values:
    held = np.maximum(np.asarray(z, dtype=np.float64), 0.0)
    return TRANSFORMS[transform].back(held, lam)


def _refuse_out_of_range(transform: str, y: Values) -> None:
    if (y < 0).any():
        raise NotForThisSeries(f"{transform} is for values of zero or more")
