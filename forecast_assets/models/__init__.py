"""Forecasting models by name: `make("theta").fit(y, season_length=52).predict(h)`.

The backtest that runs and compares them is in `backtesting`.
"""

from forecast_assets.models.base import (
    Forecaster,
    GlobalForecaster,
    NotForThisSeries,
    min_train_size,
)
from forecast_assets.models.registry import MODELS, enabled, find_model, make, names
from forecast_assets.models.spec import ModelSpec

__all__ = [
    "MODELS",
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
