"""Totals that add up: the formulas, which method is used, and what is published."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.hierarchy import with_totals
from forecast_assets.forecasting.forecast import WeekForecast
from forecast_assets.forecasting.reconciliation import Families
from forecast_assets_tests.builders import make_ragged, make_series, make_settings, walk
from forecast_assets_tests.forecasting.test_forecast import week_of

IDS = ["all", "a", "b", "a/1", "a/2", "b/1", "b/2", "b/3"]
PARENT_OF = {name: name[0] if "/" in name else "all" for name in IDS[1:]}
FAMILIES = Families.of(IDS, PARENT_OF)
Y_HAT = np.array([100.0, 45, 50, 20, 21, 15, 16, 17])


def make_errors(n_weeks: int) -> np.ndarray:
    """Make errors with something in common, larger at the top: [8, n_weeks]."""
    rng = np.random.default_rng(7)
    errors = rng.uniform(-1, 1, size=(8, n_weeks)) + rng.uniform(-1, 1, size=n_weeks) * 0.7
    return errors * np.arange(8, 0, -1)[:, None]


def test_min_trace_gives_the_numbers_of_another_implementation():
    """From hierarchicalforecast 1.5.3, MinTrace("mint_shrink"), which centres the errors."""
    errors = make_errors(20)
    expected = [
        95.86862167, 45.86556144, 50.00306023, 22.55372339,
        23.31183805, 16.28986849, 16.46234857, 17.25084317,
    ]  # fmt: skip
    centred = errors - errors.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(FAMILIES.min_trace(Y_HAT, centred), expected, atol=1e-7)


def test_series_without_errors_or_with_gaps_are_reconciled_too():
    errors = make_errors(20)
    errors[3] = np.nan
    errors[4, :7] = np.nan
    errors[5] = 0  # its forecasts were always right
    made = FAMILIES.add_up(FAMILIES.min_trace(Y_HAT, errors)[:, None])[:, 0]
    assert made[0] == made[3:].sum()
    assert made[5] == pytest.approx(15, abs=1e-4)


def test_forecasts_add_up_exactly_in_any_order_and_keep_the_minimum():
    rng = np.random.default_rng(1)
    ids = ["all", *map(str, range(1000))]
    families = Families.of(ids, dict.fromkeys(ids[1:], "all"))
    y_hat = rng.normal(loc=1e4, scale=1e4, size=(1001, 2))
    y_hat[1:] = np.maximum(y_hat[1:], 0.1)
    made = families.add_up(y_hat)
    for order in (slice(None), slice(None, None, -1), rng.permutation(1000)):
        np.testing.assert_array_equal(made[0], made[1:][order].cumsum(axis=0)[-1])
    assert made.min() >= 0.1
    np.testing.assert_allclose(made[1:], y_hat[1:], rtol=0, atol=1e-7)


def test_no_forecast_is_moved_below_the_lowest_value():
    """The parent's forecast is far below the sum, and only it was always right."""
    y_hat, errors = Y_HAT[:, None].copy(), make_errors(20)[:, :, None]
    y_hat[0], errors[0] = 50.0, 0.0
    age, nowhere = np.arange(20, 0, -1), np.full(8, -np.inf)
    (_, free), (_, bound) = (
        FAMILIES.reconcile(y_hat, errors, age, lowest) for lowest in (nowhere, np.full(8, 12.0))
    )
    assert free[3:].min() < 12 <= bound[3:].min()
    assert bound[0] == bound[3:].sum()


def test_only_errors_whose_target_week_was_over_count():
    errors = np.stack([make_errors(20), make_errors(20)[:, ::-1]], axis=2)  # [N, K, 2]
    age = np.arange(20, 0, -1)
    y_hat = np.stack([Y_HAT, Y_HAT + 1], axis=1)
    nowhere = np.full(8, -np.inf)
    made = FAMILIES.reconcile(y_hat, errors, age, nowhere)
    changed = errors.copy()
    changed[:, -1, 1] = 1e6  # made one week ago, for the week after this one
    for one, other in zip(made, FAMILIES.reconcile(y_hat, changed, age, nowhere), strict=True):
        np.testing.assert_array_equal(one, other)
    few = FAMILIES.reconcile(y_hat, errors[:, :7], age[:7], nowhere)
    np.testing.assert_array_equal(*few)  # both sum the lowest


def totals_of(tmp_path: Path, series: pd.DataFrame, **tables: object) -> tuple[Settings, object]:
    settings = make_settings(
        tmp_path,
        models={"enabled": ["naive", "drift", "window_average"]},
        hierarchy={"total": "all"},
        **tables,
    )
    return settings, with_totals(series, settings.hierarchy)


def week_with(tmp_path: Path, series: pd.DataFrame, *models: str) -> WeekForecast:
    settings, frame = totals_of(tmp_path, series)
    return week_of(frame, settings, *((model, None) for model in models))


def test_forecasts_that_add_up_already_stay_as_they_are(tmp_path: Path):
    """Naive's forecasts do, and so do those of every fold: also the intervals stay."""
    series = make_series(a=walk(60, seed=1), b=walk(60, seed=2), c=walk(60, seed=3))
    rows = week_with(tmp_path, series, *["naive"] * 4).published
    settings = make_settings(tmp_path, models={"enabled": ["naive"]})
    alone = week_of(
        totals_of(tmp_path, series)[1].drop(columns=["parent", "is_sum"]),
        settings,
        *[("naive", None)] * 4,
    ).published
    columns = ["y_hat", "lo_80", "hi_80", "lo_95", "hi_95", "backtest_mae"]
    np.testing.assert_allclose(rows[columns], alone[columns], rtol=1e-9)
    assert set(rows["reconciliation"]) == {"bottom_up"}


def test_the_method_is_chosen_by_past_weeks(tmp_path: Path):
    """The children's noise cancels out in the total, whose own forecast is better than a sum."""
    rng = np.random.default_rng(3)
    noise = rng.normal(scale=5, size=120)
    series = make_series(a=100 + noise, b=100 - noise + 0.1 * rng.normal(size=120))
    week = week_with(tmp_path, series, "drift", "naive", "window_average")
    rows = week.published.set_index("unique_id")
    assert rows.loc["all", "y_hat"] == rows.loc["a", "y_hat"] + rows.loc["b", "y_hat"]
    assert set(rows["reconciliation"]) == {"min_trace"}
    assert week.reconciliation is not None
    top, below = week.reconciliation.to_dict("records")
    assert (top["level"], top["n_series"], below["n_series"]) == (1, 1, 2)
    assert top["min_trace"] < top["bottom_up"] / 2
    assert below["min_trace"] < below["none"]
    assert abs(rows.loc["all", "y_hat"] - rows.loc["all", "y_hat_base"]) < 1
    width = rows["hi_80"] - rows["lo_80"]
    assert width["all"] < width["a"] / 4  # from the errors after reconciliation


def test_a_parent_whose_child_has_no_forecast_of_the_week_is_not_changed(tmp_path: Path):
    series = make_ragged(a=(0, walk(60, seed=1)), b=(0, walk(55, seed=2)))
    settings = make_settings(tmp_path, models={"enabled": ["naive"]}, hierarchy={"total": "all"})
    frame = with_totals(series, settings.hierarchy, is_absence_zero=True)
    rows = week_of(frame, settings, *[("naive", None)] * 3).published.set_index("unique_id")
    assert rows.loc["all", "y_hat"] == rows.loc["a", "y_hat"] == series["y"][59]
    assert rows["reconciliation"].isna().all()
    assert rows.loc["all", "reason"].startswith("it is not the sum of its children")
