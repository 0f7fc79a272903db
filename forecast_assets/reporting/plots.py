"""Draw the tables of a week as SVG: series, scores, worker timeline and fan charts.

SVG is written as text: a plotting library took 1.9 of the 5.3 seconds that a repeated week takes,
and its bitmaps made the event log ten times as large. Scales and marks do not belong here: `svg`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import WorkerSpan
from forecast_assets.config.series_settings import ExcludedSettings
from forecast_assets.data.excluded import periods_of
from forecast_assets.data.hierarchy import count_children
from forecast_assets.reporting import svg
from forecast_assets.reporting.number_format import NumberFormat, choose_format, si_format
from forecast_assets.reporting.summary import displayed_levels, total_label
from forecast_assets.storage.tables import interval_columns

Frame = pd.DataFrame

WEEKS_SHOWN = 26
# More charts cannot be read on the width of a page.
MAX_CHARTS = 12
# Opacity where all intervals of a fan overlap.
MAX_OPACITY = 0.5
# Pixels.
PAGE_WIDTH, SCORE_HEIGHT, MODEL_HEIGHT, BAR_HEIGHT = 990, 26, 22, 16
MAX_WORKER_NAME = 14
# A shorter gap in the timeline is invisible.
MIN_GAP_SECONDS = 0.05


Excluded = Sequence[ExcludedSettings]


def draw_series(series: Frame, *, excluded: Excluded = ()) -> str:
    """Draw every series from its first week to its last, one chart each."""
    charts, n_children = {}, count_children(series)
    for unique_id, rows in _first_series(series).items():
        y = rows["y"].to_numpy()
        chart = svg.time_chart(pd.DatetimeIndex(rows["ds"]), y, right=10)
        _shade_excluded(chart, rows["ds"], periods_of(unique_id, excluded))
        chart.line("actual", svg.in_days(rows["ds"]), y)
        charts[_title(unique_id, n_children)] = chart
    return svg.chart_grid(charts, title="Every series from its first week to its last")


def draw_scores(metrics: Frame, *, metric: str) -> str:
    """Draw the score of each model on each series on a log scale, with a ring around the best."""
    scored = metrics[(metrics["status"] == "scored") & (metrics[metric] > 0)]
    by_id = _first_series(scored)
    kinds = _model_kinds(scored, metrics["model"], metric=metric)
    logs = np.log10(scored[metric].to_numpy()) if len(scored) else np.array([0.0, 1.0])
    columns = svg.legend_columns(kinds, PAGE_WIDTH - 210 - 190)
    top = 30 + svg.LEGEND_HEIGHT * math.ceil(len(kinds) / columns)
    chart = _row_chart(logs, len(by_id), SCORE_HEIGHT, left=210, right=190, top=top, bottom=36)
    chart.legend(kinds, top=14)
    marks = svg.log_ticks(*svg.bounds(logs))
    for value in marks:
        x = math.log10(value)
        chart.segment("grid", (x, x), (-float(max(len(by_id), 1)), 0.0))
    for i, (unique_id, rows) in enumerate(by_id.items()):
        y = -i - 0.5
        chart.rule(y)
        chart.text(chart.left - 14, chart.y_px(y) + 4, unique_id, anchor="end")
        scores = dict(zip(rows["model"], rows[metric], strict=True))
        for model in sorted(scores, key=lambda model: model in kinds):  # those with a hue on top
            chart.dot(kinds.get(model, "other"), math.log10(scores[model]), y, radius=4.5)
        best = min(scores, key=scores.__getitem__)
        chart.dot("ring", math.log10(scores[best]), y, radius=8)
        chart.text(chart.right + 16, chart.y_px(y) + 4, best, kind="title")
    for value in marks:
        x = chart.x_px(math.log10(value))
        chart.text(x, chart.bottom + 14, si_format(value), anchor="middle")
    note = f"{metric} (lower is better; the best is ringed)"
    chart.text(chart.right, chart.bottom + 30, note, anchor="end")
    return chart.svg(title=f"{metric} of every model on every series", is_standalone=True)


def draw_timeline(spans: Sequence[WorkerSpan]) -> str:
    """Draw when each model ran: a row for each model, in it a lane for each worker."""
    models = list(dict.fromkeys(span.model for span in sorted(spans, key=lambda span: span.began)))
    workers = sorted({span.worker for span in spans})
    began = min(span.began for span in spans)
    seconds = max(span.began + span.seconds for span in spans) - began or 1.0
    x = np.array([0.0, seconds])
    chart = _row_chart(x, len(models), MODEL_HEIGHT, left=190, right=20, top=44, bottom=30)
    chart.text(10, 20, f"{seconds:.1f} seconds on {len(workers)} workers", kind="title")
    names = {f"worker {name}"[-MAX_WORKER_NAME:]: _hue(i) for i, name in enumerate(workers[:8])}
    chart.legend(names, top=36)
    for i, model in enumerate(models):
        chart.text(chart.left - 8, chart.y_px(-i) + 12, model, anchor="end")
    lane = BAR_HEIGHT / MODEL_HEIGHT / len(workers)
    for span in merge_spans(spans):
        worker = workers.index(span.worker)
        y = -models.index(span.model) - worker * lane
        start = span.began - began
        chart.bar(_hue(worker), (start, start + span.seconds), (y - lane, y))
    for second in svg.ticks(0, seconds):
        chart.text(chart.x_px(second), chart.height - 10, f"{si_format(second)} s")
    return chart.svg(title="When each model ran, and on which worker", is_standalone=True)


def draw_forecast(forecast: Frame, series: Frame, *, levels: Sequence[float]) -> str:
    """Draw the last half year of every series and the fan of its forecast, one chart each."""
    by_id = _first_series(forecast)
    past = by_series(series[series["unique_id"].isin(list(by_id))])
    level = displayed_levels(levels)[0]
    low, high = interval_columns([level])
    charts, n_children = {}, count_children(series)
    for unique_id, rows in by_id.items():
        half = float(rows[high].iloc[0] - rows[low].iloc[0]) / 2
        weeks = past[unique_id]
        uncertainty = half if half > 0 else float(weeks["y"].diff().abs().mean())
        number_format = choose_format(float(weeks["y"].iloc[-1]), uncertainty=uncertainty)
        title = f"{_title(unique_id, n_children)} · {rows['model'].iloc[0]}"
        charts[title] = fan_chart(
            weeks, rows, Frame(), levels=levels, level=level, number_format=number_format
        )
    return svg.chart_grid(charts, title="The last half year of every series, and its forecast")


def fan_chart(
    past: Frame,
    forecast: Frame,
    published: Frame,
    *,
    levels: Sequence[float],
    level: float,
    number_format: NumberFormat,
    excluded: Excluded = (),
) -> svg.Chart:
    """Return the chart of one series; each frame holds rows of that series only.

    `past` holds `ds, y`, newest last; `forecast` next_week_forecast's rows by h; `published`
    forecast_accuracy's rows with h = 1. All `levels` are drawn. The ends of `level` are written
    next to the fan, and published forecasts are shown with their interval of that level. The weeks
    of the `excluded` periods of the series are shaded, and an override is a ring.
    """
    past = past.tail(WEEKS_SHOWN)
    days = pd.DatetimeIndex(pd.concat([past["ds"], forecast["ds"]]))
    x_past, y = svg.in_days(past["ds"]), past["y"].to_numpy()
    x = svg.in_days(days)[len(past) - 1 :]
    y_hat = np.r_[y[-1:], forecast["y_hat"].to_numpy()]
    bands = {
        band: [np.r_[y[-1:], forecast[end].to_numpy()] for end in interval_columns([band])]
        for band in levels
    }
    override = forecast.reindex(columns=["override"])["override"].to_numpy(dtype=float)
    columns = ["ds", "y_hat", *interval_columns([level])]
    shown = published.reindex(columns=columns)
    shown = shown[shown["ds"].isin(past["ds"])]
    low_end, high_end = (float(end[-1]) for end in bands[level])
    end_values = [high_end, y_hat[-1], low_end] if low_end < high_end else [y_hat[-1]]
    labels = [(number_format.text(value), float(value)) for value in end_values]
    ends = [end for pair in bands.values() for end in pair]
    chart = svg.time_chart(
        days,
        np.concatenate([y, y_hat, *ends, override, *(shown[name] for name in columns[1:])]),
        right=12 + svg.STRONG_DIGIT_WIDTH * max(len(text) for text, _ in labels),
    )
    _shade_excluded(chart, days, excluded)
    for low, high in reversed(bands.values()):
        chart.band(x, low, high, opacity=1 - (1 - MAX_OPACITY) ** (1 / len(levels)))
    chart.line("actual", x_past, y)
    _draw_published(chart, shown, dict(zip(x_past, y, strict=True)))
    chart.dot("newest", x[0], y[-1], radius=2.2)
    chart.line("forecast", x, y_hat)
    for day, value in zip(x[1:], y_hat[1:], strict=True):
        chart.dot("week", day, value, radius=2.6)
    for day, value in zip(x[1:], override, strict=True):
        if math.isfinite(value):
            chart.dot("ring", day, value, radius=4)
    chart.end_labels(labels, x[-1])
    return chart


def by_series(frame: Frame) -> Mapping[str, Frame]:
    """Return the rows of each series by its name."""
    return {str(name): rows for name, rows in frame.groupby("unique_id", sort=False)}


def merge_spans(spans: Iterable[WorkerSpan]) -> list[WorkerSpan]:
    """Merge the spans of one model on one worker that have no visible gap between them."""
    merged: list[WorkerSpan] = []
    for span in sorted(spans, key=lambda span: (span.worker, span.began)):
        last = merged[-1] if merged else span
        gap = span.began - last.began - last.seconds
        is_same = (last.worker, last.model) == (span.worker, span.model)
        if merged and is_same and gap < MIN_GAP_SECONDS:
            # The spans of a worker with several threads overlap.
            end = max(last.began + last.seconds, span.began + span.seconds)
            merged[-1] = replace(last, seconds=end - last.began)
        else:
            merged.append(span)
    return merged


def _shade_excluded(
    chart: svg.Chart, days: "pd.DatetimeIndex | pd.Series[pd.Timestamp]", periods: Excluded
) -> None:
    """Shade the weeks of periods that are excluded, as far as the chart shows them."""
    first, last = svg.in_days(pd.DatetimeIndex(days))[[0, -1]]
    for period in periods:
        ends = pd.DatetimeIndex([period.first, period.last])
        start, end = np.clip(svg.in_days(ends), first, last)
        if start < end or (start == end and first < start < last):
            chart.shade("excluded", (start, end))


def _draw_published(chart: svg.Chart, published: Frame, actual: Mapping[float, float]) -> None:
    """Draw published forecasts with their intervals: a diamond where the value was outside."""
    for day, row in zip(svg.in_days(published["ds"]), published.to_numpy()[:, 1:], strict=True):
        y_hat, low, high = map(float, row)
        if math.isfinite(low) and math.isfinite(high):
            chart.segment("published", (day, day), (high, low))
        if actual[day] < low or actual[day] > high:
            chart.diamond("outside", day, y_hat)
        else:
            chart.dot("inside", day, y_hat, radius=1.9)


def _row_chart(x: svg.Values, n: int, row_height: float, **margins: float) -> svg.Chart:
    """Return a chart of the width of a page with n rows, which go down from y = 0."""
    height = margins["top"] + row_height * n + margins["bottom"]
    return svg.Chart(
        x, np.array([-float(max(n, 1)), 0.0]), width=PAGE_WIDTH, height=height, **margins
    )


def _model_kinds(scored: Frame, models: Iterable[str], *, metric: str) -> dict[str, str]:
    """Return a hue for each model; where there are too many, for the best ones and naive."""
    names = list(dict.fromkeys(models))
    if len(names) <= svg.N_HUES:
        return {name: _hue(i) for i, name in enumerate(names)}
    best = scored.loc[scored.groupby("unique_id")[metric].idxmin(), "model"]
    winners = [*dict.fromkeys([*best.value_counts().index, "naive"])]
    shown = [name for name in winners if name in names][: svg.N_HUES]
    return {**{name: _hue(i) for i, name in enumerate(shown)}, "others": "other"}


def _title(unique_id: str, n_children: Mapping[str, int]) -> str:
    label = total_label(n_children.get(unique_id))
    return f"{unique_id} ({label})" if label else unique_id


def _hue(i: int) -> str:
    return f"hue{i % svg.N_HUES}"


def _first_series(frame: Frame) -> Mapping[str, Frame]:
    """Return the rows of the first few series."""
    ids = frame["unique_id"].drop_duplicates().head(MAX_CHARTS)
    return by_series(frame[frame["unique_id"].isin(ids)])
