"""Models by name: built-in, by a table or an entry point; and their fingerprints."""

import importlib
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecast_assets.config.settings import DEFAULT_MODELS, Settings
from forecast_assets.errors import ModelError
from forecast_assets.models import (
    MODELS,
    ModelSpec,
    enabled,
    find_model,
    make,
    names,
    registry,
    spec,
)
from forecast_assets.models.transforms import TRANSFORMS
from forecast_assets_tests.builders import make_settings

OWN = """
import numpy as np

class Median:
    def __init__(self, last=3):
        if last < 1:
            raise ValueError("a median of nothing")
        self.last = last
    def fit(self, y, *, season_length):
        self.level = float(np.median(y[-self.last:]))
        return self
    def predict(self, h):
        return np.full(h, self.level)

    def forecast_folds(self):
        raise NotImplementedError

class Moved(Median):
    def update(self, y_new):
        return self.fit(y_new, season_length=1)

class Silent:
    pass
"""


def forget(package: str) -> None:
    """Continue like a new process: the package is not imported and nothing is cached."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()
    for cached in (spec.source_digest, spec.imported_distributions, spec.library_version):
        cached.cache_clear()


def forget_distributions() -> None:
    """Look for installed packages again, which takes long."""
    registry._entry_point_models.cache_clear()  # noqa: SLF001 - no other way
    spec._distributions.cache_clear()  # noqa: SLF001 - as above


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder on the path with a user's module, which is forgotten after the test."""
    (tmp_path / "our_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    forget("our_models")
    if list(tmp_path.rglob("*.dist-info")):
        forget_distributions()
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__spec__", "")):
            del sys.modules[name]


def install(place: Path, name: str, version: str = "1.0", **points: str) -> None:
    """Write a distribution with entry points, as an installer does."""
    folder = place / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "top_level.txt").write_text(f"{name}\n")
    lines = [f"{point} = {value}" for point, value in points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[forecast_assets.models]", *lines, ""]))
    importlib.invalidate_caches()
    forget_distributions()


def own(
    tmp_path: Path, *listed: str, backtest: dict[str, int] | None = None, **tables: Any
) -> Settings:
    """Return settings with tables of models; all of them are enabled unless some are listed."""
    models = {"enabled": list(listed or tables), **tables}
    return make_settings(tmp_path, models=models, backtest=backtest or {})


# Names
def test_every_built_in_model_has_its_name_and_all_but_two_are_enabled():
    assert {name: model.name for name, model in MODELS.items()} == {name: name for name in MODELS}
    for model in MODELS.values():
        model.check()
    assert set(MODELS) - set(DEFAULT_MODELS) == {"tbats", "optimized_theta"}
    assert set(DEFAULT_MODELS) <= set(names())


@pytest.mark.parametrize("name", ["", "_log", "theta_", "theta_log_sqrt", "Theta"])
def test_a_similar_name_is_no_name(name: str):
    with pytest.raises(
        ModelError,
        match=rf"^There is no model '{name}', so it did not run. The models are naive, .*, theta,"
        r" .*, tsb. Each is also available on a transformed target, such as theta_log. For a model"
        rf" of your own add a table \[models.{name}\] with `factory` to forecast.toml.$",
    ):
        find_model(name)


def test_a_transformed_model_differs_in_name_transform_and_updates():
    theta, logged = find_model("theta"), find_model("theta_log")
    assert replace(logged, name="theta", transform="") == theta
    assert (logged.transform, logged.is_updatable) == ("log", True)
    assert find_model("auto_arima_box_cox").refit_every == find_model("auto_arima").refit_every
    assert not find_model("naive_log").is_closed_form
    trees = find_model("boosted_trees_log")
    assert (trees.is_global, trees.is_updatable, trees.refit_every) == (True, False, 1)
    assert np.isfinite(make("naive_sqrt").fit(np.array([4.0, 9.0]), season_length=52).predict(1))


def test_the_kind_of_a_model_is_known_without_a_fit():
    def of_kind(kind: str) -> set[str]:
        return {name for name, model in MODELS.items() if getattr(model, kind)}

    assert of_kind("is_closed_form") == {"naive", "seasonal_naive", "drift", "window_average"}
    assert of_kind("is_global") == {"boosted_trees", "boosted_levels", "pooled_growth"}
    fixed = {"ses", "tbats", "ridge", "pooled_growth", "croston", "tsb"} | of_kind("is_closed_form")
    assert set(MODELS) - of_kind("is_updatable") == fixed
    assert of_kind("is_packaged") == set(MODELS)
    expensive = {"auto_arima", "boosted_trees", "harmonic_arima", "mstl_arima"}
    expensive |= {"sarimax", "unobserved_components"}
    assert {name: model.refit_every for name, model in MODELS.items()} == {
        name: 13 if name in expensive else 4 if name == "boosted_levels" else 1 for name in MODELS
    }


# Refused settings
TAKEN = "defines a model under a name that another model has: "
MEDIAN = {"factory": "our_models:Median"}
NOT_UPDATABLE = (
    "has no method `update` for the weeks between two fits. No model ran. Remove the setting, or"
    " define `update(y_new) -> self`."
)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("theta", MEDIAN, f"A table of forecast.toml {TAKEN}theta. No model ran. Give your model"),
        (
            "mine",
            {"factory": "no_such_package:Model"},
            "cannot be imported from no_such_package:Model: ... Correct its `factory` in [models.m",
        ),
        (
            "mine",
            {"factory": "our_models:Silent"},
            "has no method fit, predict. ... Define fit(y, *, season_length) and predict(h).",
        ),
        (
            "mine",
            {**MEDIAN, "params": {"depth": 3}},
            "does not accept the parameters {...3}: TypeError: ... Correct `params` in [models.m",
        ),
        (
            "mine",
            {"params": {"last": 1}},
            "has no `factory`, and there is no model ... to change. ... names: naive, ... tsb",
        ),
        ("ridge", {"refit_every": 4}, f"sets `refit_every` to 4, ...{NOT_UPDATABLE}"),
        ("boosted_trees_log", {"refit_every": 4}, NOT_UPDATABLE),
    ],
)
def test_a_table_that_defines_no_usable_model_is_refused(
    place: Path, name: str, table: dict[str, Any], message: str
):
    with pytest.raises(ModelError, match=".*".join(map(re.escape, message.split("...")))):
        enabled(own(place, **{name: table}))


