"""Scales: there and back, and the ends of intervals in the unit of the level."""

import numpy as np
import pytest

from forecast_assets.forecasting.scales import SCALES, Scale

ALL, NONE = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)
Y_HAT = np.array([[0.0], [1.0], [50.0]])


@pytest.mark.parametrize("name", SCALES)
def test_the_inverse_leads_back_and_a_series_off_the_scale_keeps_its_level(name: str):
    values, scale = np.array([0.0, 0.5, 7.0, 1e6]), Scale(name)
    np.testing.assert_allclose(scale.inverse(scale.forward(values, ALL), ALL), values, atol=1e-9)
    signed = np.array([-3.0, 2.0])
    np.testing.assert_array_equal(scale.forward(signed, NONE), signed)
    np.testing.assert_array_equal(scale.inverse(signed, NONE), signed)


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("minimum", [None, 0.0])
def test_intervals_hold_the_forecast_and_lie_above_the_minimum(name: str, minimum: float | None):
    widths = np.array([0.5, 3.0])[:, None, None]
    lows, highs = Scale(name).bounds(Y_HAT, widths, ALL, minimum=minimum)
    assert (lows <= Y_HAT).all()
    assert (highs >= Y_HAT).all()
    assert (lows[1] <= lows[0]).all()
    assert (highs[1] > highs[0]).all()
    if minimum is not None or name != "level":
        assert (lows >= 0).all()


@pytest.mark.parametrize("name", SCALES)
def test_an_interval_without_width_is_the_forecast(name: str):
    y_hat = np.arange(20.0)[:, None]
    lows, highs = Scale(name).bounds(y_hat, np.zeros((1, 20, 1)), ALL, minimum=None)
    assert lows.tolist() == highs.tolist() == [y_hat.tolist()]


def test_an_interval_on_logarithms_is_as_wide_as_its_level_is_high():
    widths = np.array([[[np.log(2)]]])
    lows, highs = Scale("log1p").bounds(np.array([[9.0], [99.0]]), widths, ALL, minimum=None)
    np.testing.assert_allclose(lows[0, :, 0], [4.0, 49.0])
    np.testing.assert_allclose(highs[0, :, 0], [19.0, 199.0])


@pytest.mark.parametrize("name", SCALES)
def test_no_side_of_an_interval_narrows_with_the_weeks_ahead(name: str):
    """The forecast falls, and errors of the third week happen to be small."""
    y_hat, widths = np.array([[100.0, 70.0, 60.0]]), np.array([[[0.30, 0.35, 0.20]]])
    lows, highs = Scale(name).bounds(y_hat, widths, ALL, minimum=None)
    for sides in (y_hat - lows[0], highs[0] - y_hat):
        assert (np.diff(sides[0]) >= -1e-12).all()
    assert (lows[0] >= 0).all()


def test_an_end_beyond_all_numbers_is_not_known():
    _, highs = Scale("log1p").bounds(
        np.array([[1.0, 1.0]]), np.array([[[1.0, 800.0]]]), ALL, minimum=None
    )
    np.testing.assert_allclose(highs[0, 0], [2 * np.e - 1, np.nan])
