"""The cache of computed folds, by a key of everything that determines them.

There is one SQLite file for each model fingerprint. If the folder is deleted, the next run computes
its folds again. `model_job` decides what to look up.
"""

import functools
import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from forecast_assets.backtesting.fitting import FitConfig
from forecast_assets.backtesting.folds import ALL_SERIES, FitUnit, FoldForecast, SeriesFolds
from forecast_assets.backtesting.panel import Panel
from forecast_assets.errors import StoreError
from forecast_assets.models.base import Positions
from forecast_assets.models.spec import ModelSpec

KEY_BYTES = 16
# SQLite allows 32,766 variables in a statement.
KEYS_PER_QUERY = 10_000
# Time to wait for another run that writes to the same file.
BUSY_SECONDS = 60.0
# A table with a rowid would have a separate index, whose damage a quick check does not detect.
TABLES = """
CREATE TABLE IF NOT EXISTS fold (
    key BLOB PRIMARY KEY, y_hat BLOB, fit_seconds REAL NOT NULL, error BLOB, run BLOB,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fit (
    key BLOB PRIMARY KEY, fitted BLOB NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
"""
FOLDS = "key, y_hat, fit_seconds, error, run, seal FROM fold"
FITS = "key, fitted, seal FROM fit"
# SQLite's result codes for a file that is no database, is damaged, or has other tables.
DAMAGE_CODES = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger(__name__)


def fold_keys(config: FitConfig, planned: Sequence[SeriesFolds], panel: Panel) -> list[bytes]:
    """Return the key of every fold, in the order of the plan.

    A key covers the model's fingerprint, the horizon, the season length, and the values up to the
    cutoff; for a global model the values and weeks of all series. Names of series do not change a
    forecast, so they are not part of it. The time is linear in the number of values. For a model
    with regressors a key covers these, too, up to the horizon after the cutoff: the columns that
    are not zero so far, and for a model that gets X itself the names of all columns.
    """
    text = f"{config.fingerprint} {config.horizon} {config.season_length} "
    head = hashlib.blake2b(text.encode(), digest_size=KEY_BYTES)
    head.update(_names_of_columns(config, panel))
    panel_digest = functools.cache(functools.partial(_panel_digest, panel))
    seen_by_all = functools.cache(functools.partial(_regressors_of_all, config, panel))
    keys = []
    for i, series in enumerate(planned):
        for end, prefix_digest in zip(series.ends, series.prefix_digests, strict=True):
            digest = head.copy()
            if config.model.is_global:
                digest.update(panel_digest(panel.day(i, end)))
            digest.update(prefix_digest)
            if config.model.with_regressors:
                of_series = panel.x[i].digest(int(end), int(end) + config.horizon)
                is_global = config.model.is_global
                digest.update(seen_by_all(panel.day(i, end)) if is_global else of_series)
            keys.append(digest.digest())
    return keys


def fit_key(config: FitConfig, panel: Panel, unit: FitUnit) -> bytes:
    """Return the key of a unit's fit: the model, the season length and the values that it sees."""
    text = f"{config.fingerprint} {config.season_length} "
    digest = hashlib.blake2b(text.encode(), digest_size=KEY_BYTES)
    digest.update(_names_of_columns(config, panel))
    if unit.series == ALL_SERIES:
        anchor = np.datetime64(unit.anchor, "D")
        digest.update(_panel_digest(panel, anchor, seen_at=panel.day(*unit.folds[0])))
    else:
        digest.update(panel.training(*unit.folds[0])[: unit.anchor].tobytes())
    if config.model.with_regressors:
        digest.update(_regressors_of_fit(panel, unit))
    return digest.digest()


def _names_of_columns(config: FitConfig, panel: Panel) -> bytes:
    """Digest the names of all columns, for a model whose X has them all."""
    has_all = config.model.with_regressors and config.model.uses_regressors
    return panel.x[0].names_digest if has_all and len(panel.x) else b""


def _regressors_of_all(config: FitConfig, panel: Panel, day: np.datetime64) -> bytes:
    """Digest the regressors of all series that a global model's folds at a day see."""
    sizes = panel.sizes_at(day).tolist()
    seen = zip(panel.x, sizes, strict=True)
    return b"".join(x.digest(size, size + config.horizon) for x, size in seen if size)


def _regressors_of_fit(panel: Panel, unit: FitUnit) -> bytes:
    """Digest the regressors up to the anchor of a fit, as its folds see them."""
    if unit.series != ALL_SERIES:
        return panel.x[unit.series].digest(unit.folds[0][1], unit.anchor)
    sizes = panel.sizes_at(np.datetime64(unit.anchor, "D")).tolist()
    seen_at = panel.sizes_at(panel.day(*unit.folds[0])).tolist()
    seen = zip(panel.x, seen_at, sizes, strict=True)
    return b"".join(x.digest(end, size) for x, end, size in seen if size)


