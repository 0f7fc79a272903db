"""Classify failed HTTP requests as transient or permanent, each with its remedy."""

import re
import socket
import ssl
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus

import httpx2

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.request import HttpRequest
from forecast_assets.data.sources.retry import is_transient_status
from forecast_assets.errors import SourceError, SourceUnavailable, format_list

STATUSES_WITH_DATA = (200, 201, 203)
# Of the body of an error; a longer one is not shown.
MAX_EXPLANATION_BYTES = 1 << 16
UNCHANGED = "earlier versions are unchanged"
PROXY_REMEDY = "Add its user name and password to HTTP_PROXY or HTTPS_PROXY in the environment."
MOVED_REMEDY = "Correct `source.url`, or ask the operator of the server for the new address."
REMEDIES = {
    304: "The request was unconditional, so this is a fault of the server: ask its operator.",
    404: MOVED_REMEDY,
    407: PROXY_REMEDY,
    410: MOVED_REMEDY,
}
UNKNOWN_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def transport_error(error: Exception, request: HttpRequest, source: HttpSource) -> SourceError:
    """Translate an error of httpx2 in a request that has no complete response."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, socket.gaierror) and cause.errno in UNKNOWN_HOST:
            return SourceError(
                f"{request.label} cannot be requested: its host name is unknown. Nothing was"
                f" fetched; {UNCHANGED}. Correct `source.url`, or this machine's name resolution."
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceError(
                f"{request.label} has an invalid certificate: {cause.verify_message}. Nothing was"
                f" sent to it; {UNCHANGED}. If your organisation has its own certificate authority,"
                f" set SSL_CERT_FILE in the environment; otherwise ask the operator of the server."
            )
    if isinstance(error, (UnicodeError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return SourceError(
            f"{request.label} cannot be requested as set in forecast.toml: {error}. Nothing was"
            f" fetched; {UNCHANGED}. Correct [source]."
        )
    if isinstance(error, httpx2.ProxyError) and re.match(r"40[0-7]\b", str(error)):
        return SourceError(
            f"The proxy for {request.label} refuses the request: {error}. Nothing was fetched;"
            f" {UNCHANGED}. {PROXY_REMEDY}"
        )
    if isinstance(error, httpx2.ConnectTimeout):
        name = min("connect_seconds", "total_seconds", key=partial(getattr, source))
        reason = f"no connection within `source.{name}` = {getattr(source, name):g}"
    elif isinstance(error, httpx2.TimeoutException):
        reason = f"no data for `source.timeout_seconds` = {source.timeout_seconds:g}"
    else:
        texts = (getattr(cause, "strerror", None) or str(cause) for cause in reversed(causes))
        reason = next(filter(None, texts), type(error).__name__)
    return SourceUnavailable(
        f"{request.label} gave no complete response: {reason.rstrip('.')}. Nothing of it was used."
    )


def raise_for_status(
    response: httpx2.Response, request: HttpRequest, source: HttpSource, redactor: Redactor
) -> None:
    """Raise SourceUnavailable or SourceError if the status means that there is no data."""
    status = response.status_code
    if status in STATUSES_WITH_DATA:
        return
    if is_transient_status(status):
        seconds = _retry_after_seconds(response)
        wait = f" It asks for {seconds:.0f} s without requests." if seconds else ""
        raise SourceUnavailable(
            f"{request.label} answered {status_text(status)}. Nothing of it was used.{wait}",
            after_seconds=seconds,
        )
    raise SourceError(
        f"{request.label} answered {status_text(status)}{_explanation(response, redactor)}, which a"
        f" retry would not change. Nothing was fetched; {UNCHANGED}."
        f" {_remedy(status, request, source)}"
    )


def status_text(status: int) -> str:
    """Return a status with its name."""
    return f"{status} {httpx2.codes.get_reason_phrase(status)}".strip()


def _remedy(status: int, request: HttpRequest, source: HttpSource) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        if not request.is_to_origin:
            return (
                "Headers of [source] are sent only to the origin of `source.url`, and this is"
                " another one: if the address is correct, set `source.url` to it."
            )
        texts = (source.url, *source.headers.values(), *source.params.values())
        names = [text.removeprefix("env:") for text in texts if text.startswith("env:")]
        if names:
            return f"Check that {format_list(names)} in the environment is correct and still valid."
        return 'Add the credentials that it needs to `source.headers`, as "env:NAME".'
    return REMEDIES.get(status, "Correct the request in [source] of forecast.toml.")


def _explanation(response: httpx2.Response, redactor: Redactor) -> str:
    """Return the first words of an error response if they are text for people."""
    media_type = response.headers.get("Content-Type", "")
    if not re.search(r"json|text/plain", media_type) or "Content-Encoding" in response.headers:
        return ""
    body = b""
    try:
        for block in response.iter_raw():
            body += block
            if len(body) > MAX_EXPLANATION_BYTES:
                return ""
    except httpx2.HTTPError:
        return ""
    # Received whole and redacted before it is cut: half a secret would not be recognised.
    words = " ".join(redactor.redact(body.decode(errors="replace")).split())
    return f' ("{words[:200]}")' if words else ""


def _retry_after_seconds(response: httpx2.Response) -> float:
    """Return the seconds of `Retry-After`; a date counts from the server's own `Date`."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        until, now = (
            parsedate_to_datetime(text).astimezone(UTC)
            for text in (value, response.headers.get("Date", ""))
        )
    except (TypeError, ValueError):
        return 0.0
    return max((until - now).total_seconds(), 0.0)
