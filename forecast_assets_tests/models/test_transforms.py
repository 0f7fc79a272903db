"""Models on a transformed target: the transforms, declined series, and the median forecast."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.models import NotForThisSeries, make
from forecast_assets.models.base import Values
from forecast_assets.models.naive import WindowAverage
from forecast_assets.models.transforms import TRANSFORMS, apply
from forecast_assets_tests.builders import make_global

FEW_EXAMPLES = settings(max_examples=30)
EACH = pytest.mark.parametrize("name", TRANSFORMS)
VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=30).map(np.array)
LAMBDAS = st.floats(1e-300, 1) | st.sampled_from([0.0, 1e-12, 1e-6, 1.0])


class Fixed:
    """Keeps the values that it sees, and has a fixed forecast on the transformed scale."""

    min_train_size = 3

    def __init__(self, *forecasts: float) -> None:
        self.forecasts, self.seen = forecasts, np.empty(0)

    def fit(self, y: Values, **_: int) -> "Fixed":
        """Keep the values."""
        self.seen = y
        return self

    def predict(self, h: int) -> Values:
        """Return the fixed forecast."""
        return np.array(self.forecasts[:h])


class UpdatableFixed(Fixed):
    """The same with updates."""

    def update(self, y_new: Values) -> "UpdatableFixed":
        """Append new values."""
        self.seen = np.concatenate([self.seen, y_new])
        return self


class GlobalLastValue:
    """Repeats the last value of each series, on the transformed scale; keeps the frame."""

    is_global = True

    def fit(self, series: pd.DataFrame, **_: int) -> "GlobalLastValue":
        """Keep the frame."""
        self.seen = series
        return self

    def predict(self, h: int) -> Values:
        """Repeat the last value of each series h times."""
        last = self.seen.groupby("unique_id")["y"].last().to_numpy()
        return np.repeat(last[:, None], h, axis=1)


def lognormal(n: int, *, seed: int) -> Values:
    """Noise whose median is 20 and whose mean is 33: half of it is below 20."""
    return np.exp(np.random.default_rng(seed).normal(np.log(20), 1.0, size=n))


# Forward and inverse
@EACH
@FEW_EXAMPLES
@given(y=VALUES, lam=LAMBDAS)
def test_the_inverse_undoes_the_transform(name: str, y: Values, lam: float):
    transform = TRANSFORMS[name]
    z = transform.forward(y, lam)
    assert (z >= 0).all()
    assert transform.inverse(z, lam) == pytest.approx(y, rel=1e-6, abs=1e-9)


def test_transforms_follow_their_formulas():
    y = np.array([0.0, 0.5, 3.0, 1e4])
    plain = {
        ("log", 0.0): np.log(1 + y),
        ("sqrt", 0.0): y**0.5,
        ("box_cox", 0.0): np.log(1 + y),
        ("box_cox", 1e-14): np.log(1 + y),
        ("box_cox", 0.3): ((1 + y) ** 0.3 - 1) / 0.3,
        ("box_cox", 1.0): y,
    }
    for (name, lam), expected in plain.items():
        z = TRANSFORMS[name].forward(y, lam)
        assert z == pytest.approx(expected)
        assert TRANSFORMS[name].inverse(z, lam) == pytest.approx(y)
        assert z[0] == TRANSFORMS[name].inverse(z, lam)[0] == 0.0


def test_the_box_cox_parameter_equalizes_the_spread():
    """Noise that grows with the level wants the logarithm; noise that does not, no transform."""
    rng, level = np.random.default_rng(1), np.linspace(3, 8, 120)
    estimate = TRANSFORMS["box_cox"].estimate
    growing = np.exp(level + rng.normal(scale=0.1, size=120))
    assert estimate(growing, 12) < 0.1
    assert estimate(growing, 1) < 0.1
    assert estimate(100 * level + rng.normal(scale=10, size=120), 12) > 0.9


@pytest.mark.parametrize("season_length", [1, 2, 12, 52])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 30])
def test_a_box_cox_parameter_is_found_for_any_series(n: int, season_length: int):
    y = lognormal(n, seed=n)
    for values in (y, np.zeros(n), np.full(n, 7.0)):
        assert 0 <= TRANSFORMS["box_cox"].estimate(values, season_length) <= 1


# A transformed model
@EACH
def test_a_model_sees_transformed_values_and_its_forecast_is_inverted(name: str):
    y = lognormal(30, seed=2)
    original, inner = y.copy(), Fixed(1.0, 2.0)
    model = apply(inner, name).fit(y, season_length=4)
    lam = TRANSFORMS[name].estimate(y, 4)
    assert inner.seen == pytest.approx(TRANSFORMS[name].forward(y, lam))
    assert model.predict(2) == pytest.approx(TRANSFORMS[name].inverse(np.array([1.0, 2.0]), lam))
    assert y.tobytes() == original.tobytes()


@EACH
def test_a_negative_forecast_becomes_zero_and_a_missing_one_stays_missing(name: str):
    """No value of zero or more is there; a square would even turn it into a large one."""
    model = apply(Fixed(-1e-9, -0.5, -1e6, np.nan), name).fit(np.arange(9.0), season_length=4)
    *held, missing = model.predict(4).tolist()
    assert held == [0.0] * 3
    assert np.isnan(missing)


@EACH
def test_negative_values_are_declined(name: str):
    message = f"^the transform {name} needs values of zero or more$"
    with pytest.raises(NotForThisSeries, match=message):
        make(f"naive_{name}").fit(np.array([3.0, -0.1]), season_length=4)
    fitted = make(f"theta_{name}").fit(np.arange(20.0), season_length=4)
    with pytest.raises(NotForThisSeries, match=message):
        fitted.update(np.array([-1.0]))
    with pytest.raises(NotForThisSeries, match=message):
        apply(GlobalLastValue(), name).fit(
            make_global(np.arange(5.0), -np.ones(5)), season_length=4
        )


def test_a_mean_of_logarithms_forecasts_the_median():
    """The noise's median is 20, its mean 33."""

    def typical(model: Any) -> float:
        many = [model.fit(lognormal(200, seed=i), season_length=52).predict(1) for i in range(30)]
        return float(np.mean(many))

    assert typical(WindowAverage(200)) == pytest.approx(33, rel=0.1)
    assert typical(apply(WindowAverage(200), "log")) == pytest.approx(20, rel=0.1)


