"""The models that can be named in forecast.toml, and how each is made and identified.

A name is one of the package's, one of a `[models.NAME]` table with a `factory`, or one that an
installed package gives in its entry points `forecast_assets.models`; any of these followed by
`_log`, `_sqrt` or `_box_cox` is that model on a transformed target.
"""

import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forecast_assets.errors import ModelError, listed
from forecast_assets.models import transforms
from forecast_assets.models.base import Values
from forecast_assets.settings import Settings

ENTRY_POINTS = "forecast_assets.models"
PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Model:
    """A model's name, where its class is, what it is made with, and the libraries behind it.

    `refit_every`: how many weeks apart it is fitted, moved forward over those between; 1 for a
    model that cannot be moved. `transform`: the name of the target's transform, or empty.
    """

    name: str
    factory: str  # "package.module:Class"
    libraries: tuple[str, ...] = ("numpy",)
    params: Mapping[str, Any] = field(default_factory=dict)
    refit_every: int = 1
    transform: str = ""

    def __reduce__(self) -> tuple[type["Model"], tuple[Any, ...]]:
        """Travel without what was looked up here: a worker looks up its own."""
        return Model, tuple(getattr(self, one.name) for one in fields(self))

    def make(self) -> Any:
        """A fresh, unfitted forecaster. Raises ModelError where it cannot be made."""
        try:
            made = self._class(**self.params)
        except TypeError as error:
            raise ModelError(_refused_parameters(self, error)) from error
        return transforms.wrapped(made, self.transform) if self.transform else made

    def fit(self, y: Values, *, season_length: int) -> Any:
        """Make a fresh forecaster and fit it."""
        return self.make().fit(y, season_length=season_length)

    def check(self) -> None:
        """Raise ModelError where the class cannot be imported, or made and run as a model is."""
        missing = [name for name in ("fit", "predict") if not callable(self._of_class(name))]
        if missing:
            raise ModelError(
                f"The model {self.name} ({self.factory}) has no {listed(missing)}, so it cannot be"
                f" run. Give it both: fit(y, *, season_length) and predict(h)."
            )
        try:
            inspect.signature(self._class).bind(**self.params)
        except TypeError as error:
            raise ModelError(_refused_parameters(self, error)) from error
        if self.refit_every > 1 and not self.is_moved:
            raise ModelError(
                f"[models.{self.name}] sets `refit_every` to {self.refit_every}, and the model"
                f" ({self.factory}) has no `update` to be moved forward with between fits. Nothing"
                f" ran. Take the setting out, or give the model `update(y_new) -> self`."
            )

    @property
    def is_global(self) -> bool:
        """Whether one fit is over all series at a cutoff."""
        return bool(self._of_class("is_global"))

    @property
    def is_closed_form(self) -> bool:
        """Whether its forecasts are a formula, ours, that cannot misbehave."""
        is_formula = callable(self._of_class("forecast_folds"))
        return is_formula and not self.transform and self.is_packaged

    @property
    def is_moved(self) -> bool:
        """Whether it can be moved forward without a fit."""
        return callable(self._of_class("update")) and not (self.is_global and self.transform)

    @property
    def is_packaged(self) -> bool:
        """Whether its class is the package's own."""
        return self.factory.startswith(f"{PACKAGE}.")

    @cached_property
    def fingerprint(self) -> str:
        """Identify all that decides the model's forecasts, the data aside (32 hex digits).

        Covers the name, the class, its parameters, transform and cadence, the source of its code,
        and the versions of the libraries behind it.
        """
        said = json.dumps(self.identity, sort_keys=True, default=str)
        return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What the fingerprint covers."""
        return {
            "name": self.name,
            "factory": self.factory,
            "params": self.params,
            "transform": self.transform,
            "refit_every": self.refit_every,
            "source": _digest_of_source(self._class.__module__),
            "libraries": {name: _version(name) for name in self.libraries},
        }

    def _of_class(self, name: str) -> Any:
        return getattr(self._class, name, None)

    @cached_property
    def _class(self) -> Any:
        module, _, name = self.factory.partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as error:
            raise ModelError(
                f"The class of the model {self.name} cannot be imported from {self.factory}:"
                f" {type(error).__name__}: {error}. Nothing ran with it. Correct its `factory`, in"
                f" [models.{self.name}] of forecast.toml or in the entry point that gives it, and"
                f" see that its package is installed here."
            ) from error


def _refused_parameters(model: Model, error: TypeError) -> str:
    return (
        f"The model {model.name} ({model.factory}) refuses its parameters {dict(model.params)}:"
        f" {error}. It was not run. Correct `params` in [models.{model.name}] of forecast.toml."
    )


@functools.cache
def _version(library: str) -> str:
    return metadata.version(library)


@functools.cache
def _digest_of_source(module: str) -> str:
    """Digest the code that a model's module can be made of.

    For a model of the package: the folder of models. For any other: the Python files of its
    top-level package, or its own file where it is in none or the package is installed as a
    distribution, whose version the fingerprint has.
    """
    top = import_module(
        PACKAGE + ".models" if module.startswith(PACKAGE) else module.split(".", maxsplit=1)[0]
    )
    own = sys.modules[module]
    folder = Path(inspect.getfile(top)).parent
    is_own_tree = hasattr(top, "__path__") and "site-packages" not in folder.parts
    files = sorted(folder.rglob("*.py")) if is_own_tree else [Path(inspect.getfile(own))]
    if top.__name__.startswith(PACKAGE):
        files = [file for file in files if file.name not in ("__init__.py", "registry.py")]
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


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

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for model in (
            Model("naive", f"{_FORMULA}:Naive"),
            Model("seasonal_naive", f"{_FORMULA}:SeasonalNaive"),
            Model("drift", f"{_FORMULA}:Drift"),
            Model("window_average", f"{_FORMULA}:WindowAverage"),
            Model("ses", f"{_FORECAST}:SES", _STATSFORECAST),
            Model("holt", f"{_FORECAST}:Holt", _STATSFORECAST),
            Model("damped_holt", f"{_FORECAST}:DampedHolt", _STATSFORECAST),
            Model("auto_ets", f"{_FORECAST}:AutoETS", _STATSFORECAST),
            Model("auto_ces", f"{_FORECAST}:AutoCES", _STATSFORECAST),
            Model("theta", f"{_FORECAST}:Theta", _STATSFORECAST),
            Model("optimized_theta", f"{_FORECAST}:OptimizedTheta", _STATSFORECAST),
            Model("auto_arima", f"{_FORECAST}:AutoARIMA", _STATSFORECAST, refit_every=QUARTER),
            Model(
                "harmonic_arima", f"{_FORECAST}:HarmonicARIMA", _STATSFORECAST, refit_every=QUARTER
            ),
            Model("sarimax", f"{_SPACE}:SARIMAX", _STATSMODELS, refit_every=QUARTER),
            Model(
                "unobserved_components",
                f"{_SPACE}:UnobservedComponents",
                _STATSMODELS,
                refit_every=QUARTER,
            ),
            Model("mstl_ets", f"{_FORECAST}:MSTLWithETS", _DECOMPOSED),
            Model("mstl_arima", f"{_FORECAST}:MSTLWithARIMA", _DECOMPOSED, refit_every=QUARTER),
            Model("tbats", f"{_FORECAST}:TBATS", _STATSFORECAST),
            Model("ridge", f"{PACKAGE}.models.regression:Ridge", ("scikit-learn", "numpy")),
            Model(
                "boosted_trees",
                f"{PACKAGE}.models.trees:BoostedTrees",
                _TREES,
                refit_every=QUARTER,
            ),
            Model("croston", f"{_FORECAST}:Croston", _STATSFORECAST),
            Model("tsb", f"{_FORECAST}:TSB", _STATSFORECAST),
        )
    }
)


def registered(settings: Settings | None = None) -> Mapping[str, Model]:
    """Every model by name: the package's, those of entry points, the settings' own.

    A `[models.NAME]` table without a `factory` changes the parameters or the cadence of a model
    that is there already.

    Raises ModelError where a name is taken twice, or a table changes a model that is not there.
    """
    given = settings.models.own if settings else {}
    own = {
        name: Model(name, one.factory, _libraries(one.factory))
        for name, one in given.items()
        if one.factory
    }
    every = {**MODELS}
    for origin, more in (("an entry point", _from_entry_points()), ("forecast.toml", own)):
        taken = sorted(set(more) & set(every))
        if taken:
            raise ModelError(
                f"{origin[0].upper()}{origin[1:]} gives a model a name that is taken:"
                f" {listed(taken)}. Which of the two is meant would be a guess, so nothing ran."
                f" Give your model another name."
            )
        every |= more
    for name, one in given.items():
        base = _on_a_target(name, every)
        if base is None:
            raise ModelError(
                f"[models.{name}] has no `factory`, and there is no model {name!r} that it could"
                f" change. Nothing ran. Give it `factory`, or name one of:"
                f" {listed(every, most=40)}."
            )
        params = {**base.params, **one.params}
        every[name] = replace(base, params=params, refit_every=one.refit_every or base.refit_every)
    return MappingProxyType(every)


def names(settings: Settings | None = None) -> list[str]:
    """The names that `enabled` may list, transforms aside."""
    return list(registered(settings))


def find(name: str, settings: Settings | None = None) -> Model:
    """The registered model of that name, as the settings have it.

    Raises ModelError, listing what there is.
    """
    every = registered(settings)
    model = every.get(name) or _on_a_target(name, every)
    if model is None:
        raise ModelError(
            f"There is no model {name!r}. It cannot be run, so nothing was. The models are"
            f" {listed(every, most=40)}, and each of them on a transformed target, as theta_log;"
            f" a model of your own needs a table [models.{name}] with its `factory` in"
            f" forecast.toml."
        )
    said = settings.models.own.get(name) if settings else None
    for_all = settings.backtest.refit_every if settings else None
    if for_all and not (said and said.refit_every):
        model = replace(model, refit_every=for_all if model.is_moved else 1)
    return model


def make(name: str, settings: Settings | None = None) -> Any:
    """A fresh forecaster by its registered name. Raises ModelError where there is none."""
    return find(name, settings).make()


def enabled(settings: Settings) -> list[Model]:
    """The models that compete, in the order of forecast.toml. Raises ModelError."""
    found = [find(name, settings) for name in settings.models.enabled]
    for model in found:
        model.check()
    return found


def _on_a_target(name: str, every: Mapping[str, Model]) -> Model | None:
    """The model of that name, made from its base where the name ends in a transform's."""
    if name in every:
        return every[name]
    for transform in transforms.TRANSFORMS:
        base = every.get(name.removesuffix(f"_{transform}"))
        if base and base.name != name:
            made = replace(base, name=name, transform=transform)
            return made if made.is_moved else replace(made, refit_every=1)
    return None


@functools.cache  # looking through all installed packages takes 50 ms
def _from_entry_points() -> Mapping[str, Model]:
    """The models that installed packages give; none is imported until it is used."""
    points: Sequence[Any] = tuple(metadata.entry_points(group=ENTRY_POINTS))
    found: dict[str, Model] = {}
    for point in points:
        if point.name in found:
            raise ModelError(
                f"Two installed packages give a model {point.name!r} in their entry points"
                f" {ENTRY_POINTS}: {found[point.name].factory} and {point.value}. Which is meant"
                f" would be a guess, so nothing ran. Uninstall one of them."
            )
        found[point.name] = Model(point.name, point.value, _libraries(point.value))
    return found


@functools.cache
def _libraries(factory: str) -> tuple[str, ...]:
    """The installed distributions whose versions a model of the user's own depends on."""
    top = factory.partition(":")[0].partition(".")[0]
    return (*metadata.packages_distributions().get(top, ()), "numpy")
