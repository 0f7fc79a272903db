"""Charts: values where they belong, and texts that can be read."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets.reporting.svg import (
    APART,
    HEIGHT,
    STYLE,
    TOP,
    WIDTH,
    Chart,
    in_days,
    label,
    svg,
)

DAYS = pd.date_range("2024-01-05", periods=30, freq="W-FRI")


def chart(*y: float, scale: NumberFormat | None = None) -> Chart:
    """A chart of half a year between these values."""
    return Chart(in_days(DAYS), np.array(y), scale=scale or NumberFormat(1), right=60)


def texts(made: Chart) -> list[tuple[str, float]]:
    """Every text of a chart and its height, from the top."""
    nodes = [ET.fromstring(mark) for mark in made.marks if mark.startswith("<text")]  # noqa: S314
    return [(str(node.text), float(str(node.get("y")))) for node in nodes]


def test_a_value_lies_between_the_margins_the_greater_the_higher():
    made = chart(10.0, 20.0)
    assert TOP < made.down(20.0) < made.down(10.0) < HEIGHT
    first, last = in_days(DAYS[[0, -1]])
    assert 0 < made.across(first) < made.across(last) == WIDTH - 60


@pytest.mark.parametrize(
    ("y", "scale", "expected"),
    [
        ((10.0, 20.0), NumberFormat(1), ["10", "12", "14", "16", "18", "20"]),
        ((-0.1, 0.1), NumberFormat(2), ["−0.10", "−0.05", "0.00", "0.05", "0.10"]),
        ((1.90e6, 1.96e6), NumberFormat(0), ["1.9M", "1.92M", "1.94M", "1.96M"]),
        ((1e12, 4e12), NumberFormat(3, 12), ["1", "2", "3", "4"]),
        ((1e9, 1e9 + 3), NumberFormat(0), [f"1,000,000,00{i}" for i in range(4)]),
    ],
)
def test_the_axis_has_a_few_round_values(
    y: tuple[float, float], scale: NumberFormat, expected: list[str]
):
    made = chart(*y, scale=scale)
    made.axes(DAYS)
    said = [text for text, height in texts(made) if height < HEIGHT - 7]
    assert said == expected


def test_months_do_not_run_into_each_other():
    made = Chart(in_days(DAYS), np.array([0.0, 1.0]), scale=NumberFormat(1), right=60)
    made.axes(DAYS)
    months = [mark for mark in made.marks if f'y="{HEIGHT - 7:.1f}"' in mark]
    places = [float(found[1]) for mark in months if (found := re.search(r'x="([\d.]+)"', mark))]
    assert len(places) >= 3
    assert all(b - a > 20 for a, b in pairwise(places))


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_the_texts_beside_the_end_are_apart_and_inside(values: list[float]):
    made = chart(0.0, 3.0)
    made.ends([(str(value), value) for value in values], in_days(DAYS)[-1])
    heights = [height for _, height in texts(made)]
    assert np.diff(heights).min() >= APART - 0.1
    assert heights[0] > 0
    assert heights[-1] < HEIGHT


def test_a_long_text_is_cut():
    assert ET.fromstring(label(0, 0, "x" * 99, most=10)).text == "xxxxxxxxx…"  # noqa: S314 - ours


def test_what_no_xml_may_hold_is_replaced():
    whole = svg([label(0, 0, "a\x00<b>&\x1f")], says='\x07"')
    node = ET.fromstring(whole)  # noqa: S314 - ours
    assert node.get("aria-label") == '�"'
    assert node[0].text == "a�<b>&�"


def test_every_colour_has_one_for_pictures_that_stand_alone():
    assert all("," in use for use in re.findall(r"var\(([^)]*)\)", STYLE))
