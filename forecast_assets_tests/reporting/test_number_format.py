"""Numbers for people have the digits that their uncertainty deserves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.reporting.number_format import (
    choose_format,
    format_number,
    format_percent,
    format_score,
    si_format,
    unit_of,
)


@pytest.mark.parametrize(
    ("value", "uncertainty", "text"),
    [
        (87.4, 2.24, "87.4"),
        (2.50426, 0.0517, "2.504"),
        (8_769.79, 369.0, "8,770"),
        (1_928_460.4, 9_046.0, "1,928,460"),
        (-12_345.67, 5.0, "−12,345.7"),
        (5.0, math.nan, "5"),
        (0.25, 0.0, "0.25"),
        (0.0, 0.0, "0"),
        (np.float64(2.5), np.float64(0.1), "2.50"),
        (1e12, 2e10, "1,000,000,000,000"),
        (1e-9, 2e-10, "0.00000000100"),
        (-3e-12, math.nan, "−0.000000000003"),
        (math.nan, math.nan, "–"),
    ],
)
def test_a_number_shows_two_digits_of_its_uncertainty(value: float, uncertainty: float, text: str):
    assert choose_format(value, uncertainty=uncertainty).text(value) == text


def test_the_numbers_of_a_series_have_the_same_decimals():
    number_format = choose_format(87.4, uncertainty=2.2)
    texts = [number_format.text(y) for y in (87, 1234.56, -0.04, None)]
    assert texts == ["87.0", "1,234.6", "0.0", "–"]
    changes = [number_format.signed(y) for y in (1.0, -1.0, 0.01, math.nan)]
    assert changes == ["+1.0", "−1.0", "0.0", "–"]
    assert number_format.range(1, 2) == "1.0 to 2.0"
    assert number_format.range(math.nan, 2) == "–"


@given(value=st.floats(-1e15, 1e15), uncertainty=st.floats(1e-12, 1e15))
def test_rounding_is_smaller_than_a_twentieth_of_the_uncertainty(value: float, uncertainty: float):
    number_format = choose_format(value, uncertainty=uncertainty)
    text = number_format.text(value).replace(",", "").replace("−", "-")
    assert float(text) == pytest.approx(value, abs=max(uncertainty / 19, 1e-9), rel=1e-12)


def test_the_first_matching_pattern_gives_the_unit():
    units = {"price_*": "dollars", "*_UK": "pounds", "a[1]": "tons", "*": "pieces"}
    names = ("price_UK", "rent_UK", "rent_uk", "a[1]")
    assert [unit_of(name, units) for name in names] == ["dollars", "pounds", "pieces", "tons"]
    assert unit_of("a", {}) == ""


def test_a_single_number_has_five_digits():
    numbers = (1_928_460.4, 8_769.79, 0.000012345678, -12_345.6, np.nan, None)
    texts = ["1,928,460", "8,769.8", "1.2346e-05", "-12,346", "–", "–"]
    assert [format_number(number) for number in numbers] == texts


def test_a_fraction_is_written_in_percent():
    assert [format_percent(share) for share in (0.846, np.nan, None)] == ["85 %", "–", "–"]
    assert format_percent(-0.025, 1) == "−2.5 %"


@pytest.mark.parametrize(
    ("metric", "text"),
    [("mase", "0.82"), ("rmsse", "0.82"), ("smape", "82.4 %"), ("wis", "0.82412")],
)
def test_a_score_is_written_as_its_metric_is_read(metric: str, text: str):
    assert format_score(0.82412, metric) == text
    assert format_score(np.nan, metric) == "–"


def test_a_number_on_an_axis_is_short():
    numbers = (1_928_460.0, 12_500.0, 9_500.0, 2.5, -3e9, 0.0)
    texts = ["1.928M", "12.5k", "9500", "2.5", "-3G", "0"]
    assert [si_format(number) for number in numbers] == texts
