"""Intervals: their radius, what each fold could have known, and their score."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forecast_assets.forecasting.intervals import (
    HALF_LIFE,
    POINTS,
    POOLED,
    RECENCY,
    ErrorPool,
    half_widths,
    quantiles,
    recent_volatility,
    weighted_interval_score,
)
from forecast_assets.models.base import Values


def plain_quantile(scores: list[float], weights: list[float], level: float) -> float:
    """The least score up to which the weights reach the level's share of all and one more."""
    reached, whole = 0.0, sum(weights) + 1
    for score, weight in sorted(zip(scores, weights, strict=True)):
        reached += weight
        if reached >= whole * level / 100 - 1e-9:
            return score
    return math.nan


LEVELS = st.sampled_from([50.0, 80.0, 90.0, 95.0, 97.5])


def nothing(n: int) -> ErrorPool:
    """A pool that is empty at n weeks."""
    return ErrorPool(np.full((n, POINTS), np.inf), np.zeros(n))


def rolling(
    errors: Values, levels: list[float], *, step: int = 1, pool: ErrorPool | None = None
) -> Values:
    """The radii at each fold of series that are as noisy as ever: [S, K, H] -> [L, S, K, H]."""
    ones, weeks = np.ones(errors.shape[:2]), step * np.arange(errors.shape[1])
    pools = [pool or nothing(errors.shape[1])] * errors.shape[2]
    return half_widths(errors, ones, weeks, levels, pools, at=weeks, noise_then=ones)


def newest(
    errors: Values, levels: list[float], *, now: float = 1.0, pool: ErrorPool | None = None
) -> Values:
    """The radii a week after the last fold, when the noise is `now`: [S, K] -> [L, S]."""
    n_series, n = errors.shape
    noise_then = np.full((n_series, 1), now)
    return half_widths(
        errors[:, :, None],
        np.ones(errors.shape),
        np.arange(n),
        levels,
        [pool or nothing(1)],
        at=np.array([n]),
        noise_then=noise_then,
    )[:, :, 0, 0]


@given(
    given_=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 1)), min_size=1, max_size=60),
    level=LEVELS,
)
def test_a_quantile_agrees_with_the_plain_definition(
    given_: list[tuple[float, float]], level: float
):
    scores, weights = [s for s, _ in given_], [w for _, w in given_]
    found = quantiles(np.array([scores]), np.array([weights]), [level], nothing(1))
    np.testing.assert_equal(float(found[0, 0, 0]), plain_quantile(scores, weights, level))


@given(scores=st.lists(st.floats(0, 1e6), min_size=1, max_size=60), level=LEVELS)
def test_with_equal_weights_it_is_the_usual_conformal_quantile(scores: list[float], level: float):
    """The k-th smallest of n scores, k = ceil((n + 1) * level / 100)."""
    k = math.ceil(round((len(scores) + 1) * level / 100, 9))
    expected = sorted(scores)[k - 1] if k <= len(scores) else math.nan
    found = quantiles(np.array([scores]), np.ones((1, len(scores))), [level], nothing(1))
    np.testing.assert_equal(float(found[0, 0, 0]), expected)


