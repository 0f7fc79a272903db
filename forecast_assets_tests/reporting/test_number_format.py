"""Scales: the digits that a number deserves, the same for a whole series."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.reporting.number_format import NumberFormat, number_format_of, unit_of


@pytest.mark.parametrize(
    ("value", "uncertainty", "expected"),
    [
        (87.4, 2.24, "87.4"),
        (2.50426, 0.0517, "2.504"),
        (8_769.79, 369.0, "8,770"),
        (1_928_460.4, 9_046.0, "1,928,460"),
        (-12_345.67, 5.0, "−12,345.7"),
        (5.0, math.nan, "5"),
        (0.25, 0.0, "0.25"),
        (0.0, math.nan, "0"),
        (0.0, 0.0, "0"),
        (1e12, 2e10, "1.000"),
        (1e12, 1.0, "1,000,000,000,000.0"),
        (1e-9, 2e-10, "1.00"),
        (-3e-12, math.nan, "−3"),
        (math.nan, math.nan, "–"),
    ],
)
def test_a_number_has_two_digits_of_its_uncertainty(
    value: float, uncertainty: float, expected: str
):
    assert number_format_of(value, uncertainty=uncertainty).text(value) == expected


@pytest.mark.parametrize(
    ("value", "uncertainty", "label"),
    [
        (1e12, 2e10, "×10¹² barrels"),
        (1e-9, 2e-10, "×10⁻⁹ barrels"),
        (4e10, 1e9, "×10⁹ barrels"),
        (5.0, 1.0, "barrels"),
    ],
)
def test_a_power_of_ten_is_part_of_the_unit(value: float, uncertainty: float, label: str):
    scale = number_format_of(value, uncertainty=uncertainty, unit="barrels")
    assert scale.label == label


def test_the_numbers_of_a_series_line_up():
    scale = number_format_of(87.4, uncertainty=2.2)
    assert [scale.text(y) for y in (87, 1234.56, -0.04)] == ["87.0", "1,234.6", "0.0"]
    assert [scale.signed(y) for y in (1.0, -1.0, 0.01, math.nan)] == ["+1.0", "−1.0", "0.0", "–"]
    assert scale.range(1, 2) == "1.0 to 2.0"
    assert scale.range(math.nan, 2) == "–"
    assert scale.text(None) == "–"


@given(value=st.floats(-1e15, 1e15), uncertainty=st.floats(1e-12, 1e15))
def test_a_number_is_off_by_less_than_a_twentieth_of_its_uncertainty(
    value: float, uncertainty: float
):
    scale = number_format_of(value, uncertainty=uncertainty)
    told = float(scale.text(value).replace(",", "").replace("−", "-")) * 10.0**scale.power
    assert told == pytest.approx(value, abs=max(uncertainty / 19, 1e-9), rel=1e-12)
    assert NumberFormat(scale.decimals, scale.power).text(value) == scale.text(value)


def test_the_first_pattern_that_fits_names_the_unit():
    units = {"price_*": "dollars", "*_UK": "pounds", "*": "pieces"}
    names = ("price_UK", "rent_UK", "rent_uk")
    assert [unit_of(name, units) for name in names] == ["dollars", "pounds", "pieces"]
    assert unit_of("a", {}) == ""
    assert unit_of("a[1]", {"a[1]": "tons"}) == "tons"


def test_numpy_numbers_are_written_as_others():
    assert (
        number_format_of(np.float64(2.5), uncertainty=np.float64(0.1)).text(np.float64(2.5))
        == "2.50"
    )
