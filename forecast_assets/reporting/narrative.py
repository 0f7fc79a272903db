"""Turn the tables of a week into the sentences and small tables of the report.

Numbers of single series and layout do not belong here: see `summary` and `context`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import bidirectional

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.errors import format_list
from forecast_assets.forecasting import live_accuracy
from forecast_assets.forecasting.eligibility import ELIGIBLE, FAILED, HAS, INELIGIBLE, N_FAILED
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.regressor_gains import regressor_gains
from forecast_assets.reporting.number_format import is_zero
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.storage.tables import CHOSEN

# Series that a sentence names.
MAX_NAMES = 3
NUMBER = re.compile(r"\d+(\.\d+)?")
RIGHT_TO_LEFT = {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI"}
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
NO_TRACK_RECORD = "There is no track record yet: the ranges rest on tests with past weeks."


def join_words(words: Sequence[str]) -> str:
    """Join words by commas, the last one by `and`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def bidi_isolate(name: str) -> str:
    """Isolate a name with right-to-left characters, so that it does not reorder its sentence."""
    is_right_to_left = any(bidirectional(character) in RIGHT_TO_LEFT for character in name)
    return f"{FIRST_STRONG_ISOLATE}{name}{POP_ISOLATE}" if is_right_to_left else name


def next_week_sentence(rows: pd.DataFrame, changes: Mapping[str, str]) -> str:
    """Count the series that are expected to rise and fall, and name the largest changes.

    `rows` are those of `summarize_series` with a value for the newest week; `changes` holds the
    written change of each series, which is "0" where it is rounded to zero.
    """
    change, names = rows["y_hat"] - rows["last_y"], rows["unique_id"]
    is_level = np.array([is_zero(changes[name]) for name in names])
    n_rise, n_fall = (int((side & ~is_level).sum()) for side in (change > 0, change < 0))
    counts = {"rise": n_rise, "fall": n_fall, "stay level": int(is_level.sum())}
    counts = {direction: count for direction, count in counts.items() if count}
    size = change.abs() / rows["step"].where(rows["step"] > 0)
    large = size[(size > 1) & ~is_level].sort_values(ascending=False, kind="stable")
    if len(rows) == 1:
        amount = "" if is_level[0] else f" by {changes[names.iloc[0]][1:]}"
        comparison = ", more than in a usual week" if len(large) else ""
        text = f"is expected to {next(iter(counts))}{amount}{comparison}"
        return f"{bidi_isolate(names.iloc[0])} {text}."
    if is_level.all():
        return f"All {len(rows):,} series are expected to stay level."
    (first, n_first), *others = counts.items()
    parts = [f"{n_first:,} {_verb(n_first)} expected to {first}"]
    parts += [f"{count:,} to {direction}" for direction, count in others]
    sentence = f"Of {len(rows):,} series, {join_words(parts)}"
    if not len(large):
        return f"{sentence}; none is expected to change by more than in a usual week."
    texts = (f"{bidi_isolate(name)} ({changes[name]})" for name in names[large.index])
    return (
        f"{sentence}; {len(large):,} {_verb(len(large))} expected to change by more than in a usual"
        f" week: {format_list(texts, limit=MAX_NAMES)}."
    )


def last_week_sentence(rows: pd.DataFrame, level: float, *, withdrawn: str = "") -> str:
    """Count the values of last week inside their likely range, of `summarize_series`; may be empty.

    `withdrawn` describes the forecast for last week that was withdrawn, if it was.
    """
    suffix = column_suffix(level)
    judged = rows[rows["miss"].notna()]
    if judged.empty:
        return f"Last week's forecast was withdrawn: that {withdrawn}." if withdrawn else ""
    low, high = judged[f"was_lo_{suffix}"], judged[f"was_hi_{suffix}"]
    has_interval = low.notna()
    if not has_interval.any():
        return "Last week's forecasts had no range."
    is_inside = ((low <= judged["last_y"]) & (judged["last_y"] <= high))[has_interval]
    n, n_inside = len(is_inside), int(is_inside.sum())
    if n == 1:
        side = "inside" if n_inside else "outside"
        return f"Last week's value was {side} the likely range of its forecast."
    return (
        f"Last week, {n_inside:,} of {n:,} values {'was' if n_inside == 1 else 'were'} inside their"
        f" likely range; about {round(n * level / 100):,} were expected."
    )


