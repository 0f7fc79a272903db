"""Lay out what is known of each series and week: calendar and regressors as columns of X.

A row is a week of a series; the rows go on to the horizon after its last week. Reading regressors
belongs to `regressors`, and which fold sees what to `backtesting`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast_assets.config.series_settings import matches_any
from forecast_assets.config.settings import Settings
from forecast_assets.data.calendar import (
    HOLIDAY_DAYS,
    Event,
    calendar_events,
    event_columns,
    holiday_days,
)
from forecast_assets.data.regressors import ALL_SERIES

Ints = NDArray[np.int64]
Values = NDArray[np.float64]
Days = NDArray[np.datetime64]

WEEK = np.timedelta64(7, "D")
# A value of the past is used so late that it is known at this share of the ticks.
USUALLY = 0.9
# Returns the tick at which each week was first forecast from.
WeekTicks = Callable[[Sequence[date]], list[datetime]]


class Weeks(NamedTuple):
    """The weeks of each series, and the cutoff from which on folds are planned."""

    ids: Sequence[str]
    first: Days  # [S]
    n_weeks: Ints  # [S]
    first_cutoff: np.datetime64
    horizon: int

    @property
    def n_rows(self) -> Ints:
        """How many rows each series has: [S]."""
        return self.n_weeks + self.horizon

    @property
    def all_weeks(self) -> Days:
        """The weeks of all rows, in order."""
        last = np.max(self.first + (self.n_rows - 1) * WEEK)
        return np.arange(np.min(self.first), last + WEEK, WEEK)


class Observations(NamedTuple):
    """Values of cells of X and when each was known, sorted by cell and time: [N] each."""

    cell: Ints
    known_at: Ints  # nanoseconds since 1970; the least number: always
    value: Values

    def at(self, tick: int) -> Values:
        """Return for each cell's first observation the value known at a tick, else NaN: [cells]."""
        starts = self.starts
        n_known = np.add.reduceat(self.known_at <= tick, starts) if len(starts) else starts
        newest = self.value[np.maximum(starts + n_known - 1, 0)]
        return np.where(n_known > 0, newest, np.nan)

    @property
    def starts(self) -> Ints:
        """The first observation of each cell."""
        return np.flatnonzero(np.r_[True, self.cell[1:] != self.cell[:-1]][: len(self.cell)])


@dataclass(frozen=True, eq=False)
class RegressorFrame:
    """The columns that all series share, and those of each series as known now."""

    names: Sequence[str]  # common ones first
    common: Values  # [W, C]
    weeks: Weeks
    own: Values  # [sum of n_rows, O]
    observations: Observations

    @classmethod
    def of(
        cls, weeks: Weeks, settings: Settings, table: pd.DataFrame | None, week_ticks: WeekTicks
    ) -> Self:
        """Lay out the calendar of the settings and the table `regressors`."""
        days = weeks.all_weeks
        events = []
        if settings.calendar.is_set:
            first, last = days[0].astype(date), days[-1].astype(date)
            events = calendar_events(settings, first=first, last=last)
        everywhere = [event for event in events if event.is_common]
        common = event_columns(everywhere, days)
        if events:
            common.insert(0, HOLIDAY_DAYS, holiday_days(everywhere, days))
        local = _local_events([event for event in events if not event.is_common], weeks)
        names = [] if table is None else sorted(table["regressor"].unique())
        width = local.shape[1] + len(names)
        own = np.full((int(weeks.n_rows.sum()), width), np.nan)
        own[:, : local.shape[1]] = local
        cells = Observations(*(np.array([], dtype=kind) for kind in ("i8", "i8", "f8")))
        if table is not None and names:
            cells, names = _observe(table, names, weeks, settings, week_ticks, local.shape[1])
            own.reshape(-1)[cells.cell[cells.starts]] = cells.at(np.iinfo(np.int64).max)
        all_names = [*common.columns, *local.columns, *names]
        return cls(all_names, common.to_numpy(dtype=np.float64), weeks, own, cells)

    def starts(self) -> Ints:
        """The first row of each series, and the number of rows: [S + 1]."""
        return np.append(0, np.cumsum(self.weeks.n_rows))

    def differing(
        self, cutoffs: Mapping[int, Sequence[tuple[int, int]]], ticks: Mapping[int, datetime]
    ) -> dict[tuple[int, int], tuple[Ints, Values]]:
        """Return what folds see otherwise of their series' own rows, by series and end.

        `cutoffs` are the folds (series, end) by the day of their cutoff, `ticks` the ticks of these
        days. Positions are those of the flat rows of the series, values NaN where unknown.
        """
        starts, width = self.starts(), self.own.shape[1]
        cells = self.observations.cell[self.observations.starts]
        found = {}
        for day, folds in cutoffs.items() if len(cells) else ():
            tick = _nanoseconds(ticks[day])
            seen, now = self.observations.at(tick), self.own.reshape(-1)[cells]
            differs = np.flatnonzero(~((seen == now) | (np.isnan(seen) & np.isnan(now))))
            for series, end in folds if len(differs) else ():
                first, stop = starts[series] * width, (starts[series] + end) * width
                stop += self.weeks.horizon * width
                here = slice(*np.searchsorted(cells[differs], [first, stop]))
                positions = cells[differs[here]] - first
                if len(positions):
                    found[series, end] = positions, seen[differs[here]]
        return found


