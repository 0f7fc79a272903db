"""Files as a source: csv, parquet and json, on a disk or anywhere that fsspec reaches."""

import lzma
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from forecast_assets.errors import SourceError, SourceUnavailable, listed
from forecast_assets.settings import FileSource, Settings

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


def read_files(source: FileSource, settings: Settings) -> pd.DataFrame:
    """Read every file that the path or pattern names, in the order of their names.

    Text columns come back as text (an id of "007" stays so). Raises SourceError where no file is
    there, one has no rows or cannot be parsed, or its ending is not known; SourceUnavailable
    where the file system does not answer.
    """
    path = settings.located(source.path)
    frames = []
    try:
        import fsspec  # noqa: PLC0415 - only this kind of source needs it

        system, pattern = fsspec.core.url_to_fs(path)
        for name in _found(system, pattern):
            read, compression = _reader(name)
            with system.open(name, "rb", compression=compression) as file:
                frames.append(_parsed(read, file, name))
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


def _read_csv(file: IO[bytes]) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row is longer than the header
        return pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""], index_col=False)


def _read_parquet(file: IO[bytes]) -> pd.DataFrame:
    # What pandas wrote as an index is a column here like any other.
    frame: pd.DataFrame = parquet.read_table(file).to_pandas(ignore_metadata=True)
    return frame


def _read_json(file: IO[bytes]) -> pd.DataFrame:
    return pd.read_json(file, dtype=False, convert_dates=False, precise_float=True)


def _read_json_lines(file: IO[bytes]) -> pd.DataFrame:
    return pd.read_json(file, dtype=False, convert_dates=False, precise_float=True, lines=True)


# What pandas, pyarrow and the decompressors raise of a file that they cannot read.
UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    pa.ArrowException,
    pd.errors.ParserWarning,
)
READERS: Mapping[str, Callable[[IO[bytes]], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def _reader(name: str) -> tuple[Callable[[IO[bytes]], pd.DataFrame], str | None]:
    """The reader for a file's ending, and the compression around it."""
    path = PurePosixPath(name)
    compression = COMPRESSIONS.get(path.suffix.lower())
    ending = (path.with_suffix("") if compression else path).suffix.lower()
    if ending not in READERS:
        raise SourceError(
            f"The ending of {name} is none of {listed(READERS, most=9)}, so nothing says how to"
            f" read it. Nothing was read. Rename the file to what it holds."
        )
    return READERS[ending], compression


def _parsed(read: Callable[[IO[bytes]], pd.DataFrame], file: IO[bytes], name: str) -> pd.DataFrame:
    try:
        frame = read(file)
    except (ConnectionError, TimeoutError):  # the file system's, not the file's
        raise
    except UNREADABLE as error:
        raise SourceError(
            f"{name} is not what its ending says, or it is empty: {error}. No row of it was used."
            f" Look at the file; write it again where it was cut off."
        ) from error
    if frame.empty:
        raise SourceError(
            f"{name} holds no rows. A week without data cannot be forecast, so nothing was"
            f" published. Look at what writes the file."
        )
    return frame
