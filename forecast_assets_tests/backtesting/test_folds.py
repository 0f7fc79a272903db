"""The plan of a backtest: how many folds, where their cutoffs lie, and what they see."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.backtesting.folds import (
    FoldForecast,
    FoldForecasts,
    SeriesFolds,
    is_declined,
    latest_folds,
    plan,
    to_frame,
)
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_series, walk


def ends(n: int, **backtest: int) -> list[int]:
    """How many values each fold of a series of n weeks sees."""
    (one,) = plan(make_series(a=walk(n, seed=1)), BacktestSettings(**backtest))
    return [int(end) for end in one.ends]


def test_cutoffs_are_the_last_weeks_that_leave_a_horizon():
    assert ends(100, n_windows=3) == [97, 98, 99]
    assert ends(100, n_windows=3, horizon=4) == [94, 95, 96]


def test_step_puts_weeks_between_the_cutoffs():
    assert ends(100, n_windows=3, step=5) == [89, 94, 99]


def test_a_short_series_keeps_half_of_its_weeks_for_the_first_fit():
    assert ends(20, n_windows=52) == list(range(11, 20))


@pytest.mark.parametrize(("n", "expected"), [(1, []), (2, [1]), (3, [2]), (4, [3]), (5, [3, 4])])
def test_two_weeks_are_enough_for_a_fold(n: int, expected: list[int]):
    assert ends(n, n_windows=52) == expected


@given(
    n=st.integers(1, 200),
    horizon=st.integers(1, 8),
    n_windows=st.integers(1, 60),
    step=st.integers(1, 6),
)
def test_every_fold_sees_something_and_is_followed_by_a_horizon(
    n: int, horizon: int, n_windows: int, step: int
):
    found = ends(n, horizon=horizon, n_windows=n_windows, step=step)
    assert len(found) <= n_windows
    assert all(1 <= end <= n - horizon for end in found)
    assert all(b - a == step for a, b in itertools.pairwise(found))
    assert bool(found) == (n > horizon)


def test_the_plan_of_a_series_does_not_depend_on_the_others():
    alone = plan(make_series(b=walk(60, seed=1)), BacktestSettings())
    beside = plan(make_series(a=walk(9, seed=2), b=walk(60, seed=1)), BacktestSettings())
    assert list(alone[0].ends) == list(beside[1].ends)
    assert [one.unique_id for one in beside] == ["a", "b"]


def test_the_latest_fold_sees_everything():
    (one,) = latest_folds(make_series(a=walk(9, seed=2)))
    assert list(one.ends) == [9]


def test_predictions_keep_their_contract_and_their_order():
    series = make_series(a=walk(9, seed=2), b=walk(7, seed=3))
    planned = plan(series, BacktestSettings(horizon=2, n_windows=2))
    folds = [
        FoldForecast(np.array([1.0, 2.0]), 0.1),
        FoldForecast(None, 0.2, "no"),
        FoldForecast(np.array([3.0, 4.0]), 0.3),
        FoldForecast(np.array([5.0, 6.0]), 0.4),
    ]
    frame = to_frame("m", planned, FoldForecasts.of(folds, horizon=2), horizon=2)
    checked = table_contracts((80,))["backtest_predictions"].check(frame)
    pd.testing.assert_frame_equal(checked, frame)
    assert list(frame["h"]) == [1, 2] * 4
    assert list(frame["error"]) == [None, None, "no", "no"] + [None] * 4
    first = frame.iloc[0]
    assert first["cutoff"] == series["ds"][5]
    assert first["ds"] == series["ds"][6]


def test_no_folds_make_no_rows():
    planned = plan(make_series(a=[1.0]), BacktestSettings())
    frame = to_frame("m", planned, FoldForecasts.of([], horizon=1), horizon=1)
    assert len(table_contracts((80,))["backtest_predictions"].check(frame)) == 0


def test_folds_as_columns_say_what_the_single_folds_said():
    folds = FoldForecasts.of(
        [
            FoldForecast(np.array([1.0, 2.0]), 0.1),
            FoldForecast(None, 0.2, "no"),
            FoldForecast(None, 0.0, "too short: no"),
        ],
        horizon=2,
    )
    assert len(folds) == 3
    assert list(folds.is_forecast) == [True, False, False]
    assert folds.failures == ["no"]
    assert list(folds.fit_seconds) == [0.1, 0.2, 0.0]
    np.testing.assert_array_equal(folds.y_hat, [[1.0, 2.0], [np.nan] * 2, [np.nan] * 2])


def test_no_folds_are_columns_too():
    folds = FoldForecasts.of([], horizon=3)
    assert (len(folds), folds.y_hat.shape, folds.failures) == (0, (0, 3), [])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("too short: it needs 4 values and has 3", True),
        ("not for this series: it goes down", True),
        ("ValueError: too short: really", False),
        ("", False),
    ],
)
def test_a_model_declines_by_how_its_error_begins(error: str, expected: bool):  # noqa: FBT001 - a case
    assert is_declined(error) is expected


def test_a_prefix_stands_for_the_values_up_to_the_cutoff():
    """Equal exactly where the values are; each value is told from its neighbour, and 0 from -0."""

    def prefixes(y: list[float], *ends: int) -> list[bytes]:
        ds = np.arange(len(y)).astype("datetime64[D]")
        return SeriesFolds("a", ds, np.array(y), np.array(ends)).prefixes

    y = walk(9, seed=1)
    assert prefixes(y, 3, 5, 9) == prefixes(y, 3) + prefixes(y, 5) + prefixes(y, 9)
    assert prefixes(y, 5) == prefixes(y[:5], 5)
    assert len({*prefixes(y, *range(1, 10))}) == 9
    assert prefixes([*y[:4], np.nextafter(y[4], 0)], 5) != prefixes(y, 5)
    assert prefixes([0.0], 1) != prefixes([-0.0], 1)
    assert prefixes(y) == []