def _nanoseconds(tick: datetime) -> int:
    return int(pd.Timestamp(tick).tz_convert("UTC").value)


def _local_events(events: Sequence[Event], weeks: Weeks) -> pd.DataFrame:
    """Return the columns of events of some series: a row for each of theirs."""
    names = list(dict.fromkeys(event_columns(events, weeks.all_weeks[:1]).columns))
    blocks = []
    for name, first, n in zip(weeks.ids, weeks.first, weeks.n_rows, strict=True):
        own = [event for event in events if matches_any(name, [event.series])]
        days = first + np.arange(n) * WEEK
        blocks.append(event_columns(own, days).reindex(columns=names, fill_value=0.0))
    return pd.concat(blocks, ignore_index=True)


def _observe(
    table: pd.DataFrame,
    names: Sequence[str],
    weeks: Weeks,
    settings: Settings,
    week_ticks: WeekTicks,
    first_column: int,
) -> tuple[Observations, list[str]]:
    """Place the values of the table in cells of `own`; name each column with its lag."""
    ids = pd.Index(weeks.ids)
    starts = np.append(0, np.cumsum(weeks.n_rows))
    width, parts, labels = first_column + len(names), [], []
    for column, name in enumerate(names, start=first_column):
        rows = table[table["regressor"] == name]
        lag = 0
        if settings.regressors[name.partition(".")[0]].known == "past":
            lag = weeks.horizon + _delay(rows, weeks, week_ticks)
        labels.append(f"{name}, {lag} weeks before" if lag else name)
        is_common = (rows["unique_id"] == ALL_SERIES).to_numpy()
        series = np.where(is_common, -1, ids.get_indexer(pd.Index(rows["unique_id"])))
        is_used = is_common | (series >= 0)
        each = np.flatnonzero(is_used & ~is_common)
        of_all = np.flatnonzero(is_common)
        n_series = len(ids)
        index = np.r_[each, np.tile(of_all, n_series)]
        series = np.r_[series[each], np.repeat(np.arange(n_series), len(of_all))]
        day = rows["ds"].to_numpy().astype("datetime64[D]")[index]
        row = (day - weeks.first[series]) // WEEK + lag
        is_inside = (row >= 0) & (row < weeks.n_rows[series])
        known_at = rows["known_at"].astype("int64").to_numpy()[index]
        cell = (starts[series] + row) * width + column
        value = rows["value"].to_numpy(dtype=np.float64)[index]
        parts.append([each[is_inside] for each in (cell, known_at, value)])
    cell, known_at, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.lexsort((known_at, cell))
    cells = Observations(cell[order], np.asarray(known_at[order], dtype=np.int64), value[order])
    return cells, labels


def _delay(rows: pd.DataFrame, weeks: Weeks, week_ticks: WeekTicks) -> int:
    """Return how many weeks after its own a value is usually known at the tick."""
    last = np.max(weeks.first + (weeks.n_weeks - 1) * WEEK)
    cutoffs = np.arange(weeks.first_cutoff, last + WEEK, WEEK)
    ticks = np.array([_nanoseconds(tick) for tick in week_ticks(cutoffs.tolist())])
    known = rows[rows["value"].notna()]
    first_known = known.groupby(["ds", "unique_id"])["known_at"].min().groupby("ds").max()
    days = first_known.index.to_numpy().astype("datetime64[D]")
    tick = np.searchsorted(ticks, first_known.astype("int64").to_numpy())
    is_inside = (days >= cutoffs[0]) & (tick < len(ticks))
    delays = tick[is_inside] - (days[is_inside] - cutoffs[0]) // WEEK
    return max(int(np.ceil(np.quantile(delays, USUALLY))), 0) if len(delays) else 0


def midnight_after(weeks: Sequence[date]) -> list[datetime]:
    """Return the first moment after each week, in UTC: the tick where no schedule is known."""
    return [
        datetime.combine(week, datetime.min.time(), UTC) + pd.Timedelta(days=1) for week in weeks
    ]