def accuracy_sentence(report: WeeklyReport) -> str:
    """Compare published forecasts with repeating the last value, and name significant problems."""
    if report.accuracy.empty:
        return NO_TRACK_RECORD
    check = report.accuracy_check
    relative_error = float(report.live_summary["over_naive"])
    n_weeks = report.accuracy["ds"].nunique()
    sentence = f"Over {n_weeks} week{'s' * (n_weeks > 1)} of published forecasts"
    if np.isfinite(relative_error):
        percent = round(100 * abs(1 - relative_error))
        size = f"{percent} % {'smaller' if relative_error < 1 else 'larger'} than"
        sentence += f", errors were {size if percent else 'as large as'} those of repeating the"
        sentence += " last value"
    if check.problems:
        return f"{sentence}. More than chance explains: {'; '.join(check.problems)}."
    if check.n_weeks < check.n_needed:
        return f"{sentence}; {check.n_needed} weeks are needed for a verdict."
    return f"{sentence}; chance explains every difference from what was promised."


def attention(report: WeeklyReport, rows: pd.DataFrame) -> list[str]:
    """Return what needs attention: the problems of the report, else counts; and late series."""
    sentences, n = list(report.problems), len(rows)
    n_failed = int((report.metrics["status"] == FAILED).sum())
    n_others = int((~rows["rung"].isin(CHOSEN)).sum())
    n_late = int((~rows["is_newest"]).sum())
    if not sentences and n_failed:
        times = f"{n_failed:,} time{'s' * (n_failed > 1)}"
        sentences = [f"A model failed on a series {times}; it does not compete there."]
    elif not sentences and n_others:
        sentences = [f"{n_others:,} of {n:,} series {_verb(n_others)} not forecast by a champion."]
    if n_late:
        verb, pronoun = ("has", "its") if n_late == 1 else ("have", "their")
        late = f"{n_late:,} of {n:,} series {verb} no value for the newest week"
        sentences.append(f"{late}: {pronoun} forecast is for an earlier week.")
    return sentences


