"""Intervals: their half-width, what each fold could know, and their score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.forecasting.intervals import (
    MAX_POOL_WEIGHT,
    half_widths,
    quantiles,
    weighted_interval_score,
)
from forecast_assets.forecasting.panel_errors import (
    PANEL_MEAN_WEIGHT,
    POOL_POINTS,
    POOL_SHARES,
    WEEKLY_DECAY,
    ErrorPool,
    PanelErrors,
)
from forecast_assets.forecasting.volatility import VOLATILITY_HALF_LIFE, recent_volatility
from forecast_assets.models.base import Values


def plain_quantile(
    own: Values, weights: Values, points: Values, others: float, level: float, *, n: float
) -> float:
    """Find where own scores and a pool of effective size n reach a level, by bisection.

    An own score has its weight from its value on; that of the pool between two points is spread
    evenly over their root of the share above.
    """
    total = weights.sum()
    reached = total**2 / (total**2 + (weights**2).sum()) if len(own) else 0.0
    knots = np.append(0.0, points)

    def share(x: float) -> float:
        below = weights[own <= x].sum() * reached
        position = float(np.interp(x, knots, np.arange(POOL_POINTS + 1)))
        in_pool = 1 - (1 - position / POOL_POINTS) ** 2
        return float(below + others * n / (n + 1) * in_pool)

    needed = (total + others) * level / 100
    low, high = -1e-9, max([*points, *own])
    if share(high) < needed:
        return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < needed else (low, middle)
    return high


def empty_pool(n: int) -> ErrorPool:
    """Return a pool without errors at n weeks."""
    return ErrorPool(np.zeros((n, POOL_POINTS)), np.zeros(n), np.zeros(n))


def panel_of(weeks: Values, pool: ErrorPool, *, horizon: int) -> PanelErrors:
    """Return a panel with the same pool for every week ahead, and without known means."""
    return PanelErrors(weeks, np.zeros((len(weeks), horizon)), weeks, [pool] * horizon)


def rolling(errors: Values, levels: list[float], *, step: int = 1) -> Values:
    """Return the half-widths at each fold of constant volatility: [S, K, H] -> [L, S, K, H]."""
    weeks, horizon = step * np.arange(errors.shape[1]), errors.shape[2]
    panel = panel_of(weeks, empty_pool(len(weeks)), horizon=horizon)
    return half_widths(errors, np.ones(errors.shape), weeks, levels, panel)


def newest(
    errors: Values,
    levels: list[float],
    *,
    volatility: Values | None = None,
    volatility_now: float = 1.0,
    pool: ErrorPool | None = None,
) -> Values:
    """Return the half-widths a week after the last fold: [S, K] -> [L, S]."""
    n_series, n = errors.shape
    now = np.array([n])
    panel = PanelErrors(np.arange(n + 1), np.zeros((n + 1, 1)), now, [pool or empty_pool(1)])
    return half_widths(
        errors[:, :, None],
        (np.ones(errors.shape) if volatility is None else volatility)[:, :, None],
        np.arange(n),
        levels,
        panel,
        target_weeks=now,
        target_volatility=np.full((n_series, 1, 1), volatility_now),
    )[:, :, 0, 0]


def volatilities(panel: list[Values]) -> list[Values]:
    """Return the recent volatility of each series for the next week."""
    return [volatility[:, 0] for volatility in recent_volatility(panel)]


def test_with_equal_weights_it_is_the_usual_conformal_quantile():
    """The k-th smallest of n scores, k = ceil((n + 1) * level / 100)."""
    scores, levels = np.arange(1.0, 25.0), [50.0, 80.0, 90.0, 95.0, 97.5]
    result = quantiles(scores[None], np.ones((1, 24)), levels, empty_pool(1))[:, 0, 0]
    np.testing.assert_equal(result, [13.0, 20.0, 23.0, 24.0, math.nan])


def test_chunks_do_not_change_quantiles(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    scores, weights = rng.random((7, 20)), rng.random((33, 20))
    pool = ErrorPool(np.sort(rng.random((33, POOL_POINTS)), axis=1), *(rng.random((2, 33)) * 100))
    whole = quantiles(scores, weights, [50, 80], pool)
    monkeypatch.setattr("forecast_assets.forecasting.intervals.CHUNK_SIZE", 7 * 20 * 2)
    np.testing.assert_array_equal(quantiles(scores, weights, [50, 80], pool), whole)


def test_a_score_that_is_not_known_does_not_count():
    """Each row has the quantiles that it would have alone, without the unknown scores."""
    rng = np.random.default_rng(2)
    scores, weights = rng.random((5, 30)), rng.random((4, 30))
    pool = ErrorPool(np.sort(rng.random((4, POOL_POINTS)), axis=1), *(rng.random((2, 4)) * 100))
    scores[rng.random(scores.shape) < 0.3] = math.nan
    scores[4] = math.nan
    together = quantiles(scores, weights, [50, 80, 95], pool)
    for row, own in enumerate(scores):
        known = ~np.isnan(own)
        alone = quantiles(own[None, known], weights[:, known], [50, 80, 95], pool)
        np.testing.assert_allclose(together[:, row], alone[:, 0], rtol=1e-9)


# The pool
@pytest.mark.parametrize("n_own", [0, 1, 5, 60])
@pytest.mark.parametrize("others", [0.5, 40.0, 300.0])
def test_a_quantile_is_that_of_own_scores_and_the_pool_together(n_own: int, others: float):
    rng = np.random.default_rng(n_own)
    points = np.sort(rng.exponential(size=POOL_POINTS))
    own, weights = np.sort(rng.exponential(size=n_own)), rng.uniform(0.1, 1, n_own)
    pool = ErrorPool(points[None], np.array([weights.sum() + others]), np.array([300.0]))
    others = min(others, MAX_POOL_WEIGHT)
    levels = [10.0, 50.0, 80.0, 90.0, 95.0, 97.5, 99.0, 99.9]
    result = quantiles(own[None], weights[None], levels, pool)[:, 0, 0]
    together = [plain_quantile(own, weights, points, others, level, n=300) for level in levels]
    assert np.isfinite(together[0])
    np.testing.assert_allclose(result, together, rtol=1e-7)


def test_a_pool_holds_the_quantiles_of_what_was_known():
    scores, weeks = np.arange(1.0, 10_001.0), np.zeros(10_000, dtype=int)
    pool = ErrorPool.from_scores(scores, weeks, np.array([0, 1, 2]), h=1)
    assert pool.weight[0] == 0.0
    assert pool.weight[1] == pytest.approx(10_000 * WEEKLY_DECAY)
    assert pool.weight[2] == pytest.approx(10_000 * WEEKLY_DECAY**2)
    assert pool.n_effective[1] == pytest.approx(10_000)
    np.testing.assert_allclose(pool.points[1], 10_000 * POOL_SHARES[1:], atol=1)


def test_a_pool_knows_no_later_week():
    scores, weeks = np.random.default_rng(8).random(200), np.tile(np.arange(20), 10)
    whole = ErrorPool.from_scores(scores, weeks, np.arange(20), h=2)
    is_early = weeks <= 9
    part = ErrorPool.from_scores(scores[is_early], weeks[is_early], np.arange(20), h=2)
    is_same = (whole.points == part.points).all(axis=1)
    assert is_same.tolist() == [True] * 12 + [False] * 8


def test_a_new_series_has_the_pools_intervals():
    """The errors of a hundred other series outweigh two of its own."""
    rng = np.random.default_rng(9)
    pool = ErrorPool.from_scores(
        np.abs(rng.normal(size=5200)), np.tile(np.arange(52), 100), np.array([52]), h=1
    )
    low, high = newest(np.array([[0.1, 0.2]]), [80, 95], pool=pool)[:, 0]
    assert low == pytest.approx(1.28, abs=0.1)
    assert high == pytest.approx(1.96, abs=0.2)
    assert np.isnan(newest(np.array([[0.1, 0.2]]), [80]))[0, 0]


def test_a_series_alone_gains_nothing_by_its_own_pool():
    errors = np.random.default_rng(10).exponential(size=(1, 30))
    own = ErrorPool.from_scores(errors[0], np.arange(30), np.array([30]), h=1)
    for level in (50, 80, 95, 97):
        np.testing.assert_allclose(newest(errors, [level], pool=own), newest(errors, [level]))


# Half-widths
def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    errors = np.abs(rng.normal(size=(4000, 53)))
    covered = (errors[:, -1] <= newest(errors[:, :-1], [50, 80, 95, 98])).mean(axis=1)
    np.testing.assert_allclose(covered, [0.51, 0.81, 0.96, 0.98], atol=0.015)  # k / 53, k whole


def test_with_a_pool_the_highest_levels_hold_too():
    """120 panels of 30 series with 52 errors each; only infinity would hold 99.99 %."""
    rng, levels, covered = np.random.default_rng(3), [80, 95, 98, 99, 99.99], []
    for _ in range(120):
        errors = np.abs(rng.standard_t(5, size=(30, 53)))
        known, weeks = errors[:, :-1], np.tile(np.arange(52), 30)
        pool = ErrorPool.from_scores(known.ravel(), weeks, np.array([52]), h=1)
        widths = newest(known, levels, pool=pool)
        covered.append(np.where(np.isnan(widths), np.nan, errors[:, -1] <= widths).mean(axis=1))
    held = np.mean(covered, axis=0)
    np.testing.assert_allclose(held[:4], [0.8, 0.95, 0.98, 0.99], atol=0.012)
    assert np.isnan(held[4])


def test_a_fold_is_given_only_errors_known_at_its_cutoff(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("forecast_assets.forecasting.panel_errors.WEEKLY_DECAY", 1.0)
    result = rolling(np.array([1.0, 2.0, 3.0, 4.0, 100.0, 5.0])[None, :, None], [75])[0, 0, :, 0]
    np.testing.assert_equal(result, [math.nan, math.nan, math.nan, 3.0, 4.0, 100.0])


@pytest.mark.parametrize(("step", "first"), [(1, [1, 2]), (2, [1, 1])])
def test_an_error_two_weeks_ahead_is_known_two_weeks_later(step: int, first: list[int]):
    result = rolling(np.tile(np.arange(1.0, 9.0)[:, None], 2)[None], [40], step=step)[0, 0]
    assert [int(np.flatnonzero(np.isfinite(result[:, h]))[0]) for h in (0, 1)] == first


def test_recent_errors_count_more():
    calm, wild = [1.0] * 30, [9.0] * 30
    assert newest(np.array([calm + wild, wild + calm]), [50]).tolist() == [[9.0, 1.0]]
    assert 0.5 < WEEKLY_DECAY < 1


def test_a_series_with_larger_scores_than_the_panel_has_wider_intervals():
    """Its mean of 40 scores counts as such, and that of the panel as 16 of its own."""
    rng = np.random.default_rng(12)
    size = np.repeat([1.0, 3.0], [9, 1])[:, None, None]
    errors = size * rng.uniform(0.1, 1.0, size=(10, 40, 1))
    weeks, now = np.arange(40), np.array([40])
    panel = PanelErrors.from_scores([(errors, weeks)], now, horizon=1)
    weights = WEEKLY_DECAY ** np.arange(40.0, 0.0, -1.0)
    totals = (errors[:, :, 0] * weights).sum(axis=1)
    mean = totals.mean() / weights.sum()
    expected = (totals / mean + PANEL_MEAN_WEIGHT) / (weights.sum() + PANEL_MEAN_WEIGHT)
    np.testing.assert_allclose(panel.expected_size(errors, weeks, now)[:, 0, 0], expected)
    widths = half_widths(
        errors,
        np.ones(errors.shape),
        weeks,
        [80],
        panel,
        target_weeks=now,
        target_volatility=np.ones((10, 1, 1)),
    )[0, :, 0, 0]
    assert widths[:9] == pytest.approx(np.full(9, 0.82), rel=0.15)
    assert widths[9] > 2 * widths[:9].max()


def test_an_outlier_changes_the_size_to_expect_little():
    errors = np.random.default_rng(14).uniform(0.5, 1.5, size=(10, 40, 1))
    weeks, now = np.arange(40), np.array([40])
    with_outlier = errors.copy()
    with_outlier[0, 20] = 1e6
    before, after = (
        PanelErrors.from_scores([(scores, weeks)], now, horizon=1).expected_size(scores, weeks, now)
        for scores in (errors, with_outlier)
    )
    assert before[0] < after[0] < 1.12 * before[0]


def test_the_size_to_expect_knows_no_later_week():
    scores = np.random.default_rng(13).exponential(size=(6, 30, 3))
    weeks = np.arange(30)
    changed = np.where(weeks[:, None] >= 20, 9.0, scores)
    before, after = (
        PanelErrors.from_scores([(values, weeks)], weeks, horizon=3) for values in (scores, changed)
    )
    for h in range(3):
        sizes = (
            panel.expected_size(values, weeks, weeks)[:, : 21 + h, h]
            for panel, values in ((before, scores), (after, changed))
        )
        np.testing.assert_array_equal(*sizes)
        assert (before.means[21 + h, h] != after.means[21 + h, h]).all()


def test_a_half_width_is_proportional_to_volatility():
    errors = np.tile([1.0, 2.0], 20)[None]
    assert newest(errors, [80], volatility_now=3.0) == 3 * newest(errors, [80])


def test_volatility_is_the_recent_mean_change():
    y = np.cumsum(np.tile([1.0, -1.0], 200))
    np.testing.assert_allclose(volatilities([y])[0][1:], 1.0)
    louder = np.concatenate([y, np.cumsum(np.tile([5.0, -5.0], 13))])  # half a half-life
    assert len(louder) - len(y) == VOLATILITY_HALF_LIFE
    assert volatilities([louder])[0][-1] == pytest.approx(3.0, abs=0.02)


def test_the_further_ahead_the_longer_is_what_counts_as_recent():
    y = np.cumsum(np.tile([1.0, -1.0], 400))
    louder = np.concatenate([y, np.cumsum(np.tile([5.0, -5.0], VOLATILITY_HALF_LIFE))])
    (volatility,) = recent_volatility([louder], horizon=4)
    expected = [1 + 4 * (1 - 0.5 ** (2 / h)) for h in (1, 2, 3, 4)]
    np.testing.assert_allclose(volatility[-1], expected, rtol=0.01)


def test_an_outlier_counts_as_a_few_usual_changes():
    rng = np.random.default_rng(5)
    calm = rng.normal(100, 10, 160)
    spike = np.where(np.arange(160) == 100, 1100.0, calm)
    of_calm, of_spike = volatilities([calm, spike])
    np.testing.assert_array_equal(of_spike[:100], of_calm[:100])
    assert (of_spike[100:] < 1.5 * of_calm[100:]).all()
    assert of_spike[110] < 1.3 * of_calm[110]


def test_changes_that_are_usual_for_a_series_are_no_outliers():
    """Plain means: of a calm series, of one that moves every tenth week, and of heavy tails."""
    rng = np.random.default_rng(6)
    rare = np.cumsum(np.where(np.arange(200) % 10 == 0, rng.choice([-5.0, 5.0], 200), 0.0))
    demand = np.where(rng.random(200) < 0.2, rng.integers(1, 9, 200), 0.0)
    weights = 0.5 ** (np.arange(199)[::-1] / VOLATILITY_HALF_LIFE)
    panel = [rng.normal(100, 10, 200), rare, demand]
    for y, volatility in zip(panel, volatilities(panel), strict=True):
        plain = (weights * np.abs(np.diff(y))).sum() / weights.sum()
        assert volatility[-1] == pytest.approx(plain, rel=1e-12)


def test_a_series_that_moves_more_from_now_on_has_the_volatility_for_it_within_a_half_life():
    rng = np.random.default_rng(7)
    steps = rng.normal(size=300) * np.where(np.arange(300) < 200, 1, 10)
    plain = np.abs(steps[200:]).mean()
    volatility = volatilities([np.cumsum(steps)])[0]
    assert volatility[200 + VOLATILITY_HALF_LIFE] > plain / 3
    assert volatility[-1] == pytest.approx(plain, rel=0.2)


def test_filled_weeks_have_no_part_in_volatility():
    y = np.random.default_rng(8).normal(100, 10, 60)
    is_filled = np.isin(np.arange(60), [5, 20, 21, 40])
    with_gaps, real = volatilities([np.where(is_filled, np.nan, y), y[~is_filled]])
    np.testing.assert_array_equal(with_gaps[~is_filled], real)
    np.testing.assert_array_equal(with_gaps[[5, 20, 21, 40]], with_gaps[[4, 19, 19, 39]])


def test_volatility_uses_no_later_week():
    y = np.random.default_rng(3).normal(size=80).cumsum()
    np.testing.assert_array_equal(volatilities([y[:50]])[0], volatilities([y])[0][:50])


def test_volatility_is_zero_until_a_series_moves_and_positive_from_then_on():
    assert volatilities([np.array([5.0])])[0].tolist() == [0.0]
    assert volatilities([np.full(20, 5.0)])[0].tolist() == [0.0] * 20
    moved_once = np.array([0.0, 10.0, 0.0] + [0.0] * 2000)
    assert (volatilities([moved_once])[0][1:] > 0).all()


def test_a_series_that_never_moved_has_an_interval_by_its_own_errors_alone():
    """Thirty weeks without an error suffice for 95 %; two suffice for no level."""
    options = {"volatility_now": 0.0, "pool": ErrorPool(np.ones((1, 50)), *np.full((2, 1), 100.0))}
    assert newest(np.zeros((1, 30)), [80, 95], **options).tolist() == [[0.0], [0.0]]
    assert np.isnan(newest(np.zeros((1, 2)), [80], **options)).all()


def test_the_first_move_is_beyond_every_interval_and_spoils_none():
    """Its score is infinite, because volatility was 0; later errors have finite scores."""
    errors = np.array([[0.0] * 10 + [1e9] + [2.0] * 30])
    volatility = np.array([[0.0] * 11 + [1.0] * 30])
    assert newest(errors, [80, 90], volatility=volatility).tolist() == [[2.0], [2.0]]


def plain_wis(y: float, y_hat: float, widths: list[float], levels: list[float]) -> float:
    """Bracher et al. (2021), eq. 1 and 2, written out for one forecast."""
    total = 0.5 * abs(y - y_hat)
    for half_width, level in zip(widths, levels, strict=True):
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
    widths=st.tuples(st.floats(0, 500), st.floats(500, 1000)),
)
def test_weighted_interval_score_agrees_with_the_plain_definition(
    y: float, y_hat: float, widths: tuple[float, float]
):
    ours = weighted_interval_score(
        np.array([y]),
        np.array([y_hat]),
        y_hat - np.array(widths)[:, None],
        y_hat + np.array(widths)[:, None],
        [80, 95],
    )
    assert ours[0] == pytest.approx(plain_wis(y, y_hat, list(widths), [80, 95]))
