"""What comes over the wire, unpacked into a file block by block, never past a limit."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import IO

from forecast_assets.data.sources.request import ByteBudget
from forecast_assets.errors import SourceError, SourceUnavailable

ACCEPTED = "gzip, deflate"
BLOCK = 1 << 20  # bytes: the most that is unpacked at once
GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class ByteBudgets:
    """What may still be taken: over the wire, unpacked, and of what is read of that."""

    wire: ByteBudget
    unpacked: ByteBudget
    read: ByteBudget

    @classmethod
    def of(cls, max_bytes: int) -> "ByteBudgets":
        """The same for each."""
        return cls(ByteBudget(max_bytes), ByteBudget(max_bytes), ByteBudget(max_bytes))

    def for_one_try(self) -> "ByteBudgets":
        """A copy, for what a try takes counts only where it succeeds."""
        return ByteBudgets(copy(self.wire), copy(self.unpacked), copy(self.read))


def decode_to_file(
    file: IO[bytes], blocks: Iterable[bytes], coding: str, budgets: ByteBudgets, *, name: str
) -> str:
    """Write a body's blocks to a file, unpacked; the SHA-256 of what was written.

    Raises SourceError where the coding is not known or the body takes more than the budgets, and
    SourceUnavailable where it is empty, damaged or cut off.
    """
    hashed = hashlib.sha256()
    try:
        for block in _unpacked(_counted(blocks, budgets.wire, name), coding, name):
            budgets.unpacked.take(len(block), of=name)
            hashed.update(block)
            file.write(block)
    except zlib.error as error:
        raise SourceUnavailable(
            f"{name} gave a body that cannot be unpacked ({coding}): {error}. Nothing of it was"
            f" used; another try may pass."
        ) from error
    file.flush()
    if not file.tell():
        raise SourceUnavailable(
            f"{name} gave an empty body. There is nothing to read in it; another try may pass."
        )
    file.seek(0)
    return hashed.hexdigest()


def _counted(blocks: Iterable[bytes], budget: ByteBudget, name: str) -> Iterator[bytes]:
    for block in blocks:
        budget.take(len(block), of=name)
        yield block


def _unpacked(blocks: Iterable[bytes], coding: str, name: str) -> Iterator[bytes]:
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return iter(blocks)
    if coding in ("gzip", "x-gzip", "deflate"):
        return _inflated(blocks, coding, name)
    raise SourceError(
        f"{name} packs its body as `{coding}`, which was not asked for ({ACCEPTED} was). It was not"
        f" read, and nothing was published. Ask who runs the server to heed `Accept-Encoding`."
    )


def _inflated(blocks: Iterable[bytes], coding: str, name: str) -> Iterator[bytes]:
    """Unpack by zlib, a block at a time, so that a bomb is stopped where it passes the limit."""
    inflate = None
    for block in blocks:
        rest = block
        while rest:
            inflate = inflate or zlib.decompressobj(_window(coding, rest))
            yield inflate.decompress(rest, BLOCK)
            # What is left over behind an end is another member of the same body.
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            inflate = None if inflate.eof else inflate
    while inflate is not None and (more := inflate.decompress(b"", BLOCK)):
        yield more
    if inflate is not None and not inflate.eof:
        raise SourceUnavailable(
            f"{name} gave a body that was cut off ({coding}). Nothing of it was used; another try"
            f" may pass."
        )


def _window(coding: str, start: bytes) -> int:
    """Which of its formats zlib is to read; some servers' `deflate` comes without a header."""
    if coding != "deflate":
        return GZIP
    return zlib.MAX_WBITS if start[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