def test_many_weightings_are_worked_out_in_parts(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    scores, weights = rng.random((7, 20)), rng.random((33, 20))
    pool = ErrorPool(np.sort(rng.random((33, POINTS)), axis=1), rng.random(33) * 100)
    whole = quantiles(scores, weights, [50, 80], pool)
    monkeypatch.setattr("forecast_assets.forecasting.intervals.AT_ONCE", 7 * 20 * 2)
    np.testing.assert_array_equal(quantiles(scores, weights, [50, 80], pool), whole)


def test_no_scores_have_no_quantile():
    assert np.isnan(quantiles(np.empty((2, 0)), np.empty((3, 0)), [80], nothing(3))).all()


def test_levels_never_cross():
    rng = np.random.default_rng(2)
    levels = list(range(10, 100, 5))
    pool = ErrorPool(np.sort(rng.exponential(size=(9, POINTS)), axis=1), np.full(9, 60.0))
    for one in (nothing(9), pool):
        found = quantiles(rng.exponential(size=(50, 40)), rng.random((9, 40)), levels, one)
        assert not (np.diff(found, axis=0) < 0).any()


# The pool
@example(own=[], points=[0.0] * POINTS, others=2.2250738585e-313, level=50.0)
@given(
    own=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 1)), max_size=60),
    points=st.lists(st.floats(0, 1e6), min_size=POINTS, max_size=POINTS),
    others=st.floats(0, 200),
    level=LEVELS,
)
def test_a_quantile_beside_a_pool_is_that_of_both_together(
    own: list[tuple[float, float]], points: list[float], others: float, level: float
):
    scores, weights = [s for s, _ in own], [w for _, w in own]
    each = min(others, POOLED) / POINTS
    pool = ErrorPool(np.array([sorted(points)]), np.array([sum(weights) + others]))
    found = quantiles(
        np.array([scores]).reshape(1, -1), np.array([weights]).reshape(1, -1), [level], pool
    )
    together = plain_quantile(scores + points, weights + [each] * POINTS, level)
    if each > 1e-6:  # below, what is left of a difference is rounding
        np.testing.assert_equal(float(found[0, 0, 0]), together)


def test_a_pool_holds_the_quantiles_of_what_was_known():
    scores, weeks = np.arange(1.0, 101.0), np.zeros(100, dtype=int)
    pool = ErrorPool.of(scores, weeks, np.array([0, 1, 2]), h=1)
    assert pool.weight[0] == 0.0
    assert pool.weight[1] == pytest.approx(100 * RECENCY)
    assert pool.weight[2] == pytest.approx(100 * RECENCY**2)
    assert list(pool.points[1]) == list(np.arange(1.0, 101.0, 2))


def test_a_pool_knows_no_later_week():
    rng = np.random.default_rng(8)
    scores, weeks = rng.random(200), np.tile(np.arange(20), 10)
    changed = np.where(weeks > 9, 100.0, scores)
    before, after = (ErrorPool.of(one, weeks, np.arange(20), h=2) for one in (scores, changed))
    np.testing.assert_array_equal(before.points[:12], after.points[:12])
    assert (before.points[12:] != after.points[12:]).any()


def test_a_new_series_has_the_pools_intervals():
    """Two errors of its own say little beside those of a hundred others."""
    rng = np.random.default_rng(9)
    pool = ErrorPool.of(
        np.abs(rng.normal(size=5200)), np.tile(np.arange(52), 100), np.array([52]), h=1
    )
    low, high = newest(np.array([[0.1, 0.2]]), [80, 95], pool=pool)[:, 0]
    assert low == pytest.approx(1.28, abs=0.1)
    assert high == pytest.approx(1.96, abs=0.2)
    assert np.isnan(newest(np.array([[0.1, 0.2]]), [80]))[0, 0]


def test_a_series_alone_gains_nothing_by_its_own_pool():
    errors = np.random.default_rng(10).exponential(size=(1, 30))
    own = ErrorPool.of(errors[0], np.arange(30), np.array([30]), h=1)
    for level in (50, 80, 95, 97):
        np.testing.assert_equal(newest(errors, [level], pool=own), newest(errors, [level]))


# The radius
def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    errors = np.abs(rng.normal(size=(4000, 53)))
    covered = (errors[:, -1] <= newest(errors[:, :-1], [50, 80, 95])).mean(axis=1)
    assert covered[0] == pytest.approx(0.5, abs=0.03)
    assert covered[1] == pytest.approx(0.8, abs=0.03)
    assert 0.94 < covered[2] < 0.99


