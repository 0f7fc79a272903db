"""Define the data of a weekly report, and summarize each series in one row and in short texts.

Sentences about all series do not belong here: see `narrative`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.config.series_settings import ExcludedSettings, matches_any
from forecast_assets.data.quality.finding import Finding
from forecast_assets.forecasting import live_accuracy
from forecast_assets.forecasting.live_accuracy import LiveAccuracyCheck, check_accuracy
from forecast_assets.reporting.number_format import MISSING, NumberFormat, choose_format, unit_of
from forecast_assets.storage.tables import CHAMPION, interval_columns, target_week

# Interval levels in percent: the nearest ones of the settings are written, all others only drawn.
USUAL_LEVELS = (80, 95)
# Weeks over which the usual weekly change is measured.
SEASON = 52


@dataclass(frozen=True)
class WeeklyReport:
    """The tables of a week and what else its report shows.

    `metric` is the selection metric, `n_windows` the number of folds of the settings; `units` maps
    patterns of series names to units, the first match counts; `problems` are the complaints of the
    asset checks, `findings` those about the data; `made_from` names the versions behind the
    forecast. `withdrawn` tells when, by whom and why the forecast for last week was withdrawn.
    `excluded` are the periods of `[[series.excluded]]`, `benchmarks` the names of `[benchmark.*]`;
    `n_children` counts the children of each parent of `[hierarchy]`, and `twins` are the pairs of a
    model without and with regressors.
    """

    forecast: pd.DataFrame
    series: pd.DataFrame
    best_model: pd.DataFrame
    metrics: pd.DataFrame
    accuracy: pd.DataFrame
    accuracy_check: LiveAccuracyCheck
    levels: Sequence[float]
    metric: str
    run_id: str
    units: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    made_from: str = ""
    n_windows: int = 0
    withdrawn: str = ""
    excluded: Sequence[ExcludedSettings] = ()
    benchmarks: Sequence[str] = ()
    benchmark_problems: Sequence[str] = ()
    n_children: Mapping[str, int] = field(default_factory=dict)
    twins: Sequence[tuple[str, str]] = ()

    def only(self, patterns: Sequence[str]) -> Self:
        """Return the report of the series whose names match a pattern, maybe of none.

        It has no `problems` and only findings about these series, because other sentences may name
        any series.
        """
        ids = [name for name in self.series["unique_id"].unique() if matches_any(name, patterns)]
        names = ("forecast", "series", "best_model", "metrics", "accuracy")
        frames = {name: getattr(self, name) for name in names}
        tables = {name: frame[frame["unique_id"].isin(ids)] for name, frame in frames.items()}
        check = check_accuracy(tables["accuracy"], tables["series"], levels=self.levels)
        findings = [
            finding for finding in self.findings if finding.series and set(finding.series) <= {*ids}
        ]
        return replace(
            self,
            **tables,
            accuracy_check=check,
            problems=(),
            benchmark_problems=(),
            findings=findings,
        )

    @cached_property
    def series_rows(self) -> pd.DataFrame:
        """Return the rows of `summarize_series`, which several pages show."""
        return summarize_series(self)

    @cached_property
    def live_summary(self) -> "pd.Series[Any]":
        """Return the accuracy of all published forecasts, as `live_accuracy.summary` has it."""
        return live_accuracy.summary(self.accuracy, self.series, levels=self.levels).iloc[0]

    @property
    def title(self) -> str:
        """Return a line with the week or weeks and the number of series."""
        if self.forecast.empty:
            return "Forecast of no series"
        first = target_week(self.forecast)
        last = self.forecast.loc[self.forecast["h"] == self.forecast["h"].max(), "ds"].max().date()
        weeks = f"week ending {first}" if first == last else f"weeks ending {first} to {last}"
        return f"Forecast for the {weeks}: {self.forecast['unique_id'].nunique():,} series"


def displayed_levels(levels: Sequence[float]) -> list[float]:
    """Return at most two of the levels, ascending: nobody compares more than four ends."""
    return sorted({min(levels, key=lambda level: abs(level - usual)) for usual in USUAL_LEVELS})


def summarize_series(report: WeeklyReport) -> pd.DataFrame:
    """Return one row for each series with a forecast, sorted by name.

    Columns: those of next_week_forecast one week ahead; `last_ds` and `last_y`, the newest value;
    `is_newest`, whether that is for the newest week of all series; `step`, the mean size of the
    weekly changes over a year; the published forecast for the week of the newest value, with `was_`
    before each name; `miss`, that forecast less the value; `format`, the number format by half the
    width of the narrowest displayed interval, else by `step`; and `surprise`.

    The surprise is the size of the miss divided by half the width of the interval published for
    that week (above 1, the value was outside). Where there is none, it is the size of the next
    change divided by `step`. All are null where unknown.
    """
    series, ends = report.series, interval_columns(report.levels)
    low, high = interval_columns(displayed_levels(report.levels)[:1])
    last = series.groupby("unique_id").tail(1).set_index("unique_id")
    rows = report.forecast[report.forecast["h"] == 1].sort_values("unique_id", ignore_index=True)
    ids = rows["unique_id"]
    recent = series.assign(y=series["y"].where(~series["is_filled"]))
    recent = recent.groupby("unique_id").tail(SEASON + 1)
    changes = recent.groupby("unique_id")["y"].diff().abs().groupby(recent["unique_id"])
    rows = rows.assign(
        last_ds=ids.map(last["ds"]), last_y=ids.map(last["y"]), step=ids.map(changes.mean())
    )
    published = report.accuracy.reindex(columns=["unique_id", "ds", "h", "y_hat", *ends])
    published = published[published["h"] == 1].drop(columns="h")
    names = {name: f"was_{name}" for name in ("y_hat", *ends)} | {"ds": "last_ds"}
    published = published.rename(columns=names).astype({"last_ds": "datetime64[ns]"})
    rows = rows.merge(published, how="left", validate="one_to_one")
    miss = rows["was_y_hat"] - rows["last_y"]
    published_half = (rows[f"was_{high}"] - rows[f"was_{low}"]) / 2
    change = (rows["y_hat"] - rows["last_y"]).abs() / rows["step"].where(rows["step"] > 0)
    half, size = (rows[high] - rows[low]) / 2, rows[["y_hat", "last_y"]].abs().max(axis=1)
    uncertainty = np.where(half > 0, half, rows["step"])
    formats = [
        choose_format(*sizes, unit=unit_of(name, report.units))
        for name, *sizes in zip(ids, size, uncertainty, strict=True)
    ]
    return rows.assign(
        miss=miss,
        format=np.array(formats, dtype=object),
        is_newest=rows["last_ds"] == rows["last_ds"].max(),
        surprise=(miss.abs() / published_half.where(published_half > 0)).fillna(change),
    )


def override_texts(forecast: pd.DataFrame, units: Mapping[str, str]) -> list[str]:
    """Describe each override of a forecast, with the number of the model."""
    rows = forecast[forecast["override"].notna()] if "override" in forecast else forecast.head(0)
    texts = []
    for row in rows.to_dict("records"):
        model = choose_format(row["y_hat"], row["backtest_mae"]).text(row["y_hat"])
        unit = unit_of(row["unique_id"], units)
        text = f"{row['unique_id']}, week ending {row['ds'].date()}: {given_number(row)}"
        text += f" by {row['override_by']} ({row['override_reason']});"
        texts.append(f"{text} {row['model']} says {model} {unit}".rstrip())
    return texts


def is_overridden(row: Mapping[Any, Any]) -> bool:
    """Tell whether a person gave another number than the model; versions before have no column."""
    value = row.get("override")
    return value is not None and math.isfinite(value)


def given_number(row: Mapping[Any, Any]) -> str:
    """Write the number of an override, with up to five digits."""
    value = float(row["override"])
    return choose_format(value, np.nan).text(value)


def model_label(model: str, rung: str) -> str:
    """Name the model of a forecast, with its fallback rung unless it is the champion."""
    return model if rung == CHAMPION else f"{model} ({rung})"


def total_label(n_children: int | None) -> str:
    """Say of how many series one is the total; empty if of none."""
    return f"total of {n_children:,}" if n_children else ""


def interval_outcome(row: Mapping[Any, Any], levels: Sequence[float]) -> str:
    """Name the narrowest of the published intervals that holds the newest value."""
    if np.isnan(row["miss"]):
        return "no forecast"
    ends = [[row[f"was_{name}"] for name in interval_columns([level])] for level in levels]
    if np.isnan(ends).any():
        return "no interval was published"
    is_inside = [low <= row["last_y"] <= high for low, high in ends]
    inside = [level for level, holds in zip(levels, is_inside, strict=True) if holds]
    outside = [level for level, holds in zip(levels, is_inside, strict=True) if not holds]
    parts = [f"outside {column_suffix(level)} %" for level in outside[-1:]]
    return ", ".join([*parts, *(f"inside {column_suffix(level)} %" for level in inside[:1])])


def format_miss(miss: float, number_format: NumberFormat) -> str:
    """Write the size and the direction of a miss."""
    if np.isnan(miss):
        return MISSING
    size = number_format.signed(miss)
    return "none" if size[0] not in "+−" else f"{size[1:]} too {'high' if miss > 0 else 'low'}"
