"""Turn the newest week into the data of the series' pages, which a script draws in the browser.

There is one page, `series.html`, for all series, and small files of data for a few series each: ten
thousand pages with a drawn chart each would take several times the space and the time. What the
page looks like does not belong here: see `templates/series.html`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.data.excluded import periods_of
from forecast_assets.data.quality.evaluate import with_policy
from forecast_assets.reporting.narrative import NO_TRACK_RECORD
from forecast_assets.reporting.number_format import MAX_DECIMALS, NumberFormat
from forecast_assets.reporting.plain_words import model_spells, range_labels
from forecast_assets.reporting.summary import (
    WeeklyReport,
    given_number,
    is_overridden,
    model_label,
    total_label,
)
from forecast_assets.storage.tables import interval_columns

# Data of 50 series take about 150 kB, which a browser reads at once.
SERIES_PER_FILE = 50
# Weeks of its history that a page shows.
WEEKS_SHOWN = 104
# Changes of the model that a page lists, the newest ones.
MAX_SPELLS = 8
# The columns of next_week_forecast that split the change since last week, where it has them.
MOVED_BY = {
    "moved_by_data": "new and revised data",
    "moved_by_model": "another model or other weights",
    "moved_by_code": "code or settings",
    "moved_by_totals": "adding up to totals",
    "moved_not_split": "not split",
}
WEEK = np.timedelta64(7, "D")

# What was forecast for a past week, and the ends of its likely range.
PAST = ("was", "low", "high")

Values = np.typing.NDArray[np.float64]
Record = dict[str, Any]
Columns = Mapping[str, np.typing.NDArray[Any]]


def series_url(name: str) -> str:
    """Return the address of a series' page, relative to the folder of the reports."""
    return f"series.html#{quote(name, safe='')}"


def to_script_json(values: Any) -> str:
    """Return JSON that is safe inside a `script` element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def series_files(
    report: WeeklyReport, rows: pd.DataFrame, reasons: Sequence[str], levels: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Yield the files of data by name, in the order of `rows`, those of `summarize_series`.

    `reasons` say why a series needs attention, and `levels` are the displayed ones.
    """
    records = list(_records(report, rows, reasons, levels))
    for number, start in enumerate(range(0, len(records), SERIES_PER_FILE)):
        text = to_script_json(records[start : start + SERIES_PER_FILE])
        yield f"series/{number}.js", f"forecastAssets.add({number}, {text});\n"


def expect_sentence(row: Mapping[Any, Any], levels: Sequence[float]) -> str:
    """Say what is expected of a series next week, and within which ranges."""
    number_format: NumberFormat = row["format"]
    unit = f" {number_format.unit}" if number_format.unit else ""
    change = number_format.signed(row["y_hat"] - row["last_y"])
    is_change = change[0] in "+−"
    compared = f"{change[1:]} {'more' if change[0] == '+' else 'less'} than" if is_change else "as"
    sentence = (
        f"{number_format.text(row['y_hat'])}{unit} is expected for the week ending"
        f" {row['ds'].date()}, {compared} in the week before."
    )
    ranges = [
        f"in {count} weeks from {number_format.range(row[low], row[high])}"
        for (_, count), level in zip(range_labels(levels), levels, strict=True)
        for low, high in [interval_columns([level])]
        if math.isfinite(row[low])
    ]
    sure = f"It should be {', '.join(ranges)}." if ranges else "How sure that is, is unknown."
    return f"{sentence} {sure}"


def _records(
    report: WeeklyReport, rows: pd.DataFrame, reasons: Sequence[str], levels: Sequence[float]
) -> Iterator[Record]:
    """Yield what the page of each series shows."""
    ids, decimals = rows["unique_id"].tolist(), [each.decimals for each in rows["format"]]
    ends, is_next = interval_columns(report.levels), report.accuracy["h"] == 1
    slices = partial(_by_series, ids=ids, decimals=decimals)
    of_series = slices(report.series, ["ds", "is_filled"], rounded=["y"])
    of_published = slices(
        report.accuracy[is_next].sort_values("ds", kind="stable"),
        ["ds", "abs_error", "naive_abs_error", f"in_{column_suffix(levels[0])}"],
        rounded=["y_hat", *interval_columns(levels[:1])],
    )
    of_forecast = slices(report.forecast.sort_values("h"), ["ds"], rounded=["y_hat", *ends])
    of_spells = slices(model_spells(report), ["ds", "model", "n_weeks"])
    reason_of = dict(zip(report.best_model["unique_id"], report.best_model["reason"], strict=True))
    found = _findings(report)
    for i, row in enumerate(rows.to_dict("records")):
        name, number_format = row["unique_id"], row["format"]
        published = of_published[i]
        yield {
            "name": name,
            "unit": number_format.unit,
            "parts": total_label(report.n_children.get(name)),
            "decimals": number_format.decimals,
            "look": reasons[i],
            "expect": expect_sentence(row, levels),
            "record": record_sentence(published, number_format, levels[0]),
            **_history(of_series[i], published, levels[0]),
            "excluded": [
                [str(period.first), str(period.last), period.reason]
                for period in periods_of(name, report.excluded)
            ],
            **_ahead(of_forecast[i], report.levels),
            "shown": report.levels.index(levels[0]),
            "override": _override(row),
            "model": model_label(row["model"], row["rung"]),
            "members": _text(row.get("members")),
            "why": _text(row.get("reason")) or _text(reason_of.get(name)),
            "spells": [
                [_day(ds), model, int(n)]
                for ds, model, n in zip(*of_spells[i].values(), strict=True)
            ][-MAX_SPELLS:],
            "moved": _moved(row, number_format),
            "findings": found.get(name, []),
        }


