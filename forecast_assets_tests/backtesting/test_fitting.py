"""One fit and its folds: what a model sees, and what becomes of whatever it does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.fitting import MOST_SAID, FitConfig, FitResult, run_unit
from forecast_assets.backtesting.folds import (
    ALL_SERIES,
    FitUnit,
    FoldForecast,
    Panel,
    is_declined,
    split_series,
)
from forecast_assets.models import MODELS, ModelSpec
from forecast_assets_tests.builders import FIRST_WEEK, make_ragged, make_series, walk
from forecast_assets_tests.worker_builders import odd_model

pytestmark = pytest.mark.usefixtures("odd_models")

Y = walk(40, seed=1)


def asked(
    model: ModelSpec,
    unit: FitUnit,
    series: pd.DataFrame | None = None,
    *,
    horizon: int = 1,
    ticks: list[int] | None = None,
) -> FitResult:
    """What one unit says, of the series `a` where no other is given."""
    panel = Panel.of(split_series(make_series(a=Y) if series is None else series))
    question = FitConfig(model, horizon, season_length=4)
    return run_unit(question, unit, panel, lambda: None if ticks is None else ticks.append(1))


def local(*ends: int, anchor: int | None = None, **fit: object) -> FitUnit:
    """A fit of the first series for the folds at these ends."""
    return FitUnit(0, anchor or ends[0], tuple((0, end) for end in ends), **fit)  # type: ignore[arg-type]


def said(folds: Sequence[FoldForecast]) -> list[list[float] | str | None]:
    """Each fold's forecast, or its error."""
    return [fold.error if fold.y_hat is None else fold.y_hat.tolist() for fold in folds]


# What a model sees
def test_a_fold_sees_the_values_up_to_its_cutoff_and_no_more():
    assert said(asked(odd_model(), local(7)).folds) == [[Y[6]]]
    assert said(asked(odd_model("Anchored"), local(7)).folds) == [[7000.0]]


def test_a_model_cannot_change_what_others_see():
    """The odd model overwrites what it is given."""
    series = make_series(a=Y)
    panel = Panel.of(split_series(series))
    for end in (30, 29, 30):
        found = run_unit(FitConfig(odd_model(), 1, 4), local(end), panel, lambda: None)
        assert said(found.folds) == [[Y[end - 1]]]
    assert list(panel.y) == Y
    assert list(series["y"]) == Y


def test_each_cutoff_has_a_time_of_its_own():
    ticks: list[int] = []
    found = asked(odd_model("Anchored", refit_every=13), local(26, 27, 30), ticks=ticks)
    assert len(ticks) == 3
    assert found.seconds >= sum(fold.fit_seconds for fold in found.folds) > 0


# What it says, and what it does wrong
@pytest.mark.parametrize(
    ("way", "horizon", "error"),
    [
        ("raise", 1, "RuntimeError: cannot say"),
        ("nan", 1, "forecast is not finite: [nan]"),
        ("inf", 2, "forecast is not finite: [0.0, inf]"),
        ("long", 1, "forecast of shape [2], asked for [1]"),
        ("wide", 2, "forecast of shape [1, 2], asked for [2]"),
        ("number", 1, "forecast of shape [], asked for [1]"),
        ("text", 1, "ValueError: could not convert string to float: np.str_('much')"),
        ("nothing", 1, "AttributeError: 'NoneType' object has no attribute 'predict'"),
        ("unconverged", 1, "ConvergenceWarning: no optimum"),
        ("late", 1, "ConvergenceWarning: no optimum"),
    ],
)
def test_what_a_model_does_wrong_is_the_error_of_its_fold(way: str, horizon: int, error: str):
    found = asked(odd_model(way=way), local(20), horizon=horizon)
    assert said(found.folds) == [error]
    assert not is_declined(error)


