"""Read files as a source: csv, Excel, parquet and json, on a disk or where fsspec reaches."""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from forecast_assets.config.redaction import redact, redact_url, url_secrets
from forecast_assets.config.source_settings import FileSource, Format
from forecast_assets.data.sources.columns import check_columns
from forecast_assets.data.sources.parsing import parse_file
from forecast_assets.data.sources.request import (
    ByteBudget,
    FetchRequest,
    ParseOptions,
    expand_as_of,
)
from forecast_assets.data.sources.retry import is_transient, with_retries
from forecast_assets.errors import ForecastAssetsError, SourceError, SourceUnavailable, format_list

# By a file's last suffix or the one before that of a compression, and by the end of a media type.
FORMATS: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".xlsx": "xlsx",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


class NoDatedFile(SourceUnavailable):
    """There is no file of the day of a request yet."""


def read_files(source: FileSource, request: FetchRequest) -> pd.DataFrame:
    """Read every file that the path or pattern names, in the order of their names.

    `{as_of}` in the path is the day of the request. Text stays text: an id of "007" keeps its
    zeros. If there are several files, the index names the file of each row.

    Raises SourceError if there is no file (of a dated path: after all retries), a file lacks a
    column, has no rows or cannot be parsed, its suffix is unknown, or the file system does not
    answer.
    """
    path = expand_as_of(request.settings.resolve_path(source.path), request.local_as_of)
    return with_retries(lambda: _read(path, source, request), source, request)


def _read(path: str, source: FileSource, request: FetchRequest) -> pd.DataFrame:
    options = ParseOptions.of(source, request)
    budget = ByteBudget(source.max_bytes)
    try:
        import fsspec

        system, pattern = fsspec.core.url_to_fs(path)
        system.invalidate_cache()  # a listing of the last attempt lacks new files
        frames = []
        files = _list_files(system, pattern)
        for file in files:
            name = hide_secrets(system.unstrip_protocol(file)) if "://" in path else file
            kind, compression = _format_of(name)
            with system.open(file, "rb", compression=compression) as body:
                frame = parse_file(kind, body, name=name, options=options, budget=budget)
            check_columns(frame.columns, (*source.ids, source.ds, source.y), origin=name)
            frames.append(frame)
        return _concat(frames, files)
    except ForecastAssetsError:
        raise
    except Exception as error:  # noqa: BLE001 - every file system has its own errors
        reason = _to_source_error(error, path, source, request)
    # Raised here, because the file system's error may hold a password.
    raise reason


def _concat(frames: Sequence[pd.DataFrame], files: Sequence[str]) -> pd.DataFrame:
    """Concatenate the rows of all files; the index has the file of each, below a common folder."""
    rows = pd.concat(frames, ignore_index=True)
    if len(files) == 1:
        return rows
    folder = posixpath.commonpath([posixpath.dirname(file) for file in files])
    names = [posixpath.relpath(file, folder) for file in files]
    of_each = [name for name, frame in zip(names, frames, strict=True) for _ in range(len(frame))]
    return rows.set_axis(pd.CategoricalIndex(of_each, categories=names))


def hide_secrets(path: str) -> str:
    """Return a path as it is, and a URL without its user, password and query."""
    return redact_url(path) if "://" in path else path


def _to_source_error(
    error: Exception, path: str, source: FileSource, request: FetchRequest
) -> SourceError:
    """Translate an error of a file system, without the secrets of the path."""
    name = hide_secrets(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        # fsspec's http raises FileNotFoundError for every failure.
        if not isinstance(error.__cause__, Exception) or not is_transient(error.__cause__):
            return _absent_error(name, path, source, request)
        error = error.__cause__
    kind = type(error).__name__
    text = " ".join(redact(str(error), url_secrets(path)).split()).rstrip(".") or kind
    if isinstance(error, PermissionError) or kind == "NoCredentialsError":
        return SourceError(
            f"{name} cannot be read: {text}. Nothing was read. Grant this user access, or set"
            f" credentials in the environment where Dagster's processes start."
        )
    if isinstance(error, OSError) or is_transient(error):
        return SourceUnavailable(
            f"{name} did not answer: {text}. Nothing was read; a retry may succeed."
        )
    return SourceError(
        f"`source.path` = {name} cannot be opened: {text}. Nothing was read. Correct the path, or"
        f" install the package that its protocol or compression needs."
    )


def _absent_error(name: str, path: str, source: FileSource, request: FetchRequest) -> SourceError:
    if path != request.settings.resolve_path(source.path):
        return NoDatedFile(
            f"`source.path` = {hide_secrets(source.path)} has no file for"
            f" {request.local_as_of:%Y-%m-%d} yet: {name} does not exist. Nothing was read; a retry"
            f" may find it."
        )
    return SourceError(
        f"`source.path` matches no file: {name}. Nothing was published; earlier versions are"
        f" unchanged. Put the file there, or correct the path in forecast.toml (a relative path"
        f" starts at {request.settings.root})."
    )


def _list_files(system: Any, pattern: str) -> list[str]:
    """Return the files that match, sorted. Raises FileNotFoundError if there is none."""
    try:
        # Unlike glob, `info` raises if the file system does not answer.
        infos = {pattern: system.info(pattern)}
    except FileNotFoundError:
        if not any(character in pattern for character in "*?["):
            raise
        infos = system.glob(pattern, detail=True)
    files = sorted(name for name, info in infos.items() if info["type"] == "file")
    if not files:
        raise FileNotFoundError(pattern)
    return files


def _format_of(name: str) -> tuple[Format, str | None]:
    """Return the format and the compression that a file's suffixes name."""
    path = PurePosixPath(name)
    compression = COMPRESSIONS.get(path.suffix.lower())
    suffix = (path.with_suffix("") if compression else path).suffix.lower()
    if suffix not in FORMATS:
        raise SourceError(
            f"The suffix of {name} is none of {format_list(FORMATS, limit=9)}, so its format is"
            f" unknown. Nothing was read. Rename the file."
        )
    return FORMATS[suffix], compression
