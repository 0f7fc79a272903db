"""Running a model over its folds: what is computed, what is known, what a failure becomes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecast_assets.backtest import TOO_SHORT, plan
from forecast_assets.compute import ModelRun, run_model
from forecast_assets.fold_cache import FoldCache
from forecast_assets.models import find
from forecast_assets.models.registry import Model
from forecast_assets.settings import Settings
from forecast_assets_tests.builders import make_series, make_settings, walk

ODD = """
import numpy as np

class Odd:
    '''Says what it is told to; `made` counts how often it was made.'''
    made = 0
    def __init__(self, says):
        Odd.made += 1
        self.says = says
    def fit(self, y, *, season_length):
        if self.says == "raise" or (self.says == "sometimes" and y[-1] > 100):
            raise RuntimeError("cannot say")
        y[:] = 0.0
        return self
    def predict(self, h):
        if self.says == "nan":
            return np.full(h, np.nan)
        if self.says == "long":
            return np.zeros(h + 1)
        if self.says == "text":
            return ["much"] * h
        return np.zeros(h)
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a model that misbehaves as it is told to."""
    (tmp_path / "odd_models.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "odd_models:Odd"
    sys.modules.pop("odd_models", None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": 5})


def run(model: Model, settings: Settings, *ys: list[float]) -> ModelRun:
    """One model over the plan of the given series, with the settings' own cache."""
    series = make_series(**{f"s{i}": y for i, y in enumerate(ys)})
    planned = plan(series, settings.backtest)
    return run_model(model, planned, settings=settings, cache=FoldCache(settings.var / "folds"))


def test_a_fold_sees_the_values_up_to_its_cutoff_and_no_more(settings: Settings):
    y = walk(30, seed=1)
    said = run(find("naive"), settings, y)
    assert [fold.y_hat[0] for fold in said.folds if fold.y_hat is not None] == y[24:29]


def test_the_same_week_again_computes_nothing(settings: Settings):
    y = walk(30, seed=1)
    first, again = (run(find("drift"), settings, y) for _ in range(2))
    assert (first.n_computed, again.n_computed) == (5, 0)
    frames = [one.predictions(settings) for one in (first, again)]
    assert frames[0].equals(frames[1])


def test_a_new_week_computes_its_new_fold_alone(settings: Settings):
    y = walk(30, seed=1)
    run(find("drift"), settings, y[:29])
    assert run(find("drift"), settings, y).n_computed == 1


def test_a_revision_recomputes_only_the_folds_that_saw_it(settings: Settings):
    y = walk(30, seed=1)
    run(find("drift"), settings, y)
    revised = [*y[:26], y[26] + 1.0, *y[27:]]
    assert run(find("drift"), settings, revised).n_computed == 3


def test_the_cache_changes_nothing_but_the_time(settings: Settings, tmp_path: Path):
    y = walk(40, seed=1)
    run(find("auto_ets"), settings, y)
    cached = run(find("auto_ets"), settings, y)
    elsewhere = make_settings(tmp_path / "b", backtest={"n_windows": 5})
    fresh = run(find("auto_ets"), elsewhere, y)
    assert fresh.n_computed == 5
    said = [[f.y_hat.tobytes() for f in r.folds if f.y_hat is not None] for r in (cached, fresh)]
    assert said[0] == said[1]


def test_equal_histories_are_computed_once(settings: Settings):
    y = walk(30, seed=1)
    assert run(find("drift"), settings, y, y).n_computed == 5


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("raise", "RuntimeError: cannot say"),
        ("nan", "forecast is not finite: [nan]"),
        ("long", "forecast of shape [2], asked for [1]"),
        ("text", "ValueError: could not convert string to float"),
    ],
)
def test_a_misbehaving_model_becomes_a_record(odd: str, settings: Settings, says: str, error: str):
    said = run(Model("odd", odd, params={"says": says}), settings, walk(30, seed=1))
    assert all(fold.y_hat is None for fold in said.folds)
    assert [message[: len(error)] for message in said.errors] == [error] * 5
    frame = said.predictions(settings)
    assert frame["y_hat"].isna().all()
    assert frame["error"].notna().all()


def test_a_failure_is_not_kept_as_known(odd: str, settings: Settings):
    model = Model("odd", odd, params={"says": "raise"})
    assert run(model, settings, walk(30, seed=1)).n_computed == 5
    assert run(model, settings, walk(30, seed=1)).n_computed == 5


def test_one_series_that_fails_leaves_the_others_alone(odd: str, settings: Settings):
    low, high = [1.0] * 30, [1000.0] * 30
    said = run(Model("odd", odd, params={"says": "sometimes"}), settings, low, high)
    assert [fold.y_hat is None for fold in said.folds] == [False] * 5 + [True] * 5


def test_a_model_cannot_change_what_the_next_fold_sees(odd: str, settings: Settings):
    y = walk(30, seed=1)
    series = make_series(a=y)
    planned = plan(series, settings.backtest)
    cache = FoldCache(settings.var / "folds")
    run_model(Model("odd", odd, params={"says": "0"}), planned, settings=settings, cache=cache)
    assert list(planned[0].y) == y
    assert list(series["y"]) == y


def test_a_model_is_not_asked_below_its_fewest_values(settings: Settings):
    said = run(find("seasonal_naive"), settings, walk(54, seed=1))
    assert said.folds[0].error == f"{TOO_SHORT}it needs 52 values and has 49"
    assert [fold.y_hat is None for fold in said.folds] == [True, True, True, False, False]
    assert said.errors == []
    assert said.n_computed == 2


def test_a_model_whose_folds_are_known_is_not_even_made(odd: str, settings: Settings):
    """Making a model imports its library: a week with nothing to compute must not pay for it."""
    model = Model("odd", odd, params={"says": "0"})
    run(model, settings, walk(30, seed=1))
    made = sys.modules["odd_models"].Odd.made
    run(model, settings, walk(30, seed=1))
    assert sys.modules["odd_models"].Odd.made == made > 0
