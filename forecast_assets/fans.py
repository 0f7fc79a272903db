"""Forecasts to fan charts: what came, what had been said of it, what is said of the weeks ahead.

Small SVGs, for the report and for the UI. How marks are placed: `chart`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from forecast_assets.chart import BOLD, HEIGHT, STYLE, WIDTH, Chart, label, svg
from forecast_assets.models.base import Values
from forecast_assets.outlook import levels_told
from forecast_assets.pictures import MOST_PANELS, in_days
from forecast_assets.scale import Scale, scale_of
from forecast_assets.tables import interval_columns

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
    scale: Scale,
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
    level = levels_told(levels)[0]
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


def _own_scale(ahead: Frame, past: Frame, level: float) -> Scale:
    low, high = interval_columns([level])
    half = float(ahead[high].iloc[0] - ahead[low].iloc[0]) / 2
    step = float(past["y"].diff().abs().mean())
    return scale_of(float(past["y"].iloc[-1]), uncertainty=half if half > 0 else step)