def record_sentence(published: Columns, number_format: NumberFormat, level: float) -> str:
    """Say how good the published forecasts of a series were."""
    n = len(published["ds"])
    if not n:
        return NO_TRACK_RECORD
    low = interval_columns([level])[0]
    has_range = np.isfinite(published[low])
    n_inside = int((published[f"in_{column_suffix(level)}"][has_range] == True).sum())  # noqa: E712
    ours, naive = float(published["abs_error"].mean()), float(published["naive_abs_error"].mean())
    weeks = f"{n} week{'s' * (n > 1)}"
    sentence = f"Over {weeks}, the forecasts were off by {number_format.text(ours)} on average"
    if naive > 0:
        percent = round(100 * abs(1 - ours / naive))
        size = f"{percent} % {'less' if ours < naive else 'more'} than" if percent else "as much as"
        sentence += f", {size} repeating the last value would have been"
    n_ranges = int(has_range.sum())
    if not n_ranges:
        return f"{sentence}."
    if n_ranges == 1:
        return f"{sentence}; the value was {'in' if n_inside else 'outside'} its likely range."
    return f"{sentence}; {n_inside} of {n_ranges} values were in their likely range."


def _history(weeks: Columns, published: Columns, level: float) -> Record:
    """Return the shown weeks, and the forecasts that were published for them.

    `filled` are the positions of the weeks without a value of their own. The forecasts begin at the
    week of position `from`, and are null where there was none.
    """
    ds, is_filled = weeks["ds"][-WEEKS_SHOWN:], weeks["is_filled"][-WEEKS_SHOWN:]
    position = ((published["ds"] - ds[0]) // WEEK).astype(int)
    is_shown = position >= 0
    first = int(position[is_shown].min(initial=len(ds)))
    columns = {}
    for key, name in zip(PAST, ("y_hat", *interval_columns([level])), strict=True):
        values = np.full(len(ds) - first, np.nan)
        values[position[is_shown] - first] = published[name][is_shown]
        columns[key] = _numbers(values)
    return {
        "start": _day(ds[0]),
        "y": _numbers(weeks["y"][-WEEKS_SHOWN:]),
        "filled": np.flatnonzero(is_filled).tolist(),
        "from": first,
        **columns,
    }


def _ahead(forecast: Columns, levels: Sequence[float]) -> Record:
    """Return the forecast weeks, and the ends of their ranges by level."""
    pairs = (interval_columns([level]) for level in levels)
    return {
        "next": [_day(ds) for ds in forecast["ds"]],
        "y_hat": _numbers(forecast["y_hat"]),
        "ends": [[_numbers(forecast[name]) for name in pair] for pair in pairs],
    }


def _override(row: Mapping[Any, Any]) -> Record | None:
    """Return a person's number for the next week, and whose it is; None without any."""
    if not is_overridden(row):
        return None
    who, why = row["override_by"], row["override_reason"]
    return {"y": float(row["override"]), "text": f"{given_number(row)} by {who} ({why})"}


def _moved(row: Mapping[Any, Any], number_format: NumberFormat) -> list[str]:
    """Return both forecasts and what moved the newer, with one more decimal than values have."""
    finer = NumberFormat(min(number_format.decimals + 1, MAX_DECIMALS))
    changes = {label: row.get(name, math.nan) for name, label in MOVED_BY.items()}
    texts = {label: finer.signed(change) for label, change in changes.items()}
    parts = [f"{label}: {text}" for label, text in texts.items() if text[0] in "+−"]
    was = row.get("moved_from", math.nan)
    if not parts or not np.isfinite(was):
        return parts
    before, now = number_format.text(was), number_format.text(row["y_hat"])
    return [f"the forecast for the week before was {before}, this one is {now}", *parts]


def _findings(report: WeeklyReport) -> dict[str, list[str]]:
    """Return what was found in the data of each series."""
    texts: dict[str, list[str]] = {}
    for finding in with_policy(report.findings, "hold", "warn"):
        details = {row.unique_id: row for row in finding.rows}
        for name in finding.series:
            row = details.get(name)
            week = f", week {row.ds}" if row and row.ds else ""
            detail = f": {row.detail}" if row and row.detail else ""
            text = f"{finding.kind.replace('_', ' ')}{week}{detail}"
            texts.setdefault(name, []).append(text)
    return texts


def _by_series(
    frame: pd.DataFrame,
    names: Sequence[str],
    *,
    ids: Sequence[str],
    decimals: Sequence[int],
    rounded: Sequence[str] = (),
) -> list[Columns]:
    """Return the columns of each series in the order of `ids`, as slices of one array.

    Those of `rounded` are rounded to the decimals of their series.
    """
    codes = pd.Index(ids).get_indexer(pd.Index(frame["unique_id"]))
    order = np.argsort(codes, kind="stable")
    columns = {name: frame[name].to_numpy()[order] for name in (*names, *rounded)}
    scale = 10.0 ** np.array(decimals)[codes[order]]
    for name in rounded:
        # A whole number divided by a power of ten is the float nearest to the decimals.
        columns[name] = np.round(columns[name].astype(float) * scale) / scale
    bounds = np.searchsorted(codes[order], np.arange(len(ids) + 1))
    return [
        {name: values[start:stop] for name, values in columns.items()}
        for start, stop in pairwise(bounds)
    ]


def _numbers(values: Values) -> list[float | None]:
    """Return numbers with null where one is missing."""
    numbers: list[float] = values.tolist()
    return [None if math.isnan(number) else number for number in numbers]


def _text(value: Any) -> str:
    """Return a text, empty where a row has none."""
    return value if isinstance(value, str) else ""


def _day(ds: Any) -> str:
    return str(np.datetime64(ds, "D"))
