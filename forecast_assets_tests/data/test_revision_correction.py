"""The usual revision of the newest values: robust, pooled, and none where there is none."""

import numpy as np
import pytest

from forecast_assets.data.revision_correction import (
    MAX_FACTOR,
    MIN_VINTAGES,
    POOL_OBSERVATIONS,
    correct,
    revision_factors,
    weighted_median,
)

AGES = np.arange(2.0, 22.0)


def factors(ratio: np.ndarray, ages: np.ndarray = AGES) -> np.ndarray:
    """Return the factors where each series was revised by these ratios: [S, U] -> [S]."""
    then = np.full((*ratio.shape, 1), 100.0)
    return revision_factors(then, then * ratio[:, :, None], ages)[:, 0]


def test_the_usual_revision_is_found_and_undone():
    found = factors(np.full((3, 20), 1.25))
    assert found == pytest.approx(np.log([1.25] * 3))
    assert correct(np.array([[8.0], [0.0], [-8.0]]), found[:, None]).ravel() == pytest.approx(
        [10, 0, -8]
    )


def test_a_series_is_shrunk_to_the_pool_by_its_number_of_vintages():
    ratio = np.vstack([np.full((9, 20), 1.1), np.full((1, 20), 2.0)])
    own, pooled, n = np.log(2.0), np.log(1.1), 20
    expected = (n * own + POOL_OBSERVATIONS * pooled) / (n + POOL_OBSERVATIONS)
    assert factors(ratio)[-1] == pytest.approx(expected)


def test_a_single_wild_revision_changes_nothing():
    ratio = np.full((4, 20), 1.25)
    ratio[:, 7] = 1000.0
    assert factors(ratio) == pytest.approx(np.log([1.25] * 4))


def test_nothing_is_corrected_where_most_values_stay():
    ratio = np.ones((4, 20))
    ratio[0] = 1.5
    assert factors(ratio).tolist() == [0] * 4
    assert factors(np.ones((4, 20))).tolist() == [0] * 4


def test_a_series_with_few_vintages_is_not_corrected():
    ratio = np.full((2, 20), 1.25)
    ratio[1, MIN_VINTAGES - 1 :] = np.nan
    assert factors(ratio) == pytest.approx([np.log(1.25), 0])


def test_young_and_very_old_vintages_do_not_count():
    ratio = np.full((1, 20), 1.25)
    assert factors(ratio, np.linspace(0, 1.9, 20)).tolist() == [0]
    assert factors(ratio, np.linspace(53, 90, 20)).tolist() == [0]
    assert factors(ratio[:, :0], AGES[:0]).tolist() == [0]


def test_recent_revisions_count_for_more():
    ratio = np.where(AGES < 12, 1.5, 1.1)[None]
    assert factors(ratio) == pytest.approx(np.log([1.5]))


def test_a_factor_is_limited():
    assert factors(np.full((1, 20), 50.0)) == pytest.approx([MAX_FACTOR])
    assert factors(np.full((1, 20), 0.01)) == pytest.approx([-MAX_FACTOR])


def test_values_that_are_not_positive_have_no_ratio():
    then = np.full((2, 20, 1), 100.0)
    then[0, :, 0] = 0.0
    now = np.full((2, 20, 1), 150.0)
    assert revision_factors(then, now, AGES)[:, 0] == pytest.approx([0, np.log(1.5)])


def test_the_weighted_median_equals_the_median_of_repeated_values():
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(50, 7)), rng.integers(1, 5, size=(50, 7))
    values[:, 2] = np.nan
    for row, median in enumerate(weighted_median(values, weights.astype(float))):
        repeated = np.repeat(values[row], weights[row])
        assert median == pytest.approx(np.nanmedian(repeated))
    assert np.isnan(weighted_median(np.full((1, 3), np.nan), np.ones((1, 3)))).all()
