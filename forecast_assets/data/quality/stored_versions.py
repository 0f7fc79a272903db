"""Find the stored versions that a fetch is compared with or added to, and the stored findings.

How a fetch is evaluated: `evaluate`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import DemoSource
from forecast_assets.data.quality.evaluate import PreviousVersion, blocking, evaluate
from forecast_assets.data.quality.finding import Finding, from_frame, to_frame
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.data.weekly import to_weeks
from forecast_assets.errors import DataError, StoreError
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import DATA_FINDINGS
from forecast_assets.storage.versions import newest, newest_of_each, valid_versions


def previous_series(
    store: Store,
    settings: Settings,
    *,
    as_of: datetime,
    runs: Sequence[str] = (),
    version: int | None = None,
) -> PreviousVersion | None:
    """Return the newest valid version of `series` from before `as_of`, None if there is none.

    Versions written by `runs`, or from `version` on, do not count. The demo's series are nothing to
    compare a team's own data with.
    """
    commit = newest(
        commit
        for commit in valid_versions(store, "series")
        if commit.as_of < as_of
        and commit.run_id not in runs
        and (version is None or commit.version < version)
    )
    if commit is None:
        return None
    raw = commit.input_of("raw_data")
    if raw is not None and settings.source.kind != "demo":
        demo = settings.model_copy(update={"source": DemoSource()})
        if store.commit(raw).code_version.endswith(f"-{source_fingerprint(demo)}"):
            return None
    return PreviousVersion(store.read([commit]), commit.as_of)


def source_code_version(settings: Settings) -> str:
    """Return the code version of raw_data: another source or mapping is other code."""
    return f"2-{source_fingerprint(settings)}"


def previous_rows(store: Store, settings: Settings, *, as_of: datetime) -> pd.DataFrame | None:
    """Return the rows that an incremental source adds to, None if there are none.

    These are the rows of the same source that were published last: held rows may be corrected at
    the source.
    """
    if not settings.source.is_incremental:
        return None
    published = newest_of_each(store, "series", as_of=as_of)
    raw = published[0].input_of("raw_data") if published else None
    if raw is None:
        return None
    commit = store.commit(raw)
    return store.read([commit]) if commit.code_version == source_code_version(settings) else None


def write_findings(
    store: Store, findings: Sequence[Finding], *, fetch: Commit, run_id: str, as_of: datetime
) -> Commit:
    """Write the findings on a fetch, a version of raw_data, and return their version.

    A retry or a re-execution that finds the same in the same fetch writes no second version. Raises
    StoreError.
    """
    table = store.tables[DATA_FINDINGS]
    frame = table.arrange(to_frame(findings))
    written = _findings_on(store, fetch.as_input, as_of)
    if written and written[-1].data_version == table.data_version(frame):
        return written[-1]
    commit = Commit(DATA_FINDINGS, None, run_id, as_of, code_version="1", inputs=(fetch.as_input,))
    return store.write(frame, commit)


def findings_of(store: Store, series: Commit, settings: Settings) -> list[Finding]:
    """Return the findings on the fetch that a version of `series` was made from.

    They are read; for a version older than the table of findings they are evaluated with the
    settings in force. Raises StoreError if rows cannot be read.
    """
    fetch = series.input_of("raw_data")
    if fetch is None:
        raise StoreError(
            f"Version {series.version} of series does not record which raw_data it was made from,"
            f" so there are no findings on it. Run the week again."
        )
    written = _findings_on(store, fetch, series.as_of)
    if written:
        own = [commit for commit in written if commit.run_id == series.run_id]
        return from_frame(store.read((own or written)[-1:]))
    before = previous_series(store, settings, as_of=series.as_of, version=series.version)
    rows, weeks = store.read([store.commit(fetch)]), store.read([series])
    return evaluate(rows, weeks, before, settings, as_of=series.as_of)


class HeldFetch(NamedTuple):
    """A fetch that is held back: its time, the data version of its rows, and the reasons."""

    as_of: datetime
    data_version: str
    findings: list[Finding]


def held_fetch(store: Store, *, as_of: datetime) -> HeldFetch | None:
    """Return the newest fetch until `as_of` if it is held back, else None."""
    commit = newest(store.history(DATA_FINDINGS), as_of=as_of)
    return _held_fetch(store, commit) if commit else None


def last_held_fetch(store: Store, *, now: datetime) -> HeldFetch | None:
    """Return the newest fetch if it is held back, else that of the last run if it is, else None.

    The last run may have been of a past week.
    """
    written = [commit for commit in store.history(DATA_FINDINGS) if commit.as_of <= now]
    return held_fetch(store, as_of=now) or (_held_fetch(store, written[-1]) if written else None)


def _held_fetch(store: Store, commit: Commit) -> HeldFetch | None:
    """Return the fetch of a version of the findings if these hold it back."""
    fetch = commit.input_of("raw_data")
    if fetch is None:
        return None
    is_published = any(
        series.as_of == commit.as_of and series.input_of("raw_data") == fetch
        for series in store.history("series")
    )
    findings = [] if is_published else blocking(from_frame(store.read([commit])))
    return HeldFetch(commit.as_of, fetch.data_version, findings) if findings else None


def is_same_fetch(
    store: Store,
    fetch: Commit,
    weeks: pd.DataFrame,
    settings: Settings,
    *,
    data_version: str | None,
    as_of: datetime,
) -> bool:
    """Tell whether a fetch is a data version of raw_data, or makes the same weeks as that one.

    A source that adds the days of the present week is another version every day.
    """
    if data_version == fetch.data_version:
        return True
    history = reversed(store.history("raw_data"))
    other = next((commit for commit in history if commit.data_version == data_version), None)
    if other is None:
        return False
    try:
        others = to_weeks(store.read([other]), settings, as_of=as_of).frame
    except DataError:
        return False
    columns = ["unique_id", "ds", "y"]
    return bool(others[columns].equals(weeks[columns]))


def _findings_on(store: Store, fetch: InputVersion, as_of: datetime) -> list[Commit]:
    """Return the versions of the findings on a fetch as of a time, oldest first."""
    return [
        commit
        for commit in store.history(DATA_FINDINGS)
        if commit.as_of == as_of and fetch in commit.inputs
    ]
