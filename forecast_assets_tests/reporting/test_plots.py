"""Plots are valid SVG of what the tables hold, whatever the numbers and the names."""

import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.reporting import plots
from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.reporting.svg import HEIGHT, WIDTH
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.report_builders import make_metrics, make_report, many_series

SVG = "{http://www.w3.org/2000/svg}"


def parse(picture: str) -> ET.Element:
    """Return the picture as XML; every number in it must be finite."""
    assert "nan" not in picture
    assert "inf" not in picture
    return ET.fromstring(picture)  # noqa: S314 - our own SVG


def fan(report: WeeklyReport) -> ET.Element:
    """Return the chart of a report's only series."""
    frames = (report.series, report.forecast, report.accuracy[report.accuracy["h"] == 1])
    options = {"levels": report.levels, "level": report.levels[0]}
    chart = plots.fan_chart(*frames, **options, number_format=NumberFormat(1))
    return parse(chart.svg(title="sales"))


def marks(picture: ET.Element, kind: str) -> list[ET.Element]:
    """Return the marks of a kind."""
    return [node for node in picture.iter() if node.get("class") == kind]


def texts(picture: ET.Element) -> list[str]:
    """Return every text of a picture."""
    return [str(node.text) for node in picture.iter(f"{SVG}text")]


def points(node: ET.Element) -> list[tuple[float, float]]:
    """Return the points of a line or an area."""
    pairs = [pair.split(",") for pair in str(node.get("points")).split()]
    return [(float(x), float(y)) for x, y in pairs]


def bars(*spans: WorkerSpan) -> list[dict[str, float]]:
    """Return position and size of the bars of a timeline."""
    nodes = list(parse(plots.draw_timeline(spans)).iter(f"{SVG}rect"))[1:]  # after the background
    return [
        {name: float(node.attrib[name]) for name in ("x", "y", "width", "height")} for node in nodes
    ]


