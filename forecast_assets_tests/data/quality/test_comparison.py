"""The weeks of a fetch beside those of the version before."""

import numpy as np
import pandas as pd

from forecast_assets.data.quality.comparison import VersionComparison, WeekGrid, is_close
from forecast_assets_tests.builders import make_ragged, make_series


def beside(now: pd.DataFrame, was: pd.DataFrame) -> VersionComparison:
    return VersionComparison(WeekGrid.of(now), WeekGrid.of(was))


def test_weeks_are_laid_out_as_a_join_would_find_them():
    now = make_ragged(a=(2, [1, 2, 3]), b=(0, [4, 5]), d=(1, [6, 7, 8]))
    was = make_ragged(a=(0, [9, 8, 1, 2]), c=(0, [5]), d=(3, [0, 8]))
    both = beside(now, was)
    joined = now.merge(was, on=["unique_id", "ds"], how="left", suffixes=("", "_was"))
    assert list(both.in_was) == [0, -1, 2]
    assert list(both.in_now) == [0, -1, 2]
    np.testing.assert_array_equal(both.was_at(), joined["y_was"])
    np.testing.assert_array_equal(both.is_known, joined["y"] == joined["y_was"])
    assert list(both.is_news) == [True, True, True]


def test_what_stood_a_week_before_is_found_too():
    series = make_series(a=[1, 2, 3])
    np.testing.assert_array_equal(beside(series, series).was_at(1), [np.nan, 1, 2])


def test_weeks_that_were_filled_are_not_given():
    series = make_series(a=[1, 2, 3]).assign(coverage=[1.0, 0.0, 1.0])
    weeks = WeekGrid.of(series)
    np.testing.assert_array_equal(weeks.tail(4), [[np.nan, 1, np.nan, 3]])
    np.testing.assert_array_equal(beside(series, series).was_at(), [1, np.nan, 3])
    assert beside(series, series).is_known.all()


def test_a_version_from_before_coverage_was_recorded_passes_for_whole():
    assert WeekGrid.of(make_series(a=[1, 2]).drop(columns="coverage")).is_given.all()


def test_a_week_is_named_by_the_day_that_it_ends():
    weeks = WeekGrid.of(make_series(a=[1, 2, 3]))
    assert weeks.day(weeks.newest) == "2024-01-19"


def test_without_a_version_before_all_is_new():
    series = make_series(a=[1, 2], b=[3])
    both = beside(series, series.head(0))
    assert list(both.in_was) == [-1, -1]
    assert np.isnan(both.was_at()).all()
    assert not both.is_known.any()


def test_values_are_alike_up_to_rounding():
    left, right = np.array([0.1 + 0.2, 0.0, 1.0, 0.0]), np.array([0.3, 0.0, 1.001, 1e-9])
    assert list(is_close(left, right)) == [True, True, False, False]
