"""The models that can be named in forecast.toml.

A name is one of the package's, one of a `[models.NAME]` table with a `factory`, or one that an
installed package gives in its entry points `forecast_assets.models`; any of these followed by
`_log`, `_sqrt` or `_box_cox` is that model on a transformed target.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from types import MappingProxyType
from typing import Any

from forecast_assets.config.settings import Settings
from forecast_assets.errors import ModelError, format_list
from forecast_assets.models import transforms
from forecast_assets.models.spec import PACKAGE, ModelSpec

__all__ = [
    "ENTRY_POINTS",
    "MODELS",
    "ModelSpec",
    "enabled",
    "find_model",
    "make",
    "names",
    "registered",
]

ENTRY_POINTS = "forecast_assets.models"

_FORMULA = f"{PACKAGE}.models.naive"
_FORECAST = f"{PACKAGE}.models.by_statsforecast"
_SPACE = f"{PACKAGE}.models.by_statsmodels"
_STATSFORECAST = ("statsforecast", "coreforecast", "numpy", "scipy")
_DECOMPOSED = (*_STATSFORECAST, "statsmodels")
_STATSMODELS = ("statsmodels", "numpy", "scipy")
_TREES = ("mlforecast", "scikit-learn", "coreforecast", "numpy", "pandas")
QUARTER = 13  # weeks
# The dear ones are fitted once a quarter and moved on between. What that costs in accuracy:
# `make bench` shows it.

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        model.name: model
        for model in (
            ModelSpec("naive", f"{_FORMULA}:Naive"),
            ModelSpec("seasonal_naive", f"{_FORMULA}:SeasonalNaive"),
            ModelSpec("drift", f"{_FORMULA}:Drift"),
            ModelSpec("window_average", f"{_FORMULA}:WindowAverage"),
            ModelSpec("ses", f"{_FORECAST}:SES", _STATSFORECAST),
            ModelSpec("holt", f"{_FORECAST}:Holt", _STATSFORECAST),
            ModelSpec("damped_holt", f"{_FORECAST}:DampedHolt", _STATSFORECAST),
            ModelSpec("auto_ets", f"{_FORECAST}:AutoETS", _STATSFORECAST),
            ModelSpec("auto_ces", f"{_FORECAST}:AutoCES", _STATSFORECAST),
            ModelSpec("theta", f"{_FORECAST}:Theta", _STATSFORECAST),
            ModelSpec("optimized_theta", f"{_FORECAST}:OptimizedTheta", _STATSFORECAST),
            ModelSpec("auto_arima", f"{_FORECAST}:AutoARIMA", _STATSFORECAST, refit_every=QUARTER),
            ModelSpec(
                "harmonic_arima", f"{_FORECAST}:HarmonicARIMA", _STATSFORECAST, refit_every=QUARTER
            ),
            ModelSpec("sarimax", f"{_SPACE}:SARIMAX", _STATSMODELS, refit_every=QUARTER),
            ModelSpec(
                "unobserved_components",
                f"{_SPACE}:UnobservedComponents",
                _STATSMODELS,
                refit_every=QUARTER,
            ),
            ModelSpec("mstl_ets", f"{_FORECAST}:MSTLWithETS", _DECOMPOSED),
            ModelSpec("mstl_arima", f"{_FORECAST}:MSTLWithARIMA", _DECOMPOSED, refit_every=QUARTER),
            ModelSpec("tbats", f"{_FORECAST}:TBATS", _STATSFORECAST),
            ModelSpec(
                "ridge", f"{PACKAGE}.models.machine_learning:Ridge", ("scikit-learn", "numpy")
            ),
            ModelSpec(
                "boosted_trees",
                f"{PACKAGE}.models.machine_learning:BoostedTrees",
                _TREES,
                refit_every=QUARTER,
            ),
            ModelSpec("croston", f"{_FORECAST}:Croston", _STATSFORECAST),
            ModelSpec("tsb", f"{_FORECAST}:TSB", _STATSFORECAST),
        )
    }
)


def registered(settings: Settings | None = None) -> Mapping[str, ModelSpec]:
    """Every model by name: the package's, those of entry points, the settings' own.

    A `[models.NAME]` table without a `factory` changes the parameters or the cadence of a model
    that is there already.

    Raises ModelError where a name is taken twice, or a table changes a model that is not there.
    """
    given = settings.models.by_name if settings else {}
    own = {
        name: ModelSpec(name, one.factory, _libraries(one.factory))
        for name, one in given.items()
        if one.factory
    }
    every = {**MODELS}
    for origin, more in (
        ("An entry point", _from_entry_points()),
        ("A table of forecast.toml", own),
    ):
        taken = sorted(name for name in more if _resolve_transform(name, every))
        if taken:
            raise ModelError(
                f"{origin} gives a model a name that is taken:"
                f" {format_list(taken)}. Which of the two is meant would be a guess, so nothing ran."
                f" Give your model another name."
            )
        every |= more
    for name, one in sorted(given.items(), key=lambda item: len(item[0])):  # theta, then theta_log
        base = _resolve_transform(name, every)
        if base is None:
            raise ModelError(
                f"[models.{name}] has no `factory`, and there is no model {name!r} that it could"
                f" change. Nothing ran. Give it `factory`, or name one of:"
                f" {format_list(every, limit=40)}."
            )
        params = {**base.params, **one.params}
        every[name] = replace(base, params=params, refit_every=one.refit_every or base.refit_every)
    return MappingProxyType(every)


def names(settings: Settings | None = None) -> list[str]:
    """The names that `enabled` may list, transforms aside."""
    return list(registered(settings))


def find_model(name: str, settings: Settings | None = None) -> ModelSpec:
    """The registered model of that name, as the settings have it.

    Raises ModelError, listing what there is.
    """
    every = registered(settings)
    model = every.get(name) or _resolve_transform(name, every)
    if model is None:
        raise ModelError(
            f"There is no model {name!r}. It cannot be run, so nothing was. The models are"
            f" {format_list(every, limit=40)}, and each of them on a transformed target, as theta_log;"
            f" a model of your own needs a table [models.{name}] with its `factory` in"
            f" forecast.toml."
        )
    said = settings.models.by_name.get(name) if settings else None
    for_all = settings.backtest.refit_every if settings else None
    if for_all and not (said and said.refit_every):
        model = replace(model, refit_every=for_all if model.is_moved else 1)
    return model


def make(name: str, settings: Settings | None = None) -> Any:
    """A fresh forecaster by its registered name. Raises ModelError where there is none."""
    return find_model(name, settings).make()


def enabled(settings: Settings) -> list[ModelSpec]:
    """The models that compete, in the order of forecast.toml. Raises ModelError."""
    found = [find_model(name, settings) for name in settings.models.enabled]
    for model in found:
        model.check()
    return found


def _resolve_transform(name: str, every: Mapping[str, ModelSpec]) -> ModelSpec | None:
    """The model of that name, made from its base where the name ends in a transform's."""
    if name in every:
        return every[name]
    for transform in transforms.TRANSFORMS:
        base = every.get(name.removesuffix(f"_{transform}"))
        if base and base.name != name and not base.transform:
            made = replace(base, name=name, transform=transform)
            return made if made.is_moved else replace(made, refit_every=1)
    return None


@functools.cache  # looking through all installed packages takes 50 ms
def _from_entry_points() -> Mapping[str, ModelSpec]:
    """The models that installed packages give; none is imported until it is used."""
    points: Sequence[Any] = tuple(metadata.entry_points(group=ENTRY_POINTS))
    found: dict[str, ModelSpec] = {}
    for point in points:
        if point.name in found:
            raise ModelError(
                f"Two installed packages give a model {point.name!r} in their entry points"
                f" {ENTRY_POINTS}: {found[point.name].factory} and {point.value}. Which is meant"
                f" would be a guess, so nothing ran. Uninstall one of them."
            )
        found[point.name] = ModelSpec(point.name, point.value, _libraries(point.value))
    return found


def _libraries(factory: str) -> tuple[str, ...]:
    """What a class of the package depends on; what any other does is found where it is imported."""
    module = factory.partition(":")[0] + ":"
    behind = [model.libraries for model in MODELS.values() if model.factory.startswith(module)]
    return behind[0] if behind else ("numpy",)
