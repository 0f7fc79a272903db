"""Compare ours with what others forecast, in sentences and small tables of the report.

How they are scored belongs to `forecasting.benchmark_scores` and `forecasting.overrides`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from forecast_assets.errors import format_list
from forecast_assets.forecasting.benchmark_scores import (
    SPANS,
    Accuracy,
    Comparison,
    Span,
    compare_benchmark,
)
from forecast_assets.forecasting.live_accuracy import weekly_change
from forecast_assets.forecasting.overrides import override_summary
from forecast_assets.reporting.narrative import MAX_NAMES, bidi_isolate
from forecast_assets.reporting.summary import WeeklyReport

# Standard errors of a difference that is no chance.
MAX_CHANCE = 2


def of_benchmarks(report: WeeklyReport) -> list[Comparison]:
    """Return the comparison with each benchmark that has forecasts of these series."""
    pairs = (compare_benchmark(report.accuracy, report.series, name) for name in report.benchmarks)
    return [comparison for comparison in pairs if comparison]


def build_context(report: WeeklyReport, compared: Sequence[Comparison]) -> dict[str, Any]:
    """Return the values of the templates about benchmarks and overrides."""
    people = override_summary(report.accuracy, weekly_change(report.series))
    return {
        "people": people.to_dict("records"),
        "benchmarks": [
            {
                "name": comparison.name,
                "rows": benchmark_table(comparison),
                "spans": [
                    span_label(span, weeks)
                    for span, weeks in zip(comparison.spans, SPANS, strict=True)
                ],
                "better": better_benchmark(comparison),
            }
            for comparison in compared
        ],
    }


def span_label(span: Span, n_weeks: int) -> str:
    """Name a span of the last weeks, with how many of them can be compared if not all can."""
    compared = f" ({span.n_weeks} compared)" if span.n_weeks < n_weeks else ""
    return f"Last {n_weeks} weeks{compared}"


def benchmark_table(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row each for ours, a benchmark and naive, and their gain, as texts by span."""

    def text(accuracy: Accuracy) -> str:
        if np.isnan(accuracy.mean):
            return "–"
        error = "" if np.isnan(accuracy.error) else f" ± {accuracy.error:.2f}"
        return f"{accuracy.mean:.2f}{error}"

    rows = {
        "ours": "ours",
        "theirs": comparison.name,
        "naive": "repeating the last value",
        "gain": f"{comparison.name} minus ours",
    }
    return [
        {"who": label, "spans": [text(getattr(span, who)) for span in comparison.spans]}
        for who, label in rows.items()
    ]


def benchmark_sentence(comparison: Comparison) -> str:
    """Say over the last year whether ours or a benchmark's forecasts had the smaller error."""
    span, name = comparison.spans[-1], bidi_isolate(comparison.name)
    weeks = f"{span.n_weeks} week{'s' * (span.n_weeks > 1)}"
    sentence = (
        f"Over {weeks} with forecasts of {name}, our errors were {span.ours.mean:.2f} and its"
        f" errors {span.theirs.mean:.2f} times the usual weekly change"
    )
    if np.isnan(span.gain.error):
        return f"{sentence}; that is too few weeks for a verdict."
    is_clear = abs(span.gain.mean) > MAX_CHANCE * span.gain.error
    size = "more than" if is_clear else "within what"
    return f"{sentence}; the difference is {size} chance explains."


def better_benchmark(comparison: Comparison) -> list[str]:
    """Say on which series and in which weeks of the last year a benchmark was better."""
    texts = []
    for by, noun in (("unique_id", "series"), ("kind", "kinds of week")):
        rows = comparison.by_series if by == "unique_id" else comparison.by_kind
        better = rows[rows["theirs"] < rows["ours"]].assign(gain=lambda r: r["ours"] - r["theirs"])
        better = better.sort_values("gain", ascending=False, kind="stable")
        names = (
            f"{bidi_isolate(str(name))} ({theirs:.2f} against our {ours:.2f}, {n:,} forecasts)"
            for name, n, ours, theirs in better[[by, "n", "ours", "theirs"]].to_numpy()
        )
        shown = f": {format_list(names, limit=MAX_NAMES)}" if len(better) else ""
        name = bidi_isolate(comparison.name)
        texts.append(
            f"{name} was better on {len(better):,} of {len(rows):,} {noun} in the last year{shown}."
        )
    return texts
