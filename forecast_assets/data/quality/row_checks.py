"""Check the rows of a fetch: set aside, duplicated, on a stray weekday, or too few for a week.

Checks of the weeks that are made of them: `revisions` and `value_checks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecast_assets.data.quality.comparison import DAYS, Ints, Mask, WeekGrid
from forecast_assets.data.quality.finding import Finding, SeriesRow, make_finding
from forecast_assets.errors import format_list
from forecast_assets.storage.contract import Values

USUAL_SHARE = 0.05  # of duplicated rows, from which on they are how the source is
NEARLY_ALL, MIN_ROWS = 0.95, 8  # share of rows on one weekday, and rows, of a weekly series
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class RawRows:
    """The rows of raw_data, and those of them that were not set aside, by series."""

    raw: pd.DataFrame

    @property
    def problem(self) -> Values:
        """Why each row was set aside; null in versions from before that was recorded."""
        return self.raw.get("problem", pd.Series(None, index=self.raw.index, dtype=object))

    @cached_property
    def valid(self) -> pd.DataFrame:
        """The rows that were not set aside."""
        is_aside = self.problem.notna()
        return self.raw[~is_aside] if is_aside.any() else self.raw

    @cached_property
    def series(self) -> tuple[Ints, pd.Index]:
        """Index of each valid row's series, and the series."""
        codes, ids = pd.factorize(self.valid["unique_id"])
        return codes.astype(np.int64), ids


def malformed(rows: RawRows) -> list[Finding]:
    """Find rows that were set aside, by reason."""
    problems = rows.problem.dropna()
    reasons = problems.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return _about_rows(
        "malformed",
        rows.raw.loc[problems.index].dropna(subset="unique_id"),
        problems,
        n=len(problems),
        total=len(rows.raw),
        reasons=format_list(f"{n:,} {why}" for why, n in reasons.items()),
    )


def partial_series(rows: RawRows, grid: WeekGrid, *, due: int) -> list[str]:
    """Return the series whose newest week has rows, but was left out because it lacks days.

    `due` is the newest week that is over.
    """
    codes, ids = rows.series
    day = rows.valid["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)
    week = -((grid.weekday - day) // DAYS)
    is_counted = (week <= due) & rows.valid["y"].notna().to_numpy()
    newest = np.full(len(ids), NEVER)
    np.maximum.at(newest, codes[is_counted], week[is_counted])
    index = pd.Index(grid.ids).get_indexer(ids)
    in_grid = np.where(index >= 0, grid.last_week[index], NEVER)
    return sorted(ids[(newest == newest.max()) & (newest > in_grid)])


def partial(series: Sequence[str], grid: WeekGrid) -> list[Finding]:
    """Find newest weeks that were left out."""
    rows = [SeriesRow(name, None, 1, "left out") for name in series]
    return make_finding("partial", rows, total=len(grid.ids))


def duplicates(rows: RawRows, *, after: pd.Timestamp, zone: ZoneInfo | None) -> list[Finding]:
    """Find rows later than `after` with the series and the time of another row.

    There are none if duplicates are usual, as in transactions, or in the hour that a time zone has
    twice in autumn.
    """
    valid = rows.valid
    times, distinct = pd.factorize(valid["ds"])
    is_repeat = pd.Series(rows.series[0] * len(distinct) + times).duplicated().to_numpy()
    is_old = (valid["ds"] <= after).to_numpy()
    is_known = is_old if is_old.any() else np.ones_like(is_old)  # the first version has no other
    if not (is_repeat & ~is_old).any() or is_repeat[is_known].mean() >= USUAL_SHARE:
        return []
    repeats = valid[is_repeat & ~is_old]
    if zone is not None:
        local = pd.DatetimeIndex(repeats["ds"]).tz_localize(
            zone, ambiguous="NaT", nonexistent="shift_forward"
        )
        repeats = repeats[np.asarray(local.notna())]
    return _about_rows("duplicates", repeats, repeats["ds"].astype(str), total=len(valid))


def off_grid(rows: RawRows, *, after: pd.Timestamp) -> list[Finding]:
    """Find rows of weekly series, later than `after`, that are not on their usual weekday."""
    valid, (codes, ids) = rows.valid, rows.series
    weekday = valid["ds"].dt.weekday.to_numpy()
    counts = np.bincount(codes * DAYS + weekday, minlength=len(ids) * DAYS).reshape(-1, DAYS)
    n, usual = counts.sum(axis=1), counts.argmax(axis=1)
    is_weekly: Mask = (n >= MIN_ROWS) & (counts.max(axis=1) >= NEARLY_ALL * (n - 1))
    is_stray = is_weekly[codes] & (weekday != usual[codes]) & (valid["ds"] > after).to_numpy()
    strays = valid[is_stray]
    return _about_rows("off_grid", strays, strays["ds"].dt.strftime("%A, %Y-%m-%d"))


def _about_rows(form: str, rows: pd.DataFrame, details: Values, **values: Any) -> list[Finding]:
    """Return a finding about rows, listed by series, with the day and detail of the first one."""
    days = rows["ds"].dt.strftime("%Y-%m-%d").where(rows["ds"].notna(), None)
    n = rows.groupby("unique_id")["unique_id"].transform("size")
    details = details.loc[rows.index]  # pandas adds rows when it assigns a column to an empty frame
    first = rows.assign(ds=days, n=n, detail=details).drop_duplicates("unique_id")
    columns = first[["unique_id", "ds", "n", "detail"]].itertuples(index=False)
    return make_finding(form, [SeriesRow(*row) for row in columns], **values)