def model_failures(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Group failures by model and cause, most frequent first, with the names of a few series.

    Causes are the same where their texts differ in numbers only.
    """
    failed = metrics[metrics["status"] == FAILED]
    n_eligible = metrics[metrics["status"].isin(ELIGIBLE)].groupby("model").size().to_dict()
    cause = failed["reason"].str.replace(N_FAILED, "", regex=True)
    key = cause.str.replace(NUMBER, "0", regex=True).rename("cause")
    failures = [
        {
            "model": str(model),
            "reason": " ".join(cause[rows.index[0]].split()),
            "n_series": len(rows),
            "n_eligible": int(n_eligible[model]),
            "names": format_list(map(bidi_isolate, rows["unique_id"]), limit=MAX_NAMES),
        }
        for (model, _), rows in failed.groupby(["model", key], sort=True)
    ]
    return sorted(failures, key=lambda failure: -failure["n_series"])


def models_left_out(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Group the models that do not suit a series by the cause, that of most series first.

    Ensembles do not count: they lack what their members lack.
    """
    is_out = (metrics["status"] == INELIGIBLE) & ~metrics["model"].isin([*COMBINATIONS])
    rows = metrics[is_out].sort_values("unique_id", kind="stable")
    groups = [
        {
            "models": list(group["model"].unique()),
            "n_series": group["unique_id"].nunique(),
            "names": format_list(map(bidi_isolate, group["unique_id"].unique()), limit=MAX_NAMES),
            "reason": " ".join(str(cause).split()),
        }
        for cause, group in rows.groupby(rows["reason"].str.replace(HAS, "", regex=True))
    ]
    return sorted(groups, key=lambda group: -group["n_series"])


def few_folds(series: pd.DataFrame, metrics: pd.DataFrame, n_windows: int) -> str:
    """Say which series have fewer folds than the settings ask for, and why; empty if none has."""
    weeks = series.groupby("unique_id")["is_filled"].agg(["size", "sum"])
    weeks = weeks.join(metrics.groupby("unique_id")["n_folds"].max(), how="inner")
    few = weeks[weeks["n_folds"] < n_windows].sort_values("n_folds", kind="stable")
    texts = [
        f"{bidi_isolate(str(name))} ({n_folds} folds in {n} weeks"
        + (f", {n_filled} of them filled)" if n_filled else ")")
        for name, n, n_filled, n_folds in few.itertuples(name=None)
    ]
    if not texts:
        return ""
    reasons = ["the first fit needs half of their weeks"]
    if few["sum"].any():
        reasons.append("no forecast is made from a filled week, or compared with one")
    return (
        f"{len(texts)} series {_verb(len(texts))} tested on fewer than {n_windows} folds, because"
        f" {', and '.join(reasons)}: {format_list(texts, limit=MAX_NAMES)}."
    )


def late_series(series: pd.DataFrame) -> pd.DataFrame:
    """Return `unique_id, ds, n_weeks` of series that lack the newest weeks, most missing first."""
    late = series.groupby("unique_id")["ds"].max().reset_index()
    late["n_weeks"] = (late["ds"].max() - late["ds"]).dt.days // 7
    late = late[late["n_weeks"] > 0]
    return late.sort_values("n_weeks", ascending=False, kind="stable", ignore_index=True)


def revisions_sentence(metrics: pd.DataFrame) -> str:
    """Say how much of the backtest knows that values are revised after they are published."""
    known = metrics.get("vintage_share", pd.Series(dtype=float)).fillna(0.0)
    share = float(known.mean()) if len(known) else 0.0
    if share == 0:
        return (
            "How these values are revised after they are published is unknown: the backtest saw the"
            " past as it is known now."
        )
    return (
        f"In {100 * share:.0f} % of its folds the backtest saw the past as it was known then,"
        f" before later revisions."
    )


def regressors_sentence(report: WeeklyReport) -> str:
    """Say which models the calendar and the regressors helped, and by how much; may be empty."""
    gains = regressor_gains(report.metrics, report.twins, metric=report.metric)
    gains = gains.dropna(subset=["gain"])
    if gains.empty:
        return ""
    texts = [
        f"{name} {abs(gain):.0%} {'lower' if gain >= 0 else 'higher'}"
        f" (lower on {n_better:,} of {n_series:,} series)"
        for name, gain, n_series, n_better in zip(
            gains["model"], gains["gain"], gains["n_series"], gains["n_better"], strict=True
        )
    ]
    return (
        f"The calendar and the regressors are used where they help. With them, the mean"
        f" {report.metric.upper()} is, against the same model without: {'; '.join(texts)}."
    )


def totals_sentence(forecast: pd.DataFrame, n_children: Mapping[str, int]) -> str:
    """Say how forecasts were made to add up, and how far they moved for it; may be empty."""
    rows = forecast.reindex(columns=["unique_id", "y_hat", "y_hat_base", "reconciliation"])
    rows = rows.dropna(subset=["reconciliation"])
    if rows.empty:
        return ""
    is_total = rows["unique_id"].isin(n_children)
    size = rows["y_hat_base"].abs()
    change = ((rows["y_hat"] - rows["y_hat_base"]).abs() / size.where(size > 0)).groupby(is_total)
    n, moved = rows["unique_id"][is_total].nunique(), change.mean()
    return (
        f"{n:,} {'total is' if n == 1 else 'totals are'} forecast as the sum of the parts, by"
        f" {rows['reconciliation'].iloc[0]}: that moves a total's own forecast by"
        f" {moved.get(True, 0.0):.1%} and a part's by {moved.get(False, 0.0):.1%} on average."
    )


def track_record(report: WeeklyReport, levels: Sequence[float]) -> list[dict[str, Any]]:
    """Compare published forecasts with what was expected of them: one row a measure, as fractions.

    `expected`, `backtest` (the mean over series of the models that forecast now), `so_far` and
    `quarter` (the last 13 weeks); NaN where not known.
    """
    if report.accuracy.empty:
        return []
    so_far = report.live_summary
    quarter = live_accuracy.rolling_summary(report.accuracy, report.series, levels=levels).iloc[0]
    chosen = report.best_model[["unique_id", "model"]].merge(
        report.metrics, on=["unique_id", "model"]
    )
    measures = [
        (f"values inside their {column_suffix(level)} % interval", name, level / 100, chosen[name])
        for level in levels
        for name in [f"coverage_{column_suffix(level)}"]
    ]
    relative_error, unknown = 1 - chosen["skill_vs_naive"], pd.Series([np.nan])
    measures += [
        ("error, relative to repeating the last value", "over_naive", np.nan, relative_error),
        ("error, relative to the backtest", "over_promise", 1.0, unknown),
    ]
    return [
        {
            "measure": measure,
            "expected": expected,
            "backtest": backtest.mean(),
            "so_far": so_far[name],
            "quarter": quarter[name],
        }
        for measure, name, expected, backtest in measures
    ]


def _verb(n: int) -> str:
    return "is" if n == 1 else "are"
