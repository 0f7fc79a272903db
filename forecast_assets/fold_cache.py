"""Folds that were computed before, by a key of all that decides them.

One SQLite file for each model's fingerprint. Deleting the folder changes nothing but the time that
the next run takes. What a fold is: `backtest`; running one: `compute`.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from forecast_assets.backtest import Fold, SeriesFolds
from forecast_assets.errors import StoreError
from forecast_assets.models.registry import Model

KEY_BYTES = 16
LOOKED_UP_AT_ONCE = 10_000  # below SQLite's limit of 32,766 variables a statement
WAIT_SECONDS = 60.0  # for another run that writes to the same file
COLUMNS = "key, CAST(y_hat AS BLOB), fit_seconds, CAST(seal AS BLOB)"
# Damage can turn a blob into a text: the cast turns it back, for the seal to judge.
DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger(__name__)


def fold_keys(
    planned: Sequence[SeriesFolds], model: Model, *, horizon: int, season_length: int
) -> list[bytes]:
    """The key of every fold, in the order of the plan.

    A key covers the model's fingerprint, the horizon, the season and the values up to the cutoff:
    all that can change the answer. Names and dates cannot, so they are not in it. The work is
    linear in the values: a prefix is hashed once.
    """
    keys = []
    for one in planned:
        said = f"{model.fingerprint} {horizon} {season_length} "
        digest = hashlib.blake2b(said.encode(), digest_size=KEY_BYTES)
        values = one.y.astype("<f8").tobytes()
        seen = 0
        for end in one.ends:
            digest.update(values[8 * seen : 8 * end])
            seen = end
            keys.append(digest.copy().digest())
    return keys


class FoldCache:
    """Computed folds in a folder of SQLite files. Only forecasts are kept, never failures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, model: Model, keys: Sequence[bytes]) -> dict[bytes, Fold]:
        """The folds that are known, by key. A damaged file is set aside and counts as empty.

        Raises StoreError where the file cannot be opened or read for any other reason.
        """
        if not self._path(model).exists():
            return {}
        known = {}
        with self._opened(model) as connection:
            for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
                some = keys[start : start + LOOKED_UP_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT {COLUMNS} FROM fold WHERE key IN ({marks})",  # noqa: S608 - question marks only
                    some,
                )
                for key, y_hat, seconds, seal in rows:
                    if seal == _seal(key, y_hat, seconds):
                        known[key] = Fold(np.frombuffer(y_hat, dtype="<f8"), seconds)
        return known

    def put(self, model: Model, folds: Mapping[bytes, Fold]) -> None:
        """Keep the folds that forecast, all of them or none. Raises StoreError."""
        rows = []
        for key, fold in folds.items():
            if fold.y_hat is not None:
                y_hat = fold.y_hat.astype("<f8").tobytes()
                seconds = float(fold.fit_seconds)
                rows.append((key, y_hat, seconds, _seal(key, y_hat, seconds)))
        if rows:
            with self._opened(model) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO fold VALUES (?, ?, ?, ?)", rows)

    def _path(self, model: Model) -> Path:
        return self._folder / f"{model.name}-{model.fingerprint[:16]}.sqlite"

    @contextmanager
    def _opened(self, model: Model) -> Iterator[sqlite3.Connection]:
        path = self._path(model)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connected(path)) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The fold cache {path} cannot be used: {error}. Folds of {model.name} that were"
                f" not kept before are lost, and nothing was published from them. See that this"
                f" user may read and write there and that the disk is not full, then run again."
            ) from error


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file, or a new one where it turns out to be no database any more."""
    for _ in range(2):
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
        connection.text_factory = bytes  # only damage makes a text
        try:
            if _is_sound(connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        aside = path.with_suffix(".damaged")
        with suppress(FileNotFoundError):  # another run was faster
            path.replace(aside)
        log.warning(
            "The fold cache %s is damaged. Its folds are computed again; the file is now %s and"
            " may be deleted.",
            path,
            aside,
        )
    raise AssertionError(f"{path} was new and is damaged")  # pragma: no cover - a failing disk


def _is_sound(connection: sqlite3.Connection) -> bool:
    """Whether the file is a database with the table of folds, which a new file is given."""
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS fold (key BLOB PRIMARY KEY, y_hat BLOB NOT NULL,"
            " fit_seconds REAL NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute(f"SELECT {COLUMNS} FROM fold LIMIT 0")  # noqa: S608 - a constant
        return bool(connection.execute("PRAGMA quick_check").fetchone() == (b"ok",))
    except UnicodeDecodeError:  # in the name of something in the file
        return False
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in DAMAGE:
            return False
        raise


def _seal(key: bytes, y_hat: bytes, seconds: float) -> bytes:
    return hashlib.blake2b(key + y_hat + repr(seconds).encode(), digest_size=8).digest()
