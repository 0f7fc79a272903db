"""Raw rows as a source publishes them: `fetch` turns `[source]` into the raw_data table.

A kind of source is one reader: from its settings to a frame with the source's own columns. What
rows mean, and which week they belong to, is for `series`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from forecast_assets.settings import Settings
from forecast_assets.sources.demo import read_demo
from forecast_assets.sources.files import read_files
from forecast_assets.sources.mapping import as_raw_data

# A reader takes its own kind's settings, which differ in type from kind to kind.
Reader = Callable[[Any, Settings], pd.DataFrame]

READERS: Mapping[str, Reader] = {"demo": read_demo, "file": read_files}


def fetch(settings: Settings) -> pd.DataFrame:
    """Read the source and map its columns: `unique_id, ds, y`, one row a published row.

    Raises SourceError where the source cannot be used as it stands, SourceUnavailable where it
    may answer later, and DataError where its rows cannot be read as series.
    """
    source = settings.source
    rows = READERS[source.kind](source, settings)
    columns = {name: getattr(source, name, name) for name in ("unique_id", "ds", "y")}
    return as_raw_data(rows, columns=columns, origin=described(settings))


def described(settings: Settings) -> str:
    """Name the source for messages and for the UI."""
    path = getattr(settings.source, "path", None)
    return settings.located(path) if path else f"the {settings.source.kind} data"
