"""Say what a manager needs to know without terms of statistics: ranges, changes, attention.

Sentences about scores and candidates are in `narrative`.
"""

import functools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.data.quality.evaluate import with_policy
from forecast_assets.errors import format_list
from forecast_assets.reporting.narrative import (
    MAX_NAMES,
    accuracy_sentence,
    bidi_isolate,
    join_words,
)
from forecast_assets.reporting.number_format import format_percent
from forecast_assets.reporting.summary import WeeklyReport, is_overridden, model_label
from forecast_assets.storage.tables import CHOSEN, interval_columns

RANGES = ("likely range", "wide range")
# An expected change is large from this multiple of the usual weekly change on.
LARGE_CHANGE = 2.0
# Findings without a warning that a reader should know of.
CHANGES = ("new_series", "vanished_series", "revised")
# Weeks of the series within which a filled one is worth a sentence.
RECENT_WEEKS = 52


@functools.cache
def odds(level: float) -> str:
    """Write a level in percent as a count: 80 is "8 of 10", 97.5 is "39 of 40"."""
    share = Fraction(str(level)) / 100
    n = next((n for n in (10, 20, 40, 100, 1000) if (share * n).denominator == 1), None)
    return f"{level:g} of 100" if n is None else f"{share * n} of {n}"


def range_labels(levels: Sequence[float]) -> list[tuple[str, str]]:
    """Name the ranges of at most two levels, the narrowest first, each with its odds."""
    return [(name, odds(level)) for name, level in zip(RANGES, levels, strict=False)]


def sure_sentences(report: WeeklyReport, levels: Sequence[float]) -> list[str]:
    """Say what the ranges promise, and what they kept where forecasts can be checked."""
    (first, count), *wider = range_labels(levels)
    promise = f"The {first} should hold {count} values"
    sentences = [f"{promise}{''.join(f', the {name} {n}' for name, n in wider)}."]
    if report.accuracy.empty:
        return [*sentences, accuracy_sentence(report)]
    summary = report.live_summary
    shares = [
        f"the {name} held {format_percent(share)}"
        for (name, _), level in zip(range_labels(levels), levels, strict=True)
        if np.isfinite(share := summary[f"coverage_{column_suffix(level)}"])
    ]
    n = int(summary["n"])
    kept = [f"So far, of {n:,} values, {join_words(shares)}."] if shares else []
    return [*sentences, *kept, accuracy_sentence(report)]


def model_spells(report: WeeklyReport) -> pd.DataFrame:
    """Return `unique_id, ds, model, n_weeks`: since which week each model has forecast a series.

    One row for each time that the model changed, oldest first, up to the forecast of this report;
    `n_weeks` counts the forecasts. Only forecasts one week ahead count.
    """
    columns = ["unique_id", "ds", "model"]
    frames = [report.accuracy, report.forecast]
    rows = pd.concat([frame.loc[frame["h"] == 1, columns] for frame in frames], ignore_index=True)
    rows = rows.drop_duplicates(["unique_id", "ds"], keep="last")
    rows = rows.sort_values(["unique_id", "ds"], ignore_index=True)
    is_first = (rows[["unique_id", "model"]] != rows[["unique_id", "model"]].shift()).any(axis=1)
    spells = rows[is_first]
    return spells.assign(n_weeks=rows.groupby(is_first.cumsum()).size().to_numpy())


def model_sentence(report: WeeklyReport) -> str:
    """Say which models forecast, and since when where it is one."""
    first = report.forecast.drop_duplicates("unique_id")
    labels = [model_label(*pair) for pair in zip(first["model"], first["rung"], strict=True)]
    names = list(dict.fromkeys(labels))
    n = len(labels)
    if len(names) > 1:
        return f"{len(names)} models forecast the {n:,} series; their pages name each."
    newest = model_spells(report).groupby("unique_id").tail(1)
    since = newest["ds"].max()
    new = since >= report.forecast.loc[report.forecast["h"] == 1, "ds"].max()
    text = "for the first time" if new else f"since the week ending {since.date()}"
    which = f"All {n:,} series are" if n > 1 else "The series is"
    return f"{which} forecast by {names[0]}, {text}."


def changes(report: WeeklyReport, last_week: str) -> list[str]:
    """Say what is different from the week before: outcomes, models, series, history."""
    chosen = report.best_model
    switched = chosen.loc[chosen["switched"].astype(bool), "unique_id"]
    names = format_list(map(bidi_isolate, switched), limit=MAX_NAMES)
    n = len(switched)
    switches = f"{n:,} series {'is' if n == 1 else 'are'} forecast by another model: {names}."
    known = [
        finding.message
        for finding in with_policy(report.findings, "publish")
        if finding.kind in CHANGES
    ]
    return [*([last_week] if last_week else []), *([switches] if n else []), *known]


def data_sentence(report: WeeklyReport, rows: pd.DataFrame) -> str:
    """Say whether the data are complete: newest values, and weeks that were filled in."""
    newest, n = report.series["ds"].max(), len(rows)
    is_recent = report.series["ds"] > newest - pd.Timedelta(weeks=RECENT_WEEKS)
    n_filled = int((report.series["is_filled"] & is_recent).sum())
    n_late = int((~rows["is_newest"]).sum())
    which = f"{n_late:,} of {n:,} series lack" if n_late else f"all {n:,} series have"
    which = "the series has" if n == 1 else which
    sentence = f"{which} a value for the week ending {newest.date()}"
    if n_filled:
        verb = "was" if n_filled == 1 else "were"
        sentence += f"; {n_filled:,} value{'s' * (n_filled > 1)} of the last year {verb} filled in"
    if n_late or n_filled:
        return f"{sentence[0].upper()}{sentence[1:]}."
    return f"The data are complete: {sentence}."


def outcome_words(row: Mapping[Any, Any], levels: Sequence[float]) -> str:
    """Say how the newest value compares with what was forecast for it; empty where none was."""
    outside = ""
    for (name, _), level in zip(range_labels(levels), levels, strict=True):
        low, high = (row[f"was_{end}"] for end in interval_columns([level]))
        if not low <= high:
            return "" if np.isnan(row["miss"]) else "no range"
        if low <= row["last_y"] <= high:
            return outside or f"in the {name}"
        outside = f"{'below' if row['last_y'] < low else 'above'} the {name}"
    return outside


def attention_reasons(report: WeeklyReport, rows: pd.DataFrame) -> list[str]:
    """Say why each series needs attention, in the order of `summarize_series`; else empty."""
    named: dict[str, list[str]] = {}
    for finding in with_policy(report.findings, "hold", "warn"):
        for name in finding.series:
            named.setdefault(name, []).append(f"data: {finding.kind.replace('_', ' ')}")
    low, high = interval_columns([max(report.levels)])
    last, step = rows["last_y"], rows["step"]
    given = [is_overridden(row) for row in rows.reindex(columns=["override"]).to_dict("records")]
    masks: dict[str, pd.Series[bool]] = {
        "no value for the newest week": ~rows["is_newest"],
        "last value outside its range": (last < rows[f"was_{low}"]) | (last > rows[f"was_{high}"]),
        "large change expected": (rows["y_hat"] - last).abs() > LARGE_CHANGE * step,
        "another model stood in": ~rows["rung"].isin(CHOSEN),
        "no range": rows[low].isna(),
        "number given by a person": pd.Series(given, rows.index, dtype=bool),
    }
    reasons = [named.get(name, []) for name in rows["unique_id"]]
    for text, mask in masks.items():
        for i in np.flatnonzero(mask.to_numpy()):
            reasons[i] = [*reasons[i], text]
    return ["; ".join(texts) for texts in reasons]