def test_an_error_is_kept_as_text_of_no_more_than_can_be_read():
    (error,) = said(asked(odd_model(way="bytes"), local(20)).folds)
    assert str(error).startswith("OSError: no file \\udcff...")
    assert len(str(error).encode()) < 2 * MOST_SAID


def test_a_model_may_decline_a_series():
    (error,) = said(asked(odd_model(way="declines"), local(20)).folds)
    assert error == "not for this series: it goes down"
    assert is_declined(error)


def test_a_model_is_not_asked_below_its_fewest_values():
    ticks: list[int] = []
    found = asked(odd_model("Anchored"), local(4), ticks=ticks)
    assert said(found.folds) == ["too short: it needs 5 values and has 4"]
    assert is_declined(str(found.folds[0].error))
    assert (found.n_fits, ticks) == (0, [])


def test_the_fewest_values_may_depend_on_the_season():
    found = [asked(MODELS["seasonal_naive"], local(end)).folds for end in (3, 4)]
    assert said(found[0]) == ["too short: it needs 4 values and has 3"]
    assert said(found[1]) == [[Y[0]]]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (
            ModelSpec("gone", "no_such_module:Gone"),
            "The class of the model gone cannot be imported",
        ),
        (odd_model(depth=3), r"The model odd (odd_models:Odd) refuses its parameters"),
    ],
)
def test_a_model_that_cannot_be_made_says_so_at_every_fold(model: ModelSpec, error: str):
    found = asked(model, local(20, 21))
    assert [str(one)[: len(error)] for one in said(found.folds)] == [error] * 2
    assert found.n_fits == 0


# Moved forward from a fit
def test_folds_after_the_anchor_share_its_fit_and_see_what_came_since():
    found = asked(odd_model("Anchored", refit_every=13), local(27, 30, 38, anchor=26))
    assert said(found.folds) == [[26001.0], [26004.0], [26012.0]]
    assert found.n_fits == 1


def test_a_fold_at_the_anchor_is_the_fit_itself():
    assert said(asked(odd_model("Anchored", refit_every=13), local(26)).folds) == [[26000.0]]


def test_before_the_first_anchor_that_can_be_fitted_each_fold_is_fitted_at_its_cutoff():
    found = asked(odd_model("Anchored", refit_every=4), local(5, 6, 7, anchor=4))
    assert said(found.folds) == [[5000.0], [6000.0], [7000.0]]
    assert found.n_fits == 3
    assert (
        asked(odd_model("Anchored", refit_every=4), local(5, anchor=4, is_kept=True)).fitted is None
    )


def test_a_fit_is_handed_out_where_it_is_asked_for_and_saves_the_next_one():
    model = odd_model("Anchored", refit_every=13)
    kept = asked(model, local(27, anchor=26, is_kept=True))
    assert kept.fitted is not None
    again = asked(model, local(27, 28, anchor=26, fitted=kept.fitted))
    assert said(again.folds) == [[26001.0], [26002.0]]
    assert (again.n_fits, again.fitted) == (0, None)


def test_a_fit_that_cannot_be_read_is_made_again_and_handed_out():
    """As after a change of a library that the fingerprint does not cover."""
    model = odd_model("Anchored", refit_every=13)
    sound = asked(model, local(27, 28, anchor=26, is_kept=True))
    found = asked(model, local(27, 28, anchor=26, fitted=b"of other libraries"))
    assert said(found.folds) == said(sound.folds)
    assert (found.n_fits, found.fitted) == (1, sound.fitted)


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("raise", "RuntimeError: cannot say"),
        ("unconverged", "ConvergenceWarning: no optimum"),
        ("fixed", "AttributeError: Can't pickle local object"),
    ],
)
def test_a_fit_that_fails_fails_for_all_folds_at_once_and_is_not_kept(way: str, error: str):
    model = odd_model("Anchored", refit_every=13, way=way)
    found = asked(model, local(26, 27, 28, is_kept=True))
    assert [str(one)[: len(error)] for one in said(found.folds)] == [error] * 3
    assert (found.n_fits, found.fitted) == (1, None)


