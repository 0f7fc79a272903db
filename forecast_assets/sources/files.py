"""Files as a source: csv, parquet and json, on a disk or anywhere that fsspec reaches."""

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import IO

import pandas as pd

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
        found = sorted(system.glob(pattern)) if fsspec.core.has_magic(pattern) else [pattern]
        found = [name for name in found if system.isfile(name)]
        if not found:
            raise SourceError(
                f"No file answers to `source.path`: {path}. There is nothing to forecast from, and"
                f" earlier versions stand. Put the file there, or correct the path in"
                f" forecast.toml (a relative one starts at {settings.root})."
            )
        for name in found:
            read, compression = _reader(name)
            with system.open(name, "rb", compression=compression) as file:
                frames.append(_parsed(read, file, name))
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"`source.path` = {path} cannot be opened: {error}. Nothing was read. Correct the"
            f" address, or install the package that its protocol needs."
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


def _read_csv(file: IO[bytes]) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])


def _read_json(file: IO[bytes]) -> pd.DataFrame:
    return pd.read_json(file, dtype=False, convert_dates=False)


def _read_json_lines(file: IO[bytes]) -> pd.DataFrame:
    return pd.read_json(file, dtype=False, convert_dates=False, lines=True)


READERS: Mapping[str, Callable[[IO[bytes]], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": pd.read_parquet,
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
    except (ValueError, TypeError, OSError, EOFError) as error:  # what pandas and pyarrow raise
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
