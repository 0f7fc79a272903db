"""What a reader should know beside the numbers: what failed, what the data lack, how good it was.

Turns the week's tables into sentences and small tables. How they are laid out does not belong here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from unicodedata import bidirectional

import numpy as np
import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.errors import format_list
from forecast_assets.forecasting import live_accuracy as live
from forecast_assets.forecasting.backtest_results import FAILED, INELIGIBLE, failure_causes

NAMED = 3  # series, of the many that one sentence is about
NAN = float("nan")
RIGHT_TO_LEFT = {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI"}
ISOLATE, END = "\u2068", "\u2069"
DIFFERS = re.compile(r"\d+(\.\d+)?")  # what differs between failures of one cause


@dataclass(frozen=True)
class ModelFailure:
    """One cause of failures of one model, on how many of the series that it was asked for."""

    model: str
    reason: str
    n_series: int
    n_asked: int
    named: str


@dataclass(frozen=True)
class SeriesLengths:
    """The state of the data: how long the series are, and which have no value for the newest week.

    `behind` holds `unique_id, ds, n_weeks` (how many it lacks), those that lack most first.
    """

    newest: date
    first: date
    n_series: int
    shortest: int
    median: int
    longest: int
    behind: pd.DataFrame


def failures(metrics: pd.DataFrame) -> list[ModelFailure]:
    """The failures of models, those of one cause as one, the most frequent first.

    Causes are one where their texts differ in nothing but numbers.
    """
    failed = metrics[metrics["status"] == FAILED]
    if failed.empty:
        return []
    n_asked = metrics[metrics["status"] != INELIGIBLE].groupby("model").size().to_dict()
    cause = failure_causes(failed["reason"])
    alike = cause.str.replace(DIFFERS, "0", regex=True)
    found = [
        ModelFailure(
            str(model),
            " ".join(str(cause[rows.index[0]]).split()),
            len(rows),
            int(n_asked[model]),
            format_list(map(bidi_isolate, rows["unique_id"]), limit=NAMED),
        )
        for (model, _), rows in failed.groupby(["model", alike.rename("cause")], sort=True)
    ]
    return sorted(found, key=lambda one: (-one.n_series, one.model))


def bidi_isolate(name: str) -> str:
    """The name, so marked where it runs from right to left that what stands beside it does not."""
    turns = any(bidirectional(mark) in RIGHT_TO_LEFT for mark in name)
    return f"{ISOLATE}{name}{END}" if turns else name


def weeks_of(series: pd.DataFrame) -> SeriesLengths:
    """Describe how long the series are and which of them ended early."""
    by = series.groupby("unique_id")["ds"]
    sizes, last = by.size(), by.max()
    newest = last.max()
    behind = pd.DataFrame({"ds": last, "n_weeks": (newest - last).dt.days // 7})
    behind = behind[behind["n_weeks"] > 0].sort_values("n_weeks", ascending=False, kind="stable")
    return SeriesLengths(
        newest=newest.date(),
        first=series["ds"].min().date(),
        n_series=len(sizes),
        shortest=int(sizes.min()),
        median=int(sizes.median()),
        longest=int(sizes.max()),
        behind=behind.reset_index(),
    )


def track_record(
    accuracy: pd.DataFrame,
    series: pd.DataFrame,
    metrics: pd.DataFrame,
    best_model: pd.DataFrame,
    *,
    levels: Sequence[float],
) -> list[dict[str, Any]]:
    """How published forecasts turned out beside what was promised: one row a measure, as fractions.

    `promised`, `backtest` (the mean over series of the models that forecast now), `so_far` and
    `quarter`, over the 13 weeks up to the newest; null where not known.
    """
    if accuracy.empty:
        return []
    so_far = live.summary(accuracy, series, levels=levels).iloc[0]
    quarter = live.rolling_summary(accuracy, series, levels=levels).iloc[0]
    chosen = best_model[["unique_id", "model"]].merge(metrics, on=["unique_id", "model"])

    def row(measure: str, name: str, promised: float, backtest: float) -> dict[str, Any]:
        both = {"so_far": so_far[name], "quarter": quarter[name]}
        return {"measure": measure, "promised": promised, "backtest": backtest, **both}

    rows = []
    for level in levels:
        name = f"coverage_{column_suffix(level)}"
        measure = f"values inside their {column_suffix(level)} % interval"
        rows.append(row(measure, name, level / 100, chosen[name].mean()))
    of_naive = 1 - chosen["skill_vs_naive"].mean()
    rows.append(row("errors, of those of the last value repeated", "over_naive", NAN, of_naive))
    rows.append(row("errors, of what the backtest led to expect", "over_promise", 1.0, NAN))
    return rows


def accuracy_sentence(
    accuracy: pd.DataFrame, series: pd.DataFrame, *, levels: Sequence[float]
) -> str:
    """Say in one sentence whether published forecasts keep what they promise."""
    if accuracy.empty:
        return "None of the published forecasts has come due yet, so there is no record to trust."
    verdict = live.check_accuracy(accuracy, series, levels=levels)
    over = float(live.summary(accuracy, series, levels=levels)["over_naive"].iloc[0])
    n = accuracy["ds"].nunique()
    said = f"Over {n} week{'s' * (n > 1)} of published forecasts"
    if np.isfinite(over):
        percent = round(100 * abs(1 - over))
        than = f"{percent} % {'smaller' if over < 1 else 'larger'} than"
        said += f", errors were {than if percent else 'as large as'} those of"
        said += " repeating the last value"
    found = [one for one in (verdict.worse_than_naive, *verdict.off_coverage) if one]
    if found:
        what = re.sub(r"(?<=\d)%", " %", "; ".join(found))
        return f"{said}. More than chance explains: {what}."
    if verdict.n_weeks < verdict.n_needed:
        return f"{said}; {verdict.n_needed} weeks are needed before that says much."
    return f"{said}, and nothing is off by more than chance explains."


def next_week(rows: pd.DataFrame, moves: Mapping[str, str]) -> str:
    """Say in one sentence where the series are expected to go.

    `rows` are those of `outlook`, of series with a value for the newest week; `moves` how each
    change is written, "0" where it rounds to none.
    """
    change, names = rows["y_hat"] - rows["last_y"], rows["unique_id"]
    is_still = np.array([not moves[name].strip("+−0.,") for name in names])
    counts = {
        "rise": int(((change > 0) & ~is_still).sum()),
        "fall": int(((change < 0) & ~is_still).sum()),
        "stay level": int(is_still.sum()),
    }
    size = change.abs() / rows["step"].where(rows["step"] > 0)
    large = size[(size > 1) & ~is_still].sort_values(ascending=False, kind="stable")
    n = len(rows)
    if n == 1:
        where = next(what for what, k in counts.items() if k)
        by = "" if where == "stay level" else f" by {moves[names.iloc[0]][1:]}"
        more = ", more than in a usual week" if len(large) else ""
        return f"{bidi_isolate(names.iloc[0])} is expected to {where}{by}{more}."
    parts = [f"{k:,} to {what}" for what, k in counts.items() if k]
    first, *others = parts
    verb = "is" if first.startswith("1 ") else "are"
    said = ", ".join([first.replace(" to ", f" of {n:,} series {verb} expected to ", 1), *others])
    if counts["stay level"] == n:
        return f"All {n:,} series are expected to stay level."
    if not len(large):
        return f"{said}; none by more than in a usual week."
    named = format_list(
        (f"{bidi_isolate(name)} ({moves[name]})" for name in names[large.index]), limit=NAMED
    )
    return f"{said}; {len(large):,} by more than in a usual week: {named}."


def last_week(rows: pd.DataFrame, level: float) -> str:
    """Say in one sentence how the forecasts of last week turned out, by the least level told."""
    suffix = column_suffix(level)
    known = rows[rows["miss"].notna()]
    if known.empty:
        return "Nothing had been forecast for last week."
    low, high = known[f"was_lo_{suffix}"], known[f"was_hi_{suffix}"]
    with_interval = known[low.notna()]
    if with_interval.empty:
        return "Last week's forecasts had no interval to hold them against."
    inside = ((low <= known["last_y"]) & (known["last_y"] <= high))[with_interval.index]
    n, n_in = len(inside), int(inside.sum())
    if n == 1:
        where = "inside" if n_in else "outside"
        return f"Last week's value lay {where} the {suffix} % interval that was forecast for it."
    return (
        f"Last week {n_in:,} of {n:,} values lay inside their {suffix} % interval;"
        f" about {round(n * level / 100):,} were meant to."
    )
