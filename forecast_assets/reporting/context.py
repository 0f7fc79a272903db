"""The week to what the report's templates print: texts, charts and the rows of its tables.

What is found out: `outlook` and `findings`. Markup does not belong here.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.data.quality.evaluate import with_policy
from forecast_assets.forecasting import leaderboard
from forecast_assets.forecasting.backtest_results import FAILED, INELIGIBLE
from forecast_assets.reporting import narrative, plots
from forecast_assets.reporting.number_format import NOTHING, NumberFormat
from forecast_assets.reporting.summary import (
    WeeklyReport,
    displayed_levels,
    format_miss,
    interval_outcome,
    model_label,
    most_surprising,
    outlook,
    scales,
)
from forecast_assets.reporting.svg import svg
from forecast_assets.storage.tables import CHAMPION, interval_columns, target_week

MOST_STATIC = 30  # series that are all written out, with a chart each
MOST_TOLD = 20  # where there are more: the most surprising ones, and rows of every other list
MOST_AHEAD = 8  # weeks ahead in a table; a chart has them all
MOST_ODD = 8  # sentences of what the data show
FEW = 3  # levels that are all named

Texts = dict[str, Any]


def build_context(week: WeeklyReport) -> Texts:
    """Everything that the templates name."""
    told = displayed_levels(week.levels)
    rows, written, lede = _summarize(week, told)
    is_long = len(rows) > MOST_STATIC
    shown = most_surprising(rows, MOST_TOLD) if is_long else rows
    at = [written[i] for i in shown.index]
    choices = _choices(week)
    failed = narrative.failures(week.metrics)
    ranked = leaderboard.standings(week.metrics)
    weeks = narrative.weeks_of(week.series)
    odd = with_policy(week.findings, "hold", "warn")
    return {
        "title": week.title,
        "newest": target_week(week.forecast),
        "as_of": week.forecast["as_of"].iloc[0],
        "run": week.run_id[:8],
        "n_series": len(rows),
        "lede": lede,
        "attention": attention(week, rows),
        "suffixes": [column_suffix(level) for level in told],
        "drawn": _intervals(week.levels),
        "rows": _texts(week, shown, at, told),
        "is_long": is_long,
        "charts": _charts(week, shown, at, told),
        "has_past": len(week.accuracy) > 0,
        "ahead": _ahead(week, shown, at, told) if week.forecast["h"].max() > 1 else [],
        "n_ahead": int(week.forecast["h"].max()),
        "record": narrative.track_record(
            week.accuracy, week.series, week.metrics, week.best_model, levels=told
        ),
        "n_due": len(week.accuracy),
        "first_due": week.accuracy["ds"].min().date() if len(week.accuracy) else None,
        "trust": lede[-1],
        "choices": [] if is_long else choices.to_dict("records"),
        "chosen": week.best_model["model"].value_counts().to_dict(),
        "makers": choices["by"].value_counts().to_dict(),
        "changes": choices[choices["switched"].astype(bool)].head(MOST_TOLD).to_dict("records"),
        "n_changes": int(choices["switched"].sum()),
        "failures": failed[:MOST_TOLD],
        "n_failures": len(failed),
        "too_short": int((week.metrics["status"] == INELIGIBLE).sum()),
        "weeks": weeks,
        "odd": [one.message for one in odd[:MOST_ODD]],
        "n_odd": len(odd),
        "behind": weeks.behind.head(MOST_TOLD).to_dict("records"),
        "standings": ranked.to_dict("records"),
        "n_compared": int(ranked["n_compared"].max()) if len(ranked) else 0,
        "made_from": week.made_from,
        "everything": as_json(rows, written, told) if is_long else "",
    }


def build_brief_context(week: WeeklyReport) -> Texts:
    """The sentences at the top, what to look at, and the first rows."""
    told = displayed_levels(week.levels)
    rows, written, lede = _summarize(week, told)
    shown = most_surprising(rows, MOST_TOLD) if len(rows) > MOST_TOLD else rows
    at = [written[i] for i in shown.index]
    return {
        "lede": lede,
        "attention": attention(week, rows),
        "rows": _texts(week, shown, at, told),
        "n_more": len(rows) - len(shown),
        "suffix": column_suffix(told[0]),
    }


def attention(week: WeeklyReport, rows: pd.DataFrame) -> list[str]:
    """What a reader should look at: failed checks, else what they would have said, and old data."""
    found = list(week.problems)
    n_failed = int((week.metrics["status"] == FAILED).sum())
    n_others = int((rows["rung"] != CHAMPION).sum())
    n_behind = int((~rows["is_newest"]).sum())
    if not week.problems and n_failed:
        times = f"{n_failed:,} time{'s' * (n_failed > 1)}"
        found.append(f"{times} a model failed on a series; it does not compete there.")
    if not week.problems and n_others:
        verb = "is" if n_others == 1 else "are"
        found.append(f"{n_others:,} of {len(rows):,} series {verb} not forecast by a champion.")
    if n_behind:
        verb = "has" if n_behind == 1 else "have"
        found.append(
            f"{n_behind:,} of {len(rows):,} series {verb} no value for the newest week:"
            f" what is forecast of it is for an earlier one."
        )
    return found


def as_json(rows: pd.DataFrame, written: Sequence[NumberFormat], told: Sequence[float]) -> str:
    """All rows column by column as JSON that cannot end the element of a page that holds it."""
    low, high = interval_columns(told[:1])
    places = np.array([one.decimals - one.power for one in written])

    def numbers(values: "pd.Series[float]", at: Sequence[int] | np.ndarray = places) -> list[Any]:
        return [
            None if np.isnan(value) else round(float(value), int(place))
            for value, place in zip(values, at, strict=True)
        ]

    makers = [model_label(*pair) for pair in zip(rows["model"], rows["rung"], strict=True)]
    labels = [one.label for one in written]
    known = {"makers": sorted(set(makers)), "labels": sorted(set(labels))}
    columns = {
        "level": column_suffix(told[0]),
        "name": rows["unique_id"].tolist(),
        "label": [known["labels"].index(label) for label in labels],
        "decimals": [one.decimals for one in written],
        "power": [one.power for one in written],
        "last": numbers(rows["last_y"]),
        "next": numbers(rows["y_hat"]),
        "low": numbers(rows[low]),
        "high": numbers(rows[high]),
        "miss": numbers(rows["miss"]),
        "surprise": numbers(rows["surprise"], np.full(len(rows), 1)),
        "maker": [known["makers"].index(one) for one in makers],
    }
    text = json.dumps({**known, **columns}, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _summarize(
    week: WeeklyReport, told: Sequence[float]
) -> tuple[pd.DataFrame, list[NumberFormat], list[str]]:
    """The rows of the outlook, how their numbers are written, and the report's first sentences."""
    rows = outlook(week.forecast, week.series, week.accuracy, levels=week.levels)
    written = scales(rows, week.units)
    moves = {
        name: scale.signed(move)
        for name, scale, move in zip(
            rows["unique_id"], written, rows["y_hat"] - rows["last_y"], strict=True
        )
    }
    newest = rows[rows["is_newest"]]
    lede = [
        narrative.next_week(newest, moves),
        narrative.last_week(newest, told[0]),
        narrative.accuracy_sentence(week.accuracy, week.series, levels=week.levels),
    ]
    return rows, written, lede


