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
from forecast_assets.models.registry import MODELS, enabled, find, make, names
from forecast_assets.models.spec import Model

__all__ = [
    "MODELS",
    "ClosedForm",
    "Forecaster",
    "GlobalForecaster",
    "Model",
    "NotForThisSeries",
    "enabled",
    "find",
    "make",
    "min_train_size",
    "names",
]
