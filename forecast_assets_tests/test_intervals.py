"""Intervals: their radius, what each fold could have known, and their score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.intervals import radius, rolling_radii, weighted_interval_score


def plain_radius(errors: list[float], level: float) -> float:
    """The k-th smallest of n errors, k = ceil((n + 1) * level / 100), by sorting."""
    k = math.ceil(round((len(errors) + 1) * level / 100, 9))
    return sorted(errors)[k - 1] if k <= len(errors) else math.nan


@given(
    errors=st.lists(st.floats(0, 1e6), min_size=1, max_size=60),
    level=st.sampled_from([50.0, 80.0, 90.0, 95.0, 97.5]),
)
def test_radius_agrees_with_the_plain_definition(errors: list[float], level: float):
    expected = plain_radius(errors, level)
    np.testing.assert_equal(float(radius(np.array(errors), level)), expected)


def test_with_19_errors_the_largest_one_covers_95_percent():
    assert radius(np.arange(19.0), 95) == 18.0


def test_with_18_errors_there_is_no_95_percent_radius():
    assert np.isnan(radius(np.arange(18.0), 95))


def test_radius_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    errors = np.abs(rng.normal(size=(53, 4000)))
    covered = errors[-1] <= radius(errors[:-1], 80)
    assert covered.mean() == pytest.approx(43 / 53, abs=0.02)


def test_a_fold_is_given_only_errors_known_at_its_cutoff():
    errors = np.array([[1.0], [2.0], [3.0], [4.0], [100.0], [5.0]])
    radii = rolling_radii(errors, [80], step=1)[0, :, 0]
    np.testing.assert_equal(radii, [np.nan, np.nan, np.nan, np.nan, 4.0, 100.0])


def test_an_error_two_weeks_ahead_is_known_two_folds_later():
    errors = np.column_stack([np.arange(1.0, 8.0), np.arange(1.0, 8.0)])
    radii = rolling_radii(errors, [50], step=1)[0]
    np.testing.assert_equal(radii[:, 0], [np.nan, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    np.testing.assert_equal(radii[:, 1], [np.nan, np.nan, 1.0, 2.0, 2.0, 3.0, 3.0])


def test_folds_that_lie_further_apart_know_more():
    errors = np.column_stack([np.arange(1.0, 5.0), np.arange(1.0, 5.0)])
    radii = rolling_radii(errors, [50], step=2)[0]
    np.testing.assert_equal(radii[:, 0], radii[:, 1])


def plain_wis(y: float, y_hat: float, radii: list[float], levels: list[float]) -> float:
    """Bracher et al. (2021), eq. 1 and 2, written out for one forecast."""
    total = 0.5 * abs(y - y_hat)
    for half_width, level in zip(radii, levels, strict=True):
        alpha = 1 - level / 100
        low, high = y_hat - half_width, y_hat + half_width
        score = high - low
        if y < low:
            score += 2 / alpha * (low - y)
        if y > high:
            score += 2 / alpha * (y - high)
        total += alpha / 2 * score
    return total / (len(levels) + 0.5)


@given(
    y=st.floats(-1e3, 1e3),
    y_hat=st.floats(-1e3, 1e3),
    radii=st.tuples(st.floats(0, 500), st.floats(500, 1000)),
)
def test_weighted_interval_score_agrees_with_the_plain_definition(
    y: float, y_hat: float, radii: tuple[float, float]
):
    ours = weighted_interval_score(
        np.array([y]), np.array([y_hat]), np.array(radii)[:, None], [80, 95]
    )
    assert ours[0] == pytest.approx(plain_wis(y, y_hat, list(radii), [80, 95]))


def test_a_wider_interval_that_still_covers_scores_worse():
    y = np.array([0.0])
    narrow = weighted_interval_score(y, y, np.array([[1.0]]), [80])
    wide = weighted_interval_score(y, y, np.array([[2.0]]), [80])
    assert narrow < wide