@pytest.mark.usefixtures("place")
def test_parameters_that_only_the_call_refuses_are_named():
    with pytest.raises(ModelError, match=r"does not accept .*: ValueError: a median of nothing"):
        ModelSpec("mine", "our_models:Median", params={"last": 0}).make()


# Models of the user
def test_a_users_model_and_its_transforms_are_enabled_by_a_table(place: Path):
    table = {"factory": "our_models:Median", "params": {"last": 1}}
    settings = own(place, "median", "naive", "median_sqrt", median=table)
    median, naive, transformed = enabled(settings)
    assert (median.name, naive.name, transformed.transform) == ("median", "naive", "sqrt")
    assert "median" in names(settings)
    assert not median.is_packaged
    assert not median.is_closed_form
    for model in (median, transformed):
        y_hat = model.fit(np.array([1.0, 4.0]), season_length=52).predict(1)
        assert y_hat == pytest.approx([4.0])


# Tables that change a model
def test_a_transformed_model_has_the_changes_of_its_model_and_its_own(tmp_path: Path):
    """The order of the tables in the file does not matter."""
    changes = {
        "window_average_log": {"params": {"window": 3}},
        "window_average": {"params": {"window": 2, "unknown": 1}},
    }
    settings = own(tmp_path, **changes)
    assert find_model("window_average", settings).params == {"window": 2, "unknown": 1}
    assert find_model("window_average_log", settings).params == {"window": 3, "unknown": 1}
    assert find_model("window_average_sqrt", settings).params == {"window": 2, "unknown": 1}
    with pytest.raises(ModelError, match="no model 'window_average_log_sqrt'"):
        find_model("window_average_log_sqrt", settings)


# Refit intervals
def test_refit_every_for_all_models_changes_those_that_have_update(place: Path):
    tables = {
        "theta": {"refit_every": 2},
        "auto_ets": {"params": {}},
        "moved": {"factory": "our_models:Moved"},
        "median": {"factory": "our_models:Median"},
    }
    listed = [*tables, "ridge", "auto_arima", "holt_log", "boosted_trees", "boosted_trees_log"]
    models = enabled(own(place, *listed, backtest={"refit_every": 26}, **tables))
    assert {model.name: model.refit_every for model in models} == {
        "theta": 2,
        "auto_ets": 26,
        "moved": 26,
        "median": 1,
        "ridge": 1,
        "auto_arima": 26,
        "holt_log": 26,
        "boosted_trees": 26,
        "boosted_trees_log": 1,
    }


