"""Marks of a chart as SVG: days and values to pixels, scales, and texts that do not collide.

Colours are classes whose custom properties a page sets; where it sets none, the light ones hold.
What is drawn of a forecast: `fans`.
"""

import math
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np
import pandas as pd

from forecast_assets.reporting.number_format import NumberFormat

Values = np.typing.NDArray[np.float64]


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values between two ends."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 3)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def si_format(value: float) -> str:
    """1928460 -> 1.928M, 12500 -> 12.5k, 2.5 -> 2.5: a number to fit beside an axis."""
    for unit, size, least in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if abs(value) >= least:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _log_ticks(low: float, high: float) -> list[float]:
    tens = range(math.floor(low), math.ceil(high) + 1)
    return [d * 10.0**p for p in tens for d in (1, 2, 5) if low <= math.log10(d * 10.0**p) <= high]


def in_days(ds: "pd.Series[pd.Timestamp] | pd.DatetimeIndex") -> Values:
    """Days since 1970."""
    return np.asarray(ds, dtype="datetime64[D]").astype(np.float64)


def bounds(values: Values) -> tuple[float, float]:
    """The least and the greatest of what is finite, apart even where all are one."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    return (
        (low, high)
        if high > low
        else (low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5)
    )


WIDTH, HEIGHT, TOP, BOTTOM = 360, 184, 12, 24  # of a chart and its margins, in pixels
LETTER, BOLD = 6.6, 8.2  # pixels, of a digit in the widest of common fonts, and of a large one
APART = 13.0  # pixels between two lines of text
FEWEST_MONTHS = 2  # else the first and the last day are written
MOST_LETTERS = 7  # of a value beside the axis, that leave the chart its room
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in any XML
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


class Chart:
    """One chart: days and values to pixels inside a frame."""

    def __init__(self, x: Values, y: Values, *, scale: NumberFormat, right: float) -> None:
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
        months, free = [], -math.inf
        for day, said in _months(days):
            a = self.across(day)
            if free <= a < WIDTH - LETTER * len(said):
                months.append((a, said))
                free = a + LETTER * len(said) + 8
        if len(months) < FEWEST_MONTHS:
            last = self._left + self._wide
            self.text(last, HEIGHT - 7, f"{days.max():%d %b %Y}", anchor="end")
            months = [(self._left, f"{days.min():%d %b %Y}")]
        for a, said in months:
            self.text(a, HEIGHT - 7, said)

    def ends(self, said: Sequence[tuple[str, float]], x: float) -> None:
        """Texts beside the last point from top to bottom, apart even where values are close."""
        places = [self.down(value) + 4 for _, value in said]
        middle = len(said) // 2
        for i in range(middle - 1, -1, -1):
            places[i] = min(places[i], places[i + 1] - APART)
        for i in range(middle + 1, len(said)):
            places[i] = max(places[i], places[i - 1] + APART)
        push = max(0.0, 10 - places[0]) - max(0.0, places[-1] - (HEIGHT - BOTTOM + 8))
        for i, (text, _) in enumerate(said):
            kind = "end" if i == middle else ""
            self.text(self.across(x) + 8, places[i] + push, text, kind=kind)


def svg(marks: Sequence[str], *, says: str, wide: float = WIDTH, tall: float = HEIGHT) -> str:
    """A picture for a page that has `STYLE`; `says` is what it is to those who cannot see it."""
    return (
        f'<svg class="fan" viewBox="0 0 {wide:g} {tall:g}" role="img"'
        f' aria-label="{escape(_clean(says))}">{"".join(marks)}</svg>'
    )


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
    return ILLEGAL.sub("�", text)


def _tick_labels(low: float, high: float, scale: NumberFormat) -> dict[float, str]:
    """Round values between the ends, and how they are written beside an axis."""
    found = [tick for tick in ticks(low, high) if low < tick < high] or [(low + high) / 2]
    step = min(np.diff(found), default=high - low) / 10**scale.power
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    plain = {tick: f"{tick / 10**scale.power:,.{decimals}f}" for tick in found}
    if max(map(len, plain.values())) > MOST_LETTERS:
        brief = {tick: si_format(tick / 10**scale.power) for tick in found}
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
