"""Tables to pictures: small SVG charts for the UI and the report.

Drawn as text on purpose: a plotting library took 1.9 of the 5.3 seconds that a repeated week takes,
and its bitmaps made the event log ten times as large. Nothing is computed here but coordinates.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.reporting.number_format import NumberFormat, number_format_of
from forecast_assets.reporting.summary import displayed_levels
from forecast_assets.reporting.svg import (
    BOLD,
    HEIGHT,
    STYLE,
    WIDTH,
    Chart,
    Values,
    _log_ticks,
    bounds,
    in_days,
    label,
    si_format,
    svg,
    ticks,
)
from forecast_assets.storage.tables import interval_columns

UNSEEN_SECONDS = 0.05  # a gap in the timeline that nobody would see
MOST_PANELS = 12  # more cannot be read at the width of a page
PANEL_COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 3, 330, 170  # of a panel, in pixels
PANEL_LEFT, PANEL_RIGHT, PANEL_TOP, PANEL_BOTTOM = 46, 10, 26, 22  # its margins
INK, PALE, ACCENT, PAPER = "#1f2933", "#7b8794", "#2563eb", "#ffffff"
OTHERS = "the others"
HUES = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0891b2", "#db2777", "#a16207", "#475569")


class _Panel:
    """One chart: data coordinates (time or number by value) to pixels inside a frame."""

    def __init__(self, title: str, x: Values, y: Values, *, at: tuple[float, float]) -> None:
        self._x0, self._x1 = bounds(x)
        low, high = bounds(y)
        room = 0.06 * (high - low)
        self._y0, self._y1 = low - room, high + room
        self._at = at
        self.marks = [_text(at[0] + 6, at[1] + 15, title, weight="600")]

    def place(self, x: Values, y: Values) -> str:
        """The points as SVG coordinates."""
        left, top = self._at[0] + PANEL_LEFT, self._at[1] + PANEL_TOP
        wide, high = PANEL_WIDTH - PANEL_LEFT - PANEL_RIGHT, PANEL_HEIGHT - PANEL_TOP - PANEL_BOTTOM
        across = left + (np.asarray(x, dtype=float) - self._x0) / (self._x1 - self._x0) * wide
        down = top + (self._y1 - np.asarray(y, dtype=float)) / (self._y1 - self._y0) * high
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))

    def line(self, x: Values, y: Values, *, color: str, width: float) -> None:
        """A line through the points."""
        self.marks.append(
            f'<polyline points="{self.place(x, y)}" fill="none" stroke="{color}"'
            f' stroke-width="{width}" stroke-linejoin="round"/>'
        )

    def axes(self, days: pd.DatetimeIndex) -> None:
        """A scale of values on the left, and the first and last day below."""
        left, bottom = self._at[0] + PANEL_LEFT, self._at[1] + PANEL_HEIGHT - PANEL_BOTTOM
        right = self._at[0] + PANEL_WIDTH - PANEL_RIGHT
        for value in ticks(self._y0, self._y1):
            down = self.place(np.array([self._x0]), np.array([value])).split(",")[1]
            self.marks.append(
                f'<line x1="{left}" x2="{right}" y1="{down}" y2="{down}" stroke="{PALE}"'
                f' stroke-opacity="0.25"/>'
            )
            self.marks.append(_text(left - 5, float(down) + 4, si_format(value), anchor="end"))
        self.marks.append(_text(left, bottom + 15, f"{days.min():%d %b %Y}"))
        self.marks.append(_text(right, bottom + 15, f"{days.max():%d %b %Y}", anchor="end"))


def draw_series(series: pd.DataFrame) -> str:
    """Every series from its first week to its last, a panel each, as SVG."""
    panels = []
    for place, unique_id in enumerate(_first(series["unique_id"])):
        one = series[series["unique_id"] == unique_id]
        x, y = in_days(one["ds"]), one["y"].to_numpy()
        panel = _Panel(unique_id, x, y, at=_corner(place))
        panel.axes(pd.DatetimeIndex(one["ds"]))
        panel.line(x, y, color=ACCENT, width=1.1)
        panels.append(panel)
    return _grid(panels, title="Every series from its first week to its last")


def draw_scores(metrics: pd.DataFrame, *, metric: str) -> str:
    """Each model's score on each series as dots on a log scale, the least one ringed, as SVG."""
    scored = metrics[(metrics["status"] == "scored") & (metrics[metric] > 0)]
    ids = _first(scored["unique_id"])
    hues = _hues(scored, metrics["model"], metric=metric)
    logs = np.log10(scored[metric].to_numpy()) if len(scored) else np.array([0.0, 1.0])
    low, high = bounds(logs)
    left, right, row, top = 210, 190, 26, 30 + 16 * math.ceil(len(hues) / 6)
    wide, tall = PANEL_COLUMNS * PANEL_WIDTH, top + row * len(ids) + 36

    def across(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (wide - left - right)

    marks = []
    for i, (model, hue) in enumerate(hues.items()):
        x, y = left + (i % 6) * 125, 14 + 16 * (i // 6)
        marks += [_dot(x, y - 4, 4, hue), _text(x + 9, y, model)]
    for i, unique_id in enumerate(ids):
        down = top + row * i + row / 2
        ends = f'x1="{left}" x2="{wide - right}" y1="{down}" y2="{down}"'
        marks.append(f'<line {ends} stroke="{PALE}" stroke-opacity="0.25"/>')
        marks.append(_text(left - 10, down + 4, unique_id, anchor="end"))
        one = scored[scored["unique_id"] == unique_id]
        pairs = sorted(zip(one["model"], one[metric], strict=True), key=lambda two: two[0] in hues)
        for model, score in pairs:  # those with a colour on top
            hue = hues.get(model, PALE)
            marks.append(_dot(across(score), down, 4.5, hue, opacity=0.75))
        best = one.loc[one[metric].idxmin()]
        ring = across(float(best[metric]))
        marks.append(f'<circle cx="{ring:.1f}" cy="{down}" r="8" fill="none" stroke="{INK}"/>')
        marks.append(_text(wide - right + 16, down + 4, str(best["model"]), weight="600"))
    bottom = top + row * len(ids) + 14
    for value in _log_ticks(low, high):
        marks.append(_text(across(value), bottom, si_format(value), anchor="middle"))
    marks.append(
        _text(
            wide - right,
            bottom + 16,
            f"{metric} (less is better, the least is ringed)",
            anchor="end",
        )
    )
    return _svg(marks, wide, tall, title=f"{metric} of every model on every series")


def _hues(scored: pd.DataFrame, models: Iterable[str], *, metric: str) -> dict[str, str]:
    """A colour for each model; where there are too many, for those that won and naive alone."""
    named = list(dict.fromkeys(models))
    if len(named) > len(HUES):
        best = scored.loc[scored.groupby("unique_id")[metric].idxmin(), "model"]
        winners = [*best.value_counts().index, "naive"]
        named = [model for model in dict.fromkeys(winners) if model in named][: len(HUES)]
        return {**dict(zip(named, HUES, strict=False)), OTHERS: PALE}
    return dict(zip(named, HUES, strict=False))


def draw_timeline(spans: Sequence[WorkerSpan]) -> str:
    """Which model ran when, on which worker: a row a model, in it a lane a worker."""
    models = list(dict.fromkeys(span.model for span in sorted(spans, key=lambda one: one.began)))
    workers = sorted({span.worker for span in spans})
    began = min(span.began for span in spans)
    seconds = max(span.began + span.seconds for span in spans) - began or 1.0
    left, lane, top = 190, 16 / len(workers), 44
    wide, tall = PANEL_COLUMNS * PANEL_WIDTH, top + 22 * len(models) + 30
    scale = (wide - left - 20) / seconds
    marks = [_text(10, 20, f"{seconds:.1f} seconds on {len(workers)} workers", weight="600")]
    for i, worker in enumerate(workers[: len(HUES)]):
        marks.append(_rect(left + 90 * i, 28, 10, 8, HUES[i]))
        marks.append(_text(left + 90 * i + 14, 36, f"worker {worker}"[-14:]))
    for i, model in enumerate(models):
        marks.append(_text(left - 8, top + 22 * i + 12, model, anchor="end"))
    for span in _joined(spans):
        place = workers.index(span.worker)
        down = top + 22 * models.index(span.model) + place * lane
        across, long = left + (span.began - began) * scale, max(span.seconds * scale, 0.5)
        marks.append(_rect(across, down, long, max(lane - 1, lane / 2), HUES[place % len(HUES)]))
    marks += [
        _text(left + second * scale, tall - 10, f"{si_format(second)} s")
        for second in ticks(0, seconds)
    ]
    return _svg(marks, wide, int(tall), title="which model ran when, on which worker")


def _joined(spans: Sequence[WorkerSpan]) -> list[WorkerSpan]:
    """The spans, those that follow each other on a worker without a visible gap as one."""
    found: list[WorkerSpan] = []
    for span in sorted(spans, key=lambda one: (one.worker, one.began)):
        last = found[-1] if found else None
        same = last and (last.worker, last.model) == (span.worker, span.model)
        if last and same and span.began - last.began - last.seconds < UNSEEN_SECONDS:
            ended = span.began + span.seconds  # a worker of several threads overlaps itself
            found[-1] = replace(last, seconds=max(last.seconds, ended - last.began))
        else:
            found.append(span)
    return found


def _first(ids: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(map(str, ids)))[:MOST_PANELS]


def _corner(place: int) -> tuple[float, float]:
    return (place % PANEL_COLUMNS) * PANEL_WIDTH, (place // PANEL_COLUMNS) * PANEL_HEIGHT


def _grid(panels: Sequence[_Panel], *, title: str) -> str:
    wide = PANEL_WIDTH * min(len(panels), PANEL_COLUMNS)
    tall = PANEL_HEIGHT * math.ceil(len(panels) / PANEL_COLUMNS)
    return _svg([mark for panel in panels for mark in panel.marks], wide, tall, title=title)


def _svg(marks: Sequence[str], wide: int, tall: int, *, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}"'
        f' height="{tall}" role="img" font-family="system-ui, sans-serif" font-size="11">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{wide}" height="{tall}" fill="{PAPER}"/>{"".join(marks)}</svg>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
        f' fill="{INK}">{escape(text)}</text>'
    )


def _rect(x: float, y: float, wide: float, tall: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{color}"/>'


def _dot(x: float, y: float, radius: float, color: str, *, opacity: float = 1.0) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}" fill-opacity="{opacity}"/>'
    )


WEEKS_SHOWN = 26
TITLE, GAP = 22, 14  # above a chart and beside it, where several are one picture
MOST_OPAQUE = 0.5  # where all intervals of a fan lie on each other
COLUMNS = 3

Frame = pd.DataFrame


def fan(
    past: Frame,
    ahead: Frame,
    published: Frame,
    *,
    levels: Sequence[float],
    level: float,
    scale: NumberFormat,
) -> list[str]:
    """The marks of one series' chart, `WIDTH` x `HEIGHT`; each frame is of that series alone.

    `past` holds `ds, y`, the newest last; `ahead` next_week_forecast's rows by h; `published`
    forecast_accuracy's rows one week ahead. All `levels` are drawn; the ends of `level` are written
    beside the fan, and past forecasts are held against theirs.
    """
    past = past.tail(WEEKS_SHOWN)
    days = pd.DatetimeIndex(pd.concat([past["ds"], ahead["ds"]]))
    then, y = in_days(past["ds"]), past["y"].to_numpy()
    x = in_days(days)[len(past) - 1 :]
    y_hat = np.r_[y[-1:], ahead["y_hat"].to_numpy()]
    fans = [
        tuple(np.r_[y[-1:], ahead[name].to_numpy()] for name in interval_columns([level]))
        for level in levels
    ]
    narrow = interval_columns([level])
    was = published.reindex(columns=["ds", "y_hat", *narrow])
    was = was[was["ds"].isin(past["ds"])]
    said = [(scale.text(value), value) for value in _from_top(fans[levels.index(level)], y_hat)]
    chart = Chart(
        in_days(days),
        np.concatenate([y, y_hat, *(was[name] for name in was.columns[1:]), *sum(fans, ())]),
        scale=scale,
        right=12 + BOLD * max(len(text) for text, _ in said),
    )
    chart.axes(days)
    for low, high in reversed(fans):
        chart.band(x, low, high, opacity=1 - (1 - MOST_OPAQUE) ** (1 / len(levels)))
    chart.line("past", then, y)
    came = dict(zip(then, y, strict=True))
    for day, *rest in zip(
        in_days(was["ds"]), *(was[name] for name in was.columns[1:]), strict=True
    ):
        chart.said(day, *rest, came=came[day])
    chart.dot("last", x[0], y[-1], radius=2.2)
    chart.line("next", x, y_hat)
    for day, value in zip(x[1:], y_hat[1:], strict=True):
        chart.dot("then", day, value, radius=2.6)
    chart.ends(said, x[-1])
    return chart.marks


def _from_top(interval: tuple[Values, ...], y_hat: Values) -> list[float]:
    """The values to write beside the end of a fan: its upper end, the forecast, its lower end."""
    low, high = (float(end[-1]) for end in interval)
    return [high, float(y_hat[-1]), low] if low < high else [float(y_hat[-1])]


def draw_forecast(forecast: Frame, series: Frame, *, levels: Sequence[float]) -> str:
    """The last half year of every series and the fan of its forecast, a panel each, as one SVG."""
    first = list(dict.fromkeys(forecast["unique_id"]))[:MOST_PANELS]
    past, ahead = (by_series(frame[frame["unique_id"].isin(first)]) for frame in (series, forecast))
    level = displayed_levels(levels)[0]
    marks = ["<style>" + STYLE + "</style>"]
    for place, unique_id in enumerate(first):
        rows = ahead[unique_id]
        scale = _own_scale(rows, past[unique_id], level)
        left = (place % COLUMNS) * (WIDTH + GAP)
        top = (place // COLUMNS) * (HEIGHT + TITLE + GAP)
        title = label(6, 15, f"{unique_id} · {rows['model'].iloc[0]}", kind="title", most=52)
        drawn = fan(past[unique_id], rows, Frame(), levels=levels, level=level, scale=scale)
        marks.append(f'<g transform="translate({left} {top})">{title}')
        marks.append(f'<g transform="translate(0 {TITLE})">{"".join(drawn)}</g></g>')
    wide = (WIDTH + GAP) * min(len(first), COLUMNS)
    tall = (HEIGHT + TITLE + GAP) * math.ceil(len(first) / COLUMNS)
    paper = f'<rect width="{wide}" height="{tall}" fill="#fff"/>'
    whole = svg(
        [paper, *marks],
        says="The last half year of every series, and its forecast",
        wide=wide,
        tall=tall,
    )
    alone = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" '
    return whole.replace("<svg ", alone, 1)


def by_series(frame: Frame) -> Mapping[str, Frame]:
    """The rows of each series."""
    return {str(name): rows for name, rows in frame.groupby("unique_id", sort=False)}


def _own_scale(ahead: Frame, past: Frame, level: float) -> NumberFormat:
    low, high = interval_columns([level])
    half = float(ahead[high].iloc[0] - ahead[low].iloc[0]) / 2
    step = float(past["y"].diff().abs().mean())
    return number_format_of(float(past["y"].iloc[-1]), uncertainty=half if half > 0 else step)
