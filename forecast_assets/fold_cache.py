"""Folds that were computed before, by a key of all that decides them.

One SQLite file for each model's fingerprint. Deleting the folder changes nothing but the time that
the next run takes. What a fold is: `backtest`; running one: `compute`.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from forecast_assets.backtest import Fold, SeriesFolds
from forecast_assets.models.registry import Model

KEY_BYTES = 16
LOOKED_UP_AT_ONCE = 10_000  # below SQLite's limit of 32,766 variables a statement
WAIT_SECONDS = 60.0  # for another run that writes to the same file

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
        """The folds that are known, by key. A damaged file is set aside and counts as empty."""
        if not self._path(model).exists():
            return {}
        known = {}
        with self._opened(model) as connection:
            for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
                some = keys[start : start + LOOKED_UP_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, y_hat, fit_seconds, seal FROM fold WHERE key IN ({marks})",  # noqa: S608 - question marks only
                    some,
                )
                for key, y_hat, seconds, seal in rows:
                    if seal == _seal(key, y_hat):
                        known[key] = Fold(np.frombuffer(y_hat, dtype="<f8"), seconds)
        return known

    def put(self, model: Model, folds: Mapping[bytes, Fold]) -> None:
        """Keep the folds that forecast, all of them or none."""
        rows = []
        for key, fold in folds.items():
            if fold.y_hat is not None:
                y_hat = fold.y_hat.astype("<f8").tobytes()
                rows.append((key, y_hat, fold.fit_seconds, _seal(key, y_hat)))
        if rows:
            with self._opened(model) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO fold VALUES (?, ?, ?, ?)", rows)

    def _path(self, model: Model) -> Path:
        return self._folder / f"{model.name}-{model.fingerprint[:16]}.sqlite"

    @contextmanager
    def _opened(self, model: Model) -> Iterator[sqlite3.Connection]:
        path = self._path(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connected(path)
        with closing(connection):
            yield connection


def _connected(path: Path) -> sqlite3.Connection:
    """Open the file, or a new one where it turns out to be no database any more."""
    for _ in range(2):
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS fold (key BLOB PRIMARY KEY, y_hat BLOB NOT NULL,"
                " fit_seconds REAL NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID"
            )
            if connection.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return connection
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError:
            pass
        connection.close()
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        log.warning(
            "The fold cache %s is damaged. Its folds are computed again; the file is now %s and"
            " may be deleted.",
            path,
            aside,
        )
    raise AssertionError(f"{path} was new and is damaged")  # pragma: no cover - a failing disk


def _seal(key: bytes, y_hat: bytes) -> bytes:
    return hashlib.blake2b(key + y_hat, digest_size=8).digest()
