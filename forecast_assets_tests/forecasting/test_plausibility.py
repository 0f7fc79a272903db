"""What a series can plausibly do next follows from what it did."""

import numpy as np
import pytest

from forecast_assets.forecasting.plausibility import PlausibleRange
from forecast_assets.models.base import Values

WEEKS = np.arange(156)
NOISE = np.random.default_rng(1).normal(size=len(WEEKS))
LEVEL = 100 + 5 * NOISE
PEAK = np.where(WEEKS % 52 == 51, 2.0, 1.0)
# The history of a series by name.
HISTORIES = {
    "level": LEVEL,
    "trend": 50 + 2.0 * WEEKS + NOISE,
    "growth": 10 * 1.05**WEEKS * np.exp(0.05 * NOISE),
    "decline to zero": np.linspace(80, 0.2, len(WEEKS)),
    "peak once a year": 1000 * PEAK * (1 + 0.03 * NOISE),
    "counts": np.random.default_rng(2).poisson(2.0, len(WEEKS)).astype(float),
    "both signs": 10 * NOISE,
    "negative": -LEVEL,
    "price list": np.repeat([9.5, 9.9, 10.4], 52),
    "level shift": np.r_[LEVEL, 3 * LEVEL[:2]],
    "trend begins": np.r_[LEVEL, 115, 130, 145],
    "spike": np.r_[LEVEL[:100], 1000, LEVEL[101:]],
    "wrong newest value": np.r_[LEVEL, 10_000],
    "wrong value": np.r_[LEVEL[:-10], 10_000, LEVEL[-10:]],
    "value that may return": np.r_[LEVEL[:-51], 10_000, LEVEL[-51:]],
    "newest value of zero": np.r_[LEVEL, 0],
    "short": np.array([90.0, 110, 95, 105]),
    "two weeks": np.array([90.0, 110]),
    "one week": np.array([90.0]),
    "zeros": np.zeros(60),
    "constant": np.full(60, 42.0),
}
PLAUSIBLE = {
    "level": (88, 100, 112),
    "trend": (355, 362, 366),
    "growth": (17_000, 20_000, 24_000),
    "decline to zero": (0, 0.2, 1),
    "peak once a year": (900, 1000, 1950, 2100),
    "counts": (0, 0.01, 2.4, 5, 8),
    "both signs": (-25, 0, 25),
    "negative": (-112, -88),
    "price list": (10.4, 10.8),
    "level shift": (100, 300, 320),
    "trend begins": (100, 145, 160),
    "spike": (100, 1000),
    "wrong newest value": (100,),
    "wrong value": (100,),
    "value that may return": (100, 10_000),
    "newest value of zero": (0, 100),
    "short": (70, 100, 150),
    "two weeks": (60, 110, 200),
    "one week": (9, 90, 1000),
    "zeros": (0, 0.3),
    "constant": (42, 42.5),
}
IMPLAUSIBLE = {
    "level": (0, 2, -100, 5000, 200),
    "trend": (0, 7, -360, 18_000),
    "growth": (0, -20_000, 1e6),
    "decline to zero": (-1, 200),
    "peak once a year": (0, 20, -1000, 50_000),
    "counts": (-0.1, 100),
    "both signs": (-500, 500),
    "negative": (0, 2, 100, -5000),
    "price list": (0, 0.2, -10, 500),
    "level shift": (0, 6, -300, 15_000),
    "trend begins": (0, 3, -145, 7000),
    "spike": (0, 2, -100, 5000),
    "wrong newest value": (0, -100, 10_000),
    "wrong value": (0, -100, 8000),
    "value that may return": (-100, 50_000),
    "newest value of zero": (-100, 5000),
    "short": (-100, 5000),
    "two weeks": (-100, 5000),
    "one week": (-1,),
    "zeros": (-0.3, 50, 1000),
    "constant": (0, 0.84, -42, 2100),
}


def problem(history: Values, *y_hat: float, season_length: int = 52) -> str | None:
    """Return the problem of a forecast of 1, 2, … weeks ahead."""
    bounds = PlausibleRange.of([history], horizon=len(y_hat), season_length=season_length)
    return bounds.problem(0, np.array(y_hat))


@pytest.mark.parametrize("name", HISTORIES)
def test_what_a_series_may_do_is_told_from_a_fault(name: str):
    history = HISTORIES[name]
    refused = [y_hat for y_hat in PLAUSIBLE[name] if problem(history, y_hat)]
    passed = [y_hat for y_hat in IMPLAUSIBLE[name] if not problem(history, y_hat)]
    assert (refused, passed) == ([], [])


def test_series_are_judged_by_their_own_past_and_not_by_that_of_others():
    together = PlausibleRange.of([*HISTORIES.values()], horizon=3, season_length=52)
    for i, history in enumerate(HISTORIES.values()):
        alone = PlausibleRange.of([history], horizon=3, season_length=52)
        np.testing.assert_array_equal(together.low[i], alone.low[0])
        np.testing.assert_array_equal(together.high[i], alone.high[0])


def test_bounds_do_not_depend_on_the_unit():
    moving = [y for y in HISTORIES.values() if (y != np.round(y)).any()]  # other than counts
    for history in moving:
        one, other = (
            PlausibleRange.of([unit * history], horizon=2, season_length=52) for unit in (1, 1000)
        )
        np.testing.assert_allclose(1000 * one.high, other.high)
        np.testing.assert_allclose(1000 * one.low, other.low)


def test_a_trend_may_go_on_for_every_week_ahead():
    ahead = [50 + 2.0 * (len(WEEKS) + h) for h in range(13)]
    assert problem(HISTORIES["trend"], *ahead) is None
    assert problem(HISTORIES["level"], *ahead) is not None


def test_the_first_week_that_is_not_plausible_is_described():
    text = problem(LEVEL, 100, 5000, 100)
    assert text is not None
    assert text.startswith("forecast 5,000, above 1")
    assert text.endswith(", the highest plausible value 2 weeks ahead")
    text = problem(HISTORIES["counts"], -3)
    assert text == "forecast -3, below 0, the lowest plausible value 1 week ahead"