@pytest.mark.parametrize("refit_every", [1, 13])
def test_chance_falls_the_same_whatever_else_is_asked(refit_every: int):
    model = odd_model("Chance", refit_every=refit_every)
    anchor = {"anchor": 26} if refit_every > 1 else {}
    together = asked(model, local(27, 28, 29, is_kept=refit_every > 1, **anchor))
    alone = asked(model, local(29, fitted=together.fitted, **anchor))
    assert said(alone.folds) == said(together.folds[2:])
    assert said(together.folds[:1]) != said(together.folds[1:2])


# All series at once
SERIES = make_ragged(
    a=(0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    b=(4, [10.0, 20.0]),
    c=(0, [7.0, 8.0, 9.0]),  # it has ended
)


def day(number: int) -> int:
    """The day that a week ends, as a number; week 0 is the series' first."""
    return int((np.datetime64(FIRST_WEEK, "D") + 7 * number).astype(np.int64))


def pooled(*folds: tuple[int, int], anchor: int, **fit: object) -> FitUnit:
    return FitUnit(ALL_SERIES, day(anchor), folds, **fit)  # type: ignore[arg-type]


def test_one_fit_sees_all_series_up_to_the_day_and_serves_each_of_them():
    """Up to the fifth week there are 5 + 1 + 3 values."""
    found = asked(odd_model("Pooled"), pooled((0, 5), anchor=4), SERIES, horizon=2)
    assert said(found.folds) == [[9e6 + 5.0] * 2]
    assert found.n_fits == 1


def test_a_series_that_has_not_begun_is_not_there_and_one_that_has_ended_is():
    found = asked(odd_model("Pooled"), pooled((0, 3), (2, 3), anchor=2), SERIES)
    assert said(found.folds) == [[6e6 + 3.0], [6e6 + 9.0]]


def test_a_series_too_short_for_a_global_model_has_no_forecast_of_its_own():
    found = asked(odd_model("Pooled"), pooled((0, 6), (1, 2), anchor=5), SERIES)
    assert said(found.folds) == [[11e6 + 6.0], "too short: it needs 3 values and has 2"]


def test_a_global_model_is_moved_by_the_new_weeks_of_every_series():
    """Between the third week and the sixth there are 3 + 2 + 0 values."""
    model = odd_model("Pooled", refit_every=4)
    found = asked(model, pooled((0, 3), (2, 3), (0, 6), anchor=2, is_kept=True), SERIES)
    assert said(found.folds) == [[6e6 + 3.0], [6e6 + 9.0], [6e6 + 5e3 + 6.0]]
    assert found.n_fits == 1
    again = asked(model, pooled((0, 6), anchor=2, fitted=found.fitted), SERIES)
    assert said(again.folds) == said(found.folds[2:])
    assert again.n_fits == 0


def test_a_global_model_that_fails_on_one_series_leaves_the_others_alone():
    series = make_series(a=[1, 2, 3], b=[1, 2, -3])
    found = asked(odd_model("Pooled"), FitUnit(ALL_SERIES, day(2), ((0, 3), (1, 3))), series)
    assert said(found.folds) == [[6e6 + 3.0], "forecast is not finite: [nan]"]


def test_a_global_model_that_leaves_a_series_out_fails():
    found = asked(odd_model("Pooled", way="short"), pooled((0, 5), anchor=4), SERIES)
    assert said(found.folds) == ["ValueError: 2 forecasts for 3 series"]


def test_weeks_before_1970_are_days_like_others():
    series = SERIES.assign(ds=SERIES["ds"] - pd.Timedelta(weeks=3000))
    unit = FitUnit(ALL_SERIES, day(4 - 3000), ((0, 5),))
    assert said(asked(odd_model("Pooled"), unit, series).folds) == [[9e6 + 5.0]]
