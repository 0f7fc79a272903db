"""Bodies that are kept from one fetch to the next, so that a server may say: nothing changed.

Whether a server says so, and whether a body is any good, does not belong here.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class CacheMetadata:
    """What is known of a body: who gave it (a hash of the address), and how it is told again."""

    address: str
    sha256: str
    etag: str | None
    last_modified: str | None
    content_type: str
    link: str

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask for the body only where it is another by now."""
        both = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in both.items() if value}


@dataclass(frozen=True)
class CachedBody:
    """A body and its note. The file is open, so that it stays whoever tidies up."""

    note: CacheMetadata
    file: IO[bytes]

    @property
    def n_bytes(self) -> int:
        """How long the body is."""
        return os.fstat(self.file.fileno()).st_size

    def is_sound(self) -> bool:
        """Whether the body is what it was when it was written."""
        self.file.seek(0)
        digest = hashlib.file_digest(self.file, "sha256")  # type: ignore[arg-type]
        self.file.seek(0)
        return digest.hexdigest() == self.note.sha256


@dataclass(frozen=True)
class TempBody:
    """A file that is being written, and where."""

    file: IO[bytes]
    path: Path


class BodyCache:
    """A folder with two files for each request, named by a hash: a body, and its note."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._used: set[str] = set()

    @contextmanager
    def unfinished(self) -> Iterator[TempBody]:
        """A new file, for this user alone; it is gone in the end, unless it is kept."""
        handle, name = tempfile.mkstemp(prefix="unfinished-", dir=self._folder)
        try:
            with open(handle, "w+b") as file:  # noqa: PTH123 - it is open already
                yield TempBody(file, Path(name))
        finally:
            Path(name).unlink(missing_ok=True)

    def opened(self, key: str) -> CachedBody | None:
        """The body of a request; None where there is none, or one half of it is lost."""
        try:
            note = json.loads((self._folder / f"{key}.json").read_bytes())
            if set(note) != {field.name for field in fields(CacheMetadata)}:
                return None
            file = (self._folder / f"{key}.body").open("rb")
        except (FileNotFoundError, ValueError, TypeError):
            return None
        self._used.add(key)
        return CachedBody(CacheMetadata(**note), file)

    def keep(self, key: str, body: TempBody, note: CacheMetadata) -> None:
        """Keep a body under its request's name, at once or not at all.

        Where another fetch has tidied it away, it is not kept.
        """
        body.file.flush()
        with self.unfinished() as noted:
            noted.file.write(json.dumps(asdict(note), indent=1).encode())
            noted.file.flush()
            with suppress(FileNotFoundError):
                # A note of another body is worth nothing, and found out by its hash.
                body.path.replace(self._folder / f"{key}.body")
                noted.path.replace(self._folder / f"{key}.json")
        self._used.add(key)

    def drop(self, key: str) -> None:
        """Delete a body that turned out to be no good."""
        for ending in ("json", "body"):
            (self._folder / f"{key}.{ending}").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete every body that was neither read nor kept here, and what a dead process left."""
        for path in sorted(self._folder.iterdir()):
            if path.is_file() and path.stem not in self._used:
                path.unlink(missing_ok=True)
