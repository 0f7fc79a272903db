"""What became of the weeks of the version before: the edges of each finding."""

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.quality.comparison import VersionComparison, WeekGrid
from forecast_assets.data.quality.revisions import (
    Revisions,
    late,
    moved,
    rescaled,
    rewritten_or_revised,
    shrunk,
    vanished_series,
)
from forecast_assets_tests.builders import make_ragged, make_series, walk

Y = np.array(walk(40, seed=1))


def history(now: pd.DataFrame, was: pd.DataFrame) -> Revisions:
    return Revisions(VersionComparison(WeekGrid.of(now), WeekGrid.of(was)))


@pytest.mark.parametrize(
    ("n_changed", "kind"), [(1, "revised"), (19, "revised"), (20, "rewritten"), (40, "rewritten")]
)
def test_from_half_of_the_values_on_it_is_another_history(n_changed: int, kind: str):
    y = Y + np.where(np.arange(40) < n_changed, np.linspace(1, 9, 40), 0)
    (one,) = rewritten_or_revised(history(make_series(a=y), make_series(a=Y)))
    assert (one.kind, one.n, one.series) == (kind, n_changed, ("a",))


def test_a_history_is_judged_series_by_series():
    """Two of five are rewritten, a third is rounded otherwise."""
    was = {name: np.array(walk(40, seed=i)) for i, name in enumerate("abcde")}
    now = {**was, "a": was["b"], "b": was["a"], "c": was["c"] * 1.0001}
    now["c"][:5] = was["c"][:5]
    rewritten, revised = rewritten_or_revised(history(make_series(**now), make_series(**was)))
    assert (rewritten.kind, rewritten.series) == ("rewritten", ("a", "b"))
    assert (revised.kind, revised.series) == ("revised", ("c",))


def test_a_window_that_begins_on_the_first_of_a_month_may_skip_some_weeks():
    was = make_series(a=range(80), b=range(80))
    for n_gone, n_told in ((5, 0), (6, 2 * 6)):
        now = was[was["ds"] > was["ds"][n_gone - 1]].reset_index(drop=True)
        assert sum(one.n for one in shrunk(history(now, was), n_passed=1)) == n_told


def test_a_week_without_a_sale_is_revised_to_zero_and_not_gone():
    was = make_series(a=[1, 2, 3])
    now = make_series(a=[1, 0, 3]).assign(coverage=[1.0, 0.0, 1.0])
    assert len(shrunk(history(now, was), n_passed=0)) == 1
    assert shrunk(history(now, was), n_passed=0, is_zero=True) == []


def test_a_series_that_ended_before_the_window_has_not_vanished():
    was = make_ragged(a=(0, [1, 2, 3]), b=(0, [1] * 10))
    for n_gone, names in ((3, ()), (2, ("a",))):
        now = was[(was["unique_id"] == "b") & (was["ds"] > was["ds"][n_gone - 1])]
        now = now.reset_index(drop=True)
        found = vanished_series(VersionComparison(WeekGrid.of(now), WeekGrid.of(was)))
        assert tuple(name for one in found for name in one.series) == names


def test_a_revision_names_values_and_how_far_they_went():
    (one,) = rewritten_or_revised(
        history(make_series(a=[1, 2, 110, 4], b=[1, 2]), make_series(a=[1, 2, 100, 4], b=[1, 2]))
    )
    assert one.what == (
        "1 of 6 values that the previous version had, of 1 series, are others now, by 10 % in the"
        " middle and 10 % at most: a / 2024-01-19 (100, now 110)."
    )


def test_rounding_is_no_revision():
    assert rewritten_or_revised(history(make_series(a=Y * (1 + 1e-12)), make_series(a=Y))) == []


def test_a_gap_that_the_source_has_filled_since_is_no_revision():
    was = make_series(a=[1, 2, 3]).assign(coverage=[1.0, 0.0, 1.0])
    assert rewritten_or_revised(history(make_series(a=[1, 9, 3]), was)) == []


@pytest.mark.parametrize("factor", [0.001, 1.1, 2.20462, -1.0])
def test_one_factor_is_told_as_it_is(factor: float):
    past = history(make_series(a=Y * factor, b=Y), make_series(a=Y, b=Y))
    (one,) = rescaled(past)
    assert f"a ({factor:.4g})" in one.what
    assert rewritten_or_revised(past) == []


def test_a_factor_near_one_is_a_revision():
    past = history(make_series(a=Y * 1.01), make_series(a=Y))
    assert rescaled(past) == []
    assert [one.kind for one in rewritten_or_revised(past)] == ["rewritten"]


def test_a_history_that_moved_is_told_as_that_alone():
    past = history(make_ragged(a=(1, Y)), make_series(a=Y))
    assert [one.kind for one in moved(past)] == ["repeated"]
    assert rewritten_or_revised(past) == []


@pytest.mark.parametrize(("gone", "n_told"), [(1, 0), (2, 0), (3, 3)])
def test_as_many_weeks_may_roll_out_as_have_passed(gone: int, n_told: int):
    past = history(make_ragged(a=(gone, Y[gone:])), make_series(a=Y))
    assert [one.n for one in shrunk(past, n_passed=2)] == [n_told] * (n_told > 0)


def test_a_week_that_is_only_filled_now_is_gone():
    now = make_series(a=[1, 2, 3]).assign(coverage=[1.0, 0.0, 1.0])
    (one,) = shrunk(history(now, make_series(a=[1, 2, 3])), n_passed=5)
    assert "from the one ending 2024-01-12 to 2024-01-12, are gone, of 1 series: a (1)" in one.what


@pytest.mark.parametrize(
    ("behind", "was_behind", "n_told"),
    [(0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 2), (1, 2, 0), (3, None, 3)],
)
def test_a_source_is_late_where_it_is_further_behind_than_it_was(
    behind: int, was_behind: int | None, n_told: int
):
    series = make_series(a=Y)
    both = VersionComparison(
        WeekGrid.of(series), WeekGrid.of(series.head(0 if was_behind is None else 40))
    )
    newest = both.now.newest
    was_due = None if was_behind is None else newest + was_behind
    found = late(both, due=newest + behind, was_due=was_due, partial=[])
    assert [one.n for one in found] == [n_told] * (n_told > 0)
