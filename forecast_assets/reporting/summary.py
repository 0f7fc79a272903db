"""The week as its readers are told of it: its tables, and what ran them.

What is said of it: `findings` and `outlook`. How: `report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_assets.config.settings import column_suffix, matches_any
from forecast_assets.data.quality.finding import Finding
from forecast_assets.reporting.number_format import NOTHING, NumberFormat, number_format_of, unit_of
from forecast_assets.storage.tables import CHAMPION, interval_columns, target_week


@dataclass(frozen=True)
class WeeklyReport:
    """What the report tells: the week's tables, and the run behind them.

    `units` are by patterns of series' names, the first that fits counts; `problems` what the week's
    asset checks complained of; `findings` what its data show; `made_from` the versions behind the
    forecast, for people.
    """

    forecast: pd.DataFrame
    series: pd.DataFrame
    best_model: pd.DataFrame
    metrics: pd.DataFrame
    accuracy: pd.DataFrame
    levels: Sequence[float]
    run_id: str
    units: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    made_from: str = ""

    def only(self, patterns: Sequence[str]) -> Self:
        """The same week of the series whose names fit a pattern; maybe of none.

        It has no `problems`, and no finding but those of these series alone, for a sentence about
        the whole week may name any series.
        """
        told = [name for name in self.series["unique_id"].unique() if matches_any(name, patterns)]
        tables = ("forecast", "series", "best_model", "metrics", "accuracy")
        frames = {name: getattr(self, name) for name in tables}
        return replace(
            self,
            **{name: frame[frame["unique_id"].isin(told)] for name, frame in frames.items()},
            problems=(),
            findings=[one for one in self.findings if one.series and set(one.series) <= set(told)],
        )

    @property
    def n_series(self) -> int:
        """How many series are forecast."""
        return int(self.forecast["unique_id"].nunique())

    @property
    def title(self) -> str:
        """The week or weeks, and how many series: one line."""
        if self.forecast.empty:
            return "Forecast of no series"
        first = target_week(self.forecast)
        last = self.forecast.loc[self.forecast["h"] == self.forecast["h"].max(), "ds"].max().date()
        when = f"week ending {first}" if first == last else f"weeks ending {first} to {last}"
        return f"Forecast for the {when}: {self.n_series:,} series"


USUAL_LEVELS = (80, 95)  # percent; the nearest to these two are told, all others only drawn
SEASON = 52  # weeks that a usual step is taken from


def displayed_levels(levels: Sequence[float]) -> list[float]:
    """Two of the levels at most, ascending: more ends than four nobody compares."""
    near = {min(levels, key=lambda level: abs(level - usual)) for usual in USUAL_LEVELS}
    return sorted(near)


def outlook(
    forecast: pd.DataFrame,
    series: pd.DataFrame,
    accuracy: pd.DataFrame,
    *,
    levels: Sequence[float],
) -> pd.DataFrame:
    """One row a series that is forecast, in the order of the names.

    next_week_forecast's columns one week ahead; `last_ds`, `last_y`, `step` (the mean size of its
    weekly changes over a year); of the forecast that was published for its last week, `was_` and
    each column's name, and `miss` (forecast less value), null where none was; `is_newest`, whether
    its last week is the newest of all; `half`, half the width of its interval at the least level
    told; `surprise`.

    The surprise is last week's miss in halves of the width of the interval that was published for
    it (above 1: the value lay outside); where none was, next week's forecast less the last value,
    in usual steps. Null where there is neither.
    """
    last = series.groupby("unique_id").tail(1).set_index("unique_id")
    rows = forecast[forecast["h"] == 1].sort_values("unique_id", ignore_index=True)
    at = rows["unique_id"]
    rows = rows.assign(
        last_ds=at.map(last["ds"]), last_y=at.map(last["y"]), step=at.map(_steps(series))
    )
    ends = interval_columns(levels)
    low, high = interval_columns(displayed_levels(levels)[:1])
    due = accuracy.reindex(columns=["unique_id", "ds", "h", "y_hat", *ends])
    due = due[due["h"] == 1].rename(columns={name: f"was_{name}" for name in ("y_hat", *ends)})
    due = due.drop(columns="h").rename(columns={"ds": "last_ds"})
    rows = rows.merge(due.astype({"last_ds": "datetime64[ns]"}), how="left", validate="one_to_one")
    miss = rows["was_y_hat"] - rows["last_y"]
    was_half = (rows[f"was_{high}"] - rows[f"was_{low}"]) / 2
    move = (rows["y_hat"] - rows["last_y"]).abs() / rows["step"].where(rows["step"] > 0)
    return rows.assign(
        miss=miss,
        half=(rows[high] - rows[low]) / 2,
        is_newest=rows["last_ds"] == rows["last_ds"].max(),
        surprise=(miss.abs() / was_half.where(was_half > 0)).fillna(move),
    )


def scales(rows: pd.DataFrame, units: Mapping[str, str]) -> list[NumberFormat]:
    """How the numbers of each row of `outlook` are written: by its interval, else by its step."""
    uncertain = np.where(rows["half"] > 0, rows["half"], rows["step"])
    sizes = rows[["y_hat", "last_y"]].abs().max(axis=1)
    told = zip(rows["unique_id"], sizes, uncertain, strict=True)
    return [
        number_format_of(size, uncertainty=doubt, unit=unit_of(name, units))
        for name, size, doubt in told
    ]


def most_surprising(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` rows with the greatest surprise first; ties in the order of the names."""
    return rows.sort_values("surprise", ascending=False, kind="stable").head(n)


def model_label(model: str, rung: str) -> str:
    """Who forecast, and on which rung where that is not the first."""
    return model if rung == CHAMPION else f"{model} ({rung})"


def interval_outcome(row: Mapping[Any, Any], told: Sequence[float]) -> str:
    """Where last week's value lay, in words: the narrowest of the told intervals that held it."""
    if np.isnan(row["miss"]):
        return "no forecast was published"
    ends = [[row[f"was_{name}"] for name in interval_columns([level])] for level in told]
    if np.isnan(ends).any():
        return "no interval was published"
    held = [low <= row["last_y"] <= high for low, high in ends]
    missed = [level for level, is_in in zip(told, held, strict=True) if not is_in]
    kept = [level for level, is_in in zip(told, held, strict=True) if is_in]
    if not missed:
        return f"inside {column_suffix(kept[0])} %"
    where = f"outside {column_suffix(missed[-1])} %"
    return f"{where}, inside {column_suffix(kept[0])} %" if kept else where


def format_miss(miss: float, scale: NumberFormat) -> str:
    """A miss with its direction, rounded as the series' numbers are."""
    if np.isnan(miss):
        return NOTHING
    size = scale.text(abs(miss))
    if not size.strip("0.,"):
        return "none"
    return f"{size} too {'high' if miss > 0 else 'low'}"


def _steps(series: pd.DataFrame) -> "pd.Series[float]":
    """The mean size of each series' weekly changes over its last year."""
    recent = series.groupby("unique_id").tail(SEASON + 1)
    sizes = recent.groupby("unique_id")["y"].diff().abs()
    steps: pd.Series[float] = sizes.groupby(recent["unique_id"]).mean()
    return steps
