"""Models on a transformed target: the transforms, declined series, and the median forecast."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.models import NotForThisSeries, find_model, make
from forecast_assets.models.base import Values
from forecast_assets.models.naive import WindowAverage
from forecast_assets.models.transforms import TRANSFORMS, apply

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60, database=None)
EACH = pytest.mark.parametrize("name", TRANSFORMS)
VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=30).map(np.array)
LAMBDAS = st.floats(1e-300, 1) | st.sampled_from([0.0, 1e-12, 1e-6, 1.0])


class Fixed:
    """Keeps the values that it sees, and has a fixed forecast on the transformed scale."""

    min_train_size = 3

    def __init__(self, *forecasts: float) -> None:
        self.forecasts, self.saw = forecasts, np.empty(0)

    def fit(self, y: Values, *, season_length: int) -> "Fixed":
        """Keep the values."""
        del season_length
        self.saw = y
        return self

    def predict(self, h: int) -> Values:
        """Say it."""
        return np.array(self.forecasts[:h])


class UpdatableFixed(Fixed):
    """The same, moved forward."""

    def update(self, y_new: Values) -> "UpdatableFixed":
        """Keep these too."""
        self.saw = np.concatenate([self.saw, y_new])
        return self


class GlobalLastValue:
    """Says of each series its last value, on the transformed scale; keeps the frame."""

    is_global = True

    def fit(self, series: pd.DataFrame, *, season_length: int) -> "GlobalLastValue":
        """Keep the frame."""
        del season_length
        self.saw = series
        return self

    def predict(self, h: int) -> Values:
        """Each series' last value, h times."""
        last = self.saw.groupby("unique_id")["y"].last().to_numpy()
        return np.repeat(last[:, None], h, axis=1)


def lognormal(n: int, *, seed: int) -> Values:
    """Noise whose median is 20 and whose mean is 33: half of it is below 20."""
    return np.exp(np.random.default_rng(seed).normal(np.log(20), 1.0, size=n))


def frame(*ys: Values) -> pd.DataFrame:
    """Series of any lengths that end on the same day, as a global model is given them."""
    parts = [
        pd.DataFrame(
            {
                "unique_id": i,
                "ds": pd.date_range(end="2026-01-02", periods=len(y), freq="7D"),
                "y": y,
            }
        )
        for i, y in enumerate(ys)
    ]
    return pd.concat(parts, ignore_index=True)


# Forward and inverse
@EACH
@REPEATABLE
@given(y=VALUES, lam=LAMBDAS)
def test_the_inverse_undoes_the_transform(name: str, y: Values, lam: float):
    transform = TRANSFORMS[name]
    z = transform.forward(y, lam)
    assert (z >= 0).all()
    assert transform.inverse(z, lam) == pytest.approx(y, rel=1e-6, abs=1e-9)


@EACH
def test_zero_stays_zero(name: str):
    for lam in (0.0, 0.5, 1.0):
        assert TRANSFORMS[name].forward(np.zeros(2), lam).tolist() == [0.0, 0.0]
        assert TRANSFORMS[name].inverse(np.zeros(2), lam).tolist() == [0.0, 0.0]


def test_transforms_follow_their_formulas():
    y = np.array([0.0, 0.5, 3.0, 1e4])

    def transformed(name: str, lam: float = 0.0) -> list[float]:
        return list(TRANSFORMS[name].forward(y, lam))

    assert transformed("log") == pytest.approx([np.log(1 + value) for value in y])
    assert transformed("sqrt") == pytest.approx([value**0.5 for value in y])
    for lam in (0.3, 1.0):
        plain = [((1 + value) ** lam - 1) / lam for value in y]
        assert transformed("box_cox", lam) == pytest.approx(plain)


def test_box_cox_is_the_logarithm_near_zero_and_the_value_at_one():
    y = np.array([0.0, 0.5, 3.0, 1e4])
    transform = TRANSFORMS["box_cox"]
    assert transform.forward(y, 0.0) == pytest.approx(np.log1p(y))
    assert transform.forward(y, 1e-9) == pytest.approx(np.log1p(y), rel=1e-6)
    assert transform.forward(y, 1.0) == pytest.approx(y)
    assert transform.inverse(transform.forward(y, 1e-14), 1e-14) == pytest.approx(y)


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
    assert inner.saw == pytest.approx(TRANSFORMS[name].forward(y, lam))
    assert model.predict(2) == pytest.approx(TRANSFORMS[name].inverse(np.array([1.0, 2.0]), lam))
    assert y.tobytes() == original.tobytes()


