"""Fetch raw rows: turn `[source]` into the table raw_data.

Each kind of source has a reader, which returns a frame with the source's own columns. Aggregating
rows to weeks belongs to `weekly`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from typing import Any

import pandas as pd

from forecast_assets.config.redaction import redact_url
from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import FileSource, HttpSource, SqlSource
from forecast_assets.data.overlap import resolve_overlap
from forecast_assets.data.published import rows_known_at
from forecast_assets.data.repeated_rows import KEY, find_repeats, telling_columns_error
from forecast_assets.data.sources.files import hide_secrets, read_files
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.sources.python import read_python
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import newest_week
from forecast_assets.errors import DataError, SourceError


def demo_series() -> pd.DataFrame:
    """Return the six EIA series of 523 weeks: `unique_id, ds, y`, of which only y is a number."""
    folder = resources.files("forecast_assets.data.sources") / "demo_data"
    with (folder / "eia_weekly_petroleum.csv").open("rb") as file:
        return pd.read_csv(file, dtype={"unique_id": str, "ds": str})


def _read_http(source: HttpSource, request: FetchRequest) -> pd.DataFrame:
    from forecast_assets.data.sources.http.reader import read_http

    return read_http(source, request)


def _read_sql(source: SqlSource, request: FetchRequest) -> pd.DataFrame:
    from forecast_assets.data.sources.sql import read_sql

    return read_sql(source, request)


# By kind of the settings, which differ in type. The libraries of http and sql are slow to import.
READERS: Mapping[str, Callable[[Any, FetchRequest], pd.DataFrame]] = {
    "demo": lambda *_: demo_series(),
    "file": read_files,
    "http": _read_http,
    "sql": _read_sql,
    "python": read_python,
}


def fetch(request: FetchRequest) -> pd.DataFrame:
    """Read the source and map its columns: the table raw_data, one row per published row.

    The rows of an incremental source are upserted into those of the last fetch.

    Raises SourceError if the source cannot be read, also after all retries, and DataError if its
    rows cannot be mapped, or if rows of one series and time are ambiguous.
    """
    source = request.settings.source
    previous = _previous(request)
    rows = READERS[source.kind](source, request)
    if previous is not None and rows.empty and set(source.columns) <= set(rows.columns):
        return upsert(previous, previous.head(0))
    raw = _map(rows, request)
    if isinstance(source, FileSource) and not source.published:
        raw = resolve_overlap(raw, source.overlap, note=request.note)
    _check_repeats(raw, request)
    return raw if previous is None else upsert(previous, raw)


def _previous(request: FetchRequest) -> pd.DataFrame | None:
    """Return the rows that an incremental source adds to, with the columns of today."""
    if request.previous is None or not request.settings.source.is_incremental:
        return None
    new = {n: None for n in ("published", "file", "note") if n not in request.previous}
    return request.previous.assign(**new)


def map_rows(
    rows: pd.DataFrame,
    request: FetchRequest,
    *,
    columns: Mapping[str, str | Sequence[str]],
    published: str | None,
    origin: str,
    are_forecasts: bool = False,
) -> pd.DataFrame:
    """Map columns of the rows that a reader returned, as the settings of the source say.

    The parameters and errors are those of `as_raw_data`.
    """
    source = request.settings.source
    has_files = isinstance(source, FileSource) and isinstance(rows.index, pd.CategoricalIndex)
    return as_raw_data(
        rows,
        columns=columns,
        published=published,
        are_forecasts=are_forecasts,
        origin=origin,
        zone=source.zone,
        local_zone=request.local_zone,
        quarantine=source.on_bad_rows == "quarantine",
        frequency=request.settings.series.frequency,
        decimal=source.decimal,
        thousands=source.thousands,
        files=rows.index if has_files else None,
        note=request.note,
    )


def _map(rows: pd.DataFrame, request: FetchRequest) -> pd.DataFrame:
    source = request.settings.source
    return map_rows(
        rows,
        request,
        columns={"unique_id": source.ids, "ds": source.ds, "y": source.y},
        published=source.published,
        origin=display_name(request.settings),
    )


def _check_repeats(raw: pd.DataFrame, request: FetchRequest) -> None:
    """Raise DataError if other columns tell the rows of one series and time apart.

    The source is read once more for its other columns, but only where the value of a week is
    ambiguous without them.
    """
    settings = request.settings
    until = newest_week(request.as_of, settings)
    raw = rows_known_at(raw, request.as_of)
    if not find_repeats(raw, settings.series.aggregate, until=until).any():
        return
    every = replace(request, every_column=True, note=lambda _: None)
    rows = READERS[settings.source.kind](settings.source, every)
    again = rows_known_at(_map(rows, every), request.as_of)
    error = telling_columns_error(again, rows.iloc[again.index], settings, until=until)
    if error is not None:
        raise error


@contextmanager
def named_table(table: str, *, columns: str) -> Iterator[None]:
    """Name another table of the settings in errors of a source, with its keys for columns."""
    try:
        yield
    except (SourceError, DataError) as error:
        keys = "Name the columns that hold unique_id, ds and y in"
        text = str(error).replace(keys, f"Correct {columns} in")
        text = text.replace("[source]", f"[{table}]").replace("`source.", f"`{table}.")
        raise type(error)(text if table in text else f"[{table}]: {text}") from error


def upsert(previous: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Replace all previous rows whose series and time occur in `new`; both are raw_data.

    Only rows that were published at the same time replace each other. Previous bad rows are
    dropped, because they may have been corrected. The remaining ones come first, and each side
    keeps its order.
    """
    previous = previous[previous["problem"].isna()] if "problem" in previous else previous
    if previous.empty or new.empty:
        return (previous if new.empty else new).reset_index(drop=True)
    key = [*KEY, "published"] if "published" in previous and "published" in new else KEY
    is_replaced = pd.MultiIndex.from_frame(previous[key]).isin(pd.MultiIndex.from_frame(new[key]))
    return pd.concat([previous[~is_replaced], new], ignore_index=True)


def display_name(settings: Settings) -> str:
    """Return the source's name for messages and the UI, without secrets."""
    source = settings.source
    if source.kind == "file":
        return hide_secrets(settings.resolve_path(source.path))
    if source.kind in ("http", "sql"):
        return redact_url(source.url)
    return source.callable if source.kind == "python" else "the demo data"
