"""Charts put values where they belong, and their texts do not overlap."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.reporting import svg

DAYS = pd.date_range("2024-01-05", periods=30, freq="W-FRI")


def half_year(*y: float) -> svg.Chart:
    """Return a chart of half a year between these values."""
    return svg.time_chart(DAYS, np.array(y), right=60)


def texts(marks: list[str]) -> list[tuple[str, float, float]]:
    """Return every text of a chart with its position."""
    nodes = [ET.fromstring(mark) for mark in marks if mark.startswith("<text")]  # noqa: S314
    return [(str(node.text), float(node.attrib["x"]), float(node.attrib["y"])) for node in nodes]


def test_greater_values_are_higher_and_later_days_further_right():
    chart = half_year(10.0, 20.0)
    assert chart.top < chart.y_px(20.0) < chart.y_px(10.0) < chart.bottom
    first, last = svg.in_days(DAYS[[0, -1]])
    assert 0 < chart.x_px(first) < chart.x_px(last) == svg.WIDTH - 60


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ((10.0, 20.0), ["10", "12", "14", "16", "18", "20"]),
        ((-0.1, 0.1), ["−0.10", "−0.05", "0.00", "0.05", "0.10"]),
        ((1.90e6, 1.96e6), ["1.9M", "1.92M", "1.94M", "1.96M"]),
        ((1e9, 1e9 + 3), [f"1,000,000,00{i}" for i in range(4)]),
    ],
)
def test_the_value_axis_has_a_few_round_values(y: tuple[float, float], expected: list[str]):
    labels = [text for text, _, height in texts(half_year(*y).marks) if height < svg.HEIGHT - 7]
    assert labels == expected


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-3, 1e9))
def test_ticks_are_a_few_round_values_between_the_ends(low: float, span: float):
    values = svg.ticks(low, low + span)
    assert 2 <= len(values) <= 8
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in values)


def test_a_log_axis_has_round_values_however_short_it_is():
    assert svg.log_ticks(-1, 1) == pytest.approx([0.1, 0.2, 0.5, 1, 2, 5, 10])
    assert svg.log_ticks(np.log10(0.82), np.log10(1.18)) == pytest.approx([0.9, 1.0, 1.1])


@pytest.mark.parametrize(
    ("n_weeks", "expected"),
    [
        (600, ["2025", "2030", "2035"]),
        (200, ["2025", "2026", "2027"]),
        (80, ["Jul", "2025", "Jul"]),
        (27, ["Mar 2024", "May", "Jul"]),
        (3, ["05 Jan", "12 Jan", "19 Jan"]),
    ],
)
def test_an_axis_has_dates_at_equal_distances_that_do_not_overlap(
    n_weeks: int, expected: list[str]
):
    days = pd.date_range("2024-01-05", periods=n_weeks, freq="W-FRI")
    marks = svg.time_chart(days, np.array([1e9, 1e9 + 3]), right=90).marks
    dates = sorted((x, text) for text, x, y in texts(marks) if y == svg.HEIGHT - 7)
    assert [text for _, text in dates] == expected
    widths = [svg.DIGIT_WIDTH * len(text) for _, text in dates]
    gaps = np.diff([x for x, _ in dates])
    assert all(gap > width for gap, width in zip(gaps, widths, strict=False))


def test_names_of_a_legend_do_not_overlap():
    assert svg.legend_columns(["naive", "theta"], 590) > 4
    assert svg.legend_columns(["combination_inverse_error"] * 9, 590) == 3
    assert svg.legend_columns(["x" * 200], 590) == 1


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_the_labels_beside_the_end_do_not_overlap(values: list[float]):
    chart = half_year(0.0, 3.0)
    chart.marks.clear()
    chart.end_labels([(str(value), value) for value in values], svg.in_days(DAYS)[-1])
    heights = [y for _, _, y in texts(chart.marks)]
    assert np.diff(heights).min() >= svg.LINE_HEIGHT - 0.1
    assert 0 < heights[0] < heights[-1] < svg.HEIGHT


def test_a_long_text_is_cut_and_characters_that_xml_does_not_allow_are_replaced():
    chart = half_year(0.0, 1.0)
    chart.text(0, 0, "x" * 99)
    assert texts(chart.marks[-1:]) == [("x" * 51 + "…", 0.0, 0.0)]
    chart.text(0, 0, "a\x00<b>&\x1f")
    picture = ET.fromstring(chart.svg(title='\x07"'))  # noqa: S314
    assert picture.get("aria-label") == '�"'
    assert picture[-1].text == "a�<b>&�"


def test_a_standalone_picture_has_its_own_colours():
    assert svg.STYLE in half_year(0.0, 1.0).svg(title="", is_standalone=True)
    assert all("," in use for use in re.findall(r"var\(([^)]*)\)", svg.STYLE))
