"""What a fetch is held against, and put into: the versions that were stored before.

What is found: `verdict`. Nothing is kept of it: the same versions give the same findings.
"""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import DemoSource
from forecast_assets.data.quality.evaluate import PreviousVersion, evaluate
from forecast_assets.data.quality.finding import Finding
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.errors import StoreError
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
    """The newest version of `series` that stands for an earlier moment; none where none does.

    Not one that any of `runs` wrote; of those alone that were written before `version`. The demo's
    weeks are nothing to hold a team's own data against.
    """
    commits = [
        one
        for one in store.history("series")
        if one.as_of < as_of
        and one.run_id not in runs
        and (version is None or one.version < version)
    ]
    commit = newest(commits)
    if commit is None:
        return None
    if settings.source.kind != "demo" and _is_demo(store, commit, settings):
        return None
    return PreviousVersion(store.read([commit]), commit.as_of)


def source_code_version(settings: Settings) -> str:
    """Rows of another source, or mapped in another way, are made by other code."""
    return f"2-{source_fingerprint(settings)}"


def previous_rows(store: Store, settings: Settings, *, as_of: datetime) -> pd.DataFrame | None:
    """What the same source gave last, of what was published; none where it is read whole.

    What was held back is not built upon: it may be mended at the source.
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


def evaluate_stored(store: Store, commit: Commit, settings: Settings) -> list[Finding]:
    """The findings of a version of `series`, by the settings in force.

    Raises StoreError where its rows, or those that it was made from, cannot be read.
    """
    raw = commit.input_of("raw_data")
    if raw is None:
        raise StoreError(
            f"Version {commit.version} of series does not say which raw_data it was made from, so"
            f" nothing is told of it. Run the week again."
        )
    before = previous_series(store, settings, as_of=commit.as_of, version=commit.version)
    rows = store.read([store.commit(raw)])
    return evaluate(rows, store.read([commit]), before, settings, as_of=commit.as_of)
