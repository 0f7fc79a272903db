"""Check the rows of a fetch: set aside, duplicated, at an odd date, or too few for a week.

Checks of the weeks that are made of them: `revisions` and `value_checks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecast_assets.config.series_settings import SeriesSettings
from forecast_assets.data.completeness import FILLING, NewestWeek, precede_long_gap
from forecast_assets.data.file_groups import MOST
from forecast_assets.data.overlap import find_overlaps
from forecast_assets.data.quality.comparison import DAYS, Ints, Mask, VersionComparison, WeekGrid
from forecast_assets.data.quality.finding import Count, Finding, SeriesRow, make_finding
from forecast_assets.errors import format_list
from forecast_assets.storage.contract import Values

USUAL_SHARE = 0.05  # of duplicated rows, from which on they are how the source is
NEARLY_ALL, MIN_ROWS = 0.95, 8  # share of rows on one weekday, and rows, of a weekly series
NEVER = np.iinfo(np.int64).min
# Days that systems write for a missing date: the first or last ones that they can hold, and those
# that people choose. A weekly source has the last or first day of their week.
# fmt: off
PLACEHOLDERS = np.array([
    "1753-01-01", "1800-01-01", "1858-11-17", "1900-01-01", "1904-01-01", "1950-01-01",
    "1960-01-01", "1970-01-01", "1980-01-01", "1990-01-01", "2000-01-01", "2001-01-01",
    "2038-01-19", "2050-01-01", "2079-06-06", "2100-01-01", "2200-01-01",
], dtype="datetime64[D]").astype(np.int64)
# fmt: on
# Hours of midnights in Europe, in UTC.
EVENINGS = ((21, 22), (22, 23), (0, 23))
# Days to the nearest other row of the series, from which on a placeholder is no part of it.
MIN_DISTANCE = 182


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

    @cached_property
    def day(self) -> Ints:
        """Day of each valid row, since 1970."""
        return self.valid["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)

    @cached_property
    def has_value(self) -> Mask:
        """Whether each valid row has a value."""
        return self.valid["y"].notna().to_numpy()

    def weeks(self, grid: WeekGrid) -> Ints:
        """Return the week of each valid row, as the grid counts weeks."""
        return -((grid.weekday - self.day) // DAYS)


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
    (codes, ids), week = rows.series, rows.weeks(grid)
    is_counted = (week <= due) & rows.has_value
    newest = np.full(len(ids), NEVER)
    np.maximum.at(newest, codes[is_counted], week[is_counted])
    index = pd.Index(grid.ids).get_indexer(ids)
    in_grid = np.where(index >= 0, grid.last_week[index], NEVER)
    return sorted(ids[(newest == newest.max()) & (newest > in_grid)])


def incomplete(
    partial: Sequence[str], newest: NewestWeek, comparison: VersionComparison
) -> list[Finding]:
    """Find newest weeks that were left out, or a new one that counts and may be incomplete.

    `partial` are the series whose newest week was left out.
    """
    new, old = comparison.new, comparison.old
    last, end = (np.datetime64(day, "D") for day in (newest.last_day, newest.silent_end))
    n_silent, usual = Count(newest.silent_end - newest.last_day), newest.n_usual_rows
    silence = (
        f"No series has a row after {last}. The {n_silent:day} to {end}"
        f" {'has' if n_silent == 1 else 'have'} {usual:,.1f} rows in"
        " a usual week"
    )
    if partial:
        rows = [SeriesRow(name, None, 1, "left out") for name in partial]
        cause = f" {silence}." if newest.is_cut_off else ""
        return make_finding("partial", rows, total=len(new.ids), cause=cause)
    is_new = not len(old.ids) or newest.silent_end // DAYS > old.newest_week
    n = int(n_silent) if usual and is_new else 0
    return make_finding("unknown_completeness", n=n, silence=silence)


def long_gap(
    rows: RawRows, comparison: VersionComparison, settings: SeriesSettings
) -> list[Finding]:
    """Find rows before a gap that is too long to fill, unless the previous version lacked them."""
    new, old = comparison.new, comparison.old
    (codes, ids), is_known = rows.series, np.zeros(len(new.ids), dtype=bool)
    if len(old.ids):
        index = comparison.old_index
        is_known = (index >= 0) & (old.first_week[index] == new.first_week)
    index, week = pd.Index(new.ids).get_indexer(ids)[codes], rows.weeks(new)
    is_early = rows.has_value & (index >= 0) & ~is_known[index] & (week < new.first_week[index])
    if settings.missing not in FILLING or not is_early.any():
        return []
    columns = {"series": index[is_early], "week": week[is_early], "day": rows.day[is_early]}
    early = pd.DataFrame(columns)
    series = early["series"].unique()
    starts = pd.DataFrame({"series": series, "week": new.first_week[series]})
    weeks = pd.concat([early, starts]).drop_duplicates(["series", "week"])
    weeks = weeks.sort_values(["series", "week"])
    codes, week = weeks["series"].to_numpy(), weeks["week"].to_numpy()
    is_before = precede_long_gap(codes, week, settings.max_gap)
    last = weeks[is_before].groupby("series")["week"].max()
    n_weeks = weeks[~is_before].groupby("series")["week"].min() - last - 1
    left_out = early[early["week"] <= early["series"].map(last)].groupby("series")["day"]
    found = [
        SeriesRow(
            str(new.ids[i]),
            str(np.datetime64(int(first), "D")),
            int(n),
            f"{Count(n):row}, then {int(n_weeks[i]):,} weeks without a value",
        )
        for i, first, n in left_out.agg(["min", "size"]).itertuples()
    ]
    return make_finding("long_gap", found, max_gap=settings.max_gap)


def duplicates(rows: RawRows, *, after: pd.Timestamp, zone: ZoneInfo | None) -> list[Finding]:
    """Find rows later than `after` with the series and the time of another row of the same file.

    There are none if duplicates are usual, as in transactions, unless most are copies with the same
    value; nor in the hour that a time zone has twice in autumn.
    """
    valid = rows.valid
    times, distinct = pd.factorize(valid["ds"])
    keys = pd.DataFrame({"key": rows.series[0] * len(distinct) + times})
    if "file" in valid and valid["file"].notna().any():
        keys["file"] = valid["file"].to_numpy()
    is_repeat = keys.duplicated().to_numpy()
    is_old = (valid["ds"] <= after).to_numpy()
    is_known = is_old if is_old.any() else np.ones_like(is_old)  # the first version has no other
    if not (is_repeat & ~is_old).any():
        return []
    if is_repeat[is_known].mean() >= USUAL_SHARE and not _are_copies(valid, keys):
        return []
    repeats = valid[is_repeat & ~is_old]
    if zone is not None:
        local = pd.DatetimeIndex(repeats["ds"]).tz_localize(
            zone, ambiguous="NaT", nonexistent="shift_forward"
        )
        repeats = repeats[np.asarray(local.notna())]
    return _about_rows("duplicates", repeats, repeats["ds"].astype(str), total=len(valid))


def _are_copies(valid: pd.DataFrame, keys: pd.DataFrame) -> bool:
    """Return whether repeated rows are copies: their values are equal, and not by chance."""
    columns = [keys[name] for name in keys]
    is_equal = valid["y"].reset_index(drop=True).groupby(columns).diff().dropna() == 0
    if is_equal.mean() <= MOST:
        return False
    nth = keys.groupby(columns).cumcount().astype(str).to_numpy()
    return not find_overlaps(valid.assign(file=nth)).empty


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


def midnight_dates(rows: RawRows, *, zone: ZoneInfo | None) -> list[Finding]:
    """Find series whose times were dates: `given` has the first row of each as it came."""
    valid, (codes, _) = rows.valid, rows.series
    if "given" not in valid or not valid["given"].notna().any():
        return []
    is_series = np.isin(codes, codes[valid["given"].notna().to_numpy()])
    dates = valid[is_series]
    return _about_rows("midnight_dates", dates, dates["ds"].dt.strftime("%Y-%m-%d"), zone=zone)


def local_midnights(rows: RawRows, *, after: pd.Timestamp, zone: ZoneInfo | None) -> list[Finding]:
    """Find a first fetch whose times are at one of two evening hours, by season, without a zone.

    So the midnights of Europe look in UTC; each counts for the day before.
    """
    times = rows.valid["ds"]
    if zone is not None or (times <= after).any():
        return []
    distinct = times.drop_duplicates().sort_values()
    hour = distinct.dt.hour.to_numpy()
    pair, n_switches = tuple(np.unique(hour).tolist()), int((np.diff(hour) != 0).sum())
    n_most = 2 + 2 * (distinct.max() - distinct.min()).days / 365
    if pair not in EVENINGS or n_switches > n_most or (distinct != distinct.dt.floor("h")).any():
        return []
    hours = " or ".join(f"{hour:02}:00" for hour in pair)
    return _about_rows("off_grid/midnights", rows.valid, times.astype(str), hours=hours)


def placeholder_dates(rows: RawRows) -> list[Finding]:
    """Find rows at a date that stands for a missing one, far from the other rows of the series.

    What is far depends on the series: half a year, and more than its longest gap.
    """
    days, (codes, _) = rows.day, rows.series
    distinct = pd.unique(days)
    near = distinct[np.abs(distinct[:, None] - PLACEHOLDERS).min(axis=1, initial=DAYS) < DAYS]
    if not len(near):
        return []
    is_near = np.isin(days, near)
    is_series = np.isin(codes, codes[is_near])
    columns = {"series": codes[is_series], "day": days[is_series], "is_near": is_near[is_series]}
    by_day = pd.DataFrame(columns).drop_duplicates().sort_values(["series", "day"])
    others = by_day["day"].where(~by_day["is_near"]).groupby(by_day["series"])
    distance = np.fmin(by_day["day"] - others.ffill(), others.bfill() - by_day["day"])
    gaps = by_day[~by_day["is_near"]].groupby("series")["day"].diff()
    longest = gaps.groupby(by_day["series"]).max().reindex(by_day["series"]).to_numpy()
    is_far = ~(distance <= np.fmax(MIN_DISTANCE, longest))  # NaN: there are no others
    far = by_day[by_day["is_near"] & is_far]
    is_found = is_near & np.isin(codes, far["series"])
    found = rows.valid[is_found]
    return _about_rows("placeholder_dates", found, found["ds"].dt.strftime("%Y-%m-%d"))


def _about_rows(form: str, rows: pd.DataFrame, details: Values, **values: Any) -> list[Finding]:
    """Return a finding about rows, listed by series, with the day and detail of the first one."""
    days = rows["ds"].dt.strftime("%Y-%m-%d").where(rows["ds"].notna(), None)
    n = rows.groupby("unique_id")["unique_id"].transform("size")
    details = details.loc[rows.index]  # pandas adds rows when it assigns a column to an empty frame
    first = rows.assign(ds=days, n=n, detail=details).drop_duplicates("unique_id")
    columns = first[["unique_id", "ds", "n", "detail"]].itertuples(index=False)
    return make_finding(form, [SeriesRow(*row) for row in columns], **values)
