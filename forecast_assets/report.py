"""The week on one page: the tables to a self-contained HTML file, and the same in Markdown.

Sending it and keeping it does not belong here: these functions return text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast_assets.forecast import week_of
from forecast_assets.pictures import draw_forecast
from forecast_assets.tables import column_suffix


@dataclass(frozen=True)
class Week:
    """What the report tells: the week's tables, and the run behind them."""

    forecast: pd.DataFrame
    series: pd.DataFrame
    best_model: pd.DataFrame
    metrics: pd.DataFrame
    accuracy: pd.DataFrame
    levels: Sequence[float]
    run_id: str


def render(week: Week) -> dict[str, str]:
    """The report's files by name: report.html and report.md."""
    from jinja2 import (  # noqa: PLC0415 - only the report needs it
        Environment,
        PackageLoader,
        StrictUndefined,
        select_autoescape,
    )
    from markupsafe import Markup  # noqa: PLC0415

    told = {
        "week": week,
        "newest": week_of(week.forecast),
        "rows": headlines(week.forecast, week.series),
        "choices": choices(week),
        "failures": week.metrics[week.metrics["status"] == "failed"].to_dict("records"),
        "suffixes": [column_suffix(level) for level in week.levels],
        "past": _past(week.accuracy),
    }
    environment = Environment(
        loader=PackageLoader("forecast_assets"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"digits": digits, "cell": cell, "interval": interval}
    picture = draw_forecast(week.forecast, week.series, levels=week.levels)
    return {
        "report.html": environment.get_template("report.html").render(
            told,
            picture=Markup(picture),  # noqa: S704 - our own SVG, its texts escaped
        ),
        "report.md": environment.get_template("report.md").render(told),
    }


def headlines(forecast: pd.DataFrame, series: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a forecast: next_week_forecast's columns, and the last known value as `last_y`."""
    last = series.groupby("unique_id")["y"].last().rename("last_y")
    rows = forecast.merge(last, on="unique_id", validate="many_to_one").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def choices(week: Week) -> list[dict[str, Any]]:
    """One row a series: best_model's columns, and of whom its forecast is combined as `members`."""
    members = week.forecast.drop_duplicates("unique_id")[["unique_id", "members"]]
    rows = week.best_model.merge(members, on="unique_id", how="left").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def digits(value: float | None) -> str:
    """A number for people: five significant digits, thousands apart; a dash for none."""
    if value is None or pd.isna(value):
        return "–"
    whole = 10_000  # from here on, what follows the point is noise
    return f"{value:,.0f}" if abs(value) >= whole else f"{value:,.5g}"


def interval(row: Mapping[str, Any], suffix: str) -> str:
    """The ends of a row's interval, or why there is none."""
    low, high = row[f"lo_{suffix}"], row[f"hi_{suffix}"]
    return "too few folds" if pd.isna(low) else f"{digits(low)} to {digits(high)}"


def cell(text: str) -> str:
    """Text that cannot break out of its cell of a Markdown table, nor become HTML."""
    for mark in "\\|`*_[]<>":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _past(accuracy: pd.DataFrame) -> dict[str, float] | None:
    """How the forecasts published so far turned out; null while none has come due."""
    if accuracy.empty:
        return None
    naive = accuracy["naive_abs_error"].sum()
    return {
        "n": len(accuracy),
        "ratio": accuracy["abs_error"].sum() / naive if naive else float("nan"),
    }
