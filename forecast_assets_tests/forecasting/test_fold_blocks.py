"""Blocks of folds: means over known weeks, and folds without the unknown ones."""

import numpy as np

from forecast_assets.forecasting.fold_blocks import NO_FOLD, SeriesBlock, by_n_known
from forecast_assets.forecasting.scales import LEVEL
from forecast_assets.models.base import Values

NAN = np.nan


def make_block(y: Values) -> SeriesBlock:
    """Make a block with these actuals [S, K, H]; a fold without any does not exist."""
    n_series, n_folds, _ = y.shape
    numbers = np.arange(n_series * n_folds).reshape(n_series, n_folds)
    folds = np.where(np.isnan(y).all(axis=2), NO_FOLD, numbers)
    some, nothing = np.zeros(folds.shape), np.zeros((0, *y.shape))
    return SeriesBlock(
        np.arange(n_series),
        folds,
        np.arange(n_folds),
        some,
        some,
        y,
        nothing,
        nothing[:, :, 0, 0],
        nothing[:, 0, :, 0],
        some[0],
        LEVEL,
        np.ones((n_series, 1, 1), dtype=bool),
    )


def test_a_mean_ahead_is_that_of_the_weeks_with_a_value():
    y = np.array([[[1.0, 2.0], [3.0, NAN], [NAN, NAN]]])
    values = np.array([[[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]])
    block = make_block(y)
    np.testing.assert_array_equal(block.mean_ahead(values), [[15.0, 30.0, NAN]])
    values[0, 0, 0] = NAN  # a forecast that failed is not left out
    np.testing.assert_array_equal(block.mean_ahead(values), [[NAN, 30.0, NAN]])
    np.testing.assert_array_equal(block.has_fold, [[True, True, False]])


def test_known_folds_are_taken_in_order_from_series_with_as_many():
    is_known = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1], [0, 0, 0, 0]], dtype=bool)
    values = np.arange(32.0).reshape(2, 4, 4)
    taken = {tuple(rows): values[:, *folds] for rows, folds in by_n_known(is_known)}
    assert sorted(taken) == [(0, 2), (1,), (3,)]
    np.testing.assert_array_equal(taken[0, 2][0], [[0, 2, 3], [8, 9, 11]])
    np.testing.assert_array_equal(taken[1,], values[:, 1:2])
    assert taken[3,].shape == (2, 1, 0)


def test_nothing_is_copied_where_every_fold_is_known():
    ((rows, folds),) = by_n_known(np.ones((2, 3), dtype=bool))
    values = np.ones((4, 2, 3))
    assert values[:, *folds].base is values
    assert np.arange(2)[rows].tolist() == [0, 1]
