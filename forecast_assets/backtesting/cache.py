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
from typing import Any

import numpy as np

from forecast_assets.backtesting.folds import FoldForecast, Panel, SeriesFolds, is_declined
from forecast_assets.errors import StoreError
from forecast_assets.models.base import Positions
from forecast_assets.models.spec import ModelSpec

KEY_BYTES = 16
LOOKED_UP_AT_ONCE = 10_000  # below SQLite's limit of 32,766 variables a statement
WAIT_SECONDS = 60.0  # for another run that writes to the same file
TABLES = """
CREATE TABLE IF NOT EXISTS fold (
    key BLOB PRIMARY KEY, y_hat BLOB, fit_seconds REAL NOT NULL, error BLOB, run BLOB,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fit (
    key BLOB PRIMARY KEY, fitted BLOB NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
"""
# With a rowid there would be an index beside the table, whose damage a quick check does not see.
BLOBS = ("y_hat", "error", "run", "seal")
FOLDS = "key, fit_seconds, " + ", ".join(f"CAST({name} AS BLOB)" for name in BLOBS) + " FROM fold"
FITS = "key, CAST(fitted AS BLOB), CAST(seal AS BLOB) FROM fit"
# Damage can turn a blob into a text: the cast turns it back, for the seal to judge.
DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger(__name__)


def fold_keys(
    planned: Sequence[SeriesFolds],
    model: ModelSpec,
    panel: Panel,
    *,
    horizon: int,
    season_length: int,
) -> list[bytes]:
    """The key of every fold, in the order of the plan.

    A key covers the model's fingerprint, the horizon, the season and the values that the model
    sees: those up to the cutoff; for a global model those of all series, and their weeks. Names
    cannot change an answer, so they are not in it. The work is linear in the values.
    """
    said = f"{model.fingerprint} {horizon} {season_length} ".encode()
    head = hashlib.blake2b(said, digest_size=KEY_BYTES)
    seen = {}
    if model.is_global:
        days = {panel.day(i, end) for i, one in enumerate(planned) for end in one.ends}
        seen = {day: panel_digest(panel, day) for day in sorted(days)}
    keys = []
    for i, one in enumerate(planned):
        for end, prefix in zip(one.ends, one.prefixes, strict=True):
            digest = head.copy()
            if model.is_global:
                digest.update(seen[panel.day(i, end)])
            digest.update(prefix)
            keys.append(digest.digest())
    return keys


def fit_key(
    model: ModelSpec, panel: Panel, series: int, anchor: int, *, season_length: int
) -> bytes:
    """The key of a fit that is moved forward: of the model, the season and what the fit sees."""
    digest = hashlib.blake2b(
        f"{model.fingerprint} {season_length} ".encode(), digest_size=KEY_BYTES
    )
    if model.is_global:
        digest.update(panel_digest(panel, np.datetime64(anchor, "D")))
    else:
        digest.update(panel.series(series)[:anchor].tobytes())
    return digest.digest()


def panel_digest(panel: Panel, day: np.datetime64) -> bytes:
    """Digest the values of all series up to a day, and their weeks."""
    sizes: Positions = panel.sizes_at(day)
    digest = hashlib.blake2b(day.tobytes() + sizes.tobytes(), digest_size=KEY_BYTES)
    digest.update(np.where(sizes > 0, panel.first, day).tobytes())  # of those that have begun
    for start, size in zip(panel.starts, sizes, strict=False):
        digest.update(panel.y[start : start + size].tobytes())
    return digest.digest()


class FoldCache:
    """Computed folds in a folder of SQLite files.

    Forecasts are kept, and a model's word that a series is not for it. A failure is kept for the
    run alone that met it: the next one tries again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(
        self, model: ModelSpec, keys: Sequence[bytes], *, run_id: str = ""
    ) -> dict[bytes, FoldForecast]:
        """The folds that are known, by key. A damaged file is set aside and counts as empty.

        Raises StoreError where the file cannot be opened or read for any other reason.
        """
        if not self._path(model).exists():
            return {}
        known = {}
        with self._opened(model) as connection:
            for row in _looked_up(connection, FOLDS, keys):
                key, seconds, y_hat, error, run, seal = row
                is_ours = run is None or run == run_id.encode()
                if is_ours and seal == _seal(key, y_hat, seconds, error, run):
                    said = None if y_hat is None else np.frombuffer(y_hat, dtype="<f8")
                    known[key] = FoldForecast(said, seconds, error.decode() if error else None)
        return known

    def put(
        self, model: ModelSpec, folds: Mapping[bytes, FoldForecast], *, run_id: str = ""
    ) -> None:
        """Keep the folds, all of them or none. Raises StoreError."""
        rows = []
        for key, fold in folds.items():
            seconds = float(fold.fit_seconds)
            y_hat = None if fold.y_hat is None else fold.y_hat.astype("<f8").tobytes()
            error = None if fold.error is None else fold.error.encode()
            is_known = fold.error is None or is_declined(fold.error)
            run = None if is_known else run_id.encode()
            rows.append((key, y_hat, seconds, error, run, _seal(key, y_hat, seconds, error, run)))
        if rows:
            with self._opened(model) as connection, connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO fold VALUES (?, ?, ?, ?, ?, ?)", rows
                )

    def get_fits(self, model: ModelSpec, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The fits that are known, by key. Raises StoreError as `get` does."""
        if not self._path(model).exists():
            return {}
        with self._opened(model) as connection:
            rows = _looked_up(connection, FITS, keys)
            return {key: fitted for key, fitted, seal in rows if seal == _seal(key, fitted)}

    def put_fits(self, model: ModelSpec, fits: Mapping[bytes, bytes]) -> None:
        """Keep the fits, all of them or none. Raises StoreError."""
        rows = [(key, fitted, _seal(key, fitted)) for key, fitted in fits.items()]
        if rows:
            with self._opened(model) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO fit VALUES (?, ?, ?)", rows)

    def _path(self, model: ModelSpec) -> Path:
        return self._folder / f"{model.name}-{model.fingerprint[:16]}.sqlite"

    @contextmanager
    def _opened(self, model: ModelSpec) -> Iterator[sqlite3.Connection]:
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
    """Whether the file is a database with both tables, which a new file is given."""
    try:
        connection.executescript(TABLES)
        for columns in (FOLDS, FITS):
            connection.execute(f"SELECT {columns} LIMIT 0")
        return bool(connection.execute("PRAGMA quick_check").fetchone() == (b"ok",))
    except UnicodeDecodeError:  # in the name of something in the file
        return False
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in DAMAGE:
            return False
        raise


def _looked_up(
    connection: sqlite3.Connection, columns: str, keys: Sequence[bytes]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), LOOKED_UP_AT_ONCE):
        some = keys[start : start + LOOKED_UP_AT_ONCE]
        marks = ",".join("?" * len(some))
        yield from connection.execute(f"SELECT {columns} WHERE key IN ({marks})", some)


def _seal(*parts: bytes | float | None) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        said = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(said).to_bytes(4, "little") + said)
    return digest.digest()
