"""Files as a source: csv, parquet and json, on a disk or anywhere that fsspec reaches."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from forecast_assets.errors import SourceError, SourceUnavailable, listed
from forecast_assets.source_settings import FileSource, Format
from forecast_assets.sources.asked import Asked, Budget
from forecast_assets.sources.parsing import parse

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


def read_files(source: FileSource, asked: Asked) -> pd.DataFrame:
    """Read every file that the path or pattern names, in the order of their names.

    Text columns come back as text (an id of "007" stays so). Raises SourceError where no file is
    there, one has no rows or cannot be parsed, or its ending is not known; SourceUnavailable
    where the file system does not answer.
    """
    settings = asked.settings
    path = settings.located(source.path)
    columns = (source.unique_id, source.ds, source.y)
    budget = Budget(source.max_bytes)
    frames = []
    try:
        import fsspec  # noqa: PLC0415 - only this kind of source needs it

        system, pattern = fsspec.core.url_to_fs(path)
        for name in _found(system, pattern):
            kind, compression = _format(name)
            with system.open(name, "rb", compression=compression) as file:
                frames.append(parse(kind, file, name=name, columns=columns, budget=budget))
    except FileNotFoundError as error:
        raise SourceError(
            f"No file answers to `source.path`: {path}. There is nothing to forecast from, and"
            f" earlier versions stand. Put the file there, or correct the path in"
            f" forecast.toml (a relative one starts at {settings.root})."
        ) from error
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"`source.path` = {path} cannot be opened: {error}. Nothing was read. Correct the"
            f" address, or install the package that its protocol or compression needs."
        ) from error
    except PermissionError as error:
        raise SourceError(
            f"{path} may not be read: {error}. Nothing was read. Give this user the right to."
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{path} did not answer: {error}. Nothing was read; another try may pass."
        ) from error
    return pd.concat(frames, ignore_index=True)


def _found(system: Any, pattern: str) -> list[str]:
    """The files that a path or pattern names. Raises FileNotFoundError where there is none."""
    try:
        # `info` tells a file that is not there from a file system that does not answer.
        found = {pattern: system.info(pattern)}
    except FileNotFoundError:
        found = system.glob(pattern, detail=True)
    files = sorted(name for name, info in found.items() if info["type"] == "file")
    if not files:
        raise FileNotFoundError(pattern)
    return files


# By ending; what is before a compression's counts.
FORMATS: Mapping[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def _format(name: str) -> tuple[Format, str | None]:
    """What a file's ending says that it holds, and the compression around it."""
    path = PurePosixPath(name)
    compression = COMPRESSIONS.get(path.suffix.lower())
    ending = (path.with_suffix("") if compression else path).suffix.lower()
    if ending not in FORMATS:
        raise SourceError(
            f"The ending of {name} is none of {listed(FORMATS, most=9)}, so nothing says how to"
            f" read it. Nothing was read. Rename the file to what it holds."
        )
    return FORMATS[ending], compression
