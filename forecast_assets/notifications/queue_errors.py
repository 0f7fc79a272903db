"""Turn the errors of the queue's database into a StoreError with a remedy.

The database is in `queue`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecast_assets.errors import StoreError

# How long a process waits for another one that holds the database.
BUSY_SECONDS = 30.0
# Primary result codes of SQLite. A file without the table is damaged too: SQLITE_ERROR.
DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NOT_PERMITTED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
KEPT = "Notifications that were not sent stay in it, and the last one may be sent twice."


@contextmanager
def explained_errors(path: Path) -> Iterator[None]:
    """Raise StoreError in place of each error of the database or of its folder."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The notification queue {path} cannot be used: {error}. {_remedy(error, path)}"
        ) from error


def _remedy(error: OSError | sqlite3.Error, path: Path) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one of an extended code
    if code in DAMAGED:
        return (
            f"Restore {path.name} from a back-up, or move it out of {path.parent} to have a new one"
            f" created: notifications that were not sent are then lost, and this week's report may"
            f" be sent again."
        )
    if code in LOCKED:
        return (
            f"{KEPT} Another process has held it for more than {BUSY_SECONDS:g} seconds. Wait until"
            f" that process has ended, or end it (`fuser {path}` prints its id), then run again."
        )
    if code in NOT_PERMITTED or isinstance(error, PermissionError):
        return f"{KEPT} Let this user write to {path.parent} and {path.name} in it, then run again."
    return f"{KEPT} Check that {path.parent} is a folder on a disk with free space, then run again."
