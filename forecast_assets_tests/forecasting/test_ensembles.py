"""Ensembles: the weights of members, which folds they use, and failing members."""

import math
from dataclasses import replace

import numpy as np
import pytest

from forecast_assets.forecasting.ensembles import (
    COMBINATIONS,
    MAX_WEIGHTED_MEMBERS,
    MIN_FOLDS_FOR_SUBSET,
    best_of_panel_weights,
    equal_weights,
    greedy_weights,
    inverse_error_weights,
    mean,
    median,
)
from forecast_assets.forecasting.fold_blocks import SeriesBlock
from forecast_assets.forecasting.scales import LEVEL
from forecast_assets.forecasting.weekly_losses import recency_weights
from forecast_assets.models.base import Values

ONE = np.ones(1, dtype=np.int64)


def arranged(*models: list[float]) -> Values:
    """Each model's values at the folds of one series, one week ahead: [M, 1, K, 1]."""
    return np.array(models)[:, None, :, None]


def everyone(n: int) -> "np.typing.NDArray[np.bool_]":
    return np.ones((n, 1), dtype=bool)


def behind(n_folds: int, lag: int = 1) -> "np.typing.NDArray[np.int64]":
    """Return how many folds were over at each fold: those at least `lag` before it."""
    return np.maximum(np.arange(n_folds) - lag + 1, 0)


def block_of(
    y_hat: Values,
    y: Values,
    is_scored: "np.typing.NDArray[np.bool_] | None" = None,
    last: float = 10.0,
) -> SeriesBlock:
    """Return a block of scored models: [M, S, K, H] and [S, K, H]; naive forecasts `last`."""
    shape = y.shape[:2]
    folds = np.arange(np.prod(shape)).reshape(shape)
    able = np.ones(y_hat.shape[:2], dtype=bool) if is_scored is None else is_scored
    return SeriesBlock(
        np.arange(shape[0]),
        folds,
        np.arange(shape[1]),
        np.full(shape, last),
        np.ones(shape),
        y,
        y_hat,
        able,
        np.ones((len(y_hat), shape[1] + 1)),
        recency_weights(np.arange(shape[1]), n_series=100),
        LEVEL,
        np.ones((shape[0], 1, 1), dtype=bool),
    )


def at_folds(name: str, *models: list[float], y: list[float]) -> list[float]:
    """Return the forecast of a combination at each fold."""
    block = block_of(arranged(*models), arranged(y)[0])
    combined = COMBINATIONS[name].combine_folds(block, n_over=behind(len(y)))
    return combined[0, :, 0].tolist()


def test_the_mean_and_the_median_of_three_and_four():
    three = [1.0, 2.0], [2.0, 2.0], [9.0, 5.0]
    assert at_folds("combination_mean", *three, y=[0.0, 0.0]) == [4.0, 3.0]
    assert at_folds("combination_median", *three, y=[0.0, 0.0]) == [2.0, 2.0]
    assert at_folds("combination_median", [1.0], [2.0], [4.0], [9.0], y=[0.0]) == [3.0]


def test_inverse_error_weighs_by_the_folds_before():
    """Before the first fold nothing is known."""
    combined = at_folds("combination_inverse_error", [1.0, 0.0, 0.0], [3.0, 8.0, 8.0], y=[0.0] * 3)
    assert combined[:2] == [2.0, pytest.approx(8 / (1 + 3**0.5))]
    # The error of the second week counts 2 ** (1 / 10) times as much as that of the first. The same
    # holds on the panel, so that the weights are roots.
    ratio = 3 + 8 * 2 ** (1 / 10)
    assert combined[2] == pytest.approx(8 / (1 + ratio**0.5))


def test_recent_errors_count_more_than_old_ones():
    """The first model is better for a year, then the second one: half a year decides."""
    first, second = [1.0] * 52 + [2.0] * 26, [2.0] * 52 + [1.0] * 26
    combined = at_folds("combination_inverse_error", first, second, y=[0.0] * 78)
    assert combined[51] < 1.48
    assert combined[52] > 1.52
    assert combined[77] < 1.48


def test_the_few_of_the_lowest_error_so_far_are_members():
    """Of equals the first; before any fold all, as nothing tells them apart."""
    errors = arranged(*([float(size)] for size in (9, 1, 4, 9, 8, 16, 16, 16)))
    same = np.ones(8)
    equal = equal_weights(errors, everyone(8), ONE, same)[:, 0]
    assert list(np.flatnonzero(equal)) == [0, 1, 2, 3, 4]
    assert equal.sum() == pytest.approx(1.0)
    assert list(equal_weights(errors[:, :, :0], everyone(8), 0 * ONE, same)[:, 0]) == [1 / 8] * 8
    inverse = inverse_error_weights(errors, everyone(8), ONE, same)[:, 0]
    np.testing.assert_allclose(inverse[[1, 2, 4]] / inverse[1], [1, 1 / 2, 8**-0.5])
    assert np.count_nonzero(inverse) == MAX_WEIGHTED_MEMBERS


def test_what_a_model_does_on_the_panel_counts_as_much_as_on_the_series():
    """The first is three times as good on the series, the second four times as on the panel."""
    errors, panel = arranged([1.0], [3.0]), np.array([4.0, 1.0])
    weights = inverse_error_weights(errors, everyone(2), ONE, panel)[:, 0]
    assert weights[1] / weights[0] == pytest.approx((4 / 3) ** 0.5)
    assert list(best_of_panel_weights(errors, everyone(2), ONE, panel)[:, 0]) == [0.0, 1.0]


