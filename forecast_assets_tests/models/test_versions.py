"""Versions of the built-in models: forecasts on fixed series change only with a new version.

Renew `forecasts.json` with `python -m forecast_assets_tests.models.test_versions`.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.models import MODELS, ModelSpec, NotForThisSeries, find_model, min_train_size
from forecast_assets.models.base import Values
from forecast_assets.models.transforms import TRANSFORMS

FILE = Path(__file__).with_name("forecasts.json")
SEASON = 12
RENEW = "python -m forecast_assets_tests.models.test_versions"
Record = dict[str, Any]


def seasonal(n: int) -> Values:
    """A level that wanders, a year of twelve weeks, and noise, far above zero."""
    rng = np.random.default_rng(1)
    year = 20 * np.sin(2 * np.pi * np.arange(n) / SEASON)
    return 200 + np.cumsum(rng.normal(size=n)) + year + rng.normal(scale=3, size=n)


def with_zeros(n: int) -> Values:
    """Whole units, none in most weeks."""
    return np.random.default_rng(2).poisson(0.6, size=n).astype(np.float64)


def frame(*ys: Values) -> pd.DataFrame:
    """Series that end on the same day, as a global model sees them."""
    ds = [pd.date_range(end="2026-01-02", periods=len(y), freq="7D") for y in ys]
    parts = [pd.DataFrame({"unique_id": i, "ds": ds[i], "y": y}) for i, y in enumerate(ys)]
    return pd.concat(parts, ignore_index=True)


def forecast(model: ModelSpec, y: Values, y_new: Values | None = None) -> list[Any] | str:
    """Forecast three weeks after y, or after an update with y_new; the text if it declines.

    A global model sees a second series with zeros.
    """
    fitted = model.make()
    try:
        if model.is_global:
            series = frame(y, with_zeros(30)) if y_new is None else frame(np.r_[y, y_new])
            n_new = 0 if y_new is None else len(y_new)
            fitted = fitted.fit(series[: len(series) - n_new], season_length=SEASON)
            y_new = series[-n_new:].reset_index(drop=True) if n_new else None
        else:
            fitted = fitted.fit(y, season_length=SEASON)
        if y_new is not None:
            fitted = fitted.update(y_new)
        return np.asarray(fitted.predict(3)).tolist()
    except NotForThisSeries as error:
        return str(error)


def record_of(model: ModelSpec) -> Record:
    """The version of a model, its libraries, and its forecasts on the fixed series."""
    y, n_min = seasonal(48), min_train_size(model.make(), season_length=SEASON)
    forecasts: dict[str, Any] = {
        "seasonal": forecast(model, y),
        "with_zeros": forecast(model, with_zeros(48)),
        "short": forecast(model, y[:n_min]),
    }
    if model.is_updatable:
        forecasts["updated"] = forecast(model, y[:40], y[40:])
    for name, transform in TRANSFORMS.items():
        transformed = replace(model, name=f"{model.name}_{name}", transform=name)
        forecasts[f"{name}, version {transform.version}"] = forecast(transformed, y[:30])
    fitted = model.make()
    given = frame(y) if model.is_global else y
    state = sorted(vars(fitted.fit(given, season_length=SEASON))) if model.is_updatable else []
    return {
        "version": model.version,
        "libraries": model.fingerprint_inputs["libraries"],
        "state": state,
        "forecasts": forecasts,
    }
