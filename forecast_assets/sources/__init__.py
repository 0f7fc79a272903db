"""Raw rows as a source publishes them: `fetch` turns `[source]` into the raw_data table.

A kind of source is one reader: from its settings to a frame with the source's own columns. What
rows mean, and which week they belong to, is for `series`.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from forecast_assets.settings import Settings
from forecast_assets.source_settings import SqlSource, addressed
from forecast_assets.sources.asked import Asked
from forecast_assets.sources.demo import read_demo
from forecast_assets.sources.files import read_files, shown
from forecast_assets.sources.http import read_http
from forecast_assets.sources.incremental import upserted
from forecast_assets.sources.mapping import as_raw_data
from forecast_assets.sources.python import read_python


def _read_sql(source: SqlSource, asked: Asked) -> pd.DataFrame:
    from forecast_assets.sources.sql import read_sql  # noqa: PLC0415 - SQLAlchemy takes 0.4 s

    return read_sql(source, asked)


# A reader takes its own kind's settings, which differ in type from kind to kind.
Reader = Callable[[Any, Asked], pd.DataFrame]

READERS: Mapping[str, Reader] = {
    "demo": read_demo,
    "file": read_files,
    "http": read_http,
    "sql": _read_sql,
    "python": read_python,
}


def fetch(asked: Asked) -> pd.DataFrame:
    """Read the source and map its columns: the table raw_data, one row a published row.

    A source that reads only what is new has it put into what was fetched before.

    Raises SourceError where the source cannot be used as it stands, SourceUnavailable where it
    may answer later, and DataError where its rows cannot be read as series.
    """
    source = asked.settings.source
    before = asked.before if source.is_incremental else None
    rows = READERS[source.kind](source, asked)
    columns = {name: getattr(source, name) for name in ("unique_id", "ds", "y")}
    if before is not None and rows.empty and set(columns.values()) <= set(rows.columns):
        return upserted(before, before.head(0))
    raw = as_raw_data(
        rows,
        columns=columns,
        origin=described(asked.settings),
        zone=source.zone,
        is_kept_aside=source.on_bad_rows == "quarantine",
    )
    return raw if before is None else upserted(before, raw)


def identity(settings: Settings) -> str:
    """Identify what is fetched, by the source's settings, secrets left out (8 hex digits)."""
    text = settings.source.model_dump_json()
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def described(settings: Settings) -> str:
    """Name the source for messages and for the UI, without what is secret in its address."""
    source = settings.source
    if source.kind == "file":
        return shown(settings.located(source.path))
    if source.kind in ("http", "sql"):
        return addressed(source.url)
    return source.callable if source.kind == "python" else "the demo data"
