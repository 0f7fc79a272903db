"""Pictures: well-formed SVG of what is in the tables, whatever the numbers and the names."""

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.reporting.plots import (
    MOST_PANELS,
    UNSEEN_SECONDS,
    draw_scores,
    draw_series,
    draw_timeline,
)
from forecast_assets.reporting.svg import si_format, ticks
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


def test_every_series_is_a_panel_with_its_name_and_its_line():
    svg = draw_series(make_series(a=walk(30, seed=1), b=walk(30, seed=2)))
    assert {"a", "b"} <= set(texts(svg))
    assert len(list(parse(svg).iter(f"{SVG}polyline"))) == 2


def test_no_more_panels_than_can_be_read():
    series = make_series(**{f"s{i:02}": walk(5, seed=i) for i in range(30)})
    assert len(list(parse(draw_series(series)).iter(f"{SVG}polyline"))) == MOST_PANELS


@pytest.mark.parametrize("y", [[5.0, 5.0, 5.0], [0.0, 0.0], [7.0], [1e12, 1e12 + 1], [-3.0, 2e-9]])
def test_awkward_values_still_make_a_picture(y: list[float]):
    series = make_series(a=y)
    parse(draw_series(series))


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


def bars(*spans: WorkerSpan) -> list[dict[str, float]]:
    """The stretches of a timeline: where each lies, and how large it is."""
    found = [node.attrib for node in parse(draw_timeline(spans)).iter(f"{SVG}rect")]
    n_workers = len({span.worker for span in spans})
    return [
        {name: float(node[name]) for name in ("x", "y", "width", "height")}
        for node in found[1 + min(n_workers, 8) :]  # after the paper and the legend
    ]


def test_a_timeline_has_a_row_for_each_model_in_the_order_that_they_began():
    spans = [WorkerSpan("theta", "0", 105.0, 2.0), WorkerSpan("ses", "0", 100.0, 5.0)]
    said = texts(draw_timeline(spans))
    assert {"7.0 seconds on 1 workers", "worker 0", "0 s", "6 s"} <= set(said)
    assert said.index("ses") < said.index("theta")
    theta, ses = sorted(bars(*spans), key=lambda bar: -bar["y"])
    assert theta["y"] > ses["y"]
    assert theta["x"] == pytest.approx(ses["x"] + ses["width"], abs=0.2)
    assert ses["width"] == pytest.approx(2.5 * theta["width"], abs=0.3)


def test_workers_have_lanes_of_their_own_that_do_not_overlap():
    spans = [WorkerSpan("ses", str(worker), 0.0, 1.0) for worker in range(4)]
    lanes = sorted(bars(*spans), key=lambda bar: bar["y"])
    assert all(a["y"] + a["height"] <= b["y"] for a, b in itertools.pairwise(lanes))
    assert len({(bar["x"], bar["width"]) for bar in lanes}) == 1


def test_however_many_workers_share_a_models_row():
    spans = [WorkerSpan(model, str(i), 0.0, 1.0) for model in ("ses", "theta") for i in range(100)]
    rows = np.array_split(sorted(bar["y"] + bar["height"] for bar in bars(*spans)), 2)
    assert rows[0].max() < 44 + 22 <= rows[1].min()


def test_stretches_without_a_gap_that_can_be_seen_are_one():
    spans = [WorkerSpan("ses", "0", 1.0 * i, 1.0 - UNSEEN_SECONDS / 2) for i in range(100)]
    assert len(bars(*spans)) == 1
    assert len(bars(*spans, WorkerSpan("ses", "0", 200.0, 1.0))) == 2
    assert len(bars(*spans, WorkerSpan("theta", "0", 50.5, 0.1))) == 3
    assert len(bars(*spans, WorkerSpan("ses", "1", 50.5, 0.1))) == 2


def test_a_stretch_within_another_does_not_shorten_it():
    """A worker of two threads runs two chunks at once."""
    long = WorkerSpan("ses", "0", 0.0, 10.0)
    (whole,) = bars(long)
    (both,) = bars(long, WorkerSpan("ses", "0", 1.0, 2.0))
    assert both == whole


@pytest.mark.parametrize(
    "spans",
    [
        [WorkerSpan("ses", "0", 1.7e9, 0.0)],
        [WorkerSpan("ses", "0", 1.7e9, 1e-7)],
        [WorkerSpan("ses", f"tcp://10.0.0.1:{port}", 1.7e9 + port, 9e4) for port in range(300)],
    ],
    ids=["no time", "next to none", "many workers"],
)
def test_awkward_times_still_make_a_timeline(spans: list[WorkerSpan]):
    parse(draw_timeline(spans))


def test_a_worker_cannot_break_out_of_the_timeline():
    svg = draw_timeline([WorkerSpan("<b>", "<i>&", 0.0, 1.0)])
    assert {"<b>", "worker <i>&"} <= set(texts(svg))


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
    assert si_format(value) == expected
