"""Record with what a forecast was made: settings, and versions of models and libraries.

The record is part of the commit of `next_week_forecast`. It says what changed from one week to the
next; `explanation` says by how much that moved a forecast.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pandas as pd
from pydantic import ValidationError

from forecast_assets.config.settings import Settings
from forecast_assets.errors import ModelError
from forecast_assets.models.registry import find_model
from forecast_assets.models.spec import PACKAGE, library_version

# The tables of forecast.toml that a forecast depends on, apart from its source.
TABLES = ("series", "hierarchy", "backtest", "models", "selection", "forecast", "calendar")
# Those that decide what a given model makes of given values.
OF_MODELS = ("series", "backtest", "models", "forecast", "calendar")
# Keys that change no forecast.
NOT_RECORDED = {"units", "levels", "quantiles"}
DIGITS = 16  # of a fingerprint


@dataclass(frozen=True)
class MadeWith:
    """What a forecast was made with; settings have only what is not the default.

    `models` has the fingerprint of each model that the forecast uses, and `libraries` the versions
    of this package and of their libraries.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, forecast: pd.DataFrame, settings: Settings) -> Self:
        """Describe the present settings and code, as far as the rows of a forecast depend on them.

        A model that cannot be found is left out.
        """
        models, libraries = {}, {PACKAGE.replace("_", "-")}
        for name in used_models(forecast):
            try:
                spec = find_model(name, settings)
                models[name] = spec.fingerprint[:DIGITS]
                libraries |= {*spec.fingerprint_inputs["libraries"]}
            except ModelError:  # it is a benchmark, or an ensemble's name
                continue
        dump = settings.model_dump(mode="json", include=set(TABLES), exclude_defaults=True)
        tables = {name: _without(dump[name]) for name in TABLES if name in dump}
        versions = {name: library_version(name) for name in sorted(libraries)}
        return cls({name: table for name, table in tables.items() if table}, models, versions)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read the record of a commit; None for a forecast of a release that wrote none."""
        return cls(**json.loads(text)) if text else None

    def to_text(self) -> str:
        """Return the record for a commit."""
        return json.dumps(asdict(self), sort_keys=True)

    def settings_on(self, present: Settings) -> Settings | None:
        """Return the present settings with what the models were given then; None if unreadable."""
        tables = {}
        try:
            for name in OF_MODELS:
                kind = type(getattr(present, name))
                tables[name] = kind.model_validate_json(json.dumps(self.settings.get(name, {})))
        except ValidationError:  # another release had other settings
            return None
        return present.model_copy(update=tables)


def used_models(forecast: pd.DataFrame) -> list[str]:
    """Return the models that rows of a forecast were made by, members of ensembles included."""
    names = {*forecast["model"].dropna()}
    for text in forecast["members"].dropna().unique():
        names |= {*str(text).split(", ")}
    return sorted(names)


def changed_settings(before: MadeWith, after: MadeWith) -> list[str]:
    """Return the settings that differ, each with both values: `backtest.n_windows 52 → 26`."""
    then, now = (_flat(each.settings) for each in (before, after))
    return [
        f"{key} {then.get(key, 'default')} → {now.get(key, 'default')}"
        for key in sorted({*then, *now})
        if then.get(key) != now.get(key)
    ]


def changed_code(before: MadeWith, after: MadeWith) -> list[str]:
    """Return the libraries whose versions differ, and the models of which only the code does."""
    libraries = [
        f"{name} {before.libraries[name]} → {after.libraries[name]}"
        for name in sorted({*before.libraries} & {*after.libraries})
        if before.libraries[name] != after.libraries[name]
    ]
    if libraries:
        return libraries
    common = sorted({*before.models} & {*after.models})
    return [f"the model {name}" for name in common if before.models[name] != after.models[name]]


def _without(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in NOT_RECORDED}


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings by their whole name, as texts."""
    found: dict[str, str] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value)
    return found
