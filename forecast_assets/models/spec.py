"""A model before it is made: its name, class, parameters and cadence, and what identifies it."""

import ast
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from forecast_assets.errors import ModelError, format_list
from forecast_assets.models import transforms
from forecast_assets.models.base import Values

PACKAGE = __name__.partition(".")[0]
NAMING = ("__init__.py", "spec.py", "registry.py")  # which forecast nothing


@functools.cache
def version(library: str) -> str:
    """The installed version of a distribution."""
    return metadata.version(library)


@functools.cache
def digest_of_source(module: str) -> str:
    """Digest the code that a model's module can be made of (32 hex digits).

    For a model of the package: the folder of models. For any other: the Python files of its
    top-level package, or its own file where it is in none or the package is installed as a
    distribution, whose version counts.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in _files(module):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@functools.cache
def imported_distributions(module: str) -> Sequence[str]:
    """The distributions that a user's own module is of or imports; of the package's own, none."""
    if _top(module) == PACKAGE:
        return ()
    tops = {_top(module)}
    for file in _files(module):
        with suppress(SyntaxError):  # not a file that a model can be made of
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Import):
                    tops |= {_top(one.name) for one in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    tops.add(_top(node.module or ""))
    return sorted({name for top in tops for name in _distributions().get(top, ())})


def _files(module: str) -> Sequence[Path]:
    top = import_module(_top(module))
    # Of a package without __init__.py a folder comes twice where two entries of sys.path are one.
    folders = {Path(folder) for folder in getattr(top, "__path__", ())}
    if top.__name__ == PACKAGE:
        models = sorted(Path(__file__).parent.glob("*.py"))
        return [file for file in models if file.name not in NAMING]
    if not folders or any("site-packages" in folder.parts for folder in folders):
        return [Path(inspect.getfile(sys.modules[module]))]
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache  # looking through all installed packages takes 50 ms
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


@dataclass(frozen=True)
class ModelSpec:
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

    def __reduce__(self) -> tuple[type["ModelSpec"], tuple[Any, ...]]:
        """Travel without what was looked up here: a worker looks up its own."""
        return ModelSpec, tuple(getattr(self, one.name) for one in fields(self))

    def make(self) -> Any:
        """A fresh, unfitted forecaster. Raises ModelError where it cannot be made."""
        factory = self._class
        try:
            made = factory(**self.params)
        except Exception as error:
            raise ModelError(_refused_parameters(self, error)) from error
        return transforms.apply(made, self.transform) if self.transform else made

    def fit(self, y: Values, *, season_length: int) -> Any:
        """Make a fresh forecaster and fit it."""
        return self.make().fit(y, season_length=season_length)

    def check(self) -> None:
        """Raise ModelError where the class cannot be imported, or made and run as a model is."""
        missing = [name for name in ("fit", "predict") if not callable(self._of_class(name))]
        if missing:
            raise ModelError(
                f"The model {self.name} ({self.factory}) has no {format_list(missing)}, so it cannot be"
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
        module = self._class.__module__
        of_transform = transforms.TRANSFORMS[self.transform].libraries if self.transform else ()
        libraries = (*self.libraries, *of_transform, *imported_distributions(module))
        return {
            "name": self.name,
            "factory": self.factory,
            "params": self.params,
            "transform": self.transform,
            "refit_every": self.refit_every,
            "source": digest_of_source(module),
            "libraries": {name: version(name) for name in libraries},
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


def _refused_parameters(model: ModelSpec, error: Exception) -> str:
    return (
        f"The model {model.name} ({model.factory}) refuses its parameters {dict(model.params)}:"
        f" {type(error).__name__}: {error}. It was not run. Correct `params` in"
        f" [models.{model.name}] of forecast.toml."
    )
