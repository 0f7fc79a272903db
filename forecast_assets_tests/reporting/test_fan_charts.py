"""Fan charts: well-formed SVG of what came, what was and is said, whatever the numbers."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets.reporting.plots import MOST_PANELS, by_series, draw_forecast, fan
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.reporting.svg import HEIGHT, WIDTH, svg
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.report_builders import make_week, many_series

SVG = "{http://www.w3.org/2000/svg}"


def parse(picture: str) -> ET.Element:
    """The picture as XML; no number in it may be missing."""
    assert "nan" not in picture
    assert "inf" not in picture
    whole = (
        picture if "xmlns" in picture else picture.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1)
    )
    return ET.fromstring(whole)  # noqa: S314 - our own SVG


def chart(week: WeeklyReport, name: str = "sales") -> ET.Element:
    """The chart of one series of a week."""
    past, ahead, was = (
        frame[frame["unique_id"] == name] for frame in (week.series, week.forecast, week.accuracy)
    )
    marks = fan(
        past,
        ahead,
        was[was["h"] == 1],
        levels=week.levels,
        level=week.levels[0],
        scale=NumberFormat(1),
    )
    return parse(svg(marks, says=name))


def kinds(picture: ET.Element, kind: str) -> list[ET.Element]:
    """The marks of a class."""
    return [node for node in picture.iter() if node.get("class") == kind]


def texts(picture: ET.Element) -> list[str]:
    """Every text in the picture."""
    return [str(node.text) for node in picture.iter(f"{SVG}text")]


def places(node: ET.Element) -> list[tuple[float, float]]:
    """The points of a line or an area."""
    pairs = [pair.split(",") for pair in str(node.get("points")).split()]
    return [(float(a), float(b)) for a, b in pairs]


def test_a_chart_holds_half_a_year_the_forecast_and_a_band_a_level():
    picture = chart(make_week(horizon=3))
    (past,), (ahead,) = kinds(picture, "past"), kinds(picture, "next")
    assert len(places(past)) == 26
    assert len(places(ahead)) == 4
    assert places(ahead)[0] == places(past)[-1]
    assert [len(places(band)) for band in kinds(picture, "band")] == [8, 8]


def test_bands_lie_within_each_other_and_around_the_forecast():
    picture = chart(make_week())
    wide, narrow = ([b for _, b in places(band)] for band in kinds(picture, "band"))
    forecast = places(kinds(picture, "next")[0])[-1][1]
    assert min(wide) < min(narrow) < forecast < max(narrow) < max(wide)


def test_a_fan_of_many_levels_stays_lighter_than_half():
    picture = chart(make_week(levels=list(range(10, 100, 4))))
    opacities = [float(str(band.get("fill-opacity"))) for band in kinds(picture, "band")]
    assert len(opacities) == 23
    assert 1 - np.prod([1 - one for one in opacities]) == pytest.approx(0.5, abs=0.01)


def test_past_forecasts_show_whether_the_value_lay_inside():
    week = make_week(make_series(sales=walk(60, seed=1)), n_due=10, half=0.8)
    picture = chart(week)
    n_in = int(week.accuracy["in_80"].sum())
    assert 0 < n_in < 10
    assert len(kinds(picture, "in")) == n_in
    assert len(kinds(picture, "off")) == 10 - n_in
    assert len(kinds(picture, "said")) == 10


def test_past_forecasts_without_an_interval_are_neither_in_nor_out():
    week = make_week(half=1e-9)
    bare = make_week(accuracy=week.accuracy.assign(lo_80=np.nan, hi_80=np.nan))
    picture = chart(bare)
    assert (len(kinds(picture, "in")), len(kinds(picture, "off"))) == (10, 0)
    assert kinds(picture, "said") == []


def test_the_end_of_the_fan_is_written_beside_it_from_top_to_bottom():
    week = make_week(make_series(sales=[*walk(30, seed=1), 98.7]), half=3.0)
    picture = chart(week)
    (end,) = kinds(picture, "end")
    assert end.text == "98.7"
    said = [node for node in picture.iter(f"{SVG}text") if node.get("x") == end.get("x")]
    assert [node.text for node in said] == ["101.7", "98.7", "95.7"]
    heights = [float(str(node.get("y"))) for node in said]
    assert np.diff(heights).min() >= 13


def test_months_are_named_with_their_year_once():
    found = texts(chart(make_week()))
    assert {"Sep 2024", "Nov", "Jan 2025"} <= set(found)


def test_a_short_series_is_dated_by_its_ends():
    found = texts(chart(make_week(make_series(sales=[1.0, 2.0]))))
    assert {"05 Jan 2024", "19 Jan 2024"} <= set(found)


AWKWARD = [
    [5.0, 5.0, 5.0],
    [0.0, 0.0],
    [7.0],
    [1e12, 1e12 + 1],
    [-3.0, 2e-9],
    [1e-9, 2e-9, 1e-9],
    [-1e12, 1e12],
]


@pytest.mark.parametrize("y", AWKWARD)
@pytest.mark.parametrize("half", [0.0, 1e-9, 1.0, 1e12])
def test_awkward_values_stay_inside_the_chart(y: Sequence[float], half: float):
    picture = chart(make_week(make_series(sales=y), half=half))
    for node in picture.iter():
        for name, most in (("x", WIDTH), ("y", HEIGHT), ("cx", WIDTH), ("cy", HEIGHT)):
            if node.get(name) is not None:
                assert -1 <= float(str(node.get(name))) <= most + 1, (node.tag, node.attrib)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e13, 1e13), min_size=1, max_size=40), st.integers(-12, 12))
def test_any_values_make_a_picture(y: list[float], power: int):
    chart(make_week(make_series(sales=y), half=10.0**power))


def test_a_forecast_without_an_interval_is_a_line():
    week = make_week()
    bare = week.forecast.assign(lo_80=np.nan, hi_80=np.nan, lo_95=np.nan, hi_95=np.nan)
    picture = chart(make_week(forecast=bare))
    assert len(kinds(picture, "next")) == 1
    assert len(kinds(picture, "end")) == 1


def test_the_picture_of_all_series_has_a_panel_each_and_its_own_colours():
    week = make_week(make_series(a=walk(30, seed=1), b=walk(30, seed=2)))
    picture = parse(draw_forecast(week.forecast, week.series, levels=week.levels))
    assert {"a · naive", "b · naive"} <= set(texts(picture))
    assert len(kinds(picture, "past")) == 2
    assert next(picture.iter(f"{SVG}style")).text


def test_no_more_panels_than_can_be_read():
    week = make_week(many_series(30))
    picture = parse(draw_forecast(week.forecast, week.series, levels=week.levels))
    assert len(kinds(picture, "past")) == MOST_PANELS


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>&\"'", "bell\x07\x00", "ملف 🛢", "x" * 200]
)
def test_a_name_cannot_break_out_of_a_picture(name: str):
    week = make_week(make_series(**{name: walk(10, seed=1)}))
    picture = draw_forecast(week.forecast, week.series, levels=week.levels)
    assert "<script" not in picture
    (title,) = kinds(parse(picture), "title")
    clean = name.replace("\x07", "�").replace("\x00", "�")
    assert str(title.text).startswith(clean[:50])
    assert parse(svg([], says=name)).get("aria-label") == clean


def test_rows_are_given_by_series():
    found = by_series(make_series(a=[1, 2], b=[3]))
    assert {name: len(rows) for name, rows in found.items()} == {"a": 2, "b": 1}
    assert by_series(pd.DataFrame({"unique_id": []})) == {}