def test_a_transformed_model_keeps_min_train_size_and_update():
    assert apply(Fixed(), "log").min_train_size == 3
    assert not hasattr(apply(Fixed(), "log"), "update")
    assert hasattr(apply(UpdatableFixed(), "log"), "update")
    assert make("sarimax_log").min_train_size(52) == 104
    assert make("boosted_trees_log").min_train_size == 8
    assert not hasattr(make("boosted_trees_log"), "update")
    assert apply(GlobalLastValue(), "log").min_train_size == 1


@EACH
def test_an_update_keeps_the_parameter_of_the_fit_and_survives_pickling(name: str):
    y, new = lognormal(60, seed=7), np.linspace(0, 1000, 20)
    inner = UpdatableFixed(1.0)
    model = apply(inner, name).fit(y, season_length=4)
    before, copy = model.predict(1), pickle.loads(pickle.dumps(model))  # noqa: S301 - dumped here
    assert model.update(new) is model
    lam = TRANSFORMS[name].estimate(y, 4)
    assert inner.seen == pytest.approx(TRANSFORMS[name].forward(np.concatenate([y, new]), lam))
    assert model.predict(1) == copy.update(new).predict(1) == before


# A transformed global model
@EACH
def test_each_series_of_a_global_model_has_its_own_parameter(name: str):
    """One series has a single week."""
    ys = [lognormal(60, seed=9), np.array([4.0]), 500 + 10 * lognormal(9, seed=10), np.zeros(30)]
    series = make_global(*ys)
    original, inner = series.copy(), GlobalLastValue()
    y_hat = apply(inner, name).fit(series, season_length=4).predict(2)
    assert y_hat == pytest.approx(np.array([[y[-1]] * 2 for y in ys]))
    learnt = [TRANSFORMS[name].forward(y, TRANSFORMS[name].estimate(y, 4)) for y in ys]
    assert inner.seen["y"].to_numpy() == pytest.approx(np.concatenate(learnt))
    assert inner.seen[["unique_id", "ds"]].equals(original[["unique_id", "ds"]])
    assert series.equals(original)
