"""Models: what each forecasts, and how they are named, made and identified."""

import sys
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.errors import ModelError
from forecast_assets.models import MODELS, Forecaster, enabled, make, min_train_size, names
from forecast_assets.models.registry import Model
from forecast_assets_tests.builders import make_settings, walk

OWN = """
import numpy as np

class Median:
    def __init__(self, last=3):
        self.last = last
    def fit(self, y, *, season_length):
        self.level = float(np.median(y[-self.last:]))
        return self
    def predict(self, h):
        return np.full(h, self.level)

class Silent:
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module on the path, with a model and with a class that is none."""
    (tmp_path / "our_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "our_models", raising=False)
    return "our_models"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("h", [1, 3])
def test_every_model_forecasts_h_finite_values(name: str, h: int):
    y = np.array(walk(60, seed=1))
    y_hat = make(name).fit(y, season_length=52).predict(h)
    assert isinstance(make(name), Forecaster)
    assert y_hat.shape == (h,)
    assert y_hat.dtype == np.float64
    assert np.isfinite(y_hat).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_the_same_twice(name: str):
    y = np.array(walk(60, seed=2))
    said = [make(name).fit(y.copy(), season_length=52).predict(2).tobytes() for _ in range(2)]
    assert said[0] == said[1]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_fitted_to_the_fewest_values_that_it_asks_for(name: str):
    needed = min_train_size(make(name), season_length=52)
    y = np.array(walk(needed, seed=3))
    assert np.isfinite(make(name).fit(y, season_length=52).predict(1)).all()


@pytest.mark.parametrize("name", ["naive", "ses", "theta", "auto_ets"])
def test_a_constant_series_goes_on_as_it_was(name: str):
    y_hat = make(name).fit(np.full(60, 7.0), season_length=52).predict(2)
    assert y_hat == pytest.approx([7.0, 7.0])


def test_naive_repeats_the_last_value():
    assert list(make("naive").fit(np.array([1.0, 5.0]), season_length=52).predict(2)) == [5.0, 5.0]


def test_seasonal_naive_repeats_the_last_season_from_its_start():
    y = np.array([9.0, 1.0, 2.0, 3.0])
    said = make("seasonal_naive").fit(y, season_length=3).predict(5)
    assert list(said) == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_drift_goes_on_along_the_line_from_first_to_last():
    said = make("drift").fit(np.array([1.0, 9.0, 5.0]), season_length=52).predict(2)
    assert list(said) == [7.0, 9.0]


def test_ses_with_its_weight_lies_between_the_values():
    y = np.array(walk(60, seed=4))
    assert y.min() < make("ses").fit(y, season_length=52).predict(1)[0] < y.max()


def test_theta_follows_half_of_a_clear_trend():
    """The Theta method's drift is half of the slope of the regression line."""
    y = np.arange(100.0)
    steps = np.diff(make("theta").fit(y, season_length=52).predict(3))
    assert steps == pytest.approx([0.5, 0.5], abs=0.05)


def test_auto_ets_finds_a_trend():
    y = np.arange(100.0) + np.array(walk(100, seed=5, start=0)) * 0.01
    said = make("auto_ets").fit(y, season_length=52).predict(2)
    assert np.diff(said) == pytest.approx([1.0], abs=0.1)


def test_min_train_size_may_be_a_number_a_function_or_nothing():
    assert min_train_size(make("drift"), season_length=52) == 2
    assert min_train_size(make("seasonal_naive"), season_length=52) == 52
    assert min_train_size(object(), season_length=52) == 1


def test_an_unknown_model_is_refused_with_what_there_is(tmp_path: Path):
    settings = make_settings(tmp_path, models={"enabled": ["naive", "thetta"]})
    with pytest.raises(ModelError, match=r"no model 'thetta'.*naive.*theta.*\[models.thetta\]"):
        enabled(settings)


def test_a_model_of_the_users_own_joins_by_the_settings(own_module: str, tmp_path: Path):
    settings = make_settings(
        tmp_path,
        models={
            "enabled": ["median", "naive"],
            "median": {"factory": f"{own_module}:Median", "params": {"last": 1}},
        },
    )
    fitted = make("median", settings).fit(np.array([1.0, 4.0]), season_length=52)
    assert list(fitted.predict(1)) == [4.0]
    assert [model.name for model in enabled(settings)] == ["median", "naive"]
    assert "median" in names(settings)


def test_a_model_of_the_users_own_cannot_take_a_taken_name(own_module: str, tmp_path: Path):
    settings = make_settings(tmp_path, models={"theta": {"factory": f"{own_module}:Median"}})
    with pytest.raises(ModelError, match=r"\[models.theta\] takes a name .* another name"):
        names(settings)


@pytest.mark.parametrize(
    ("factory", "params", "says"),
    [
        ("no_such_package:Model", {}, r"cannot be imported .*Correct `factory` in \[models.mine\]"),
        ("our_models:Nothing", {}, "cannot be imported"),
        ("our_models:Median", {"depth": 3}, r"refuses its parameters .*Correct `params`"),
        ("our_models:Silent", {}, "has no `fit` and `predict`"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_a_model_that_cannot_be_made_says_why(factory: str, params: dict[str, int], says: str):
    with pytest.raises(ModelError, match=says):
        Model("mine", factory, "numpy", params).make()


def test_a_fingerprint_changes_with_all_that_decides_the_forecasts(own_module: str):
    one = Model("m", f"{own_module}:Median", "numpy", {"last": 3})
    others = [
        Model("k", f"{own_module}:Median", "numpy", {"last": 3}),
        Model("m", f"{own_module}:Median", "numpy", {"last": 4}),
        Model("m", f"{own_module}:Median", "pandas", {"last": 3}),
        Model("m", f"{own_module}:Silent", "numpy", {"last": 3}),
    ]
    assert len({model.fingerprint for model in [one, *others]}) == 5
    assert Model("m", f"{own_module}:Median", "numpy", {"last": 3}).fingerprint == one.fingerprint
