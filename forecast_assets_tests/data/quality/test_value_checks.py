"""Test data.quality.value_checks."""

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.quality.value_checks import (
    LatestValues,
    flat,
    gaps,
    long_gap,
    out_of_range,
    repeated,
    rescaled,
    unusual,
)
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.data.quality.test_comparison import compare

PANEL = {f"s{i}": walk(60, seed=i) for i in range(6)}


def newest(now: pd.DataFrame, *, n_known: int = 59, season_length: int = 52) -> LatestValues:
    """Return the latest values; the previous version had the first weeks of each series."""
    old = now[now.groupby("unique_id").cumcount() < n_known].reset_index(drop=True)
    return LatestValues(compare(now, old), season_length)


def ending(**last: float) -> pd.DataFrame:
    return make_series(**{name: [*y[:-1], last.get(name, y[-1])] for name, y in PANEL.items()})


def test_a_spike_is_found_once():
    spiky = ending(s1=200.0)
    (one,) = unusual(newest(spiky))
    assert one.series == ("s1",)
    assert unusual(newest(spiky, n_known=60)) == []


@pytest.mark.parametrize("size", [1e9, -1e9, 0.0])
def test_a_series_that_never_moved_has_no_usual_change(size: float):
    with np.errstate(all="ignore"):  # as `evaluate` does
        assert unusual(newest(make_series(a=[5.0] * 59 + [size]))) == []


def test_a_change_as_a_year_ago_is_usual():
    y = np.array(walk(120, seed=3))
    y[67] += 60
    assert len(unusual(newest(make_series(a=y[:68]), n_known=67))) == 1
    y[119] += 60
    assert unusual(newest(make_series(a=y), n_known=119)) == []


@pytest.mark.parametrize(
    ("factor", "is_found"), [(10, True), (0.001, True), (3, False), (1, False)]
)
def test_a_power_of_ten_is_another_unit(factor: float, *, is_found: bool):
    assert bool(rescaled(newest(ending(s2=PANEL["s2"][-1] * factor)))) is is_found


def test_a_series_that_ranges_that_far_has_no_other_unit():
    y = np.exp(np.random.default_rng(1).normal(0, 3, 60))
    assert rescaled(newest(make_series(a=[*y[:-1], 10 * np.median(y)]))) == []


def test_one_factor_is_a_unit_if_nearly_all_series_have_it():
    half = {name: 0.45 * y[-1] for name, y in PANEL.items()}
    (one,) = rescaled(newest(ending(**half)))
    assert one.n == 6
    assert rescaled(newest(ending(**dict(list(half.items())[:4])))) == []


def test_last_week_again_is_found_where_it_cannot_be_chance():
    again = {name: y[-2] for name, y in PANEL.items()}
    (one,) = repeated(newest(ending(**again)))
    assert one.n == 6
    assert repeated(newest(ending(s0=again["s0"]))) == []
    closed = make_series(**{name: [*y[:-2], 0, 0] for name, y in PANEL.items()})
    assert repeated(newest(closed)) == []


def test_prices_of_one_list_change_together_or_not_at_all():
    rng = np.random.default_rng(4)
    moves = np.cumsum(rng.random(60) < 0.4)
    moves[-1] = moves[-2]
    prices = {f"p{i}": 10 + i + np.cumsum(rng.normal(size=61))[moves] for i in range(12)}
    assert repeated(newest(make_series(**prices))) == []


def test_a_holiday_of_all_series_is_no_unit():
    half = {name: 0.6 * y[-1] for name, y in PANEL.items()}
    assert rescaled(newest(ending(**half))) == []


def test_parts_that_are_seldom_asked_for_repeat_themselves():
    rng = np.random.default_rng(1)
    seldom = {f"p{i}": np.where(rng.random(60) < 0.1, 5.0, 1.0) for i in range(50)}
    assert repeated(newest(make_series(**seldom))) == []


@pytest.mark.parametrize(("n", "is_found"), [(3, False), (4, True), (26, True), (27, False)])
def test_a_flat_line_is_found_for_half_a_year(n: int, *, is_found: bool):
    series = make_series(a=[*PANEL["s0"][: 60 - n], *[7.0] * n])
    assert bool(flat(newest(series))) is is_found


def test_a_line_as_flat_as_before_is_none():
    y = [*PANEL["s0"][:30], *[7.0] * 3, *PANEL["s1"][:21], *[8.0] * 6]
    assert flat(newest(make_series(a=y))) == []


def test_the_first_matching_range_and_the_minimum_apply():
    both = compare(make_series(ab=[1, -1, 50], b=[2, 99, 3]), make_series(a=[1]).head(0))
    ranges = {"a*": (-5.0, 40.0), "*": (0.0, 60.0)}
    (one,) = out_of_range(both, minimum=None, ranges=ranges)
    assert one.message.endswith("range: ab / 2024-01-19 (50), b / 2024-01-12 (99).")
    (one,) = out_of_range(both, minimum=0, ranges={})
    assert one.series == ("ab",)
    assert out_of_range(both, minimum=None, ranges={}) == []


def test_old_gaps_are_reported_once_too():
    """A row under a default date makes weeks that nobody gave."""
    known, early = make_series(a=walk(60, seed=1)), make_series(a=[1.0] * 120)
    now = early.assign(is_filled=[False, *[True] * 59, *[False] * 60])
    was = known.assign(ds=known["ds"] + pd.Timedelta(weeks=60))
    (one,) = gaps(compare(now, was))
    assert one.n == 59


@pytest.mark.parametrize(("n_filled", "is_found"), [(9, False), (10, True), (500, True)])
def test_a_filled_gap_longer_than_the_rest_is_found(n_filled: int, *, is_found: bool):
    is_filled = [False, *[True] * n_filled, *[False] * 9]
    y = walk(n_filled + 10, seed=1)
    now = make_series(a=y, b=y).assign(is_filled=[*is_filled, *[False] * len(y)])
    found = long_gap(compare(now, now.head(0)))
    assert [(one.n, one.series) for one in found] == [(n_filled, ("a",))] * is_found
    assert long_gap(compare(now, now)) == []


def test_weeks_without_sales_are_no_stuck_value():
    now = newest(make_series(a=[*PANEL["s0"], *[0.0] * 8]), n_known=67)
    assert len(flat(now)) == 1
    assert flat(now, has_zeros=True) == []
