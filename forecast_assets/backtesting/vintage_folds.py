"""Give each fold the values that were known when its week was due, corrected for revisions.

`data.vintages` finds the vintages; `data.revision_correction` has the formula of the correction.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import compress
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from forecast_assets.backtesting.folds import NO_ENDS, Patch, SeriesFolds
from forecast_assets.backtesting.panel import WEEK, Panel
from forecast_assets.data.revision_correction import (
    MATURE_WEEKS,
    MAX_AGE_WEEKS,
    N_LAGS,
    correct,
    revision_factors,
)
from forecast_assets.data.vintages import FindVintages, digest_values
from forecast_assets.models.base import Positions, Values

# Returns the tick at which each week was first forecast from.
WeekTicks = Callable[[Sequence[date]], list[datetime]]


@dataclass(frozen=True)
class History:
    """How to find what was known before `as_of`, and whether to correct the newest values by it."""

    as_of: datetime
    week_ticks: WeekTicks
    find_vintages: FindVintages
    is_correcting: bool = True


class LatestValue(NamedTuple):
    """The newest value of a series as published and as the models see it; NaN if these agree."""

    published: float = np.nan
    corrected: float = np.nan

    @classmethod
    def of(cls, latest: SeriesFolds) -> Self:
        """Return the newest value that the fold which forecasts the future sees."""
        published, corrected = float(latest.y[-1]), float(latest.last[-1])
        return cls() if published == corrected else cls(published, corrected)


def with_vintages(planned: Sequence[SeriesFolds], known: "KnownValues") -> list[SeriesFolds]:
    """Return the plan with what each fold saw: the newest vintage known at its tick.

    The tick of a cutoff is the first one after its week was over. The fold's vintage is the newest
    one up to it in which the series ends with the cutoff; if the week came later, the first such
    vintage. Without one the fold sees today's values. What today's series has before the first week
    of a vintage is seen, too.
    """
    if not known.vintages:
        return list(planned)
    chosen = known.choose(planned)
    patches: list[dict[int, Patch]] = [{} for _ in planned]
    vintage_ends: list[list[int]] = [[] for _ in planned]
    for v, vintage in enumerate(known.vintages):
        series = np.flatnonzero(chosen[v])
        factors = known.factors(vintage) if len(series) else None
        for i in series.tolist():
            end = int(vintage.ends[i])
            vintage_ends[i].append(end)
            patch = vintage.patch(known.panel, i, end)
            if factors is not None and factors[i].any():
                patch = _corrected(patch, known.panel.y[known.panel.starts[i] :], end, factors[i])
            if len(patch.positions):
                patches[i][end] = patch
    return [
        replace(item, patches=of_series, vintage_ends=np.array(sorted(ends), dtype=np.int64))
        for item, of_series, ends in zip(planned, patches, vintage_ends, strict=True)
    ]


def with_correction(
    planned: Sequence[SeriesFolds], latest: Sequence[SeriesFolds], known: "KnownValues"
) -> tuple[list[SeriesFolds], list[SeriesFolds]]:
    """Return past folds, scored against corrected values, and the newest folds, which see them.

    Both are of the same series in the same order, and the newest folds see today's values.
    """
    planned, latest = list(planned), list(latest)
    factors = known.factors(known.today) if known.vintages else np.zeros((len(latest), 0))
    for i in np.flatnonzero(factors.any(axis=1)).tolist():
        y = latest[i].y
        patch = _corrected(Patch(NO_ENDS, y[:0]), y, len(y), factors[i])
        planned[i] = replace(planned[i], revised=patch)
        latest[i] = replace(latest[i], patches={len(y): patch})
    return planned, latest


def _to_frame(planned: Sequence[SeriesFolds]) -> pd.DataFrame:
    """Return the series of a plan as rows `unique_id, ds, y`."""
    names = np.array([item.unique_id for item in planned], dtype=object)
    ids = np.repeat(names, [len(item.y) for item in planned])
    ds, y = (np.concatenate([getattr(item, name) for item in planned]) for name in ("ds", "y"))
    return pd.DataFrame({"unique_id": ids, "ds": ds, "y": y})


def _corrected(patch: Patch, y: Values, end: int, factors: Values) -> Patch:
    """Return a patch of the first `end` values whose newest ones are corrected."""
    first = max(end - len(factors), 0)
    newest = y[first:end].copy()
    patch.apply(newest, first=first)
    newest = correct(newest[::-1], factors[: end - first])[::-1]
    positions, values = patch
    older = slice(np.searchsorted(positions, first))
    changed = np.arange(first, end)
    return Patch(np.append(positions[older], changed), np.append(values[older], newest))


@dataclass(frozen=True, eq=False)
class _OnToday:
    """A vintage on the grid of today's panel: which values differ, sorted by their position."""

    as_of: datetime
    ends: Positions  # [S]; of how many of a series' weeks it has the last; 0: of none
    positions: Positions  # [D], in the panel
    values: Values  # [D]

    @classmethod
    def of(cls, frame: pd.DataFrame, as_of: datetime, panel: Panel, ids: pd.Index) -> Self:
        codes, names = pd.factorize(frame["unique_id"].to_numpy())
        series = ids.get_indexer(pd.Index(names))[codes]
        days = frame["ds"].to_numpy().astype("datetime64[D]") - panel.first[series]
        week, sizes = days // WEEK, np.diff(panel.starts)
        is_known = (series >= 0) & (days % WEEK == np.timedelta64(0, "D"))
        series, week = series[is_known], week[is_known]
        y = frame["y"].to_numpy(dtype=np.float64)[is_known]
        ends = np.zeros(len(ids), dtype=np.int64)
        np.maximum.at(ends, series, week + 1)
        ends[ends > sizes] = 0
        is_inside = (week >= 0) & (week < sizes[series])
        position = panel.starts[series[is_inside]] + week[is_inside]
        y = y[is_inside]
        differs = np.flatnonzero(panel.y[position] != y)
        order = differs[np.argsort(position[differs], kind="stable")]
        return cls(as_of, ends, position[order], y[order])

    @classmethod
    def equal(cls, week: np.datetime64, as_of: datetime, panel: Panel) -> Self:
        """Return a vintage that equals today's values up to a week."""
        n_weeks = (week - panel.first) // WEEK + 1
        ends = np.clip(n_weeks, 0, np.diff(panel.starts)).astype(np.int64)
        return cls(as_of, ends, NO_ENDS, panel.y[:0])

    def patch(self, panel: Panel, i: int, end: int) -> Patch:
        """Return what differs in the first `end` values of series i."""
        start = panel.starts[i]
        here = slice(*np.searchsorted(self.positions, [start, start + end]))
        return Patch(self.positions[here] - start, self.values[here])

    def at(self, positions: Positions, panel: Panel) -> Values:
        """Return the values at positions of the panel."""
        y: Values = panel.y[positions]
        if len(self.positions):
            row = np.minimum(np.searchsorted(self.positions, positions), len(self.positions) - 1)
            y = np.where(self.positions[row] == positions, self.values[row], y)
        return y