@EACH
def test_a_naive_forecast_is_the_same_on_any_scale(name: str):
    y = lognormal(30, seed=3)
    assert make(f"naive_{name}").fit(y, season_length=4).predict(3) == pytest.approx([y[-1]] * 3)


@EACH
@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_constant_series_goes_on_as_it_was(name: str, level: float):
    y = np.full(30, level)
    assert make(f"ses_{name}").fit(y, season_length=4).predict(1) == pytest.approx([level])


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
        apply(GlobalLastValue(), name).fit(frame(np.arange(5.0), -np.ones(5)), season_length=4)


@pytest.mark.parametrize("model", [WindowAverage(200), make("ses")], ids=["mean", "ses"])
def test_a_mean_of_logarithms_forecasts_the_median(model: Any):
    """The noise's median is 20, its mean 33."""

    def typical(model: Any) -> float:
        many = [model.fit(lognormal(200, seed=i), season_length=52).predict(1) for i in range(30)]
        return float(np.mean(many))

    assert typical(model) == pytest.approx(33, rel=0.1)
    assert typical(apply(model, "log")) == pytest.approx(20, rel=0.1)


def test_a_transformed_model_keeps_min_train_size_and_update():
    assert apply(Fixed(), "log").min_train_size == 3
    assert not hasattr(apply(Fixed(), "log"), "update")
    assert hasattr(apply(UpdatableFixed(), "log"), "update")
    assert make("sarimax_log").min_train_size(52) == 104
    assert make("boosted_trees_log").min_train_size == 8
    assert not hasattr(make("boosted_trees_log"), "update")
    assert apply(GlobalLastValue(), "log").min_train_size == 1


@EACH
def test_an_update_keeps_the_parameter_of_the_fit(name: str):
    y, new = lognormal(60, seed=7), np.linspace(0, 1000, 20)
    inner = UpdatableFixed(1.0)
    model = apply(inner, name).fit(y, season_length=4)
    before = model.predict(1)
    assert model.update(new) is model
    lam = TRANSFORMS[name].estimate(y, 4)
    both = np.concatenate([y, new])
    assert inner.saw == pytest.approx(TRANSFORMS[name].forward(both, lam))
    assert model.predict(1) == before


@EACH
def test_an_updated_transformed_model_is_close_to_a_new_fit_and_survives_pickling(name: str):
    y = 100 + lognormal(73, seed=8)
    fitted = make(f"auto_ets_{name}").fit(y[:60], season_length=12)
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - dumped here
    y_hat = fitted.update(y[60:]).predict(2)
    assert copy.update(y[60:]).predict(2).tobytes() == y_hat.tobytes()
    again = make(f"auto_ets_{name}").fit(y, season_length=12).predict(2)
    assert y_hat == pytest.approx(again, rel=0.1)


# A transformed global model
@EACH
def test_each_series_of_a_global_model_has_its_own_parameter(name: str):
    """One series has a single week."""
    ys = [lognormal(60, seed=9), np.array([4.0]), 500 + 10 * lognormal(9, seed=10), np.zeros(30)]
    series = frame(*ys)
    original, inner = series.copy(), GlobalLastValue()
    y_hat = apply(inner, name).fit(series, season_length=4).predict(2)
    assert y_hat == pytest.approx(np.array([[y[-1]] * 2 for y in ys]))
    learnt = [TRANSFORMS[name].forward(y, TRANSFORMS[name].estimate(y, 4)) for y in ys]
    assert inner.saw["y"].to_numpy() == pytest.approx(np.concatenate(learnt))
    assert inner.saw[["unique_id", "ds"]].equals(original[["unique_id", "ds"]])
    assert series.equals(original)


@EACH
def test_boosted_trees_keep_the_scale_of_each_series(name: str):
    ys = [10.0**i * (5 + lognormal(90, seed=20 + i) / 20) for i in range(4)]
    y_hat = make(f"boosted_trees_{name}").fit(frame(*ys), season_length=12).predict(3)
    assert y_hat.shape == (4, 3)
    for row, y in zip(y_hat, ys, strict=True):
        assert (y.min() / 2 < row).all()
        assert (row < 2 * y.max()).all()


@EACH
@REPEATABLE
@given(y=st.lists(st.floats(0, 1e6), min_size=4, max_size=40).map(np.array))
def test_a_transformed_mean_lies_within_the_values(name: str, y: Values):
    (y_hat,) = find_model(f"window_average_{name}").fit(y, season_length=4).predict(1)
    last = y[-4:]
    slack = 1e-6 * (1 + last.max())
    assert last.min() - slack <= y_hat <= last.max() + slack