def _texts(
    week: WeeklyReport, shown: pd.DataFrame, at: Sequence[NumberFormat], told: Sequence[float]
) -> list[Texts]:
    """The rows of the outlook as they are printed."""
    newest = target_week(week.forecast)
    found = []
    for row, scale in zip(shown.to_dict("records"), at, strict=True):
        how = interval_outcome(row, told)
        found.append(
            {
                "name": row["unique_id"],
                "unit": scale.label,
                "week": None if row["ds"].date() == newest else row["ds"].date(),
                "by": "" if row["rung"] == CHAMPION else model_label(row["model"], row["rung"]),
                "next": scale.text(row["y_hat"]),
                "change": scale.signed(row["y_hat"] - row["last_y"]),
                "intervals": [
                    scale.range(*(row[name] for name in interval_columns([level])))
                    for level in told
                ],
                "last": scale.text(row["last_y"]),
                "was": scale.text(row["was_y_hat"]),
                "miss": format_miss(row["miss"], scale),
                "outcome": how,
                "surprise": NOTHING if np.isnan(row["surprise"]) else f"{row['surprise']:.1f}",
                "is_off": how.startswith("outside"),
            }
        )
    return found


def _charts(
    week: WeeklyReport, shown: pd.DataFrame, at: Sequence[NumberFormat], told: Sequence[float]
) -> list[Texts]:
    """A fan chart for each shown row."""
    names = shown["unique_id"]
    past, ahead, published = (
        plots.by_series(frame[frame["unique_id"].isin(names)])
        for frame in (week.series, week.forecast.sort_values("h"), week.accuracy)
    )
    found = []
    for row, scale in zip(_texts(week, shown, at, told), at, strict=True):
        name = row["name"]
        was = published.get(name, week.accuracy.head(0))
        marks = plots.fan(
            past[name],
            ahead[name],
            was[was["h"] == 1],
            levels=week.levels,
            level=told[0],
            scale=scale,
        )
        says = f"{name}: {row['last']} last week, {row['next']} forecast"
        found.append({**row, "svg": svg(marks, says=says)})
    return found


def _ahead(
    week: WeeklyReport, shown: pd.DataFrame, at: Sequence[NumberFormat], told: Sequence[float]
) -> list[Texts]:
    """The forecasts further ahead of each shown row, with the narrowest interval told."""
    rows = week.forecast[week.forecast["h"] <= MOST_AHEAD].sort_values("h")
    by = plots.by_series(rows[rows["unique_id"].isin(shown["unique_id"])])
    low, high = interval_columns(told[:1])
    return [
        {
            "name": name,
            "weeks": [
                (ds.date(), scale.text(y_hat), scale.range(lo, hi))
                for ds, y_hat, lo, hi in by[name][["ds", "y_hat", low, high]].to_numpy()
            ],
        }
        for name, scale in zip(shown["unique_id"], at, strict=True)
    ]


def _choices(week: WeeklyReport) -> pd.DataFrame:
    """best_model's rows, with who forecast in the end as `by` and of whom that is combined."""
    first = week.forecast.drop_duplicates("unique_id")
    by = [model_label(*pair) for pair in zip(first["model"], first["rung"], strict=True)]
    made = first[["unique_id", "members"]].assign(by=by)
    return week.best_model.merge(made, on="unique_id").replace({np.nan: None})


def _intervals(levels: Sequence[float]) -> str:
    """The intervals of a fan in words: each of a few, the ends of many."""
    said = [column_suffix(level) for level in levels]
    if len(said) > FEW:
        return f"{len(said)} intervals from {said[0]} to {said[-1]} %"
    *most, last = said
    return f"{', '.join(most)} and {last} % intervals" if most else f"{last} % interval"
