"""Test data.quality.comparison."""

import numpy as np
import pandas as pd

from forecast_assets.data.quality.comparison import (
    VersionComparison,
    WeekGrid,
    format_value,
    is_close,
)
from forecast_assets_tests.builders import make_ragged, make_series


def compare(new: pd.DataFrame, old: pd.DataFrame) -> VersionComparison:
    """Lay out two versions of `series`."""
    return VersionComparison(WeekGrid.of(new), WeekGrid.of(old))


def test_weeks_are_matched_as_a_join_matches_them():
    new = make_ragged(a=(2, [1, 2, 3]), b=(0, [4, 5]), d=(1, [6, 7, 8]))
    old = make_ragged(a=(0, [9, 8, 1, 2]), c=(0, [5]), d=(3, [0, 8]))
    both = compare(new, old)
    joined = new.merge(old, on=["unique_id", "ds"], how="left", suffixes=("", "_old"))
    assert list(both.old_index) == [0, -1, 2]
    assert list(both.new_index) == [0, -1, 2]
    np.testing.assert_array_equal(both.old_y, joined["y_old"])
    np.testing.assert_array_equal(both.is_unchanged, joined["y"] == joined["y_old"])
    assert list(both.has_new_value) == [True, True, True]


def test_filled_weeks_are_not_observed():
    series = make_series(a=[1, 2, 3]).assign(is_filled=[False, True, False])
    np.testing.assert_array_equal(WeekGrid.of(series).tail(4), [[np.nan, 1, np.nan, 3]])
    np.testing.assert_array_equal(compare(series, series).old_y, [1, np.nan, 3])
    assert compare(series, series).is_unchanged.all()


def test_in_old_versions_weeks_without_days_were_filled():
    old = make_series(a=[1, 2, 3]).assign(coverage=[1.0, 0.0, 1.0]).drop(columns="is_filled")
    assert WeekGrid.of(old).is_observed.tolist() == [True, False, True]
    assert WeekGrid.of(old.drop(columns="coverage")).is_observed.all()


def test_everything_is_new_without_a_previous_version():
    series = make_series(a=[1, 2], b=[3])
    both = compare(series, series.head(0))
    assert list(both.old_index) == [-1, -1]
    assert np.isnan(both.old_y).all()
    assert not both.is_unchanged.any()


def test_values_are_close_if_they_differ_by_rounding():
    left, right = np.array([0.1 + 0.2, 0.0, 1.0, 0.0]), np.array([0.3, 0.0, 1.001, 1e-9])
    assert list(is_close(left, right)) == [True, True, False, False]


def test_a_value_has_five_digits_in_messages():
    values = [0.12345678, 12_345.6, 1234567.8]
    assert [format_value(value) for value in values] == ["0.12346", "12,346", "1,234,568"]
