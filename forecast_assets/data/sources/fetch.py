"""Raw rows as a source publishes them: `fetch` turns `[source]` into the raw_data table.

A kind of source is one reader: from its settings to a frame with the source's own columns. What
rows mean, and which week they belong to, is for `series`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import resources
from typing import Any

import pandas as pd

from forecast_assets.config.redaction import redact_url
from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import DemoSource, SqlSource
from forecast_assets.data.sources.files import read_files, shown
from forecast_assets.data.sources.http import polling
from forecast_assets.data.sources.http.reader import read_http
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.sources.python import read_python
from forecast_assets.data.sources.request import FetchRequest

KEY = ["unique_id", "ds"]


def upserted(before: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Replace the rows of `before` whose series and time come again in `new`; keep the others.

    But for those that were set aside: they may have been mended since.

    Both are raw_data. All rows of a key give way to all new ones of it. The earlier rows come
    first; each side keeps its order.
    """
    before = before[before["problem"].isna()] if "problem" in before else before
    if before.empty or new.empty:
        return (before if new.empty else new).reset_index(drop=True)
    again = pd.MultiIndex.from_frame(before[KEY]).isin(pd.MultiIndex.from_frame(new[KEY]))
    stays = before[~again]
    if all(isinstance(one["unique_id"].dtype, pd.CategoricalDtype) for one in (before, new)):
        every = before["unique_id"].cat.categories.union(new["unique_id"].cat.categories)
        stays, new = (
            one.assign(unique_id=one["unique_id"].cat.set_categories(every)) for one in (stays, new)
        )
    return pd.concat([stays, new], ignore_index=True)


def read_demo(_: DemoSource, __: FetchRequest) -> pd.DataFrame:
    """Read the demo, whatever is asked."""
    return demo_series()


def demo_series() -> pd.DataFrame:
    """The six EIA series, 523 weeks each: `unique_id, ds, y`, all as text but y."""
    file = (
        resources.files("forecast_assets.data.sources") / "demo_data" / "eia_weekly_petroleum.csv"
    )
    with file.open("rb") as rows:
        return pd.read_csv(rows, dtype={"unique_id": str, "ds": str})


def _read_sql(source: SqlSource, asked: FetchRequest) -> pd.DataFrame:
    from forecast_assets.data.sources.sql.reader import read_sql

    return read_sql(source, asked)


# A reader takes its own kind's settings, which differ in type from kind to kind.
Reader = Callable[[Any, FetchRequest], pd.DataFrame]

READERS: Mapping[str, Reader] = {
    "demo": read_demo,
    "file": read_files,
    "http": read_http,
    "sql": _read_sql,
    "python": read_python,
}


def fetch(asked: FetchRequest) -> pd.DataFrame:
    """Read the source and map its columns: the table raw_data, one row a published row.

    A source that reads only what is new has it put into what was fetched before.

    Raises SourceError where the source cannot be used as it stands, SourceUnavailable where it
    may answer later, and DataError where its rows cannot be read as series.
    """
    source = asked.settings.source
    before = asked.previous if source.is_incremental else None
    rows = READERS[source.kind](source, asked)
    columns = {name: getattr(source, name) for name in ("unique_id", "ds", "y")}
    if before is not None and rows.empty and set(columns.values()) <= set(rows.columns):
        return upserted(before, before.head(0))
    raw = as_raw_data(
        rows,
        columns=columns,
        origin=display_name(asked.settings),
        zone=source.zone,
        quarantine=source.on_bad_rows == "quarantine",
    )
    return raw if before is None else upserted(before, raw)


def is_unchanged(request: FetchRequest, *, stored_as_of: datetime) -> bool:
    """Return whether the source says that nothing changed since the fetch for `stored_as_of`."""
    source = request.settings.source
    return source.kind == "http" and polling.is_unchanged(
        source, request, stored_as_of=stored_as_of
    )


def display_name(settings: Settings) -> str:
    """Name the source for messages and for the UI, without what is secret in its address."""
    source = settings.source
    if source.kind == "file":
        return shown(settings.resolve_path(source.path))
    if source.kind in ("http", "sql"):
        return redact_url(source.url)
    return source.callable if source.kind == "python" else "the demo data"