def test_models_without_an_error_have_all_the_weight():
    errors = arranged([0.0, 0.0], [1.0, 2.0], [0.0, 0.0])
    weights = inverse_error_weights(errors, everyone(3), 2 * ONE, np.ones(3))
    assert list(weights[:, 0]) == [0.5, 0.0, 0.5]


def test_the_best_subset_is_found_greedily():
    """Two models with opposite errors beat the best single one; a third makes the mean worse."""
    errors = arranged([2.0] * 10, [-2.0] * 10, [1.5] * 10)
    weights = greedy_weights(errors, everyone(3), 10 * ONE, np.ones(3))
    # 1.5; (1.5 - 2) / 2 = -0.25; (3 - 2) / 3 = 0.33; (3 - 4) / 4 = -0.25; (4.5 - 4) / 5 = 0.1.
    assert list(weights[:, 0]) == pytest.approx([0.0, 0.4, 0.6])


def test_few_folds_choose_no_subset():
    """A fold whose actual is unknown is none."""
    errors = arranged([1.0] * MIN_FOLDS_FOR_SUBSET, [5.0] * MIN_FOLDS_FOR_SUBSET)
    weights = [
        greedy_weights(errors, everyone(2), n * ONE, np.ones(2))
        for n in range(MIN_FOLDS_FOR_SUBSET + 1)
    ]
    assert [list(each[:, 0]) for each in weights] == [[0.5, 0.5]] * MIN_FOLDS_FOR_SUBSET + [[1, 0]]


@pytest.mark.parametrize("name", list(COMBINATIONS))
@pytest.mark.parametrize("lag", [1, 3])
def test_no_fold_sees_a_week_that_was_not_over(name: str, lag: int):
    rng = np.random.default_rng(3)
    y, y_hat = rng.normal(size=(1, 30, 1)), rng.normal(size=(4, 1, 30, 1))
    ensemble = COMBINATIONS[name]
    before = ensemble.combine_folds(block_of(y_hat, y), n_over=behind(30, lag))
    for k in (0, 9, 20, 29):
        changed = y.copy()
        changed[:, max(k - lag + 1, 0) :] += 100.0  # not known at fold k
        after = ensemble.combine_folds(block_of(y_hat, changed), n_over=behind(30, lag))
        np.testing.assert_array_equal(after[:, : k + 1], before[:, : k + 1])


@pytest.mark.parametrize("name", list(COMBINATIONS))
def test_a_model_that_is_no_member_has_no_influence(name: str):
    """Where none is a member there is no forecast."""
    rng, ensemble = np.random.default_rng(4), COMBINATIONS[name]
    y, y_hat = rng.normal(size=(3, 20, 1)), rng.normal(size=(3, 3, 20, 1))
    is_able = np.array([[True, True, False], [True, False, False], [True, True, False]])
    y_hat[~is_able] = math.nan
    combined = ensemble.combine_folds(block_of(y_hat, y, is_able), n_over=behind(20))
    alone = ensemble.combine_folds(
        block_of(y_hat[[0, 2], 1:2], y[1:2], everyone(2)), n_over=behind(20)
    )
    np.testing.assert_allclose(combined[1:2], alone, rtol=1e-12)
    assert np.isnan(combined[2]).all()


@pytest.mark.parametrize("pool", [mean, median])
def test_a_failing_member_leaves_the_forecast_to_the_others(pool: "type[mean]"):
    y_hat = np.array([[[1.0]], [[math.nan]], [[3.0]]])
    weights = np.array([[0.25], [0.5], [0.25]])
    assert pool(y_hat, weights)[0, 0] == 2.0
    assert np.isnan(pool(y_hat[1:2], weights[1:2])[0, 0])


@pytest.mark.parametrize("name", COMBINATIONS)
def test_models_that_have_no_fold_yet_count_alike(name: str):
    """At its first fold, after enough others to know errors, each has the same weight."""
    nan, n_before = math.nan, 10
    late = [[nan] * n_before + [2.0, 4.0], [nan] * n_before + [4.0, 4.0]]
    assert at_folds(name, *late, y=[1.0, 30.0] * 6)[n_before] == pytest.approx(3.0)


def test_the_best_model_of_the_panel_is_one_that_forecasts_the_fold():
    late, whole = [math.nan] * 2 + [1.0] * 2, [8.0] * 4
    block = block_of(arranged(late, whole), arranged([0.0] * 4)[0])
    known = replace(block, panel_ratio=np.tile([[0.5], [0.8]], (1, 5)))
    combined = COMBINATIONS["combination_best_model"].combine_folds(known, n_over=behind(4))
    assert combined[0, :, 0].tolist() == [8.0, 8.0, 1.0, 1.0]


def test_a_model_without_the_first_folds_is_weighed_by_its_ratio_to_naive_on_its_own():
    """Naive errs by 10 at every fold; the late model by 5 at the two it has, the other by 8."""
    nan = math.nan
    late, whole = [nan, nan, 5.0, 5.0], [8.0] * 4
    block = block_of(arranged(late, whole), arranged([0.0] * 4)[0])
    weights = COMBINATIONS["combination_inverse_error"].weights(block)
    assert weights[1, 0] / weights[0, 0] == pytest.approx((5 / 8) ** 0.5)
    combined = COMBINATIONS["combination_mean"].combine_folds(block, n_over=behind(4))
    assert combined[0, :, 0].tolist() == [8.0, 8.0, 6.5, 6.5]
