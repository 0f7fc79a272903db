"""What the rows of a fetch show that their weeks do not: set aside, given twice, on a stray day.

What their weeks show: `verdict_of_history` and `verdict_of_values`.
"""

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecast_assets.beside import Ints, Mask
from forecast_assets.finding import Finding, counted, found, named

USUAL = 0.05  # the share of rows with a twin from which on that is how the source is
NEARLY_ALL = 0.95  # of a series' rows on one weekday: it is a weekly one
LEAST = 8  # rows of a series, to tell its weekday
DAYS = 7


def malformed(raw: pd.DataFrame) -> list[Finding]:
    """Tell of rows that were set aside, by reason."""
    aside = raw["problem"].dropna()
    reasons = aside.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    told = named(f"{n:,} {why}" for why, n in reasons.items())
    says = (
        f"{len(aside):,} of {counted(len(raw), 'row')} break the contract and were set aside:"
        f" {told}. No week is made of them. `forecast-assets show raw_data` has each as it came, in"
        f" `given`; mend it at the source."
    )
    ids = raw.loc[aside.index, "unique_id"].dropna().unique()
    return found("malformed", len(aside), ids, says)


def partial(series: tuple[str, ...], *, n_all: int) -> list[Finding]:
    """Tell of newest weeks that were left out, since too few of their days are there."""
    says = (
        f"The newest week of {len(series):,} of {counted(n_all, 'series', 'series')} lacks days:"
        f" {named(series)}. Half a week is none, so it was left out, and is forecast instead. Once"
        f" the source has the other days, run the week again; `series.min_coverage` says how many"
        f" there must be."
    )
    return found("partial", len(series), series, says)


def duplicates(raw: pd.DataFrame, *, after: pd.Timestamp, zone: ZoneInfo | None) -> list[Finding]:
    """Tell of rows with the series and time of another one, of those later than a moment.

    Not where that is usual: transactions have times in common. Nor in the hour that a zone has
    twice in autumn.
    """
    sound = raw[raw["problem"].isna()] if raw["problem"].notna().any() else raw
    again = pd.Series(_keys(sound)).duplicated().to_numpy()
    is_again = again & (sound["ds"] > after).to_numpy()
    if not is_again.any() or again.sum() >= USUAL * len(sound):
        return []
    twice = sound[is_again]
    if zone is not None:
        times = pd.DatetimeIndex(twice["ds"])
        local = times.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward")
        twice = twice[~local.isna()]
    told = [f"{one} / {at}" for one, at in zip(twice["unique_id"], twice["ds"], strict=True)]
    says = (
        f"{counted(len(twice), 'row')} of {len(sound):,} have the series and the time of another"
        f" one: {named(told)}. A sum counts them twice. Mend the query or the export that gives"
        f' them; where they are right, set `verdict.duplicates = "publish"`.'
    )
    return found("duplicates", len(twice), twice["unique_id"].unique(), says)


def off_grid(raw: pd.DataFrame, *, after: pd.Timestamp) -> list[Finding]:
    """Tell of rows of weekly series on another weekday than nearly all, later than a moment."""
    sound = raw[raw["problem"].isna()] if raw["problem"].notna().any() else raw
    if sound.empty:
        return []
    codes, ids = pd.factorize(sound["unique_id"])
    weekday = sound["ds"].dt.weekday.to_numpy()
    counts = np.bincount(codes * DAYS + weekday, minlength=len(ids) * DAYS).reshape(-1, DAYS)
    n, usual = counts.sum(axis=1), counts.argmax(axis=1)
    is_weekly: Mask = (n >= LEAST) & (counts.max(axis=1) >= NEARLY_ALL * (n - 1))
    is_stray = is_weekly[codes] & (weekday != usual[codes]) & (sound["ds"] > after).to_numpy()
    strays = sound[is_stray]
    days = strays["ds"].dt.strftime("%A, %Y-%m-%d")
    told = [f"{one} / {day}" for one, day in zip(strays["unique_id"], days, strict=True)]
    says = (
        f"{counted(len(strays), 'row')} of weekly series lie on another weekday than nearly all of"
        f" theirs: {named(told)}. One may have come into the week before or after its own. Look at"
        f" the dates, and at `series.frequency`."
    )
    return found("off_grid", len(strays), strays["unique_id"].unique(), says)


def _keys(rows: pd.DataFrame) -> Ints:
    """A number for each series and time."""
    codes, _ = pd.factorize(rows["unique_id"])
    times, distinct = pd.factorize(rows["ds"])
    return codes.astype(np.int64) * len(distinct) + times