def test_a_fold_is_given_only_errors_known_at_its_cutoff(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("forecast_assets.forecasting.intervals.RECENCY", 1.0)
    found = rolling(np.array([1.0, 2.0, 3.0, 4.0, 100.0, 5.0])[None, :, None], [75])[0, 0, :, 0]
    np.testing.assert_equal(found, [math.nan, math.nan, math.nan, 3.0, 4.0, 100.0])


def test_an_error_two_weeks_ahead_is_known_two_folds_later():
    found = rolling(np.tile(np.arange(1.0, 9.0)[:, None], 2)[None], [40])[0, 0]
    first = [int(np.flatnonzero(np.isfinite(found[:, h]))[0]) for h in (0, 1)]
    assert first == [1, 2]


def test_folds_that_lie_further_apart_know_more():
    found = rolling(np.tile(np.arange(1.0, 5.0)[:, None], 2)[None], [40], step=2)[0, 0]
    np.testing.assert_equal(found[:, 0], found[:, 1])


def test_what_comes_later_changes_no_radius():
    rng = np.random.default_rng(6)
    errors = rng.random((3, 40, 2))
    changed = errors.copy()
    changed[:, 25:] *= 50
    before, after = (rolling(e, [80]) for e in (errors, changed))
    np.testing.assert_array_equal(after[:, :, :26], before[:, :, :26])
    assert (after[:, :, 30:] > before[:, :, 30:]).any()


def test_recent_errors_count_more():
    calm, wild = [1.0] * 30, [9.0] * 30
    assert newest(np.array([calm + wild, wild + calm]), [50]).tolist() == [[9.0, 1.0]]
    assert 0.5 < RECENCY < 1


def test_a_radius_grows_with_the_noise():
    errors = np.tile([1.0, 2.0], 20)[None]
    assert newest(errors, [80], now=3.0) == 3 * newest(errors, [80])


def test_noise_is_the_mean_step_of_late():
    y = np.cumsum(np.tile([1.0, -1.0], 200))
    np.testing.assert_allclose(recent_volatility(y)[1:], 1.0)
    louder = np.concatenate([y, np.cumsum(np.tile([5.0, -5.0], 13))])  # half a half-life
    assert len(louder) - len(y) == HALF_LIFE
    assert recent_volatility(louder)[-1] == pytest.approx(3.0, abs=0.02)


def test_noise_knows_no_later_week():
    y = np.random.default_rng(3).normal(size=80).cumsum()
    changed = np.concatenate([y[:50], y[50:] * 7])
    np.testing.assert_array_equal(recent_volatility(changed)[:50], recent_volatility(y)[:50])


@pytest.mark.parametrize("y", [[5.0], [5.0] * 20, [0.0] * 20])
def test_as_long_as_nothing_ever_moved_there_is_no_noise(y: list[float]):
    np.testing.assert_array_equal(recent_volatility(np.array(y)), np.zeros(len(y)))


def test_a_series_that_never_moved_has_an_interval_by_its_own_errors_alone():
    """Thirty weeks without an error hold 95 %; two of them hold nothing, whatever others do."""
    pool = ErrorPool(np.ones((1, POINTS)), np.array([100.0]))
    assert newest(np.zeros((1, 30)), [80, 95], now=0.0, pool=pool).tolist() == [[0.0], [0.0]]
    assert np.isnan(newest(np.zeros((1, 2)), [80], now=0.0, pool=pool)).all()


def test_the_first_move_is_beyond_every_interval_and_spoils_none():
    """It came when nothing had moved: no multiple of the noise. Later noise has its own errors."""
    errors = np.array([[0.0] * 10 + [1e9] + [2.0] * 30])[:, :, None]
    noise_at = np.array([[0.0] * 11 + [1.0] * 30])
    weeks, empty = np.arange(41), nothing(1)
    now = {"at": np.array([41]), "noise_then": np.ones((1, 1))}
    found = half_widths(errors, noise_at, weeks, [80, 90], [empty], **now)[:, 0, 0, 0]
    assert found.tolist() == [2.0, 2.0]


def test_noise_stays_above_zero_through_a_long_calm():
    y = np.array([0.0, 10.0, 0.0] + [0.0] * 2000)
    assert (recent_volatility(y)[1:] > 0).all()


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
