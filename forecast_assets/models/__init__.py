"""Forecasting models by name: `MODELS[name].fit(y, season_length=52).predict(h)`.

How folds are made and scored does not belong here.
"""

from forecast_assets.models.base import (
    ClosedForm,
    Forecaster,
    GlobalForecaster,
    NotForThisSeries,
    min_train_size,
)
from forecast_assets.models.registry import MODELS, enabled, find_model, make, names
from forecast_assets.models.spec import ModelSpec

__all__ = [
    "MODELS",
    "ClosedForm",
    "Forecaster",
    "GlobalForecaster",
    "ModelSpec",
    "NotForThisSeries",
    "enabled",
    "find_model",
    "make",
    "min_train_size",
    "names",
]