def _panel_digest(
    panel: Panel, day: np.datetime64, *, seen_at: np.datetime64 | None = None
) -> bytes:
    """Digest the values of all series up to a day, as the folds of a day see them, and the weeks.

    By default these are the folds of the same day.
    """
    sizes: Positions = panel.sizes_at(day)
    digest = hashlib.blake2b(day.tobytes() + sizes.tobytes(), digest_size=KEY_BYTES)
    digest.update(np.where(sizes > 0, panel.first, day).tobytes())  # of the series that have begun
    patches = dict(panel.patches_at(sizes if seen_at is None else panel.sizes_at(seen_at)))
    for i, (start, size) in enumerate(zip(panel.starts, sizes, strict=False)):
        y = panel.y[start : start + size]
        if i in patches:
            y = y.copy()
            patches[i].apply(y)
        digest.update(y.tobytes())
    return digest.digest()


class FoldCache:
    """Computed folds and fits in a folder of SQLite files.

    Forecasts and declined folds are kept for all runs. A failure is kept for the run in which it
    happened; other runs try again. Every method raises StoreError if a file cannot be used; a
    damaged file is set aside and counts as empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(
        self, model: ModelSpec, keys: Sequence[bytes], *, run_id: str = ""
    ) -> dict[bytes, FoldForecast]:
        """Return the known folds by key."""
        folds = {}
        for key, y_hat, seconds, error, run in self._select(model, FOLDS, keys):
            if run in (None, run_id.encode()):
                forecast = None if y_hat is None else np.frombuffer(y_hat, dtype="<f8")
                is_declined = error is not None and run is None
                text = None if error is None else error.decode()
                folds[key] = FoldForecast(forecast, seconds, text, is_declined)
        return folds

    def put(
        self, model: ModelSpec, folds: Mapping[bytes, FoldForecast], *, run_id: str = ""
    ) -> None:
        """Keep all of the folds, or none if it fails."""
        rows = []
        for key, fold in folds.items():
            seconds = float(fold.fit_seconds)
            y_hat = None if fold.y_hat is None else fold.y_hat.astype("<f8").tobytes()
            error = None if fold.error is None else fold.error.encode()
            run = None if error is None or fold.is_declined else run_id.encode()
            rows.append((key, y_hat, seconds, error, run))
        self._insert(model, "INSERT OR REPLACE INTO fold VALUES (?, ?, ?, ?, ?, ?)", rows)

    def get_fits(self, model: ModelSpec, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the known pickled fits by key."""
        return {row[0]: row[1] for row in self._select(model, FITS, keys)}

    def put_fits(self, model: ModelSpec, fits: Mapping[bytes, bytes]) -> None:
        """Keep all of the pickled fits, or none if it fails."""
        self._insert(model, "INSERT OR REPLACE INTO fit VALUES (?, ?, ?)", list(fits.items()))

    def _select(
        self, model: ModelSpec, columns: str, keys: Sequence[bytes]
    ) -> Iterator[Sequence[Any]]:
        """Yield the undamaged rows of these keys, without their seal."""
        if not self._path(model).exists():
            return
        with self._connection(model) as connection:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                batch = keys[start : start + KEYS_PER_QUERY]
                marks = ",".join("?" * len(batch))
                query = f"SELECT {columns} WHERE key IN ({marks})"
                for *row, seal in connection.execute(query, batch):
                    if seal == _seal(*row):
                        yield row

    def _insert(self, model: ModelSpec, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            with self._connection(model) as connection, connection:
                connection.executemany(statement, [(*row, _seal(*row)) for row in rows])

    def _path(self, model: ModelSpec) -> Path:
        return self._folder / f"{model.name}-{model.fingerprint[:16]}.sqlite"

    @contextmanager
    def _connection(self, model: ModelSpec) -> Iterator[sqlite3.Connection]:
        path = self._path(model)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(path)) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The fold cache {path} cannot be used: {error}. New folds of {model.name} are lost"
                f" and were not published. Check that this user can read and write the file and"
                f" that the disk is not full. Then run again."
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file. Set a damaged one aside and open a new one."""
    for _ in range(2):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        connection.text_factory = bytes  # damage can turn a blob into a text
        try:
            if _is_undamaged(connection):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        damaged = path.with_suffix(".damaged")
        with suppress(FileNotFoundError):  # another run has just moved it
            path.replace(damaged)
        log.warning(
            "The fold cache %s is damaged. Its folds are computed again. The file was renamed to %s"
            " and may be deleted.",
            path,
            damaged,
        )
    raise AssertionError(f"{path} was new and is damaged")  # pragma: no cover - a failing disk


def _is_undamaged(connection: sqlite3.Connection) -> bool:
    """Create the tables in a new file, and check those of an old one."""
    try:
        connection.executescript(TABLES)
        for columns in (FOLDS, FITS):
            connection.execute(f"SELECT {columns} LIMIT 0")
        return bool(connection.execute("PRAGMA quick_check").fetchone() == (b"ok",))
    except UnicodeDecodeError:  # a damaged name of a table or column
        return False
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in DAMAGE_CODES:
            return False
        raise


def _seal(*parts: bytes | float | None) -> bytes:
    """Digest the parts of a row: a damaged row must not become a forecast."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        content = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(content).to_bytes(4, "little") + content)
    return digest.digest()
