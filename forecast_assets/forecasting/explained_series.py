"""Explain a stored forecast of one series against that of the week before.

The versions of the store say what each was made from; `explanation` splits the difference.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, Protocol

import pandas as pd

from forecast_assets.backtesting.executor import BacktestExecutor
from forecast_assets.backtesting.folds import SeriesFolds
from forecast_assets.config.settings import Settings
from forecast_assets.data.weekly import with_is_filled
from forecast_assets.errors import DataError, StoreError, format_list
from forecast_assets.forecasting.counterfactuals import Counterfactuals, Plan, Revision, Week
from forecast_assets.forecasting.explanation import NotSplit, Part, Published, Recipe, split
from forecast_assets.forecasting.made_with import MadeWith, changed_code, changed_settings
from forecast_assets.forecasting.moves import previous_forecast
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import FORECAST, target_week
from forecast_assets.storage.versions import select

SAME_WEEK: Literal["same week"] = "same week"
NEXT_WEEK: Literal["next week"] = "next week"
Row = Mapping[str, Any]


class RunOfForecast(Protocol):
    """What the run of a stored forecast knew: see `defs.past_weeks`."""

    def executor(self, settings: Settings) -> BacktestExecutor:
        """Return an executor that knows what the run knew."""

    def newest_folds(self, series: pd.DataFrame, settings: Settings) -> list[SeriesFolds]:
        """Return the folds that the run forecast the future from."""


OpenRun = Callable[[Commit], RunOfForecast]


class Comparison(NamedTuple):
    """A forecast against an earlier one, and the parts that their difference sums up from.

    `same week`: both are for one week. `next week`: each is so many weeks ahead of its own run.
    `actual` is the value that came in the week of the earlier one, NaN if it is not known.
    """

    kind: Literal["same week", "next week"]
    week_then: date
    week_now: date
    then: float
    now: float
    actual: float
    parts: Sequence[Part]


@dataclass(frozen=True)
class ExplainedSeries:
    """A forecast with its comparisons, and what else changed; all empty where there is no earlier.

    `remarks` are sentences about what cannot be compared.
    """

    row: Row
    version: int
    comparisons: Sequence[Comparison] = ()
    remarks: Sequence[str] = ()
    before: Row | None = None
    previous_version: int | None = None
    recipes: Sequence[str] = ()  # of then and of now, in words
    revisions: Sequence[Revision] = ()
    settings: Sequence[str] = ()
    code: Sequence[str] = ()


def explain_series(
    store: Store,
    settings: Settings,
    name: str,
    *,
    open_run: OpenRun,
    version: int | None = None,
    as_of: datetime | None = None,
    ahead: int = 1,
) -> ExplainedSeries:
    """Explain the forecast of a series, so many weeks ahead, in a version of the forecast.

    By default that is the newest as of a time. Raises DataError if the series or its forecast does
    not exist, and StoreError if the version cannot be read.
    """
    (commit,) = select(store, FORECAST, version=version, as_of=as_of)
    rows = store.read([commit])
    row = _row_of(rows, name, ahead, store, commit)
    found = previous_forecast(store, week=target_week(rows), as_of=commit.as_of)
    if found is None:
        first = f"Version {commit.version} of {FORECAST} is the first week's: there is no earlier"
        return ExplainedSeries(row, commit.version, remarks=[f"{first} forecast to compare with."])
    previous, earlier = found
    of_series = earlier[earlier["unique_id"] == name]
    if of_series.empty:
        remark = (
            f"Last week's forecast, version {previous.version} of {FORECAST}, has none of {name}:"
            f" {_why_absent(store, previous, name)}. So there is nothing to compare with."
        )
        return ExplainedSeries(
            row, commit.version, remarks=[remark], previous_version=previous.version
        )
    records: list[Row] = [dict(each) for each in of_series.to_dict("records")]  # type: ignore[arg-type]
    return _compare(store, settings, (previous, earlier, records), (commit, rows, row), open_run)


def _compare(
    store: Store,
    settings: Settings,
    before: tuple[Commit, pd.DataFrame, Sequence[Row]],
    after: tuple[Commit, pd.DataFrame, Row],
    open_run: OpenRun,
) -> ExplainedSeries:
    """Compare a row with those of the week before."""
    (previous, earlier, records), (commit, rows, row) = before, after
    made = [MadeWith.read(each.made_with) for each in (previous, commit)]
    restored = [each.settings_on(settings) if each else None for each in made]
    horizon = max(int(earlier["h"].max()), int(rows["h"].max()))
    weeks, frames = [], []
    for each, row_of, own in zip((previous, commit), (records[0], row), restored, strict=True):
        run, present = open_run(each), own or settings
        frame = _read_series(store, each, settings)
        frames.append(frame)
        weeks.append(
            Week(_recipe(row_of), present, _newest(run, frame, present, horizon), run.executor)
        )
    cells = Counterfactuals(str(row["unique_id"]), weeks[0], weeks[1])
    n_new = (row["cutoff"] - records[0]["cutoff"]).days // 7
    pairs, remarks = _pairs(records, row, int(rows["h"].max()))
    actuals = _values(frames[1], str(row["unique_id"]))
    comparisons = [
        Comparison(
            kind,
            other["ds"].date(),
            row["ds"].date(),
            Published.of(other).in_force,
            Published.of(row).in_force,
            actuals.get(other["ds"], math.nan),
            split(
                Published.of(other),
                Published.of(row),
                cells.forecast,
                h_then=int(other["h"]),
                h_now=int(row["h"]),
                n_new_weeks=n_new,
                is_recorded=restored[0] is not None,
            ),
        )
        for kind, other in pairs
    ]
    is_recorded = made[0] is not None and made[1] is not None
    then, now = (each or MadeWith() for each in made)
    return ExplainedSeries(
        row,
        commit.version,
        comparisons,
        remarks,
        records[0],
        previous.version,
        [week.recipe.text if isinstance(week.recipe, Recipe) else "" for week in weeks],
        cells.revisions(),
        changed_settings(then, now) if is_recorded else (),
        changed_code(then, MadeWith.of(earlier, weeks[0].settings)) if made[0] else (),
    )


def _pairs(
    records: Sequence[Row], row: Row, horizon: int
) -> tuple[list[tuple[Literal["same week", "next week"], Row]], list[str]]:
    """Return the rows of the week before to compare with, and remarks on what does not exist."""
    same = next((each for each in records if each["ds"] == row["ds"]), None)
    ahead = next((each for each in records if each["h"] == row["h"]), None)
    pairs: list[tuple[Literal["same week", "next week"], Row]] = []
    remarks = []
    longest = max(int(each["h"]) for each in records)
    short = f"Last week's run forecast {longest} week{'s' * (longest > 1)} ahead"
    if same is not None:
        pairs.append((SAME_WEEK, same))
    elif horizon > 1:
        remarks.append(f"{short}, and not the week ending {row['ds'].date()}.")
    if ahead is None:
        remarks.append(f"{short}, so it has no forecast {row['h']} weeks ahead to compare with.")
    elif ahead is not same:
        pairs.append((NEXT_WEEK, ahead))
    return pairs, remarks


def _row_of(rows: pd.DataFrame, name: str, ahead: int, store: Store, commit: Commit) -> Row:
    """Return the row of a series so many weeks ahead. Raises DataError."""
    of_series = rows[rows["unique_id"] == name]
    found = of_series[of_series["h"] == ahead].to_dict("records")
    if found:
        return {str(key): value for key, value in found[0].items()}
    where = f"Version {commit.version} of {FORECAST}"
    if len(of_series):
        problem = f"{where} forecasts {name} {of_series['h'].max()} weeks ahead, and not {ahead}"
        raise DataError(f"{problem}. Nothing is explained. Give a smaller --ahead.")
    names = sorted({*rows["unique_id"]})
    near = difflib.get_close_matches(name, names, n=3)
    shown = f"the nearest are {format_list(near)}" if near else f"it has {format_list(names)}"
    why = _why_absent(store, commit, name)
    raise DataError(
        f"{where} has no forecast of {name!r}: {why}; {shown}. Nothing is explained. Give one of"
        f" its series, or another --version."
    )


def _why_absent(store: Store, commit: Commit, name: str) -> str:
    """Say why a version of the forecast lacks a series."""
    source = commit.input_of("series")
    try:
        ids = store.read([store.commit(source)], columns=["unique_id"]) if source else None
    except StoreError:
        ids = None
    if ids is not None and (ids["unique_id"] == name).any():
        return "it was left out, because no plausible forecast was made"
    return "there was no such series"


def _recipe(row: Row) -> Recipe | str:
    try:
        return Recipe.of(row)
    except NotSplit as error:
        return str(error)


def _read_series(store: Store, commit: Commit, settings: Settings) -> pd.DataFrame | str:
    """Return the values that a forecast was made from, or why they cannot be read."""
    source = commit.input_of("series")
    if source is None:
        return f"it is not recorded which values version {commit.version} was made from"
    try:
        return with_is_filled(store.read([store.commit(source)]), settings)
    except StoreError as error:
        return f"version {source.version} of series cannot be read: {_first_sentence(error)}"


def _newest(
    run: RunOfForecast, frame: pd.DataFrame | str, settings: Settings, horizon: int
) -> Plan | str:
    """Return what the models saw, or why it is unknown."""
    if isinstance(frame, str):
        return frame
    longer = settings.backtest.model_copy(update={"horizon": horizon})
    try:
        return run.newest_folds(frame, settings.model_copy(update={"backtest": longer}))
    except StoreError as error:
        return f"what was known before cannot be read: {_first_sentence(error)}"


def _first_sentence(error: Exception) -> str:
    return str(error).partition(". ")[0]


def _values(frame: pd.DataFrame | str, name: str) -> "dict[pd.Timestamp, float]":
    """Return the values of a series by week, without those that were filled."""
    if isinstance(frame, str):
        return {}
    rows = frame[(frame["unique_id"] == name) & ~frame["is_filled"]]
    return dict(zip(rows["ds"], rows["y"].astype(float), strict=True))
