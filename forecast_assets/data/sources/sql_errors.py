"""Classify failed database requests as transient or permanent, each with its remedy."""

import re
import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from forecast_assets.config.redaction import redact, redact_url
from forecast_assets.config.source_settings import SqlSource
from forecast_assets.data.sources.retry import is_transient_code
from forecast_assets.errors import SourceError, SourceUnavailable

# libpq has no SQLSTATE for a failed connection, only its own text, the server's or the resolver's.
CONNECTION_REFUSED = re.compile(
    r"FATAL:|\bnot known\b|\binvalid (\w+ value|port number)|\bdoes not (exist|support SSL)\b"
)
TRANSIENT_REFUSAL = re.compile(
    r"starting up|shutting down|recovery mode|accepting connections"
    r"|too many (connections|clients)|connection slots|terminating connection"
)
IS_SECRET = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)


def too_slow_error(source: SqlSource) -> SourceUnavailable:
    """Return the error of an attempt that took longer than `total_seconds`."""
    return SourceUnavailable(
        f"{redact_url(source.url)} did not answer completely within `source.total_seconds` ="
        f" {source.total_seconds:g}. The rows so far were discarded; a retry may succeed. Ask for"
        f" fewer rows, or increase `total_seconds`."
    )


def to_source_error(error: Exception, url: sa.URL, *, origin: str) -> SourceError:
    """Translate an error of SQLAlchemy or a driver, without the secrets that it may hold."""
    text = error_text(error, url)
    if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
        text += " (a query may not write or create a file, as ATTACH, VACUUM and journal_mode do)"
    if isinstance(error, ImportError | ArgumentError):
        return SourceError(
            f"{origin} cannot be reached: {text}. Nothing was read. Install the driver that"
            f" `source.url` names before its ://, or name one that is installed."
        )
    if is_transient_error(error):
        return SourceUnavailable(
            f"{origin} did not answer: {text}. Nothing was read; a retry may succeed."
        )
    return SourceError(
        f"{origin} refused the request: {text}. Nothing was read, and a retry would not help."
        f" Correct `url`, `query` or `table` in [source] of forecast.toml, or the rights of this"
        f" user."
    )


def error_text(error: Exception, url: sa.URL) -> str:
    """Return the message of the database or driver on one line, without the URL's secrets."""
    cause = getattr(error, "orig", None) or error
    short_text = getattr(getattr(cause, "diag", None), "message_primary", None)  # has no query
    return " ".join(redact(short_text or str(cause), _secrets(url)).split()).rstrip(".?")


def is_transient_error(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    if not isinstance(error, DBAPIError):
        return False
    if (has_transient_code := is_transient_code(error.orig)) is not None:
        return has_transient_code
    text = str(error.orig)
    if CONNECTION_REFUSED.search(text) and not TRANSIENT_REFUSAL.search(text):
        return False
    return isinstance(error, OperationalError) or error.connection_invalidated


def _secrets(url: sa.URL) -> Iterator[str]:
    """Yield the password and the parameters whose name says that they are secret."""
    if url.password:
        yield url.password
    for name, values in url.normalized_query.items():
        if IS_SECRET.search(name):
            yield from values
