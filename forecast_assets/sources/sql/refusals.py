"""What a database's errors mean: which of them may pass, in words without its password."""

import re
import sqlite3
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from forecast_assets.errors import SourceError, SourceUnavailable

# By SQLSTATE: connections, rollbacks and deadlocks, resources, a server that stops or starts;
# a lock that is held, and a time limit.
PASSING = ("08", "40", "53", "57P0", "55P03", "57014")
# Of sqlite3: what another process holds, what was broken off, a disk.
PASSING_IN_SQLITE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
)
# libpq gives no SQLSTATE where a connection is refused, only what the server or the resolver says.
REFUSED = re.compile(r"FATAL:|\bnot known\b")
FOR_NOW = re.compile(
    r"starting up|shutting down|recovery mode|accepting connections"
    r"|too many (connections|clients)|connection slots|terminating connection"
)
IS_SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)


def refusal(error: Exception, url: sa.URL, *, origin: str) -> SourceError:
    """What to raise instead of an error of SQLAlchemy or a driver: without it, for it tells much.

    SourceUnavailable where it may pass, else SourceError.
    """
    cause = getattr(error, "orig", None) or error
    plain = getattr(getattr(cause, "diag", None), "message_primary", None)  # without the query
    said = _without_secrets(plain or str(cause), url)
    if isinstance(error, ImportError | ArgumentError):
        return SourceError(
            f"{origin} cannot be reached from here: {said}. Nothing was read. Install the driver"
            f" that `source.url` names before its ://, or name one that is there."
        )
    if isinstance(error, DBAPIError) and _may_pass(error):
        return SourceUnavailable(
            f"{origin} did not answer: {said}. Nothing was read; another try may pass."
        )
    return SourceError(
        f"{origin} refuses what it is asked: {said}. Nothing was read, and another try would not"
        f" help. Correct `url`, `query` or `table` in [source] of forecast.toml, or what this user"
        f" may do there."
    )


def _may_pass(error: DBAPIError) -> bool:
    cause = error.orig
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return str(state).startswith(PASSING)
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in PASSING_IN_SQLITE
    said = str(cause)
    if REFUSED.search(said) and not FOR_NOW.search(said):
        return False
    return isinstance(error, OperationalError) or error.connection_invalidated


def _without_secrets(text: str, url: sa.URL) -> str:
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split()).rstrip(".?")


def _secrets(url: sa.URL) -> Iterator[str]:
    """The password in the address, as it is and as a URL spells it, and secrets in its query."""
    values = [url.password, *(url.query[name] for name in url.query if IS_SECRET.search(name))]
    for value in values:
        for one in (value,) if isinstance(value, str) else value or ():
            yield from filter(None, (one, quote(one), quote_plus(one)))
