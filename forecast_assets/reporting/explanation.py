"""Write why a forecast moved: a sentence for each comparison, and one for each noteworthy cause.

How a difference is split belongs to `forecasting.explanation`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.errors import format_list
from forecast_assets.forecasting.explained_series import SAME_WEEK, Comparison, ExplainedSeries
from forecast_assets.forecasting.explanation import CODE
from forecast_assets.forecasting.moves import largest_moves
from forecast_assets.reporting.number_format import MISSING, NumberFormat, choose_format, is_zero
from forecast_assets.reporting.summary import displayed_levels, is_overridden
from forecast_assets.storage.tables import interval_columns

# Series in the table of the report.
MAX_MOVES = 10
MOVE_LABELS = {
    "change": "Change",
    "moved_by_data": "By new and revised data",
    "moved_by_model": "By model or weights",
    "moved_by_code": "By code or settings",
    "moved_by_totals": "By adding up",
    "moved_not_split": "Not split",
}


def format_of(explained: ExplainedSeries, levels: Sequence[float]) -> NumberFormat:
    """Return the format of the numbers, by half the width of the forecast's interval."""
    low, high = interval_columns(displayed_levels(levels)[:1])
    row = explained.row
    half = (row.get(high, math.nan) - row.get(low, math.nan)) / 2
    return choose_format(row["y_hat"], half if half > 0 else row["backtest_mae"])


def headline(name: str, comparison: Comparison, number_format: NumberFormat) -> str:
    """Write a comparison as a sentence."""
    text, change = number_format.text, comparison.now - comparison.then
    size = number_format.signed(change)
    than = "as high as" if is_zero(size) else f"{size[1:]} {_direction(change)} than"
    sentence = f"The forecast of {name} for the week ending {comparison.week_now} is"
    sentence += f" {text(comparison.now)}, {than}"
    if comparison.kind == SAME_WEEK:
        return f"{sentence} last week's for that week."
    sentence += f" last week's for the week ending {comparison.week_then},"
    sentence += f" {text(comparison.then)}"
    if math.isnan(comparison.actual):
        return f"{sentence}."
    return f"{sentence}; the value that came is {text(comparison.actual)}."


def part_rows(comparison: Comparison, number_format: NumberFormat) -> list[dict[str, Any]]:
    """Return the parts that moved the forecast, and their sum, for a table."""
    finer = _finer(number_format)
    rows = [
        {"part": part.name, "change": finer.signed(part.change)}
        for part in comparison.parts
        if not is_zero(finer.text(part.change))
    ]
    return [*rows, {"part": "together", "change": finer.signed(comparison.now - comparison.then)}]


def notes(explained: ExplainedSeries, number_format: NumberFormat) -> list[str]:
    """Return a sentence for each noteworthy cause, and for what cannot be split or compared."""
    return [*_notes(explained, number_format), *explained.remarks]


def _notes(explained: ExplainedSeries, number_format: NumberFormat) -> Iterator[str]:
    text = number_format.text
    parts = [part for comparison in explained.comparisons for part in comparison.parts]
    for name, problem in {part.name: part.problem for part in parts if part.problem}.items():
        yield f"{name[0].upper()}{name[1:]}: not split, because {problem}."
    if n := len(explained.revisions):
        newest = explained.revisions[0]
        yield (
            f"{n:,} past value{'s' * (n > 1)} {'were' if n > 1 else 'was'} revised, the newest in"
            f" the week ending {newest.week}: from {text(newest.then)} to {text(newest.now)}."
        )
    row, before = explained.row, explained.before or {}
    if np.isfinite(row.get("last_corrected", math.nan) or math.nan):
        yield (
            f"The newest value, published as {text(row['last_published'])}, was corrected to"
            f" {text(row['last_corrected'])} for its usual revision."
        )
    then, now = explained.recipes or ("", "")
    if then and now and then != now:
        yield f"Last week's forecast was made by {then}; this week's by {now}."
    if explained.settings:
        yield f"Settings that changed: {format_list(explained.settings)}."
    if explained.code:
        yield f"Code that changed: {format_list(explained.code)}."
    elif any(part.name == CODE and not is_zero(text(part.change)) for part in parts):
        yield (
            "No version of the code or a library changed: last week's forecast cannot be made"
            " again as it was, which counts as code."
        )
    for week, each in (("Last week's", before), ("This week's", row)):
        if is_overridden(each):
            yield (
                f"{week} forecast was overridden by {each['override_by']}:"
                f" {text(each['override'])} ({each['override_reason']}); the models forecast"
                f" {text(each['y_hat'])}."
            )


def moves_context(forecast: pd.DataFrame, formats: Mapping[str, NumberFormat]) -> dict[str, Any]:
    """Return the series that moved furthest, each with the parts, for a table of the report.

    Parts that moved none of them have no column. There are no columns in a first week.
    """
    rows = largest_moves(forecast).head(MAX_MOVES).to_dict("records")
    texts = [
        {name: _finer(formats[row["unique_id"]]).signed(row[name]) for name in MOVE_LABELS}
        for row in rows
    ]
    labels = {
        name: label
        for name, label in MOVE_LABELS.items()
        if any(not is_zero(text[name].strip(MISSING)) for text in texts)
    }
    return {
        "move_columns": [*labels.values()],
        "moves": [
            {
                "name": row["unique_id"],
                "was": formats[row["unique_id"]].text(row["moved_from"]),
                "next": formats[row["unique_id"]].text(row["y_hat"]),
                "changes": [text[name] for name in labels],
            }
            for row, text in zip(rows, texts, strict=True)
        ],
    }


def _finer(number_format: NumberFormat) -> NumberFormat:
    """Return the format of changes, which are smaller than forecasts: with one more decimal."""
    return NumberFormat(number_format.decimals + 1, number_format.unit)


def _direction(change: float) -> str:
    return "higher" if change > 0 else "lower"