# Models of installed packages
def test_an_installed_package_provides_models(place: Path):
    (place / "theirs.py").write_text(OWN)
    install(place, "theirs", their_median="theirs:Median", their_moved="theirs:Moved")
    assert {"their_median", "their_moved"} < set(names())
    model = find_model("their_median_log")
    assert model.fit(np.full(4, 5.0), season_length=52).predict(1) == pytest.approx([5.0])
    settings = own(place, "their_moved", their_moved={"refit_every": 5, "params": {"last": 1}})
    (moved,) = enabled(settings)
    assert (moved.refit_every, moved.params) == (5, {"last": 1})


def test_a_broken_package_is_an_error_only_for_its_own_models(place: Path):
    (place / "broken.py").write_text("raise RuntimeError('no licence')")
    install(place, "broken", their_model="broken:Model", their_other="not_there:Model")
    assert {"their_model", "their_other"} < set(names())
    assert [model.name for model in enabled(own(place, "naive"))] == ["naive"]
    assert "broken" not in sys.modules
    with pytest.raises(
        ModelError, match=r"their_model cannot be imported from broken:Model: RuntimeError: no lic"
    ):
        enabled(own(place, "their_model"))


def test_two_packages_with_the_same_name_are_refused(place: Path):
    install(place, "first", their_model="first:Model")
    install(place, "second", their_model="second.models:Model")
    with pytest.raises(
        ModelError,
        match=r"^Two installed packages define a model 'their_model' in their entry points"
        r" forecast_assets.models: (first:Model and second.models:Model|second.models:Model and"
        r" first:Model). No model ran. Uninstall one of them.$",
    ):
        names()


def test_an_entry_point_and_a_table_cannot_take_a_known_name(place: Path):
    install(place, "theirs", their_model="theirs:Model")
    with pytest.raises(ModelError, match=f"^A table of forecast.toml {TAKEN}their_model. No model"):
        names(own(place, their_model=MEDIAN))
    install(place, "others", theta_log="others:Model")
    with pytest.raises(ModelError, match=f"^An entry point {TAKEN}theta_log. No model"):
        names()


# Fingerprints
@pytest.mark.usefixtures("place")
def test_a_fingerprint_covers_everything_that_determines_the_forecasts():
    model = ModelSpec("m", "our_models:Moved", params={"last": 3})
    others: list[dict[str, Any]] = [
        {"name": "k"},
        {"factory": "our_models:Median"},
        {"params": {"last": 4}},
        {"libraries": ("numpy", "pandas")},
        {"refit_every": 2},
        *({"transform": transform} for transform in ("log", "sqrt", "box_cox")),
        *({"version": version} for version in (1, 2)),
    ]
    assert len({replace(model, **other).fingerprint for other in [{}, *others]}) == 11
    assert re.fullmatch("[0-9a-f]{32}", model.fingerprint)
    assert replace(model).fingerprint == model.fingerprint


def test_every_built_in_model_names_installed_libraries():
    assert len({model.fingerprint for model in MODELS.values()}) == len(MODELS)
    assert "coreforecast" in find_model("naive_box_cox").fingerprint_inputs["libraries"]
    assert "coreforecast" not in find_model("naive_log").fingerprint_inputs["libraries"]


def test_a_built_in_model_is_identified_by_its_version_and_not_by_its_source(
    monkeypatch: pytest.MonkeyPatch,
):
    """An edited comment in the package computes no fold again."""
    theta = MODELS["theta"]
    assert theta.version >= 1
    assert "source" not in theta.fingerprint_inputs
    first = theta.fingerprint
    monkeypatch.setattr(spec, "source_digest", lambda _: pytest.fail("the source was read"))
    assert replace(theta).fingerprint == first
    assert replace(theta, version=theta.version + 1).fingerprint != first
    logged = find_model("theta_log")
    first = logged.fingerprint
    newer = replace(TRANSFORMS["log"], version=2)
    monkeypatch.setattr(spec, "TRANSFORMS", {**TRANSFORMS, "log": newer})
    assert replace(logged).fingerprint != first


