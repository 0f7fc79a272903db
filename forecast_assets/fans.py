"""Forecasts to fan charts: what came, what had been said of it, what is said of the weeks ahead.

Small SVGs, for the report and for the UI. Colours are classes whose custom properties the page
sets; a picture that stands alone carries their light values. Nothing is computed but coordinates.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from unicodedata import category

import numpy as np
import pandas as pd

from forecast_assets.models.base import Values
from forecast_assets.pictures import MOST_PANELS, bounds, in_days, short, ticks
from forecast_assets.scale import Scale, scale_of
from forecast_assets.tables import column_suffix, interval_columns

WEEKS_SHOWN = 26
WIDTH, HEIGHT, TOP, BOTTOM = 360, 184, 12, 24  # of a chart and its margins, in pixels
TITLE, GAP = 22, 14  # above a chart and beside it, where several are one picture
LETTER, BOLD = 6.6, 8.2  # pixels, of a digit in the widest of common fonts, and of a large one
MOST_OPAQUE = 0.5  # where all intervals of a fan lie on each other
FEWEST_MONTHS = 2  # else the first and the last day are written
COLUMNS = 3
STYLE = """
.fan { font-family: -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
.fan text { font-size: 11px; fill: var(--pale, #55616e); }
.fan .end { fill: var(--accent, #1a56c4); font-weight: 700; font-size: 12px; }
.fan .title { fill: var(--ink, #1c2530); font-weight: 600; font-size: 12px; }
.fan .grid { stroke: var(--line, #dce1e7); }
.fan .past { fill: none; stroke: var(--ink, #1c2530); stroke-width: 1.5; stroke-linejoin: round; }
.fan .last { fill: var(--ink, #1c2530); }
.fan .band { fill: var(--accent, #1a56c4); }
.fan .next { fill: none; stroke: var(--accent, #1a56c4); stroke-width: 1.6; }
.fan .then { fill: var(--accent, #1a56c4); }
.fan .said { stroke: var(--accent, #1a56c4); stroke-width: 4; stroke-opacity: .22; }
.fan .in { fill: var(--paper, #fff); stroke: var(--accent, #1a56c4); }
.fan .off { fill: var(--warn, #a63d00); stroke: var(--paper, #fff); stroke-width: .7; }
"""

Frame = pd.DataFrame


class _Chart:
    """One chart: days and values to pixels inside a frame."""

    def __init__(self, x: Values, y: Values, *, scale: Scale, right: float) -> None:
        self._x0, self._x1 = bounds(x)
        low, high = bounds(y)
        room = 0.05 * (high - low)
        self._y0, self._y1 = low - room, high + room
        self._labels = _tick_labels(self._y0, self._y1, scale)
        self._left = 10 + LETTER * max(map(len, self._labels.values()))
        self._wide = WIDTH - self._left - right
        self.marks: list[str] = []

    def across(self, x: float) -> float:
        """The pixels from the left of a day."""
        return self._left + (x - self._x0) / (self._x1 - self._x0) * self._wide

    def down(self, y: float) -> float:
        """The pixels from the top of a value."""
        return TOP + (self._y1 - y) / (self._y1 - self._y0) * (HEIGHT - TOP - BOTTOM)

    def points(self, x: Values, y: Values) -> str:
        """Days and values as an SVG list of points."""
        pairs = zip(x, y, strict=True)
        return " ".join(f"{self.across(a):.1f},{self.down(b):.1f}" for a, b in pairs)

    def line(self, kind: str, x: Values, y: Values) -> None:
        """A line through the points."""
        self.marks.append(f'<polyline class="{kind}" points="{self.points(x, y)}"/>')

    def band(self, x: Values, low: Values, high: Values, *, opacity: float) -> None:
        """The area between two lines; points without both are left out."""
        known = np.isfinite(low) & np.isfinite(high)
        there = self.points(x[known], low[known])
        back = self.points(x[known][::-1], high[known][::-1])
        self.marks.append(
            f'<polygon class="band" fill-opacity="{opacity:.3f}" points="{there} {back}"/>'
        )

    def dot(self, kind: str, x: float, y: float, *, radius: float) -> None:
        """A circle."""
        self.marks.append(
            f'<circle class="{kind}" cx="{self.across(x):.1f}" cy="{self.down(y):.1f}"'
            f' r="{radius}"/>'
        )

    def said(self, x: float, y: float, low: float, high: float, *, came: float) -> None:
        """What had been published for a week: its interval, and its forecast beside what came."""
        a, b = self.across(x), self.down(y)
        if math.isfinite(low) and math.isfinite(high):
            ends = f'x1="{a:.1f}" x2="{a:.1f}" y1="{self.down(high):.1f}" y2="{self.down(low):.1f}"'
            self.marks.append(f'<line class="said" {ends}/>')
        if came < low or came > high:  # told by its shape too
            self.marks.append(f'<path class="off" d="M{a:.1f} {b - 4:.1f}l4 4-4 4-4-4z"/>')
        else:
            self.dot("in", x, y, radius=1.9)

    def text(self, x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> None:
        """A text at pixels."""
        self.marks.append(label(x, y, text, kind=kind, anchor=anchor))

    def axes(self, days: pd.DatetimeIndex) -> None:
        """A scale of values on the left, and below the months, or the ends where they are few."""
        for value, said in self._labels.items():
            b = self.down(value)
            right = self._left + self._wide
            self.marks.append(
                f'<line class="grid" x1="{self._left:.1f}" x2="{right:.1f}" y1="{b:.1f}"'
                f' y2="{b:.1f}"/>'
            )
            self.text(self._left - 5, b + 4, said, anchor="end")
        free, n_said = -math.inf, 0
        for day, said in _months(days):
            a = self.across(day)
            if a >= free and a + LETTER * len(said) < WIDTH:
                self.text(a, HEIGHT - 7, said)
                free, n_said = a + LETTER * len(said) + 8, n_said + 1
        if n_said < FEWEST_MONTHS:
            self.marks = [mark for mark in self.marks if f'y="{HEIGHT - 7:.1f}"' not in mark]
            self.text(self._left, HEIGHT - 7, f"{days.min():%d %b %Y}")
            right = self._left + self._wide
            self.text(right, HEIGHT - 7, f"{days.max():%d %b %Y}", anchor="end")

    def ends(self, said: Sequence[tuple[str, float]], x: float) -> None:
        """Texts beside the last point from top to bottom, apart even where values are close."""
        apart = 13.0
        places = [self.down(value) + 4 for _, value in said]
        middle = len(said) // 2
        for i in range(middle - 1, -1, -1):
            places[i] = min(places[i], places[i + 1] - apart)
        for i in range(middle + 1, len(said)):
            places[i] = max(places[i], places[i - 1] + apart)
        push = max(0.0, 10 - places[0]) - max(0.0, places[-1] - (HEIGHT - BOTTOM + 8))
        for i, (text, _) in enumerate(said):
            kind = "end" if i == middle else ""
            self.text(self.across(x) + 8, places[i] + push, text, kind=kind)


def fan(
    past: Frame, ahead: Frame, published: Frame, *, levels: Sequence[float], scale: Scale
) -> list[str]:
    """The marks of one series' chart, `WIDTH` x `HEIGHT`; each frame is of that series alone.

    `past` holds `ds, y`, the newest last; `ahead` next_week_forecast's rows by h; `published`
    forecast_accuracy's rows one week ahead. Intervals of the past are those of the least level.
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
    narrow = interval_columns(levels[:1])
    was = published.reindex(columns=["ds", "y_hat", *narrow])
    was = was[was["ds"].isin(past["ds"])]
    said = [(scale.text(value), value) for value in _from_top(fans[0], y_hat)]
    chart = _Chart(
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


def svg(marks: Sequence[str], *, says: str, wide: float = WIDTH, tall: float = HEIGHT) -> str:
    """A picture for a page that has `STYLE`; `says` is what it is to those who cannot see it."""
    return (
        f'<svg class="fan" viewBox="0 0 {wide:g} {tall:g}" role="img"'
        f' aria-label="{escape(_clean(says))}">{"".join(marks)}</svg>'
    )


def draw_forecast(forecast: Frame, series: Frame, *, levels: Sequence[float]) -> str:
    """The last half year of every series and the fan of its forecast, a panel each, as one SVG."""
    past, ahead = by_series(series), by_series(forecast)
    first = list(dict.fromkeys(forecast["unique_id"]))[:MOST_PANELS]
    marks = ["<style>" + STYLE + "</style>"]
    for place, unique_id in enumerate(first):
        rows = ahead[unique_id]
        scale = _own_scale(rows, past[unique_id], levels)
        left = (place % COLUMNS) * (WIDTH + GAP)
        top = (place // COLUMNS) * (HEIGHT + TITLE + GAP)
        title = label(6, 15, f"{unique_id} · {rows['model'].iloc[0]}", kind="title", most=52)
        drawn = fan(past[unique_id], rows, Frame(), levels=levels, scale=scale)
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


def label(
    x: float, y: float, text: str, *, kind: str = "", anchor: str = "start", most: int = 200
) -> str:
    """A text of an SVG, cut where it is longer than `most` characters."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    marked = f' class="{kind}"' if kind else ""
    turned = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text{marked} x="{x:.1f}" y="{y:.1f}"{turned}>{escape(_clean(cut))}</text>'


def _clean(text: str) -> str:
    """The text without characters that no XML may hold."""
    return "".join("�" if category(c) in ("Cc", "Cs", "Cn") else c for c in text)


def _own_scale(ahead: Frame, past: Frame, levels: Sequence[float]) -> Scale:
    narrow = column_suffix(levels[0])
    half = float(ahead[f"hi_{narrow}"].iloc[0] - ahead[f"lo_{narrow}"].iloc[0]) / 2
    step = float(past["y"].diff().abs().mean())
    return scale_of(float(past["y"].iloc[-1]), uncertainty=half if half > 0 else step)


def _tick_labels(low: float, high: float, scale: Scale) -> dict[float, str]:
    """Round values between the ends, and how they are written beside an axis."""
    found = [tick for tick in ticks(low, high) if low < tick < high] or [(low + high) / 2]
    step = min(np.diff(found), default=high - low) / 10**scale.power
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    plain = {tick: f"{tick / 10**scale.power:,.{decimals}f}" for tick in found}
    most = 7  # characters that leave the chart its room
    if max(map(len, plain.values())) > most:
        brief = {tick: short(tick / 10**scale.power) for tick in found}
        if len(set(brief.values())) == len(found):
            plain = brief
    return {tick: text.replace("-", "−") for tick, text in plain.items()}


def _months(days: pd.DatetimeIndex) -> list[tuple[float, str]]:
    """The first week of each month as a day and its name; of the first one and January the year."""
    starts = [
        day
        for before, day in pairwise(days)
        if (before.year, before.month) != (day.year, day.month)
    ]
    names = [
        f"{day:%b %Y}" if not i or day.month == 1 else f"{day:%b}" for i, day in enumerate(starts)
    ]
    return list(zip(in_days(pd.DatetimeIndex(starts)), names, strict=True))
