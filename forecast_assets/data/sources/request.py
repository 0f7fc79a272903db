"""A fetch request for the readers of all sources, and the limits on its bytes and seconds."""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Self
from zoneinfo import ZoneInfo

import pandas as pd

from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import ADDED, FileSource, HttpSource
from forecast_assets.errors import SourceError

# `last_ds` before the first fetch, in the source's own time like `ds`.
EARLIEST = datetime(1900, 1, 1)  # noqa: DTZ001 - `ds` has no zone


@dataclass(frozen=True)
class FetchRequest:
    """One fetch. `previous` is the table raw_data of the last fetch, if there is one.

    `log` receives each failed attempt, and `note` how a file is read where that was recognized.
    With `every_column` a reader returns all columns instead of the mapped ones.
    """

    settings: Settings
    as_of: datetime
    previous: pd.DataFrame | None = None
    log: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    every_column: bool = False
    # Draws the waits between attempts.
    rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - no cryptography

    @property
    def last_ds(self) -> datetime:
        """Return the newest previous time that is not after `as_of`, in the source's time zone."""
        if self.previous is None:
            return EARLIEST
        as_of = pd.Timestamp(self.local_as_of.replace(tzinfo=None))
        newest = self.previous["ds"][self.previous["ds"] <= as_of].max()
        return EARLIEST if pd.isna(newest) else newest.to_pydatetime()

    @property
    def local_as_of(self) -> datetime:
        """Return `as_of` in the source's time zone, or the schedule's if the source has none."""
        return self.as_of.astimezone(self.local_zone)

    @property
    def local_zone(self) -> ZoneInfo:
        """Return the source's time zone, or the schedule's if the source has none."""
        return self.settings.source.zone or self.settings.schedule.zone


@dataclass(frozen=True)
class ParseOptions:
    """The columns to read of a body, and how it is written where the settings say so."""

    columns: tuple[str, ...]  # `ids`, `ds` and that of the value, each once
    ids: tuple[str, ...]
    ds: str
    every_column: bool
    separator: str | None
    encoding: str | None
    skip_rows: int | None
    note: Callable[[str], None]

    @classmethod
    def of(cls, source: FileSource | HttpSource, request: FetchRequest) -> Self:
        """Return the options of a source's settings."""
        return cls(
            columns=source.columns,
            ids=source.ids,
            ds=source.ds,
            every_column=request.every_column,
            separator=source.separator,
            encoding=source.encoding,
            skip_rows=source.skip_rows,
            note=request.note,
        )

    def selected(self, names: Sequence[str]) -> list[str]:
        """Return the columns to read, of a body that has columns of these names."""
        others = [name for name in names if list(names).count(name) == 1]
        return list(dict.fromkeys((*self.columns, *(others if self.every_column else ()))))


def has_each_once(names: Sequence[str], columns: Sequence[str]) -> bool:
    """Return whether each of the columns occurs exactly once."""
    return all(list(names).count(column) == 1 for column in columns)


def source_fingerprint(settings: Settings) -> str:
    """Hash the source's settings without secrets (8 hex digits)."""
    source = settings.source
    fields = {name: type(source).model_fields.get(name) for name in ADDED}
    unset = {n for n, field in fields.items() if field and getattr(source, n) == field.default}
    text = source.model_dump_json(exclude=unset)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def expand_as_of(text: str, as_of: datetime) -> str:
    """Replace `{as_of}` by an ISO date and `{as_of:FORMAT}` by strftime's text."""
    return re.sub(
        r"\{as_of(?::([^{}]*))?\}", lambda match: as_of.strftime(match[1] or "%Y-%m-%d"), text
    )


class ByteBudget:
    """The number of bytes that a fetch may still read."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = self.left = max_bytes

    def take(self, n_bytes: int, *, of: str) -> None:
        """Count bytes of the body named `of`. Raises SourceError if they exceed the budget."""
        self.left -= n_bytes
        if self.left < 0:
            raise SourceError(
                f"{of} gives more than `source.max_bytes` = {self.max_bytes:,} bytes, unpacked and"
                f" all parts together. Reading stopped, and nothing was published. If that much"
                f" data is expected, increase `max_bytes`; it has to fit into memory."
            )


class Deadline:
    """Interrupts an operation that takes longer than `seconds`; reusable, one use at a time.

    The timeouts of HTTP libraries and database drivers count from one byte to the next: a server
    that sends a byte now and then never exceeds them, and a query may run without sending any.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._expired = threading.Event()

    @property
    def is_expired(self) -> bool:
        """Whether the last operation took too long."""
        return self._expired.is_set()

    @contextmanager
    def limit(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call `interrupt` from another thread when the time is over before the block is."""

        def expire() -> None:
            self._expired.set()
            interrupt()

        self._expired.clear()
        timer = threading.Timer(self.seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def shut_down(fileno: int) -> None:
    """Shut the connection of a file descriptor down, so that a blocked read of it ends."""
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
