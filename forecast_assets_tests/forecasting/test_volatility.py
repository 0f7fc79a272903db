"""Volatility at the cutoffs: of what each fold saw, on the scale of its series."""

from dataclasses import replace

import numpy as np
import pytest

from forecast_assets.backtesting.folds import Patch, SeriesFolds, split_series
from forecast_assets.forecasting.scales import LEVEL, SCALES, Scale
from forecast_assets.forecasting.volatility import recent_volatility, volatility_at_cutoffs
from forecast_assets_tests.builders import make_series, walk

ENDS = np.array([20, 25, 30])
LOG = Scale("log1p")


def planned(*series: list[float]) -> list[SeriesFolds]:
    """Return series of 30 weeks with folds at ENDS."""
    frame = make_series(**{f"s{i}": y for i, y in enumerate(series)})
    return [replace(folds, ends=ENDS) for folds in split_series(frame)]


@pytest.mark.parametrize("scale", SCALES)
def test_a_fold_that_saw_other_values_has_their_volatility(scale: str):
    """At the second cutoff the newest value was half of today's; no other fold saw that."""
    y, other = np.array(walk(30, seed=1)), walk(30, seed=2)
    first, second = planned(list(y), other)
    seen = replace(first, patches={25: Patch(np.array([24]), y[24:25] / 2)})
    then = np.append(y[:24], y[24] / 2)
    expected = [
        next(recent_volatility([Scale(scale).forward(values, np.ones(1, dtype=bool))]))[-1, 0]
        for values in (y[:20], then, y[:30])
    ]
    volatility = volatility_at_cutoffs([seen, second], Scale(scale), horizon=1)
    assert volatility[:3, 0] == pytest.approx(expected)
    np.testing.assert_array_equal(
        volatility[3:], volatility_at_cutoffs([second], Scale(scale), horizon=1)
    )


def test_a_series_with_a_negative_value_is_measured_on_the_level():
    y = walk(30, seed=1)
    negative, positive = planned([*y[:-1], -1.0]), planned(y)
    of_negative, of_positive = (
        [volatility_at_cutoffs(series, scale, horizon=2) for scale in (LEVEL, LOG)]
        for series in (negative, positive)
    )
    np.testing.assert_array_equal(of_negative[1], of_negative[0])
    assert (of_positive[1] < of_positive[0] / 10).all()


def test_series_without_folds_have_no_volatility():
    (one,) = planned(walk(30, seed=1))
    assert len(volatility_at_cutoffs([replace(one, ends=ENDS[:0])], LOG, horizon=1)) == 0
    assert len(volatility_at_cutoffs([], LOG, horizon=1)) == 0
