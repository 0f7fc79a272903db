"""The versions of the built-in models: their forecasts on fixed series change only with a version.

`python -m forecast_assets_tests.models.test_versions` renews forecasts.json.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_assets.models import MODELS, ModelSpec, NotForThisSeries, min_train_size
from forecast_assets.models.base import Values
from forecast_assets.models.transforms import TRANSFORMS
from forecast_assets_tests.builders import seasonal_walk

FILE = Path(__file__).with_name("forecasts.json")
RENEW = "python -m forecast_assets_tests.models.test_versions"
SEASON = 4
# The transforms are the same for all models: these are updatable, global, and neither.
TRANSFORMED = ("naive", "ses", "theta", "ridge", "boosted_trees")
# A fit takes seconds.
SLOW = ("tbats",)
Record = dict[str, Any]


def with_zeros(n: int) -> Values:
    """Whole units, none in most weeks."""
    return np.random.default_rng(2).poisson(0.6, size=n).astype(np.float64)


def frame(y: Values) -> pd.DataFrame:
    """Return a series as a global model sees it."""
    ds = pd.date_range("2025-01-03", periods=len(y), freq="7D")
    return pd.DataFrame({"unique_id": 0, "ds": ds, "y": y})


def forecast(model: ModelSpec, y: Values, *, n_new: int = 0) -> tuple[list[float] | str, Any]:
    """Forecast three weeks, the last n_new values by an update; or the message of the refusal.

    The second item is the fitted model.
    """

    def data(start: int, stop: int) -> Any:
        return frame(y)[start:stop].reset_index(drop=True) if model.is_global else y[start:stop]

    n_fitted = len(y) - n_new
    try:
        fitted = model.make().fit(data(0, n_fitted), season_length=SEASON)
        if n_new:
            fitted = fitted.update(data(n_fitted, len(y)))
        return [float(value) for value in np.ravel(fitted.predict(3))], fitted
    except NotForThisSeries as error:
        return str(error), None


def record_of(model: ModelSpec) -> Record:
    """Return the version of a model, and what must not change without a new one.

    `state` is the attributes of a fitted model, which the fold cache holds pickled.
    """
    y = seasonal_walk(28, seed=1, season_length=SEASON)
    n_min = min_train_size(model.make(), season_length=SEASON)
    seasonal, fitted = forecast(model, y)
    forecasts: dict[str, Any] = {"seasonal": seasonal}
    if model.name not in SLOW:
        forecasts["with zeros"], _ = forecast(model, with_zeros(28))
        forecasts["short"], _ = forecast(model, y[:n_min])
    if model.is_updatable:
        forecasts["updated"], _ = forecast(model, y, n_new=4)
    for name, transform in TRANSFORMS.items() if model.name in TRANSFORMED else ():
        transformed = replace(model, name=f"{model.name}_{name}", transform=name)
        forecasts[f"{name} version {transform.version}"], _ = forecast(transformed, y)
    return {
        "version": model.version,
        "libraries": model.fingerprint_inputs["libraries"],
        "state": sorted(vars(fitted)) if model.is_updatable else [],
        "forecasts": forecasts,
    }


def differences(record: Record, stored: Record) -> list[str]:
    """Return what differs between two records of a model, apart from version and libraries."""
    differing = [] if record["state"] == stored["state"] else ["state"]
    old, new = stored["forecasts"], record["forecasts"]
    for name in sorted(old.keys() | new.keys()):
        values, expected = new.get(name), old.get(name)
        is_equal = values == expected
        if isinstance(values, list) and isinstance(expected, list):
            is_equal = values == pytest.approx(expected, rel=1e-6, abs=1e-9)
        differing += [] if is_equal else [name]
    return differing


def problem(name: str, record: Record, stored: Record) -> str | None:
    """Return what is wrong with a model that differs from its stored record, with a remedy."""
    differing = differences(record, stored)
    if not differing and record["version"] == stored["version"]:
        return None
    if record["version"] != stored["version"] or record["libraries"] != stored["libraries"]:
        return f"{name} has a new version or other libraries. Renew the file: {RENEW}"
    return (
        f"The forecasts or the state of {name} changed ({', '.join(differing)}), but its version"
        f" did not: the fold cache would keep the old ones. Raise the version of {name} in"
        f" forecast_assets/models/registry.py (or that of the transform), then renew the file:"
        f" {RENEW}"
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_forecasts_of_a_model_change_only_with_its_version(name: str):
    assert problem(name, record_of(MODELS[name]), json.loads(FILE.read_text())[name]) is None


def test_a_change_without_a_new_version_is_reported_with_the_remedy():
    stored = json.loads(FILE.read_text())["naive"]
    changed = {**stored, "forecasts": {**stored["forecasts"], "short": [1.0, 2.0, 3.0]}}
    message = str(problem("naive", changed, stored))
    assert "The forecasts or the state of naive changed (short), but its version did not" in message
    assert message.endswith(f"renew the file: {RENEW}")
    for renewed in ({"version": 2}, {"libraries": {}}):
        assert "Renew the file" in str(problem("naive", {**changed, **renewed}, stored))
    close = [value * (1 + 1e-7) for value in stored["forecasts"]["short"]]
    changed["forecasts"]["short"] = close
    assert problem("naive", changed, stored) is None


def renew() -> None:
    """Write forecasts.json; refuse models that changed under the same version."""
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    records = {name: record_of(model) for name, model in MODELS.items()}
    for name, record in records.items():
        message = problem(name, record, stored[name]) if name in stored else None
        if message and "Raise the version" in message:
            raise SystemExit(message)
    FILE.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    renew()
