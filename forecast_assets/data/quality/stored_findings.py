"""Write the findings on each fetch, and read those of a stored version of `series`.

How a fetch is evaluated: `evaluate`.
"""

from collections.abc import Sequence
from datetime import datetime

from forecast_assets.config.settings import Settings
from forecast_assets.data.quality.baseline import previous_series
from forecast_assets.data.quality.evaluate import blocking, evaluate
from forecast_assets.data.quality.finding import Finding, from_frame, to_frame
from forecast_assets.errors import StoreError
from forecast_assets.storage.commit import Commit, InputVersion
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import DATA_FINDINGS
from forecast_assets.storage.versions import newest


def write_findings(
    store: Store, findings: Sequence[Finding], *, fetch: Commit, run_id: str, as_of: datetime
) -> Commit:
    """Write the findings on a fetch, a version of raw_data, and return their version.

    A retry or a re-execution that finds the same in the same fetch writes no second version. Raises
    StoreError.
    """
    table = store.tables[DATA_FINDINGS]
    frame = table.arrange(to_frame(findings))
    known = _versions_of(store, fetch.as_input, as_of)
    if known and known[-1].data_version == table.data_version(frame):
        return known[-1]
    inputs = (fetch.as_input,)
    commit = Commit(DATA_FINDINGS, None, run_id, as_of, code_version="1", inputs=inputs)
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
    known = _versions_of(store, fetch, series.as_of)
    if known:
        own = [commit for commit in known if commit.run_id == series.run_id]
        return from_frame(store.read((own or known)[-1:]))
    before = previous_series(store, settings, as_of=series.as_of, version=series.version)
    rows, weeks = store.read([store.commit(fetch)]), store.read([series])
    return evaluate(rows, weeks, before, settings, as_of=series.as_of)


def held_findings(store: Store) -> list[Finding]:
    """Return the findings that hold the newest fetch back; an empty list if it was published."""
    commit = newest(store.history(DATA_FINDINGS))
    if commit is None:
        return []
    fetch = commit.input_of("raw_data")
    is_published = any(
        series.as_of == commit.as_of and series.input_of("raw_data") == fetch
        for series in store.history("series")
    )
    return [] if is_published else blocking(from_frame(store.read([commit])))


def _versions_of(store: Store, fetch: InputVersion, as_of: datetime) -> list[Commit]:
    """Return the versions of the findings on a fetch as of a time, oldest first."""
    return [
        commit
        for commit in store.history(DATA_FINDINGS)
        if commit.as_of == as_of and fetch in commit.inputs
    ]
