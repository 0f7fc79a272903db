"""Retry transient errors with capped exponential backoff, and log each attempt."""

import sqlite3
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from forecast_assets.config.source_settings import UserSource
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError, SourceUnavailable

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")
# Class names, so that no library has to be installed: the connection errors of httpx, httpx2,
# requests, aiohttp and botocore do not derive from Python's ConnectionError.
TRANSIENT_CLASSES = frozenset(
    {
        "ConnectionError",
        "TimeoutError",
        "Timeout",
        "TransportError",
        "HTTPClientError",
        "ClientConnectionError",
        "ClientPayloadError",
        "IncompleteRead",
    }
)
# Accepted, reset, partial content, timeout, too early, too many requests.
TRANSIENT_STATUSES = (202, 205, 206, 408, 425, 429)
# Of the 5xx: the server does not implement the method or the version.
PERMANENT_5XX = (501, 505)
# Connection, rollback and deadlock, resources, shutdown and start, held lock, time limit.
TRANSIENT_SQLSTATES = ("08", "40", "53", "57P0", "55P03", "57014")
# Locked by another process, interrupted, disk error.
TRANSIENT_SQLITE_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PROTOCOL,
)


def with_retries(call: Callable[[], T], source: UserSource, request: FetchRequest) -> T:
    """Return the result of `call`, repeated up to `max_retries` times while it is unavailable.

    The wait before attempt n + 1 is uniform on [0, min(`retry_cap_seconds`, `retry_base_seconds`
    x 2^(n-1))] (Brooker, "Exponential Backoff And Jitter", 2015: full jitter), but at least what
    the source asked for, up to the cap.

    Raises SourceError when the last attempt fails too; errors other than SourceUnavailable pass.
    """
    import tenacity

    started, n_attempts = time.monotonic(), source.max_retries + 1

    def error_of(state: "tenacity.RetryCallState") -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    def wait_seconds(state: "tenacity.RetryCallState") -> float:
        doubled = 2.0 ** min(state.attempt_number - 1, 60)  # a cap is less, and more may overflow
        longest = min(source.retry_cap_seconds, source.retry_base_seconds * doubled)
        shortest = getattr(error_of(state), "after_seconds", 0.0)
        return min(max(request.rng.uniform(0, longest), shortest), source.retry_cap_seconds)

    def log_attempt(state: "tenacity.RetryCallState") -> None:
        request.log(
            f"Attempt {state.attempt_number} of {n_attempts} failed: {error_of(state)} Retrying in"
            f" {state.upcoming_sleep:.3g} s."
        )

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(n_attempts),
        wait=wait_seconds,
        retry=tenacity.retry_if_exception_type(SourceUnavailable),
        before_sleep=log_attempt,
        reraise=True,
    )
    try:
        return retrying(call)
    except SourceUnavailable as error:
        raise SourceError(
            f"{error} Attempt {n_attempts} of {n_attempts} failed after"
            f" {time.monotonic() - started:.0f} s. Nothing was published; earlier versions are"
            f" unchanged. Once the source answers again, run `forecast-assets run`."
        ) from error


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed: by the error's code, else by the name of its class."""
    reason = getattr(error, "reason", None)  # urllib wraps the cause
    cause = reason if isinstance(reason, BaseException) else error
    names = {kind.__name__ for kind in type(cause).__mro__}
    return is_transient_code(cause) or not TRANSIENT_CLASSES.isdisjoint(names)


def is_transient_code(error: BaseException | None) -> bool | None:
    """Judge an error by its HTTP status, SQLSTATE or SQLite code; None if it has none of them."""
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if sqlstate:
        return str(sqlstate).startswith(TRANSIENT_SQLSTATES)
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in TRANSIENT_SQLITE_CODES
    status = getattr(error, "status", None)
    return is_transient_status(status) if isinstance(status, int) else None


def is_transient_status(status: int) -> bool:
    """Return whether the same HTTP request may succeed later."""
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in PERMANENT_5XX
    return is_server_error or status in TRANSIENT_STATUSES
