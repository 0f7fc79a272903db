"""A model before it is made: name, class, parameters, refit interval, and their fingerprint."""

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
from forecast_assets.models.base import Values
from forecast_assets.models.regressors import (
    REGRESSORS_VERSION,
    GlobalWithRegressors,
    WithRegressors,
)
from forecast_assets.models.transforms import TRANSFORMS, apply

PACKAGE = __name__.partition(".")[0]
BENCHMARK = f"{PACKAGE}.models.benchmark:Benchmark"


library_version = functools.cache(metadata.version)
# The scan of all installed packages takes 50 ms.
_distributions = functools.cache(metadata.packages_distributions)


@functools.cache
def source_digest(module: str) -> str:
    """Digest the source files that a user's model depends on (32 hex digits).

    These are the Python files of its top-level package. For a module outside any package, and for
    an installed package, whose version counts as well, it is the module's own file.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in _source_files(module):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@functools.cache
def imported_distributions(module: str) -> Sequence[str]:
    """List the distributions that a user's model belongs to or imports."""
    packages = {_top_level(module)}
    for file in _source_files(module):
        with suppress(SyntaxError):  # such a file cannot be imported
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Import):
                    packages |= {_top_level(alias.name) for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    packages.add(_top_level(node.module or ""))
    return sorted({name for package in packages for name in _distributions().get(package, ())})


def _source_files(module: str) -> Sequence[Path]:
    package = import_module(_top_level(module))
    # A set, since a namespace package lists a folder twice if two entries of sys.path are equal.
    folders = {Path(folder) for folder in getattr(package, "__path__", ())}
    is_installed = any("site-packages" in folder.parts for folder in folders)
    if not folders or is_installed or package.__name__ == PACKAGE:
        return [Path(inspect.getfile(sys.modules[module]))]
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def _top_level(module: str) -> str:
    return module.partition(".")[0]


@dataclass(frozen=True)
class ModelSpec:
    """A model's name, class, parameters and libraries.

    `refit_every` is the number of weeks between fits, with updates in between; 1 for a model
    without `update`. `transform` names the transform of the target, or is empty.

    With `with_regressors` it gets them: itself, or else the package removes their effect.

    `version` identifies the code of a model of this package: raise it by one when its forecasts or
    the attributes of its fitted objects change. 0 stands for a user's model, which is identified by
    its source files.
    """

    name: str
    factory: str  # "package.module:Class"
    libraries: tuple[str, ...] = ("numpy",)
    params: Mapping[str, Any] = field(default_factory=dict)
    refit_every: int = 1
    transform: str = ""
    version: int = 0
    with_regressors: bool = False

    def __reduce__(self) -> tuple[type["ModelSpec"], tuple[Any, ...]]:
        """Pickle the fields only, so that a worker computes the fingerprint from its own code."""
        return ModelSpec, tuple(getattr(self, entry.name) for entry in fields(self))

    def make(self) -> Any:
        """Make an unfitted forecaster. Raises ModelError if the class or its parameters fail."""
        cls = self._class
        try:
            model = cls(**self.params)
        except Exception as error:
            raise self._parameter_error(error) from error
        if self.with_regressors and not self.uses_regressors:
            model = (GlobalWithRegressors if self.is_global else WithRegressors)(model)
        return apply(model, self.transform) if self.transform else model

    def fit(self, y: Values, *, season_length: int, **x: Values) -> Any:
        """Make a forecaster and fit it; `X` are the regressors of a model that has them."""
        return self.make().fit(y, season_length=season_length, **x)

    def check(self) -> None:
        """Raise ModelError if the class cannot be imported or does not have what a model needs."""
        cls = self._class
        missing = [name for name in ("fit", "predict") if not callable(getattr(cls, name, None))]
        if missing:
            raise ModelError(
                f"The class of the model {self.name} ({self.factory}) has no method"
                f" {format_list(missing)}. The model cannot run. Define"
                f" fit(y, *, season_length) and predict(h)."
            )
        try:
            inspect.signature(cls).bind(**self.params)
        except TypeError as error:
            raise self._parameter_error(error) from error
        if self.refit_every > 1 and not self.is_updatable:
            raise ModelError(
                f"[models.{self.name}] sets `refit_every` to {self.refit_every}, but the model"
                f" ({self.factory}) has no method `update` for the weeks between two fits. No model"
                f" ran. Remove the setting, or define `update(y_new) -> self`."
            )

    @property
    def is_global(self) -> bool:
        """Whether one fit covers all series at a cutoff."""
        return bool(getattr(self._class, "is_global", None))

    @property
    def is_direct(self) -> bool:
        """Whether it has to know the horizon when it is fitted: its parameter `horizon`."""
        return bool(getattr(self._class, "is_direct", None))

    @property
    def uses_regressors(self) -> bool:
        """Whether its class takes regressors itself."""
        return bool(getattr(self._class, "uses_regressors", None))

    @property
    def is_benchmark(self) -> bool:
        """Whether its forecasts are read and not made."""
        return self.factory == BENCHMARK

    @property
    def needs_worker(self) -> bool:
        """Whether it may take long or fail badly, and runs in a process of its own."""
        return not (self.is_benchmark or self.is_closed_form)

    @property
    def is_closed_form(self) -> bool:
        """Whether it is one of the package's formulas, which run safely in this process."""
        is_formula = callable(getattr(self._class, "forecast_folds", None))
        is_plain = not self.transform and not self.with_regressors
        return is_formula and is_plain and self.is_packaged

    @property
    def is_updatable(self) -> bool:
        """Whether it takes in new values without a new fit."""
        has_update = callable(getattr(self._class, "update", None))
        return has_update and not (self.is_global and self.transform)

    @property
    def is_packaged(self) -> bool:
        """Whether its class is part of this package."""
        return self.factory.startswith(f"{PACKAGE}.")

    @cached_property
    def fingerprint(self) -> str:
        """Digest everything but the data that determines the model's forecasts (32 hex digits)."""
        text = json.dumps(self.fingerprint_inputs, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def fingerprint_inputs(self) -> dict[str, Any]:
        """The fields, the code (version or source digest), and the versions of the libraries."""
        module = self._class.__module__
        libraries = list(self.libraries)
        code: dict[str, Any] = {"version": self.version}
        if not self.version:
            code = {"source": source_digest(module)}
            libraries += imported_distributions(module)
        if self.transform:
            code["transform_version"] = TRANSFORMS[self.transform].version
            libraries += TRANSFORMS[self.transform].libraries
        if self.with_regressors:
            code["regressors_version"] = REGRESSORS_VERSION
        names = ("name", "factory", "params", "transform", "refit_every")
        return {
            **{name: getattr(self, name) for name in names},
            **code,
            "libraries": {name: library_version(name) for name in libraries},
        }

    @cached_property
    def _class(self) -> Any:
        module, _, name = self.factory.partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as error:
            raise ModelError(
                f"The class of the model {self.name} cannot be imported from {self.factory}:"
                f" {type(error).__name__}: {error}. The model did not run. Correct its `factory` in"
                f" [models.{self.name}] of forecast.toml or in the entry point, and install its"
                f" package here."
            ) from error

    def _parameter_error(self, error: Exception) -> ModelError:
        return ModelError(
            f"The model {self.name} ({self.factory}) does not accept the parameters"
            f" {dict(self.params)}: {type(error).__name__}: {error}. The model did not run. Correct"
            f" `params` in [models.{self.name}] of forecast.toml."
        )
