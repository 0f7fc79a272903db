"""Draw charts as SVG: scales from data to pixels, axes, marks, and labels that do not overlap.

Colours are CSS custom properties that a page may set; the fallbacks are those of the light theme.
Which data a chart shows does not belong here: see `plots`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from forecast_assets.reporting.number_format import si_format

Values = np.typing.NDArray[np.float64]

# Pixels, of one chart and of the space around it in a picture of several.
WIDTH, HEIGHT = 360, 184
TITLE_HEIGHT, GAP, COLUMNS = 22, 14, 3
# Pixels of a digit in the widest of the usual fonts.
DIGIT_WIDTH, STRONG_DIGIT_WIDTH = 6.6, 8.2
LINE_HEIGHT = 13.0
# Longer labels of the value axis leave the chart too little room.
MAX_TICK_CHARACTERS = 7
MAX_CHARACTERS = 52
SHORT_AXIS = pd.Timedelta(weeks=12)
# Months between two labels of an axis.
MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 240)
DAYS_OF_MONTH = 30.4
# Pixels between two labels of an axis, between the lines of a legend, and around its dots.
LABEL_GAP, LEGEND_HEIGHT, LEGEND_MARGIN = 4.0, 16, 24.0
# Fewer round values do not explain a log axis.
MIN_LOG_TICKS = 3
INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Each has a colour in the style.
N_HUES = 8
STYLE = (Path(__file__).parent / "templates/chart.css").read_text(encoding="utf-8")


class Chart:
    """One chart: scales that map data to pixels inside the margins, and the marks drawn so far.

    All sizes are in pixels; `kind` is the CSS class of a mark, as in `STYLE`.
    """

    def __init__(
        self,
        x: Values,
        y: Values,
        *,
        left: float,
        right: float,
        top: float = 12.0,
        bottom: float = 24.0,
        width: float = WIDTH,
        height: float = HEIGHT,
    ) -> None:
        self._x0, self._x1 = bounds(x)
        self._y0, self._y1 = bounds(y)
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom
        self.marks: list[str] = []

    def x_px(self, x: float) -> float:
        """Return the distance from the left, in pixels."""
        return self.left + (x - self._x0) / (self._x1 - self._x0) * (self.right - self.left)

    def y_px(self, y: float) -> float:
        """Return the distance from the top, in pixels."""
        return self.top + (self._y1 - y) / (self._y1 - self._y0) * (self.bottom - self.top)

    def line(self, kind: str, x: Values, y: Values) -> None:
        """Draw a line through points."""
        self.marks.append(f'<polyline class="{kind}" points="{self._points(x, y)}"/>')

    def band(self, x: Values, low: Values, high: Values, *, opacity: float) -> None:
        """Draw the area between two lines; points without both ends are left out."""
        is_known = np.isfinite(low) & np.isfinite(high)
        x, low, high = x[is_known], low[is_known], high[is_known]
        points = self._points(np.r_[x, x[::-1]], np.r_[low, high[::-1]])
        self.marks.append(f'<polygon class="band" fill-opacity="{opacity:.3f}" points="{points}"/>')

    def dot(self, kind: str, x: float, y: float, *, radius: float) -> None:
        """Draw a circle."""
        self.marks.append(_circle(kind, self.x_px(x), self.y_px(y), radius))

    def diamond(self, kind: str, x: float, y: float) -> None:
        """Draw a square that stands on its corner."""
        path = f"M{self.x_px(x):.1f} {self.y_px(y) - 4:.1f}l4 4-4 4-4-4z"
        self.marks.append(f'<path class="{kind}" d="{path}"/>')

    def segment(self, kind: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Draw a straight line."""
        (x1, x2), (y1, y2) = map(self.x_px, x), map(self.y_px, y)
        ends = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"'
        self.marks.append(f'<line class="{kind}" {ends}/>')

    def rule(self, y: float) -> None:
        """Draw a grid line at a value."""
        self.segment("grid", (self._x0, self._x1), (y, y))

    def bar(self, kind: str, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Draw a horizontal bar, at least half a pixel wide, with a gap below where it is thick."""
        left, top = self.x_px(x[0]), self.y_px(y[1])
        thick = self.y_px(y[0]) - top
        width, height = max(self.x_px(x[1]) - left, 0.5), max(thick - 1, thick / 2)
        size = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.marks.append(f'<rect class="{kind}" {size}/>')

    def shade(self, kind: str, x: tuple[float, float]) -> None:
        """Shade the chart from one day to another, at least two pixels wide."""
        left = self.x_px(x[0])
        width = max(self.x_px(x[1]) - left, 2.0)
        size = f'width="{width:.1f}" height="{self.bottom - self.top:.1f}"'
        self.marks.append(f'<rect class="{kind}" x="{left:.1f}" y="{self.top:.1f}" {size}/>')

    def text(self, x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> None:
        """Write a text at pixels, cut where it is too long."""
        cut = text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
        attributes = f' class="{kind}"' if kind else ""
        attributes += "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.marks.append(f'<text{attributes} x="{x:.1f}" y="{y:.1f}">{_escape(cut)}</text>')

    def legend(self, kinds: Mapping[str, str], *, top: float) -> None:
        """Write names next to dots of their kinds, row by row, in as many columns as have room."""
        columns = legend_columns(kinds, self.right - self.left)
        step = (self.right - self.left) / columns
        for i, (name, kind) in enumerate(kinds.items()):
            x, y = self.left + (i % columns) * step, top + LEGEND_HEIGHT * (i // columns)
            self.marks.append(_circle(kind, x, y - 4, 4))
            self.text(x + 9, y, name)

    def dates(self, days: pd.DatetimeIndex) -> None:
        """Write months or years below the chart at equal distances, or days if it is short.

        A year is written at its January; without one, at the first month.
        """
        first, last = days.min(), days.max()
        if last - first <= SHORT_AXIS:
            for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
                x, day = (
                    self.left + share * (self.right - self.left),
                    first + share * (last - first),
                )
                self.text(x, self.height - 7, f"{day:%d %b}", anchor=anchor)
            return
        for month, text in month_labels(first, last, width=self.right - self.left):
            x = self.x_px(in_days(pd.DatetimeIndex([month]))[0])
            self.text(x, self.height - 7, text, anchor="middle")

    def end_labels(self, labels: Sequence[tuple[str, float]], x: float) -> None:
        """Write texts beside values, highest first, without overlaps; the middle is strong."""
        tops = [self.y_px(value) + 4 for _, value in labels]
        middle = len(labels) // 2
        for i in range(middle - 1, -1, -1):
            tops[i] = min(tops[i], tops[i + 1] - LINE_HEIGHT)
        for i in range(middle + 1, len(labels)):
            tops[i] = max(tops[i], tops[i - 1] + LINE_HEIGHT)
        shift = max(0.0, 10 - tops[0]) - max(0.0, tops[-1] - (self.bottom + 8))
        for i, (text, _) in enumerate(labels):
            kind = "strong" if i == middle else ""
            self.text(self.x_px(x) + 8, tops[i] + shift, text, kind=kind)

    def svg(self, *, title: str, is_standalone: bool = False) -> str:
        """Return the chart as a picture."""
        return svg(self.marks, self.width, self.height, title=title, is_standalone=is_standalone)

    def _points(self, x: Values, y: Values) -> str:
        pairs = zip(x, y, strict=True)
        return " ".join(f"{self.x_px(a):.1f},{self.y_px(b):.1f}" for a, b in pairs)


def time_chart(days: pd.DatetimeIndex, values: Values, *, right: float) -> Chart:
    """Return a chart of values by day with its grid, value labels and dates; `right` in pixels."""
    low, high = bounds(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    labels = tick_labels(low, high)
    left = 10 + DIGIT_WIDTH * max(map(len, labels.values()))
    chart = Chart(in_days(days), np.array([low, high]), left=left, right=right)
    for value, text in labels.items():
        chart.rule(value)
        chart.text(left - 5, chart.y_px(value) + 4, text, anchor="end")
    chart.dates(days)
    return chart


def chart_grid(charts: Mapping[str, Chart], *, title: str) -> str:
    """Return a standalone picture of charts in rows of three, each below its name."""
    marks = []
    row_height = HEIGHT + TITLE_HEIGHT + GAP
    for i, (name, chart) in enumerate(charts.items()):
        chart.text(6, 15 - TITLE_HEIGHT, name, kind="title")
        x, y = (i % COLUMNS) * (WIDTH + GAP), (i // COLUMNS) * row_height + TITLE_HEIGHT
        marks.append(f'<g transform="translate({x} {y})">{"".join(chart.marks)}</g>')
    width = (WIDTH + GAP) * min(len(charts), COLUMNS)
    height = row_height * math.ceil(len(charts) / COLUMNS)
    return svg(marks, width, height, title=title, is_standalone=True)


def svg(
    marks: Iterable[str], width: float, height: float, *, title: str, is_standalone: bool = False
) -> str:
    """Return a picture with a title for screen readers.

    A standalone one brings its style, size and white background; others need a page with `STYLE`.
    """
    size, background = "", ""
    if is_standalone:
        size = f' width="{width:g}" height="{height:g}"'
        background = f'<style>{STYLE}</style><rect{size} fill="#fff"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width:g} {height:g}"'
        f'{size} role="img" aria-label="{_escape(title)}">{background}{"".join(marks)}</svg>'
    )


def bounds(values: Values) -> tuple[float, float]:
    """Return the smallest and the greatest finite value; equal ones are moved apart."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    if high > low:
        return low, high
    return low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5


def in_days(ds: "pd.Series[pd.Timestamp] | pd.DatetimeIndex") -> Values:
    """Return days since 1970."""
    return np.asarray(ds, dtype="datetime64[D]").astype(np.float64)


def ticks(low: float, high: float) -> list[float]:
    """Return three to six round values between two ends."""
    longest = (high - low) / 3
    step = 10 ** math.floor(math.log10(longest))
    # 1 always does, but for rounding.
    step *= max((factor for factor in (2, 5) if factor * step <= longest), default=1)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def legend_columns(names: Iterable[str], width: float) -> int:
    """Return how many columns of a legend have room for the longest of the names."""
    return max(1, int(width // (LEGEND_MARGIN + DIGIT_WIDTH * max(map(len, names), default=1))))


def month_labels(
    first: pd.Timestamp, last: pd.Timestamp, *, width: float
) -> list[tuple[pd.Timestamp, str]]:
    """Return the starts of months that have room on an axis, all at one distance, with a label."""
    months = pd.date_range(first.normalize(), last, freq="MS")
    for step in MONTH_STEPS:
        shown = [month for month in months if (12 * month.year + month.month - 1) % step == 0]
        labels = [f"{month:%Y}" if month.month == 1 else f"{month:%b}" for month in shown]
        if shown and all(month.month > 1 for month in shown):
            labels[0] = f"{shown[0]:%b %Y}"
        room = width * step * DAYS_OF_MONTH / max((last - first).days, 1)
        if max(map(len, labels), default=0) * DIGIT_WIDTH + LABEL_GAP <= room:
            break
    return list(zip(shown, labels, strict=True))


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values between two ends, which are logarithms."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    values = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
    inside = [value for value in values if low <= math.log10(value) <= high]
    return inside if len(inside) >= MIN_LOG_TICKS else ticks(10**low, 10**high)


def tick_labels(low: float, high: float) -> dict[float, str]:
    """Return round values between two ends with their labels, shortened where they are long."""
    values = [tick for tick in ticks(low, high) if low < tick < high] or [(low + high) / 2]
    step = min(np.diff(values), default=high - low)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    labels = {tick: f"{tick:,.{decimals}f}" for tick in values}
    if max(map(len, labels.values())) > MAX_TICK_CHARACTERS:
        short = {tick: si_format(tick) for tick in values}
        if len(set(short.values())) == len(values):
            labels = short
    return {tick: text.replace("-", "−") for tick, text in labels.items()}


def _circle(kind: str, x: float, y: float, radius: float) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _escape(text: str) -> str:
    """Escape a text for XML, and replace the characters that XML does not allow."""
    return escape(INVALID_XML.sub("�", text))