def without_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return forecasts that have no interval."""
    return frame.assign(lo_80=np.nan, hi_80=np.nan, lo_95=np.nan, hi_95=np.nan)


def test_a_fan_chart_has_half_a_year_the_forecast_and_a_band_for_each_level():
    picture = fan(make_report(horizon=3))
    (past,), (forecast,) = marks(picture, "actual"), marks(picture, "forecast")
    assert (len(points(past)), len(points(forecast))) == (26, 4)
    assert points(forecast)[0] == points(past)[-1]
    wide, narrow = (points(band) for band in marks(picture, "band"))
    assert (len(wide), len(narrow)) == (8, 8)
    wide_y, narrow_y = ([y for _, y in band] for band in (wide, narrow))
    y_hat = points(forecast)[-1][1]
    assert min(wide_y) < min(narrow_y) < y_hat < max(narrow_y) < max(wide_y)
    assert {"Oct", "Nov", "Dec", "2025", "Feb"} <= set(texts(picture))


def test_the_bands_of_many_levels_stay_half_transparent():
    picture = fan(make_report(levels=list(range(10, 100, 4))))
    opacities = [float(str(band.get("fill-opacity"))) for band in marks(picture, "band")]
    assert len(opacities) == 23
    assert 1 - np.prod([1 - opacity for opacity in opacities]) == pytest.approx(0.5, abs=0.01)


def test_published_forecasts_show_whether_the_value_was_inside():
    """Those without an interval count as inside."""
    report = make_report(half=0.8)
    n_inside = int(report.accuracy["in_80"].sum())
    assert 0 < n_inside < 10
    without = make_report(accuracy=without_intervals(report.accuracy))
    for picture, counts in (
        (fan(report), [n_inside, 10 - n_inside, 10]),
        (fan(without), [10, 0, 0]),
    ):
        kinds = ("inside", "outside", "published")
        assert [len(marks(picture, kind)) for kind in kinds] == counts


def test_the_ends_of_the_interval_are_written_beside_the_fan():
    picture = fan(make_report(make_series(sales=[*walk(30, seed=1), 98.7]), half=3.0))
    (end,) = marks(picture, "strong")
    labels = [node for node in picture.iter(f"{SVG}text") if node.get("x") == end.get("x")]
    assert [node.text for node in labels] == ["101.7", "98.7", "95.7"]
    picture = fan(make_report(forecast=without_intervals(make_report().forecast)))
    assert len(marks(picture, "forecast")) == len(marks(picture, "strong")) == 1


@pytest.mark.parametrize(
    ("y", "half"),
    [
        ([5.0] * 30, 0.0),
        ([0.0] * 30, 0.0),
        ([7.0], 1.0),
        ([1e12 + i for i in range(30)], 0.1),
        ([-3e-12 * i for i in range(30)], 1e-13),
        ([-3.0, 2e-9], 1e12),
    ],
)
def test_every_mark_is_inside_the_picture(y: list[float], half: float):
    parse(plots.draw_series(make_series(sales=y)))
    for node in fan(make_report(make_series(sales=y), half=half)).iter():
        for name, size in (("x", WIDTH), ("y", HEIGHT), ("cx", WIDTH), ("cy", HEIGHT)):
            if node.get(name) is not None:
                assert -1 <= float(str(node.get(name))) <= size + 1, (node.tag, node.attrib)


def test_each_series_has_a_chart_with_its_name_up_to_a_limit():
    report = make_report(many_series(plots.MAX_CHARTS + 3, n_weeks=12), n_weeks=1)
    series = parse(plots.draw_series(report.series))
    forecast = parse(plots.draw_forecast(report.forecast, report.series, levels=report.levels))
    assert len(marks(series, "actual")) == len(marks(forecast, "actual")) == plots.MAX_CHARTS
    names = [f"s{i:04}" for i in range(plots.MAX_CHARTS)]
    assert [node.text for node in marks(series, "title")] == names
    assert [node.text for node in marks(forecast, "title")] == [f"{name} · naive" for name in names]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>&\"'", "bell\x07\x00", "x" * 200])
def test_a_name_cannot_break_out_of_a_picture(name: str):
    report = make_report(make_series(**{name: walk(10, seed=1)}), n_weeks=1)
    valid = name.replace("\x07", "�").replace("\x00", "�")
    forecast = plots.draw_forecast(report.forecast, report.series, levels=report.levels)
    for picture in (plots.draw_series(report.series), forecast):
        assert "<script" not in picture
        (title,) = marks(parse(picture), "title")
        assert str(title.text).startswith(valid[:50])
    timeline = plots.draw_timeline([WorkerSpan(name, name, 0.0, 1.0)])
    assert f"worker {valid}"[-14:] in texts(parse(timeline))


def test_scores_are_dots_with_a_ring_around_the_best():
    metrics = make_metrics(["a"], {"naive": 1.0, "theta": 0.8, "broken": np.nan})
    picture = parse(plots.draw_scores(metrics, metric="mase"))
    note = "mase (lower is better; the best is ringed)"
    assert {"a", "naive", "theta", "broken", note} <= set(texts(picture))
    (ring,), (theta, *_) = marks(picture, "ring"), marks(picture, "hue1")
    dots = [node for kind in ("hue0", "hue1", "hue2") for node in marks(picture, kind)]
    assert ring.get("cx") in {node.get("cx") for node in dots}
    assert theta.get("r") == "4"


def test_of_many_models_the_best_and_naive_have_a_colour():
    scores = {f"m{i:02}": 1.0 + i for i in range(12)} | {"naive": 99.0}
    picture = parse(plots.draw_scores(make_metrics(["a"], scores), metric="mase"))
    names = texts(picture)
    assert names[:3] == ["m00", "naive", "others"]
    assert len(marks(picture, "other")) == 1 + 11
    parse(plots.draw_scores(make_metrics(["a"], {"m": np.nan}), metric="mase"))


def test_a_timeline_has_a_row_for_each_model_in_the_order_of_their_start():
    spans = [WorkerSpan("theta", "0", 105.0, 2.0), WorkerSpan("ses", "0", 100.0, 5.0)]
    names = texts(parse(plots.draw_timeline(spans)))
    assert {"7.0 seconds on 1 workers", "worker 0", "0 s", "6 s"} <= set(names)
    assert names.index("ses") < names.index("theta")
    theta, ses = sorted(bars(*spans), key=lambda bar: -bar["y"])
    assert theta["y"] > ses["y"]
    assert theta["x"] == pytest.approx(ses["x"] + ses["width"], abs=0.2)
    assert ses["width"] == pytest.approx(2.5 * theta["width"], abs=0.3)


def test_the_lanes_of_workers_do_not_overlap():
    spans = [WorkerSpan("ses", str(worker), 0.0, 1.0) for worker in range(4)]
    lanes = sorted(bars(*spans), key=lambda bar: bar["y"])
    assert all(a["y"] + a["height"] <= b["y"] for a, b in itertools.pairwise(lanes))
    assert len({(bar["x"], bar["width"]) for bar in lanes}) == 1
    spans = [WorkerSpan(model, str(i), 0.0, 1.0) for model in ("ses", "theta") for i in range(100)]
    upper, lower = np.array_split(sorted(bar["y"] + bar["height"] for bar in bars(*spans)), 2)
    assert upper.max() < lower.min()


def test_spans_without_a_visible_gap_are_one_bar():
    spans = [WorkerSpan("ses", "0", 1.0 * i, 1.0 - plots.MIN_GAP_SECONDS / 2) for i in range(100)]
    assert len(bars(*spans)) == 1
    assert len(bars(*spans, WorkerSpan("ses", "0", 200.0, 1.0))) == 2
    assert len(bars(*spans, WorkerSpan("theta", "0", 50.5, 0.1))) == 3
    assert len(bars(*spans, WorkerSpan("ses", "1", 50.5, 0.1))) == 2
    # A worker with two threads runs two chunks at once.
    long = WorkerSpan("ses", "0", 0.0, 10.0)
    assert bars(long, WorkerSpan("ses", "0", 1.0, 2.0)) == bars(long)


def test_unusual_times_make_a_timeline():
    spans = [WorkerSpan("ses", f"tcp://10.0.0.1:{i}", 1.7e9 + i, 9e4) for i in range(300)]
    spans += [WorkerSpan("ses", "0", 1.7e9, seconds) for seconds in (0.0, 1e-7)]
    for some in (spans, spans[-1:], spans[-2:-1]):
        parse(plots.draw_timeline(some))