@dataclass(frozen=True, eq=False)
class KnownValues:
    """Today's panel, and the vintages on its grid in the order of time.

    The vintages are those of the weeks in which any live series has its cutoffs, preceded by a year
    for the correction.
    """

    panel: Panel
    as_of: datetime
    first_week: np.datetime64
    ticks: Sequence[datetime]  # of the weeks from the first one on
    vintages: Sequence[_OnToday]
    is_correcting: bool = True

    @classmethod
    def of(cls, planned: Sequence[SeriesFolds], history: History) -> Self:
        """Read the vintages of the cutoffs and, for a correction, of the year before them."""
        panel, with_folds = Panel.of(planned), [item for item in planned if len(item.ends)]
        if not with_folds:
            return cls(panel, history.as_of, np.datetime64(0, "D"), (), ())
        n_weeks = max(len(item.y) - int(item.ends[0]) for item in with_folds)
        n_weeks += MAX_AGE_WEEKS if history.is_correcting else 0
        last = np.max([item.ds[-1] for item in planned]).astype("datetime64[D]")
        first = last - n_weeks * WEEK
        ticks = history.week_ticks(np.arange(first, last + WEEK, WEEK).tolist())
        ids = pd.Index([item.unique_id for item in planned])
        found = history.find_vintages(ticks)
        today = digest_values(_to_frame(planned)) if any(each.digest for each in found) else {}
        vintages = []
        for vintage in found:
            if vintage.digest in today:
                vintages.append(_OnToday.equal(today[vintage.digest], vintage.as_of, panel))
            elif (frame := vintage.read()) is not None:
                vintages.append(_OnToday.of(frame, vintage.as_of, panel, ids))
        return cls(panel, history.as_of, first, ticks, vintages, history.is_correcting)

    @property
    def today(self) -> _OnToday:
        """Today's series as a vintage, from which nothing differs."""
        return _OnToday(self.as_of, np.diff(self.panel.starts), NO_ENDS, self.panel.y[:0])

    def choose(self, planned: Sequence[SeriesFolds]) -> Values:
        """Return for which series each vintage is that of its fold: [V, S]."""
        is_cutoff = np.zeros(len(self.panel.y), dtype=bool)
        for start, item in zip(self.panel.starts, planned, strict=False):
            is_cutoff[start + item.ends - 1] = True
        chosen = np.full(len(self.panel.y), -1)
        ticks = np.array([tick.timestamp() for tick in self.ticks])
        for v, series, positions in self._candidates(is_cutoff):
            days = self.panel.first[series] + (positions - self.panel.starts[series]) * WEEK
            number = (days - self.first_week) // WEEK
            is_in_time = self.vintages[v].as_of.timestamp() <= np.where(
                number >= 0, ticks[number], np.inf
            )
            here = positions[is_in_time | (chosen[positions] < 0)]
            chosen[here] = v
        result = np.zeros((len(self.vintages), len(planned)), dtype=bool)
        for v, series, positions in self._candidates(is_cutoff):
            result[v, series] = chosen[positions] == v
        return result

    def _candidates(self, is_cutoff: Values) -> Iterator[tuple[int, Positions, Positions]]:
        """Yield each vintage with the series that end in it with a cutoff, and its position."""
        for v, vintage in enumerate(self.vintages):
            series = np.flatnonzero(vintage.ends > 0)
            positions = self.panel.starts[series] + vintage.ends[series] - 1
            is_one = is_cutoff[positions]
            yield v, series[is_one], positions[is_one]

    def factors(self, vintage: _OnToday) -> Values:
        """Return the log factors of each series' newest values by the past of a vintage: [S, K]."""
        every = np.array([(vintage.as_of - v.as_of) / timedelta(weeks=1) for v in self.vintages])
        is_used = (every >= MATURE_WEEKS) & (every <= MAX_AGE_WEEKS)
        past, n_series = [*compress(self.vintages, is_used)], len(vintage.ends)
        has_revisions = any(len(known.positions) for known in (*past, vintage))
        if not self.is_correcting or not has_revisions:
            return np.zeros((n_series, N_LAGS))
        then, now = (np.full((n_series, len(past), N_LAGS), np.nan) for _ in range(2))
        for u, known in enumerate(past):
            for lag in range(N_LAGS):
                has_both = (known.ends > lag) & (known.ends < vintage.ends)
                series = np.flatnonzero(has_both)
                positions = self.panel.starts[series] + known.ends[series] - 1 - lag
                then[series, u, lag] = known.at(positions, self.panel)
                now[series, u, lag] = vintage.at(positions, self.panel)
        return revision_factors(then, now, every[is_used])
