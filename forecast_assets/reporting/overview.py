"""Summarize a week for all its pages: rows of series, those written out, and the first sentences.

What one page needs besides is in `context`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from forecast_assets.forecasting.benchmark_scores import Comparison
from forecast_assets.reporting import comparisons, narrative, plain_words
from forecast_assets.reporting.summary import WeeklyReport, displayed_levels

# Up to this number of series, all are written out with a chart each.
MAX_FULL = 30
# Of more series, only those that need attention first. Rows of every other list, too.
MAX_ROWS = 20


@dataclass(frozen=True)
class Summary:
    """What all files of a report share: its series, those written out, and the first sentences."""

    rows: pd.DataFrame
    shown: pd.DataFrame
    levels: Sequence[float]
    reasons: Sequence[str]  # why each row needs attention; else empty
    expected: str
    last_week: str
    sure: Sequence[str]
    attention: Sequence[str]
    benchmarks: Sequence[Comparison]


def summarize(report: WeeklyReport, *, max_full: int = MAX_FULL) -> Summary:
    """Summarize each series, choose the ones to write out, and write the first sentences."""
    rows = report.series_rows
    levels = displayed_levels(report.levels)
    reasons = plain_words.attention_reasons(report, rows)
    shown = rows
    if len(rows) > max_full:
        is_top = rows["unique_id"].isin(report.n_children) & rows.get("parent", rows["h"]).isna()
        order = rows.assign(is_top=is_top, needs=list(map(bool, reasons)))
        order = order.sort_values(["is_top", "needs", "surprise"], ascending=False, kind="stable")
        shown = rows.loc[order.head(MAX_ROWS).index]
    pairs = zip(rows["unique_id"], rows["format"], rows["y_hat"] - rows["last_y"], strict=True)
    changes = {name: number_format.signed(change) for name, number_format, change in pairs}
    newest = rows[rows["is_newest"]]
    compared = comparisons.of_benchmarks(report)
    return Summary(
        rows=rows,
        shown=shown,
        levels=levels,
        reasons=reasons,
        expected=narrative.next_week_sentence(newest, changes),
        last_week=narrative.last_week_sentence(newest, levels[0], withdrawn=report.withdrawn),
        sure=[
            *plain_words.sure_sentences(report, levels),
            *map(comparisons.benchmark_sentence, compared),
        ],
        attention=narrative.attention(report, rows),
        benchmarks=compared,
    )
