"""Find a model by the name that forecast.toml uses for it.

A name is that of a built-in model, of a `[models.NAME]` table with a `factory`, or of an entry
point `forecast_assets.models` of an installed package. With `_log`, `_sqrt` or `_box_cox` at its
end it is that model on a transformed target.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from forecast_assets.errors import ModelError, format_list
from forecast_assets.models.spec import BENCHMARK, PACKAGE, ModelSpec
from forecast_assets.models.transforms import TRANSFORMS

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings

ENTRY_POINTS = "forecast_assets.models"
# The end of the name of a model with regressors.
WITH_REGRESSORS = "_x"
# The models of the package that have such a twin where the settings give regressors.
TWINS = ("auto_arima", "harmonic_arima", "sarimax", "ridge", "boosted_trees", "boosted_levels")

# Weeks between two fits of an expensive model. `make bench` shows what that costs in accuracy.
QUARTER = 13
MONTH = 4


_NUMPY = ("numpy",)
_NUMPY_AND_PANDAS = ("numpy", "pandas")
_STATSFORECAST = ("statsforecast", "coreforecast", "numpy", "scipy")
_MSTL = (*_STATSFORECAST, "statsmodels")
_STATSMODELS = ("statsmodels", "numpy", "scipy")
_RIDGE = ("scikit-learn", "numpy")
_BOOSTING = ("scikit-learn", "numpy", "pandas")
_TREES = ("mlforecast", "scikit-learn", "coreforecast", "numpy", "pandas")


def _spec(
    name: str,
    path: str,
    libraries: tuple[str, ...] = _STATSFORECAST,
    *,
    version: int = 1,
    refit_every: int = 1,
    **params: Any,
) -> ModelSpec:
    factory = f"{PACKAGE}.models.{path}"
    return ModelSpec(name, factory, libraries, params, refit_every=refit_every, version=version)


# The classes of this package that a table may name as `factory`.
_ANY = "by_statsforecast:FromStatsforecast"
_MOVED = "by_statsforecast:MovedStatsforecast"
_ADAPTERS = (
    _spec("", _ANY, _MSTL),
    _spec("", _MOVED, _MSTL),
    _spec("", "by_statsmodels:FromStatsmodels", _STATSMODELS),
)
# A model of statsforecast that ignores the year: its season is one week long.
_no_year = partial(_spec, path=_MOVED, season_length=1)

_BUILT_IN = (
    _spec("naive", "naive:Naive", _NUMPY),
    _spec("seasonal_naive", "naive:SeasonalNaive", _NUMPY),
    _spec("drift", "naive:Drift", _NUMPY),
    _spec("window_average", "naive:WindowAverage", _NUMPY),
    # Simple exponential smoothing, weight by least squares (Brown 1956).
    _spec("ses", _ANY, kind="SimpleExponentialSmoothingOptimized"),
    # Exponential smoothing of level and trend (Holt 1957). The library refuses 8 values.
    _no_year("holt", kind="AutoETS", model="AAN", damped=False, min_train_size=9),
    # Holt's method with a damped trend (Gardner & McKenzie 1985). The library refuses 9 values.
    _no_year("damped_holt", kind="AutoETS", model="AAN", damped=True, min_train_size=10),
    # Exponential smoothing of least AICc (Hyndman, Koehler, Snyder & Grose 2002). With 7 values the
    # AICc divides by zero, fewer are refused by the library.
    _no_year("auto_ets", kind="AutoETS", min_train_size=8),
    # Complex exponential smoothing (Svetunkov, Kourentzes & Ord 2022).
    _no_year("auto_ces", kind="AutoCES", model="N", min_train_size=8),
    # Standard Theta method (Assimakopoulos & Nikolopoulos 2000).
    _no_year("theta", kind="Theta"),
    # Theta method with an estimated theta line (Fiorucci et al. 2016).
    _no_year("optimized_theta", kind="OptimizedTheta"),
    # ARIMA, orders by stepwise search of AICc (Hyndman & Khandakar 2008).
    _no_year("auto_arima", kind="AutoARIMA", min_train_size=12, refit_every=QUARTER),
    _spec("harmonic_arima", "by_statsforecast:HarmonicARIMA", refit_every=QUARTER),
    _spec("sarimax", "by_statsmodels:SARIMAX", _STATSMODELS, refit_every=QUARTER),
    _spec(
        "unobserved_components",
        "by_statsmodels:UnobservedComponents",
        _STATSMODELS,
        refit_every=QUARTER,
    ),
    _spec("mstl_ets", "by_statsforecast:MSTL", _MSTL, kind="AutoETS", model="ZZN"),
    _spec("mstl_arima", "by_statsforecast:MSTL", _MSTL, kind="AutoARIMA", refit_every=QUARTER),
    _spec("tbats", "by_statsforecast:TBATS"),
    _spec("ridge", "machine_learning:Ridge", _RIDGE),
    _spec("boosted_trees", "machine_learning:BoostedTrees", _TREES, refit_every=QUARTER),
    # On 811 products of 52 weeks a fit every 4 weeks has MASE 0.954, every 13 weeks 0.979.
    _spec("pooled_growth", "pooled_growth:PooledGrowth", _NUMPY_AND_PANDAS, version=2),
    _spec("boosted_levels", "boosted_levels:BoostedLevels", _BOOSTING, refit_every=MONTH),
    # Smooths size and interval of demand, weights by least squares (Croston 1972).
    _spec("croston", "by_statsforecast:Intermittent", kind="CrostonOptimized"),
    # Smooths size and probability, so it follows a decline (Teunter, Syntetos & Babai 2011).
    _spec("tsb", "by_statsforecast:Intermittent", kind="TSB", alpha_d=0.2, alpha_p=0.2),
)
MODELS: Mapping[str, ModelSpec] = MappingProxyType({model.name: model for model in _BUILT_IN})

_PACKAGED = {model.factory: model for model in (*_BUILT_IN, *_ADAPTERS)}


def registered(settings: "Settings | None" = None) -> Mapping[str, ModelSpec]:
    """Return all models by name: built-in ones, those of entry points, those of the settings.

    A `[models.NAME]` table without `factory` changes parameters or `refit_every` of another model.
    A benchmark with `use = true` has the name of a model.
    Raises ModelError if a name is defined twice, or if a table changes an unknown model.
    """
    tables = settings.models.by_name if settings else {}
    models = dict(MODELS)
    _add(models, _entry_point_models().values(), origin="An entry point")
    own = [_from_factory(name, table.factory) for name, table in tables.items() if table.factory]
    _add(models, own, origin="A table of forecast.toml")
    used = settings.used_benchmarks if settings else ()
    benchmarks = [ModelSpec(name, BENCHMARK, version=1) for name in used]
    _add(models, benchmarks, origin="A `[benchmark.NAME]` with `use = true`")
    for name, table in sorted(tables.items(), key=lambda item: len(item[0])):  # theta, theta_log
        base = _find(name, models)
        if base is None:
            raise ModelError(
                f"[models.{name}] has no `factory`, and there is no model {name!r} to change. No"
                f" model ran. Add `factory`, or use one of these names:"
                f" {format_list(models, limit=40)}."
            )
        params = {**base.params, **table.params}
        refit_every = table.refit_every or base.refit_every
        models[name] = replace(base, params=params, refit_every=refit_every)
    return MappingProxyType(models)


def names(settings: "Settings | None" = None) -> list[str]:
    """Return the names that `enabled` may list, without those of transformed models."""
    return list(registered(settings))


def find_model(name: str, settings: "Settings | None" = None) -> ModelSpec:
    """Return the model of that name as the settings define it. Raises ModelError."""
    models = registered(settings)
    model = _find(name, models)
    if model is None:
        raise ModelError(
            f"There is no model {name!r}, so it did not run. The models are"
            f" {format_list(models, limit=40)}. Each is also available on a transformed target,"
            f" such as theta_log. For a model of your own add a table [models.{name}] with"
            f" `factory` to forecast.toml."
        )
    table = settings.models.by_name.get(name) if settings else None
    refit_every = settings.backtest.refit_every if settings else None
    if refit_every and not (table and table.refit_every):
        model = replace(model, refit_every=refit_every if model.is_updatable else 1)
    if settings and model.is_direct:
        model = replace(model, params={"horizon": settings.backtest.horizon, **model.params})
    return model


def with_regressors(names: Iterable[str], settings: "Settings") -> frozenset[str]:
    """Return which of the models get regressors."""
    if not settings.has_regressors:
        return frozenset()
    models = registered(settings)
    found = ((name, _find(name, models)) for name in names)
    return frozenset(name for name, model in found if model and model.with_regressors)


def make(name: str, settings: "Settings | None" = None) -> Any:
    """Make an unfitted forecaster by name. Raises ModelError."""
    return find_model(name, settings).make()


def enabled(settings: "Settings") -> list[ModelSpec]:
    """Return the enabled models in the order of forecast.toml. Raises ModelError."""
    models = [find_model(name, settings) for name in settings.models.enabled]
    for model in models:
        model.check()
    blind = [model.name for model in models if model.with_regressors]
    if blind and not settings.has_regressors:
        raise ModelError(
            f"{len(blind)} enabled models need regressors, and the settings give none:"
            f" {format_list(blind)}. No model ran. Add a table [calendar] or [regressors.NAME], or"
            f" remove these models from `models.enabled`."
        )
    return models


def with_candidates(settings: "Settings") -> "Settings":
    """Return the settings with all models that compete: also twins, and benchmarks that are used.

    Raises ModelError, also where a pinned model is none of them.
    """
    settings = with_twins(settings)
    if settings.used_benchmarks:
        listed = [*settings.models.enabled, *settings.used_benchmarks]
        settings = _with_enabled(settings, listed)
    if settings.pin_problem:
        raise ModelError(f"{settings.pin_problem}. No model ran.")
    return settings


def with_twins(settings: "Settings") -> "Settings":
    """Return the settings with the twin of each enabled model that uses regressors.

    Without a calendar or regressors nothing changes. Raises ModelError.
    """
    if not settings.has_regressors:
        return settings
    listed = dict.fromkeys(settings.models.enabled)
    for name in settings.models.enabled:
        model = find_model(name, settings)
        has_twin = name.removesuffix(f"_{model.transform}") in TWINS or model.uses_regressors
        if has_twin and not model.with_regressors:
            listed[f"{name}{WITH_REGRESSORS}"] = None
    return _with_enabled(settings, listed)


def _with_enabled(settings: "Settings", names: Iterable[str]) -> "Settings":
    """Return the settings with these enabled models, each once."""
    models = settings.models.model_copy(update={"enabled": tuple(dict.fromkeys(names))})
    return settings.model_copy(update={"models": models})


def _add(models: dict[str, ModelSpec], new: Iterable[ModelSpec], *, origin: str) -> None:
    """Add new models. Raises ModelError if one has the name of a known model."""
    added = {model.name: model for model in new}
    taken = sorted(name for name in added if _find(name, models))
    if taken:
        raise ModelError(
            f"{origin} defines a model under a name that another model has: {format_list(taken)}."
            f" No model ran. Give your model another name."
        )
    models |= added


def _find(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec | None:
    """Return the model of that name, or its base model on the transform that the name ends in."""
    if name in models:
        return models[name]
    plain = name.removesuffix(WITH_REGRESSORS)
    twin = _find(plain, models) if plain != name else None
    if twin and not twin.is_benchmark:
        return replace(twin, name=name, with_regressors=True)
    for transform in TRANSFORMS:
        base = models.get(name.removesuffix(f"_{transform}"))
        if base and base.name != name and not (base.transform or base.is_benchmark):
            model = replace(base, name=name, transform=transform)
            return model if model.is_updatable else replace(model, refit_every=1)
    return None


@cache  # the scan of all installed packages takes 50 ms
def _entry_point_models() -> Mapping[str, ModelSpec]:
    """Return the models of installed packages, without importing them. Raises ModelError."""
    models: dict[str, ModelSpec] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.name in models:
            raise ModelError(
                f"Two installed packages define a model {point.name!r} in their entry points"
                f" {ENTRY_POINTS}: {models[point.name].factory} and {point.value}. No model ran."
                f" Uninstall one of them."
            )
        models[point.name] = _from_factory(point.name, point.value)
    return models


def _from_factory(name: str, factory: str) -> ModelSpec:
    """Specify a model by its class; one of this package brings its libraries and its version."""
    packaged = _PACKAGED.get(factory, ModelSpec(name, factory))
    return ModelSpec(name, factory, packaged.libraries, version=packaged.version)
