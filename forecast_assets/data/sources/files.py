"""Files as a source: csv, parquet and json, on a disk or anywhere that fsspec reaches."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from forecast_assets.config.redaction import redact, redact_url, url_secrets
from forecast_assets.config.source_settings import FileSource, Format
from forecast_assets.data.sources.parsing import parse
from forecast_assets.data.sources.request import ByteBudget, FetchRequest, expand_as_of
from forecast_assets.data.sources.retry import is_transient, with_retries
from forecast_assets.errors import ForecastAssetsError, SourceError, SourceUnavailable, format_list

GONE = (401, 403, 404, 410)  # statuses that another try would not change
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


def read_files(source: FileSource, asked: FetchRequest) -> pd.DataFrame:
    """Read every file that the path or pattern names, in the order of their names.

    `{as_of}` in the path is the day that is asked for. Text columns come back as text (an id of
    "007" stays so). Raises SourceError where no file is there (of a dated path: still not, after
    every try), one has no rows or cannot be parsed, its ending is not known, or the file system
    does not answer.
    """
    path = expand_as_of(asked.settings.resolve_path(source.path), asked.local_as_of)
    return with_retries(lambda: _read(path, source, asked), source, asked)


def _read(path: str, source: FileSource, asked: FetchRequest) -> pd.DataFrame:
    columns = (source.unique_id, source.ds, source.y)
    budget = ByteBudget(source.max_bytes)
    try:
        import fsspec

        system, pattern = fsspec.core.url_to_fs(path)
        system.invalidate_cache()  # of listings: what came since the last try is not in them
        frames = []
        for file in _found(system, pattern):
            name = shown(system.unstrip_protocol(file)) if "://" in path else file
            kind, compression = _format(name)
            with system.open(file, "rb", compression=compression) as body:
                frames.append(parse(kind, body, name=name, columns=columns, budget=budget))
        return pd.concat(frames, ignore_index=True)
    except ForecastAssetsError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        cause = error.__cause__  # of fsspec's http, which takes any failure for an absent file
        is_away = isinstance(cause, Exception) and getattr(cause, "status", 0) not in GONE
        refused = _refusal(OSError(str(cause)), path) if is_away else _absent(path, source, asked)
    except Exception as error:  # noqa: BLE001 - every file system has errors of its own
        refused = _refusal(error, path)
    # Here, where what the file system said, which may hold a password, is no longer its context.
    raise refused


def shown(path: str) -> str:
    """A path as it may be shown: a URL without what is secret in it."""
    return redact_url(path) if "://" in path else path


def _absent(path: str, source: FileSource, asked: FetchRequest) -> SourceError:
    if path != asked.settings.resolve_path(source.path):
        return SourceUnavailable(
            f"No file answers to `source.path` = {shown(source.path)} for {asked.local_as_of:%Y-%m-%d}:"
            f" {shown(path)} is not there yet. Nothing was read; another try may find it."
        )
    return SourceError(
        f"No file answers to `source.path`: {shown(path)}. There is nothing to forecast from, and"
        f" earlier versions stand. Put the file there, or correct the path in forecast.toml (a"
        f" relative one starts at {asked.settings.root})."
    )


def _refusal(error: Exception, path: str) -> SourceError:
    """What a file system's error means, in words without what is secret in the path."""
    said = redact(str(error), url_secrets(path))
    said = " ".join(said.split()).rstrip(".") or type(error).__name__
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return SourceError(
            f"{shown(path)} may not be read: {said}. Nothing was read. Give this user the right to,"
            f" or log in by the environment where Dagster's processes start."
        )
    if isinstance(error, OSError) or is_transient(error):
        return SourceUnavailable(
            f"{shown(path)} did not answer: {said}. Nothing was read; another try may pass."
        )
    return SourceError(
        f"`source.path` = {shown(path)} cannot be opened: {said}. Nothing was read. Correct the"
        f" address, or install the package that its protocol or compression needs."
    )


def _found(system: Any, pattern: str) -> list[str]:
    """The files that a path or pattern names. Raises FileNotFoundError where there is none."""
    try:
        # `info` tells a file that is not there from a file system that does not answer.
        found = {pattern: system.info(pattern)}
    except FileNotFoundError:
        if not any(sign in pattern for sign in "*?["):
            raise
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
            f"The ending of {name} is none of {format_list(FORMATS, limit=9)}, so nothing says how to"
            f" read it. Nothing was read. Rename the file to what it holds."
        )
    return FORMATS[ending], compression
