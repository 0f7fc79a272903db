"""One fit and its folds: what a model sees, and the errors that it can cause."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.fitting import MAX_ERROR_LENGTH, FitConfig, FitResult, run_unit
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    is_declined,
    split_series,
)
from forecast_assets.backtesting.panel import Panel
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.builders import FIRST_WEEK, make_ragged, make_series, walk
from forecast_assets_tests.misbehaving_models import misbehaving, user_model

pytestmark = pytest.mark.usefixtures("user_models")

Y = walk(40, seed=1)
ANCHORED = user_model("Anchored", refit_every=13)


def run(
    model: ModelSpec,
    unit: FitUnit,
    series: pd.DataFrame | None = None,
    *,
    horizon: int = 1,
    ticks: list[int] | None = None,
) -> FitResult:
    """Run one unit, by default on the series Y."""
    panel = Panel.of(split_series(make_series(a=Y) if series is None else series))
    config = FitConfig(model, horizon, season_length=4)
    return run_unit(config, unit, panel, lambda: None if ticks is None else ticks.append(1))


def unit_of(*ends: int, anchor: int | None = None, **fit: object) -> FitUnit:
    """Return a fit of the first series for the folds at these ends."""
    return FitUnit(0, anchor or ends[0], tuple((0, end) for end in ends), **fit)  # type: ignore[arg-type]


def outcomes(folds: Sequence[FoldForecast]) -> list[list[float] | str | None]:
    """Return the forecast of each fold, or its error."""
    return [fold.error if fold.y_hat is None else fold.y_hat.tolist() for fold in folds]


# What a model sees
def test_a_model_that_overwrites_its_input_changes_nothing_else():
    """It sees the values up to the cutoff."""
    series = make_series(a=Y)
    panel = Panel.of(split_series(series))
    for end in (30, 29, 30):
        result = run_unit(FitConfig(misbehaving(), 1, 4), unit_of(end), panel, lambda: None)
        assert outcomes(result.folds) == [[Y[end - 1]]]
    assert list(panel.y) == Y
    assert list(series["y"]) == Y


def test_each_cutoff_has_a_time_limit_of_its_own():
    ticks: list[int] = []
    result = run(ANCHORED, unit_of(26, 27, 30), ticks=ticks)
    assert len(ticks) == 3
    assert result.seconds >= sum(fold.fit_seconds for fold in result.folds) > 0


# Errors
@pytest.mark.parametrize(
    ("way", "horizon", "error"),
    [
        ("raises", 1, "RuntimeError: no licence"),
        ("nan", 1, "forecast is not finite: [nan]"),
        ("inf", 2, "forecast is not finite: [0.0, inf]"),
        ("long", 1, "forecast of shape [2], expected [1]"),
        ("wide", 2, "forecast of shape [1, 2], expected [2]"),
        ("number", 1, "forecast of shape [], expected [1]"),
        ("text", 1, "ValueError: could not convert string to float: np.str_('much')"),
        ("returns_nothing", 1, "AttributeError: 'NoneType' object has no attribute 'predict'"),
        ("does_not_converge", 1, "ConvergenceWarning: no optimum"),
        ("does_not_converge_in_predict", 1, "ConvergenceWarning: no optimum"),
        ("raises_interrupt", 1, "KeyboardInterrupt: "),
    ],
)
def test_what_a_model_does_wrong_is_the_error_of_its_fold(way: str, horizon: int, error: str):
    result = run(misbehaving(way), unit_of(20), horizon=horizon)
    assert outcomes(result.folds) == [error]
    assert not result.folds[0].is_declined
    assert not is_declined(error)


def test_an_error_is_valid_text_of_limited_length():
    (error,) = outcomes(run(misbehaving("raises_long_bytes"), unit_of(20)).folds)
    assert str(error).startswith("OSError: no file \\udcff...")
    assert len(str(error).encode()) < 2 * MAX_ERROR_LENGTH


@pytest.mark.parametrize(
    ("model", "end", "error"),
    [
        (misbehaving("declines"), 20, "not for this series: it goes down"),
        (user_model("Anchored"), 4, "too short: it needs 5 values and has 4"),
        (MODELS["seasonal_naive"], 3, "too short: it needs 4 values and has 3"),
    ],
)
def test_a_model_declines_a_series_by_an_exception_or_by_its_min_train_size(
    model: ModelSpec, end: int, error: str
):
    result = run(model, unit_of(end))
    assert outcomes(result.folds) == [error]
    assert result.folds[0].is_declined
    assert is_declined(error)
    assert result.n_fits == (0 if "short" in error else 1)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (
            ModelSpec("gone", "no_such_module:Gone"),
            "The class of the model gone cannot be imported",
        ),
        (user_model(depth=3), "The model mine (user_models:Misbehaving) does not accept the param"),
    ],
)
def test_a_model_that_cannot_be_made_is_an_error_of_every_fold(model: ModelSpec, error: str):
    result = run(model, unit_of(20, 21))
    assert [str(outcome)[: len(error)] for outcome in outcomes(result.folds)] == [error] * 2
    assert result.n_fits == 0


# Updates after a fit
def test_folds_after_the_anchor_share_its_fit_and_see_the_values_since():
    result = run(ANCHORED, unit_of(26, 27, 30, 38, anchor=26))
    assert outcomes(result.folds) == [[26000.0], [26001.0], [26004.0], [26012.0]]
    assert result.n_fits == 1


def test_a_fold_is_fitted_at_its_cutoff_if_the_anchor_is_too_short():
    model = user_model("Anchored", refit_every=4)
    result = run(model, unit_of(5, 6, 7, anchor=4, is_kept=True))
    assert outcomes(result.folds) == [[5000.0], [6000.0], [7000.0]]
    assert (result.n_fits, result.fitted) == (3, None)


def test_a_kept_fit_saves_the_next_one():
    kept = run(ANCHORED, unit_of(27, anchor=26, is_kept=True))
    assert kept.fitted is not None
    again = run(ANCHORED, unit_of(27, 28, anchor=26, fitted=kept.fitted))
    assert outcomes(again.folds) == [[26001.0], [26002.0]]
    assert (again.n_fits, again.fitted) == (0, None)


def test_a_fit_that_cannot_be_read_is_made_again_and_kept():
    """As after a change of a library that the fingerprint does not cover."""
    expected = run(ANCHORED, unit_of(27, 28, anchor=26, is_kept=True))
    result = run(ANCHORED, unit_of(27, 28, anchor=26, fitted=b"of other libraries"))
    assert outcomes(result.folds) == outcomes(expected.folds)
    assert (result.n_fits, result.fitted) == (1, expected.fitted)


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raises", "RuntimeError: no licence"),
        ("does_not_converge", "ConvergenceWarning: no optimum"),
        ("cannot_be_pickled", "AttributeError: Can't pickle local object"),
    ],
)
def test_a_failed_fit_is_tried_once_for_all_its_folds_and_not_kept(way: str, error: str):
    model = user_model("Anchored", refit_every=13, way=way)
    result = run(model, unit_of(26, 27, 28, is_kept=True))
    assert [str(outcome)[: len(error)] for outcome in outcomes(result.folds)] == [error] * 3
    assert (result.n_fits, result.fitted) == (1, None)


@pytest.mark.parametrize("refit_every", [1, 13])
def test_random_numbers_do_not_depend_on_the_other_folds(refit_every: int):
    model = user_model("Random", refit_every=refit_every)
    anchor = {"anchor": 26} if refit_every > 1 else {}
    together = run(model, unit_of(27, 28, 29, is_kept=refit_every > 1, **anchor))
    alone = run(model, unit_of(29, fitted=together.fitted, **anchor))
    assert outcomes(alone.folds) == outcomes(together.folds[2:])
    assert outcomes(together.folds[:1]) != outcomes(together.folds[1:2])


# Global models
SERIES = make_ragged(
    a=(0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    b=(4, [10.0, 20.0]),
    c=(0, [7.0, 8.0, 9.0]),  # it has ended
)
POOLED = user_model("Pooled")


def day(week: int) -> int:
    """Return the number of the day on which a week ends; week 0 is the first one."""
    return int((np.datetime64(FIRST_WEEK, "D") + 7 * week).astype(np.int64))


def pooled(*folds: tuple[int, int], anchor: int, **fit: object) -> FitUnit:
    return FitUnit(ALL_SERIES, day(anchor), folds, **fit)  # type: ignore[arg-type]


@pytest.mark.parametrize("weeks_earlier", [0, 3000], ids=["now", "before 1970"])
def test_a_global_fit_sees_all_series_up_to_the_day(weeks_earlier: int):
    """Up to the fifth week there are 5 + 1 + 3 values."""
    series = SERIES.assign(ds=SERIES["ds"] - pd.Timedelta(weeks=weeks_earlier))
    result = run(POOLED, pooled((0, 5), anchor=4 - weeks_earlier), series, horizon=2)
    assert outcomes(result.folds) == [[9e6 + 5.0] * 2]
    assert result.n_fits == 1


def test_a_global_fit_has_the_series_that_have_begun_and_forecasts_those_that_are_long_enough():
    result = run(POOLED, pooled((0, 3), (2, 3), anchor=2), SERIES)
    assert outcomes(result.folds) == [[6e6 + 3.0], [6e6 + 9.0]]
    result = run(POOLED, pooled((0, 6), (1, 2), anchor=5), SERIES)
    assert outcomes(result.folds) == [[11e6 + 6.0], "too short: it needs 3 values and has 2"]


def test_a_global_model_is_updated_with_the_new_weeks_of_all_series():
    """Between the third week and the sixth there are 3 + 2 + 0 values."""
    model = user_model("Pooled", refit_every=4)
    result = run(model, pooled((0, 3), (2, 3), (0, 6), anchor=2, is_kept=True), SERIES)
    assert outcomes(result.folds) == [[6e6 + 3.0], [6e6 + 9.0], [6e6 + 5e3 + 6.0]]
    assert result.n_fits == 1
    again = run(model, pooled((0, 6), anchor=2, fitted=result.fitted), SERIES)
    assert outcomes(again.folds) == outcomes(result.folds[2:])
    assert again.n_fits == 0


def test_a_global_model_that_fails_on_one_series_forecasts_the_others():
    series = make_series(a=[1, 2, 3], b=[1, 2, -3])
    result = run(POOLED, FitUnit(ALL_SERIES, day(2), ((0, 3), (1, 3))), series)
    assert outcomes(result.folds) == [[6e6 + 3.0], "forecast is not finite: [nan]"]


def test_a_global_model_that_omits_a_series_fails():
    model = user_model("Pooled", way="too_few_rows")
    result = run(model, pooled((0, 5), anchor=4), SERIES)
    assert outcomes(result.folds) == ["ValueError: 2 forecasts for 3 series"]
