"""Pictures: well-formed SVG of what is in the tables, whatever the numbers and the names."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.pictures import (
    MOST_PANELS,
    draw_forecast,
    draw_scores,
    draw_series,
    short,
    ticks,
)
from forecast_assets_tests.builders import make_series, walk

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ET.Element:
    """The picture as XML; no number in it may be missing."""
    assert "nan" not in svg
    assert "inf" not in svg
    return ET.fromstring(svg)  # noqa: S314 - our own SVG


def texts(svg: str) -> list[str]:
    """Every text in the picture."""
    return [str(node.text) for node in parse(svg).iter(f"{SVG}text")]


def forecast_of(series: pd.DataFrame, half_width: float = 1.0) -> pd.DataFrame:
    """A forecast of every series with one interval."""
    last = series.groupby("unique_id").tail(1)
    return last.assign(
        ds=last["ds"] + pd.Timedelta(weeks=1),
        y_hat=last["y"],
        lo_80=last["y"] - half_width,
        hi_80=last["y"] + half_width,
        model="naive",
    )


def test_every_series_is_a_panel_with_its_name_and_its_line():
    svg = draw_series(make_series(a=walk(30, seed=1), b=walk(30, seed=2)))
    assert {"a", "b"} <= set(texts(svg))
    assert len(list(parse(svg).iter(f"{SVG}polyline"))) == 2


def test_no_more_panels_than_can_be_read():
    series = make_series(**{f"s{i:02}": walk(5, seed=i) for i in range(30)})
    assert len(list(parse(draw_series(series)).iter(f"{SVG}polyline"))) == MOST_PANELS


def test_a_forecast_is_drawn_with_its_fan_and_its_model():
    series = make_series(a=walk(60, seed=1))
    svg = draw_forecast(forecast_of(series), series, levels=[80])
    assert "a · naive" in texts(svg)
    assert len(list(parse(svg).iter(f"{SVG}polygon"))) == 1


@pytest.mark.parametrize("y", [[5.0, 5.0, 5.0], [0.0, 0.0], [7.0], [1e12, 1e12 + 1], [-3.0, 2e-9]])
def test_awkward_values_still_make_a_picture(y: list[float]):
    series = make_series(a=y)
    parse(draw_series(series))
    parse(draw_forecast(forecast_of(series), series, levels=[80]))


def test_a_forecast_without_an_interval_still_makes_a_picture():
    series = make_series(a=walk(10, seed=1))
    frame = forecast_of(series).assign(lo_80=np.nan, hi_80=np.nan)
    parse(draw_forecast(frame, series, levels=[80]))


def test_a_name_cannot_break_out_of_the_picture():
    series = make_series(**{"<script>alert(1)</script>&\"'": walk(10, seed=1)})
    svg = draw_series(series)
    assert "<script" not in svg
    assert "<script>alert(1)</script>&\"'" in texts(svg)


def test_scores_are_dots_and_the_least_one_is_ringed():
    metrics = pd.DataFrame(
        {
            "unique_id": ["a", "a", "a"],
            "model": ["naive", "theta", "broken"],
            "mase": [1.0, 0.8, np.nan],
            "status": ["scored", "scored", "failed"],
        }
    )
    svg = draw_scores(metrics, metric="mase")
    assert {"a", "naive", "theta", "broken", "mase (less is better, the least is ringed)"} <= set(
        texts(svg)
    )
    rings = [node for node in parse(svg).iter(f"{SVG}circle") if node.get("fill") == "none"]
    assert len(rings) == 1


def test_no_scores_at_all_still_make_a_picture():
    metrics = pd.DataFrame(
        {"unique_id": ["a"], "model": ["m"], "mase": [np.nan], "status": ["failed"]}
    )
    parse(draw_scores(metrics, metric="mase"))


@given(low=st.floats(-1e9, 1e9), span=st.floats(1e-3, 1e9))
def test_ticks_are_a_few_round_values_between_the_ends(low: float, span: float):
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_928_460.0, "1.928M"),
        (12_500.0, "12.5k"),
        (9_500.0, "9500"),
        (2.5, "2.5"),
        (-3e9, "-3G"),
        (0.0, "0"),
    ],
)
def test_short_numbers_fit_beside_an_axis(value: float, expected: str):
    assert short(value) == expected
