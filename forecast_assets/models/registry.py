"""The models that can be named in forecast.toml, and how each is made and identified."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any

from forecast_assets.errors import ModelError, listed
from forecast_assets.models.base import Forecaster, Values
from forecast_assets.settings import Settings


@dataclass(frozen=True)
class Model:
    """A model's name, where its class is, what it is made with, and the library behind it."""

    name: str
    factory: str  # "package.module:Class"
    library: str = "numpy"
    params: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Forecaster:
        """A fresh, unfitted forecaster. Raises ModelError where it cannot be made."""
        try:
            made = self._class(**self.params)
        except TypeError as error:
            raise ModelError(
                f"The model {self.name} ({self.factory}) refuses its parameters"
                f" {dict(self.params)}: {error}. It was not run. Correct `params` in"
                f" [models.{self.name}] of forecast.toml."
            ) from error
        if not isinstance(made, Forecaster):
            raise ModelError(
                f"The model {self.name} ({self.factory}) has no `fit` and `predict`, so it cannot"
                f" be run. Give it both: fit(y, *, season_length) and predict(h)."
            )
        return made

    def fit(self, y: Values, *, season_length: int) -> Forecaster:
        """Make a fresh forecaster and fit it."""
        return self.make().fit(y, season_length=season_length)

    @cached_property
    def fingerprint(self) -> str:
        """Identify all that decides the model's forecasts, the data aside (32 hex digits).

        Covers the name, the class and its parameters, the source of the class's module, and the
        version of the library behind it.
        """
        parts = {
            "name": self.name,
            "factory": self.factory,
            "params": self.params,
            "source": inspect.getsource(import_module(self._class.__module__)),
            "library": f"{self.library} {metadata.version(self.library)}",
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @cached_property
    def _class(self) -> Any:
        module, _, name = self.factory.partition(":")
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ModelError(
                f"The class of the model {self.name} cannot be imported from {self.factory}:"
                f" {error}. Nothing ran with it. Correct `factory` in [models.{self.name}] of"
                f" forecast.toml, and see that its package is installed here."
            ) from error


_NAIVE = "forecast_assets.models.naive"
_EXPONENTIAL = "forecast_assets.models.exponential"

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for model in (
            Model("naive", f"{_NAIVE}:Naive"),
            Model("seasonal_naive", f"{_NAIVE}:SeasonalNaive"),
            Model("drift", f"{_NAIVE}:Drift"),
            Model("ses", f"{_EXPONENTIAL}:SES", "statsforecast"),
            Model("theta", f"{_EXPONENTIAL}:Theta", "statsforecast"),
            Model("auto_ets", f"{_EXPONENTIAL}:AutoETS", "statsforecast"),
        )
    }
)


def registered(settings: Settings | None = None) -> Mapping[str, Model]:
    """Every model by name: the package's, then the user's own.

    Raises ModelError where a model of the user's own takes a name that is taken.
    """
    own = settings.models.own if settings else {}
    taken = sorted(set(own) & set(MODELS))
    if taken:
        raise ModelError(
            f"[models.{taken[0]}] takes a name that the package has: {listed(taken)}. Which of the"
            f" two is meant would be a guess, so nothing ran. Give your model another name."
        )
    mine = {
        name: Model(name, one.factory, _library(one.factory), one.params)
        for name, one in own.items()
    }
    return MappingProxyType({**MODELS, **mine})


def names(settings: Settings | None = None) -> list[str]:
    """The names that `enabled` may list."""
    return list(registered(settings))


def find(name: str, settings: Settings | None = None) -> Model:
    """The registered model of that name. Raises ModelError, listing what there is."""
    every = registered(settings)
    if name not in every:
        raise ModelError(
            f"There is no model {name!r}. It cannot be run, so nothing was. The models are"
            f" {listed(every, most=40)}; a model of your own needs a table [models.{name}] with its"
            f" `factory` in forecast.toml."
        )
    return every[name]


def make(name: str, settings: Settings | None = None) -> Forecaster:
    """A fresh forecaster by its registered name. Raises ModelError where there is none."""
    return find(name, settings).make()


def enabled(settings: Settings) -> list[Model]:
    """The models that compete, in the order of forecast.toml. Raises ModelError."""
    return [find(name, settings) for name in settings.models.enabled]


def _library(factory: str) -> str:
    """The installed distribution that a factory's top module belongs to; ours where none does."""
    top = factory.partition(":")[0].partition(".")[0]
    return metadata.packages_distributions().get(top, ["forecast-assets"])[0]
