"""What the rows of a fetch show that their weeks do not: set aside, given twice, on a stray day.

What their weeks show: `history` and `values`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecast_assets.data.quality.comparison import DAYS, Ints, Mask, WeekGrid
from forecast_assets.data.quality.finding import Finding, make_finding, named, pluralize
from forecast_assets.storage.contract import Values

USUAL = 0.05  # the share of rows with a twin from which on that is how the source is
NEARLY_ALL = 0.95  # of a series' rows on one weekday: it is a weekly one
LEAST = 8  # rows of a series, to tell its weekday
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class RawRows:
    """The rows of raw_data, and those of them that were not set aside, by series."""

    raw: pd.DataFrame

    @property
    def problem(self) -> Values:
        """Why each was set aside; none of a version from before that was recorded."""
        return self.raw.get("problem", pd.Series(None, index=self.raw.index, dtype=object))

    @cached_property
    def sound(self) -> pd.DataFrame:
        """Those that keep the contract."""
        is_aside = self.problem.notna()
        return self.raw[~is_aside] if is_aside.any() else self.raw

    @cached_property
    def of_series(self) -> tuple[Ints, pd.Index]:
        """Which series each sound row is of, and the series."""
        codes, ids = pd.factorize(self.sound["unique_id"])
        return codes.astype(np.int64), ids


def malformed(rows: RawRows) -> list[Finding]:
    """Tell of rows that were set aside, by reason."""
    aside = rows.problem.dropna()
    reasons = aside.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    told = named(f"{n:,} {why}" for why, n in reasons.items())
    what = (
        f"{len(aside):,} of {pluralize(len(rows.raw), 'row')} break the contract and were set aside:"
        f" {told}."
    )
    then = (
        "No week is made of them. `forecast-assets show raw_data` has each as it came, in `given`;"
        " mend it at the source."
    )
    ids = rows.raw.loc[aside.index, "unique_id"].dropna().unique()
    return make_finding("malformed", len(aside), ids, what, then)


def partial_series(rows: RawRows, now: WeekGrid, *, due: int) -> list[str]:
    """The series whose newest week has rows, and was left out: too few of its days are there.

    `due` is the newest week that is over.
    """
    codes, ids = rows.of_series
    day = rows.sound["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)
    week = -((now.weekday - day) // DAYS)  # that each row is of
    counts = (week <= due) & rows.sound["y"].notna().to_numpy()
    newest = np.full(len(ids), NEVER)
    np.maximum.at(newest, codes[counts], week[counts])
    at = pd.Index(now.ids).get_indexer(ids)
    is_out = (newest == newest.max()) & (newest > np.where(at >= 0, now.last[at], NEVER))
    return sorted(ids[is_out])


def partial(series: Sequence[str], *, n_all: int) -> list[Finding]:
    """Tell of newest weeks that were left out."""
    what = (
        f"The newest week of {len(series):,} of {pluralize(n_all, 'series', 'series')} lacks days:"
        f" {named(series)}."
    )
    then = (
        "Half a week is none, so it was left out, and is forecast instead. Once the source has the"
        " other days, run the week again; `series.min_coverage` says how many there must be."
    )
    return make_finding("partial", len(series), series, what, then)


def duplicates(rows: RawRows, *, after: pd.Timestamp, zone: ZoneInfo | None) -> list[Finding]:
    """Tell of rows with the series and time of another one, of those later than a moment.

    Not where that is usual: transactions have times in common. Nor in the hour that a zone has
    twice in autumn.
    """
    sound = rows.sound
    times, distinct = pd.factorize(sound["ds"])
    again = pd.Series(rows.of_series[0] * len(distinct) + times).duplicated().to_numpy()
    is_again = again & (sound["ds"] > after).to_numpy()
    is_old = (sound["ds"] <= after).to_numpy()
    known = is_old if is_old.any() else np.ones_like(is_old)  # a first version has no other
    if not is_again.any() or again[known].mean() >= USUAL:
        return []
    twice = sound[is_again]
    if zone is not None:
        local = pd.DatetimeIndex(twice["ds"]).tz_localize(
            zone, ambiguous="NaT", nonexistent="shift_forward"
        )
        twice = twice[np.asarray(local.notna())]
    told = [f"{one} / {at}" for one, at in zip(twice["unique_id"], twice["ds"], strict=True)]
    what = (
        f"{pluralize(len(twice), 'row')} of {len(sound):,} have the series and the time of another"
        f" one: {named(told)}."
    )
    then = (
        "A sum counts them twice. Mend the query or the export that gives them; where they are"
        ' right, set `data_quality.duplicates = "publish"`.'
    )
    return make_finding("duplicates", len(twice), twice["unique_id"].unique(), what, then)


def off_grid(rows: RawRows, *, after: pd.Timestamp) -> list[Finding]:
    """Tell of rows of weekly series on another weekday than nearly all, later than a moment."""
    sound, (codes, ids) = rows.sound, rows.of_series
    weekday = sound["ds"].dt.weekday.to_numpy()
    counts = np.bincount(codes * DAYS + weekday, minlength=len(ids) * DAYS).reshape(-1, DAYS)
    n, usual = counts.sum(axis=1), counts.argmax(axis=1)
    is_weekly: Mask = (n >= LEAST) & (counts.max(axis=1) >= NEARLY_ALL * (n - 1))
    is_stray = is_weekly[codes] & (weekday != usual[codes]) & (sound["ds"] > after).to_numpy()
    strays = sound[is_stray]
    days = strays["ds"].dt.strftime("%A, %Y-%m-%d")
    told = [f"{one} / {day}" for one, day in zip(strays["unique_id"], days, strict=True)]
    what = (
        f"{pluralize(len(strays), 'row')} of weekly series lie on another weekday than nearly all of"
        f" theirs: {named(told)}."
    )
    then = (
        "One may have come into the week before or after its own. Look at the dates, and at"
        " `series.frequency`."
    )
    return make_finding("off_grid", len(strays), strays["unique_id"].unique(), what, then)
