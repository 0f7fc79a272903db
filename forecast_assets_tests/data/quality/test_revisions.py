"""Test data.quality.revisions."""

import numpy as np
import pytest

from forecast_assets.data.quality.revisions import late, rescaled, revised, shrunk, vanished_series
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.data.quality.test_comparison import compare

Y = np.array(walk(40, seed=1))


@pytest.mark.parametrize(
    ("n_changed", "kind"), [(1, "revised"), (19, "revised"), (20, "rewritten"), (40, "rewritten")]
)
def test_from_half_of_the_values_on_it_is_another_history(n_changed: int, kind: str):
    y = Y + np.where(np.arange(40) < n_changed, np.linspace(1, 9, 40), 0)
    (one,) = revised(compare(make_series(a=y), make_series(a=Y)))
    assert (one.kind, one.n, one.series) == (kind, n_changed, ("a",))


def test_series_are_rewritten_or_revised_one_by_one():
    was = {name: np.array(walk(40, seed=i)) for i, name in enumerate("abcde")}
    now = {**was, "a": was["b"], "b": was["a"], "c": was["c"] * 1.0001}
    now["c"][:5] = was["c"][:5]
    first, second = revised(compare(make_series(**now), make_series(**was)))
    assert (first.kind, first.series) == ("rewritten", ("a", "b"))
    assert (second.kind, second.series) == ("revised", ("c",))


def test_a_window_that_begins_on_the_first_of_a_month_may_skip_some_weeks():
    was = make_series(a=range(80), b=range(80))
    for n_gone, n_found in ((5, 0), (6, 2 * 6)):
        now = was[was["ds"] > was["ds"][n_gone - 1]].reset_index(drop=True)
        assert sum(one.n for one in shrunk(compare(now, was), n_passed=1)) == n_found


def test_a_week_without_a_sale_is_revised_to_zero_not_missing():
    was = make_series(a=[1, 2, 3])
    now = make_series(a=[1, 0, 3]).assign(is_filled=[False, True, False])
    assert len(shrunk(compare(now, was), n_passed=0)) == 1
    assert shrunk(compare(now.assign(is_filled=False), was), n_passed=0) == []


def test_a_series_that_ended_before_the_window_has_not_vanished():
    was = make_ragged(a=(0, [1, 2, 3]), b=(0, [1] * 10))
    for n_gone, names in ((3, ()), (2, ("a",))):
        now = was[(was["unique_id"] == "b") & (was["ds"] > was["ds"][n_gone - 1])]
        now = now.reset_index(drop=True)
        found = vanished_series(compare(now, was))
        assert tuple(name for one in found for name in one.series) == names


def test_a_revision_lists_values_and_how_much_they_changed():
    (one,) = revised(
        compare(make_series(a=[1, 2, 110, 4], b=[1, 2]), make_series(a=[1, 2, 100, 4], b=[1, 2]))
    )
    assert one.message == (
        "1 of 6 values of the previous version changed in 1 series, by 10 % (median), at most 10 %:"
        " a / 2024-01-19 (100, now 110)."
    )


def test_rounding_is_no_revision():
    assert revised(compare(make_series(a=Y * (1 + 1e-12)), make_series(a=Y))) == []


def test_a_gap_that_the_source_has_filled_since_is_no_revision():
    was = make_series(a=[1, 2, 3]).assign(is_filled=[False, True, False])
    assert revised(compare(make_series(a=[1, 9, 3]), was)) == []


@pytest.mark.parametrize("factor", [0.001, 1.1, 2.20462, -1.0])
def test_a_rescaled_history_has_its_factor(factor: float):
    past = compare(make_series(a=Y * factor, b=Y), make_series(a=Y, b=Y))
    (one,) = rescaled(past)
    assert f"a (times {factor:.4g})" in one.message
    assert revised(past) == []


def test_a_factor_near_one_is_a_revision():
    past = compare(make_series(a=Y * 1.01), make_series(a=Y))
    assert rescaled(past) == []
    assert [one.kind for one in revised(past)] == ["rewritten"]


@pytest.mark.parametrize(("gone", "n_found"), [(1, 0), (2, 0), (3, 3)])
def test_as_many_weeks_may_roll_out_as_have_passed(gone: int, n_found: int):
    past = compare(make_ragged(a=(gone, Y[gone:])), make_series(a=Y))
    assert [one.n for one in shrunk(past, n_passed=2)] == [n_found] * (n_found > 0)


def test_an_observed_week_that_is_filled_now_is_missing():
    now = make_series(a=[1, 2, 3]).assign(is_filled=[False, True, False])
    (one,) = shrunk(compare(now, make_series(a=[1, 2, 3])), n_passed=5)
    assert "from the week ending 2024-01-12 to the week ending 2024-01-12: a (1" in one.message


@pytest.mark.parametrize(
    ("behind", "was_behind", "n_found"),
    [(0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 2), (1, 2, 0), (3, None, 3)],
)
def test_a_source_is_late_if_it_is_further_behind_than_before(
    behind: int, was_behind: int | None, n_found: int
):
    series = make_series(a=Y)
    both = compare(series, series.head(0 if was_behind is None else 40))
    newest = both.new.newest_week
    was_due = None if was_behind is None else newest + was_behind
    found = late(both, due=newest + behind, was_due=was_due, partial=[])
    assert [one.n for one in found] == [n_found] * (n_found > 0)
