"""Find the vintages of `series`: the table as it was known at ticks of the schedule.

They come from a source's publication times, or else from the stored versions. What a fold sees of
them belongs to `backtesting.vintage_folds`.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.data.excluded import without_excluded
from forecast_assets.data.hierarchy import with_totals
from forecast_assets.data.published import rows_known_at
from forecast_assets.data.weekly import local_day, to_weeks
from forecast_assets.errors import DataError, format_list
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import valid_versions

COLUMNS = ("unique_id", "ds", "y")


@dataclass(frozen=True)
class Vintage:
    """The table `series` as it was known at a time; `read` returns its columns unique_id, ds, y.

    A stored one has `is_filled`, too. It returns None where nothing could be published then.
    `digest` is that of its values up to its newest week, if that is known without reading it.
    """

    as_of: datetime
    read: Callable[[], pd.DataFrame | None]
    digest: str = ""


# Returns the vintages that ticks (ascending) knew: for each the newest since the tick before it.
FindVintages = Callable[[Sequence[datetime]], list[Vintage]]


def week_ticks(
    weeks: Sequence[date], settings: Settings, *, next_tick: Callable[[datetime], datetime]
) -> list[datetime]:
    """Return the tick at which each week was first forecast from: the first after it was over.

    `next_tick` returns the first tick of the schedule that is not before a time.
    """
    zone = settings.source.zone or settings.schedule.zone
    return [
        next_tick(datetime.combine(week + timedelta(days=1), datetime.min.time(), zone))
        for week in weeks
    ]


def published_vintages(
    raw: pd.DataFrame, settings: Settings, ticks: Sequence[datetime], *, as_of: datetime
) -> list[Vintage]:
    """Return the vintages of raw_data with publication times at the ticks before `as_of`.

    They have no parents' sums yet (`with_present_totals`).
    """

    def read(tick: datetime) -> pd.DataFrame | None:
        try:
            return to_weeks(raw, settings, as_of=tick, is_past=True).frame
        except DataError:  # what was known then made no series
            return None

    def vintage(tick: datetime) -> Vintage:
        return Vintage(tick, lambda: read(tick))

    return [vintage(tick) for tick in ticks if tick < as_of]


def stored_vintages(
    stores: Sequence[Store], ticks: Sequence[datetime], *, as_of: datetime, now: datetime
) -> list[Vintage]:
    """Return the newest first-hand version of `series` of each interval that a tick ends.

    An interval without a version has none. Of versions as of the same time the first store's
    counts; all are earlier than `as_of`.
    """
    versions: dict[int, tuple[Commit, Store]] = {}
    for store in reversed(stores):
        for commit in first_hand_versions(store, now=now):
            interval = bisect_left(ticks, commit.as_of)
            known = versions.get(interval)
            if commit.as_of < as_of and (known is None or known[0].as_of <= commit.as_of):
                versions[interval] = commit, store

    found = (versions[i] for i in sorted(versions))
    return [
        Vintage(commit.as_of, partial(_read_stored, store, commit), commit.values_digest)
        for commit, store in found
    ]


def _read_stored(store: Store, commit: Commit) -> pd.DataFrame:
    rows = store.read([commit]).reindex(columns=[*COLUMNS, "is_filled"])
    return rows.assign(is_filled=rows["is_filled"].eq(other=True))  # 0.1 did not write it


def with_present_exclusions(vintages: Sequence[Vintage], settings: Settings) -> list[Vintage]:
    """Return vintages that know nothing of the weeks of `[[series.excluded]]` either."""
    excluded = settings.series.excluded
    if not excluded:
        return list(vintages)
    return _changed(vintages, lambda frame: without_excluded(frame, excluded)[[*COLUMNS]])


def with_present_totals(
    vintages: Sequence[Vintage], settings: Settings, today: Sequence[str]
) -> list[Vintage]:
    """Return vintages with the sums of the parents of `[hierarchy]`; `today` as in `with_totals`.

    A sum that was stored is made again: its children or their values may have changed since.
    """
    hierarchy, is_zero = settings.hierarchy, settings.series.missing == "zero"
    if not hierarchy.is_set:
        return list(vintages)
    return _changed(
        vintages,
        lambda frame: with_totals(frame, hierarchy, is_absence_zero=is_zero, today=today),
    )


def _changed(
    vintages: Sequence[Vintage], change: Callable[[pd.DataFrame], pd.DataFrame]
) -> list[Vintage]:
    def read(vintage: Vintage) -> pd.DataFrame | None:
        frame = vintage.read()
        return None if frame is None or frame.empty else change(frame)

    return [replace(vintage, read=partial(read, vintage)) for vintage in vintages]


def first_hand_versions(store: Store, *, now: datetime) -> list[Commit]:
    """Return the valid versions of `series` that were made when they are as of, oldest first.

    One that was made after a version as of a later time repeats a past week with newer data: it
    tells nothing about what was known then.
    """
    versions, newest_time = [], datetime.min.replace(tzinfo=UTC)
    for commit in valid_versions(store, "series", as_of=now):
        if commit.as_of >= newest_time:
            versions.append(commit)
            newest_time = commit.as_of
    return versions


def digest_values(series: pd.DataFrame) -> dict[str, np.datetime64]:
    """Return a digest of the values up to each week, in the order of weeks, with the week.

    The last one is of all values. A version whose last digest is among those of today differs in no
    value from today's series up to that week, so it need not be read.
    """
    codes, names = pd.factorize(series["unique_id"])
    days = series["ds"].to_numpy().astype("datetime64[D]")
    order = np.argsort(days, kind="stable")
    rows = np.empty(len(days), dtype=[("id", "<u8"), ("y", "<f8")])
    rows["id"] = pd.util.hash_array(np.array(names, dtype=object))[codes][order]
    rows["y"] = series["y"].to_numpy()[order]
    weeks, starts = np.unique(days[order], return_index=True)
    digest, found = hashlib.blake2b(digest_size=16), {}
    for week, start, end in zip(weeks, starts, [*starts[1:], len(rows)], strict=True):
        digest.update(week.tobytes() + rows[start:end].tobytes())
        found[digest.hexdigest()] = week
    return found


def refuse_future(raw: pd.DataFrame, settings: Settings, *, as_of: datetime, origin: str) -> None:
    """Raise DataError where rows of raw_data that a past time knew have a value of a later day."""
    known = rows_known_at(raw, as_of)
    day = local_day(as_of, settings)
    is_future = (known["ds"].dt.normalize() > pd.Timestamp(day)) & known["y"].notna()
    future = known[is_future.to_numpy()]
    if len(future):
        shown = future["unique_id"].astype(str) + future["ds"].dt.strftime(" / %Y-%m-%d")
        raise DataError(
            f"{len(future)} of {len(known)} rows of {origin}, which is what was known on {day},"
            f" have a value of a later day: {format_list(shown)}. Nothing was published as of"
            f" {as_of:%Y-%m-%d %H:%M} UTC, because a forecast that knows the future is worth"
            f" nothing. Correct the rows or the time that they are known from, or replay other"
            f" weeks."
        )