def test_a_packaged_class_in_a_table_has_its_version_and_libraries(tmp_path: Path):
    adapter = "forecast_assets.models.by_statsforecast:FromStatsforecast"
    tables = {
        "mine": {"factory": MODELS["window_average"].factory, "params": {"window": 2}},
        "auto_theta": {"factory": adapter, "params": {"kind": "AutoTheta", "season_length": 1}},
    }
    mine, auto_theta = enabled(own(tmp_path, **tables))
    assert mine.version == MODELS["window_average"].version
    assert auto_theta.version >= 1
    assert {"statsforecast", "statsmodels"} < auto_theta.fingerprint_inputs["libraries"].keys()


@pytest.mark.parametrize(
    ("package", "is_namespace"), [("our_team", False), ("forecast_assets_extra", True)]
)
def test_a_fingerprint_covers_every_file_of_the_users_package(
    place: Path, monkeypatch: pytest.MonkeyPatch, package: str, *, is_namespace: bool
):
    """Once, where a folder is twice on the path, as Dagster's daemon has it."""
    folder = place / package
    (folder / "parts").mkdir(parents=True)
    if not is_namespace:
        (folder / "__init__.py").write_text("")
    (folder / "models.py").write_text(OWN)
    (folder / "parts" / "weights.py").write_text("HALF = 0.5")
    (folder / "notes.txt").write_text("")
    (folder / "template.py").write_text("print 'not of this Python'")
    model = ModelSpec("mine", f"{package}.models:Median")

    def fingerprint() -> str:
        forget(package)
        return replace(model).fingerprint

    first = fingerprint()
    (folder / "notes.txt").write_text("this decides nothing")
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    assert fingerprint() == first
    (folder / "parts" / "weights.py").write_text("HALF = 0.4")
    second = fingerprint()
    (folder / "models.py").write_text(OWN.replace("median", "mean"))
    assert len({first, second, fingerprint()}) == 3


def test_a_fingerprint_covers_the_versions_of_imported_packages(place: Path):
    (place / "their_maths.py").write_text("")
    (place / "our_models.py").write_text("import json\nfrom their_maths import *\n" + OWN)
    model = ModelSpec("mine", "our_models:Median")
    install(place, "their_maths", version="1.0")
    assert model.fingerprint_inputs["libraries"].keys() == {"numpy", "their_maths"}
    assert model.fingerprint_inputs["libraries"]["their_maths"] == "1.0"
    first = model.fingerprint
    (place / "their_maths-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: their_maths\nVersion: 1.1\n"
    )
    forget("our_models")
    forget_distributions()
    assert replace(model).fingerprint != first


def test_an_installed_package_is_identified_by_its_version_and_the_file_of_the_model(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    packages = place / "site-packages"
    (packages / "theirs").mkdir(parents=True)
    (packages / "theirs" / "__init__.py").write_text("")
    (packages / "theirs" / "models.py").write_text(OWN)
    (packages / "theirs" / "other.py").write_text("")
    install(packages, "theirs", version="2.5", their_model="theirs.models:Median")
    monkeypatch.syspath_prepend(str(packages))
    model = find_model("their_model")
    assert model.fingerprint_inputs["libraries"]["theirs"] == "2.5"
    first = model.fingerprint
    (packages / "theirs" / "other.py").write_text("1")
    forget("theirs")
    assert replace(model).fingerprint == first
    (packages / "theirs" / "models.py").write_text(OWN + "\n# more\n")
    forget("theirs")
    assert replace(model).fingerprint != first


@pytest.mark.usefixtures("place")
def test_a_pickled_model_computes_its_fingerprint_anew(place: Path):
    """A worker has its own code, whose fingerprint is compared with the sender's."""
    model = ModelSpec("mine", "our_models:Median", params={"last": 2}, transform="log")
    here, sent = model.fingerprint, pickle.dumps(model)
    (place / "our_models.py").write_text(OWN + "\n# another version\n")
    assert replace(model).fingerprint == here, "this process has imported it already"
    forget("our_models")
    arrived = pickle.loads(sent)  # noqa: S301 - dumped above
    assert arrived == model
    assert arrived.fingerprint != here
    assert model.fingerprint == here
