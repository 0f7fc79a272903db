"""Find the stored versions that a fetch is compared with, or added to.

How they are compared: `evaluate`. The findings of a stored version: `stored_findings`.
"""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import DemoSource
from forecast_assets.data.quality.evaluate import PreviousVersion
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import newest


def previous_series(
    store: Store,
    settings: Settings,
    *,
    as_of: datetime,
    runs: Sequence[str] = (),
    version: int | None = None,
) -> PreviousVersion | None:
    """Return the newest version of `series` from before `as_of`, None if there is none.

    Versions written by `runs`, or from `version` on, do not count. The demo's series are nothing to
    compare a team's own data with.
    """
    commit = newest(
        commit
        for commit in store.history("series")
        if commit.as_of < as_of
        and commit.run_id not in runs
        and (version is None or commit.version < version)
    )
    if commit is None or (settings.source.kind != "demo" and _is_demo(store, commit, settings)):
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
    published = newest(store.history("series"), as_of=as_of)
    raw = published.input_of("raw_data") if published else None
    if raw is None:
        return None
    commit = store.commit(raw)
    is_same_source = commit.code_version == source_code_version(settings)
    return store.read([commit]) if is_same_source else None


def _is_demo(store: Store, commit: Commit, settings: Settings) -> bool:
    demo = source_fingerprint(settings.model_copy(update={"source": DemoSource()}))
    raw = commit.input_of("raw_data")
    return raw is not None and store.commit(raw).code_version.endswith(f"-{demo}")
