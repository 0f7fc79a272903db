"""Find the rows that a source would have returned at a past time.

They come from its publication times, from dated files, or from the stored fetches.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import DemoSource
from forecast_assets.data.published import has_publication_times, rows_known_at
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.files import NoDatedFile
from forecast_assets.data.sources.request import FetchRequest, source_fingerprint
from forecast_assets.data.vintages import first_hand_versions, refuse_future
from forecast_assets.data.weekly import local_day
from forecast_assets.errors import DataError, SourceError, format_list
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store

MissingVintage = Literal["fail", "nearest"]
# How many days before a tick a dated file may be, where the nearest one is to be used.
MAX_FILE_AGE_DAYS = 28


@dataclass(eq=False)
class PastRows:
    """The rows of a source at past ticks, each with the start of the interval that it ends.

    `store` has the fetches of the weeks as they were run. Where `missing` is "nearest", a tick
    without a vintage uses the newest one before it, else the oldest after it, else what the source
    returns now, without the days after the tick. Without `has_history` the rows of a tick do not
    tell what was published before.
    """

    settings: Settings
    store: Store
    intervals: dict[datetime, datetime]  # tick: the tick before it
    now: datetime
    missing: MissingVintage = "fail"
    has_history: bool = True
    _fetched: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def has_dated_files(self) -> bool:
        """Tell whether each day has a file of its own."""
        source = self.settings.source
        return source.kind == "file" and bool(re.search(r"\{as_of[:}]", source.path))

    def check(self) -> None:
        """Raise DataError where ticks have no vintage and that is not allowed."""
        if self.settings.source.published or self.has_dated_files or self.missing == "nearest":
            return
        versions = self._versions()
        without = [
            f"{tick:%Y-%m-%d %H:%M}"
            for tick, before in self.intervals.items()
            if not any(before < commit.as_of <= tick for commit in versions)
        ]
        if without:
            raise DataError(
                f"{len(without)} of {len(self.intervals)} ticks have no vintage: the store"
                f" {self.store.uri} has no fetch of the weeks as of {format_list(without)} UTC."
                f" Nothing was replayed. Replay other weeks, or use the nearest vintage of each"
                f" with `--missing-vintage nearest`."
            )

    def fetch(self, request: FetchRequest) -> pd.DataFrame:
        """Return the rows known at the `as_of` of a request: the table raw_data.

        Raises DataError where there are none, or where they know the future.
        """
        if self.settings.source.published:
            rows = self._published(request)
        elif self.has_dated_files:
            rows = self._dated(request)
        else:
            rows = self._stored(request)
        if not self.has_history:
            return rows_known_at(rows, request.as_of).assign(published=None)
        return rows

    def _published(self, request: FetchRequest) -> pd.DataFrame:
        rows = self._today(request)
        known = rows[~(rows["published"] > pd.Timestamp(request.as_of))]
        if not has_publication_times(known):
            first = rows["published"].min()
            without = [f"{tick:%Y-%m-%d %H:%M}" for tick in self.intervals if tick < first]
            raise DataError(
                f"{len(without)} of {len(self.intervals)} ticks have no vintage: nothing was"
                f" published until {format_list(without)} UTC, the first rows are of"
                f" {first:%Y-%m-%d %H:%M}. These weeks were not replayed. Begin the replay with"
                f" `--from {first + timedelta(days=1):%Y-%m-%d}`."
            )
        return known.reset_index(drop=True)

    def _dated(self, request: FetchRequest) -> pd.DataFrame:
        source = self.settings.source.model_copy(update={"max_retries": 0})
        settings = self.settings.model_copy(update={"source": source})
        first: Exception | None = None
        n_days = MAX_FILE_AGE_DAYS if self.missing == "nearest" else 0
        for days in range(n_days + 1):
            at = request.as_of - timedelta(days=days)
            try:
                rows = fetch.fetch(replace(request, settings=settings, as_of=at))
            except SourceError as error:
                if not isinstance(error.__cause__, NoDatedFile):
                    raise
                first = first or error.__cause__
            else:
                refuse_future(rows, settings, as_of=request.as_of, origin="the dated file")
                return rows
        raise DataError(
            f"The week as of {request.as_of:%Y-%m-%d %H:%M} UTC has no vintage: {first} It was not"
            f" replayed. Put the file there, or use an earlier one with `--missing-vintage nearest`"
            f" (of the {MAX_FILE_AGE_DAYS} days before)."
        )

    def _stored(self, request: FetchRequest) -> pd.DataFrame:
        """Return the newest fetch in the store until the tick, else the oldest, else today's."""
        versions = self._versions()
        before = [commit for commit in versions if commit.as_of <= request.as_of]
        if before:
            commit = before[-1]
            rows = self.store.read([_rows_of(self.store, commit)])
            origin = f"version {commit.version} of series"
            refuse_future(rows, self.settings, as_of=request.as_of, origin=origin)
            return _with_all_columns(rows)
        if versions:
            rows = _with_all_columns(self.store.read([_rows_of(self.store, versions[0])]))
        else:
            rows = self._today(request)
        day = pd.Timestamp(local_day(request.as_of, self.settings))
        is_later = (rows["ds"].dt.normalize() > day).to_numpy()
        known: pd.DataFrame = rows[~is_later].reset_index(drop=True)
        return known

    def _today(self, request: FetchRequest) -> pd.DataFrame:
        """Return what the source returns now; it is fetched once."""
        if self._fetched is None:
            now = replace(request, settings=self.settings, as_of=self.now, previous=None)
            self._fetched = fetch.fetch(now)
        return self._fetched

    def _versions(self) -> Sequence[Commit]:
        """Return the versions of `series` that were made from a fetch of this source."""
        demo = source_fingerprint(self.settings.model_copy(update={"source": DemoSource()}))
        is_demo = self.settings.source.kind == "demo"
        return [
            commit
            for commit in first_hand_versions(self.store, now=self.now)
            if commit.input_of("raw_data")
            and _rows_of(self.store, commit).code_version.endswith(f"-{demo}") == is_demo
        ]


def _rows_of(store: Store, series: Commit) -> Commit:
    source = series.input_of("raw_data")
    assert source is not None  # noqa: S101 - `_versions` has no others
    return store.commit(source)


def _with_all_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of raw_data with the columns that earlier releases did not write."""
    absent = [name for name in ("published", "file", "note") if name not in rows]
    return rows.assign(**dict.fromkeys(absent))
