"""What the layers below the store raise, as a StoreError that says what to do.

What the store does: `store`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

import pyarrow as pa
from deltalake.exceptions import DeltaError

from forecast_assets.errors import StoreError

FAILURES = (OSError, DeltaError, pa.ArrowException)  # what the layers below raise
DAMAGE = (*FAILURES, ValueError, TypeError, KeyError)  # and what damaged bytes make Python raise


@contextmanager
def writing(what: str, uri: str) -> Iterator[None]:
    """Raise a StoreError where the block cannot write to the store at that address."""
    try:
        yield
    except FAILURES as error:
        raise StoreError(
            f"Could not write {what} in the store {uri}: {said(error)}. Nothing was"
            f" half-written: every earlier version stands. See that the store is there, that"
            f" this user may read and write it, and that it is not full, then run again."
        ) from error


@contextmanager
def reading(what: str, uri: str) -> Iterator[None]:
    """Raise a StoreError where the block cannot read from the store, or reads damaged bytes."""
    try:
        yield
    except DAMAGE as error:
        raise StoreError(
            f"Could not read {what} in the store {uri}: {said(error)}. Reading changes"
            f" nothing, but what needs it cannot be made. See that the store is there and that"
            f" this user may read it; `forecast-assets verify` names the versions that are"
            f" damaged, and a back-up restores them."
        ) from error


def said(error: BaseException) -> str:
    """What a layer below said, on one line, without colours and without its own traceback."""
    plain = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = takewhile(lambda line: not re.match(r"\s*0: ", line), plain)
    return " ".join(" ".join(lines).split()).rstrip(".") or type(error).__name__
