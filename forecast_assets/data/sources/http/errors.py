"""What goes wrong with a request, told apart: what passes, what does not, and what mends it."""

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from forecast_assets.config.redaction import SecretRedactor
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.request import Request
from forecast_assets.errors import SourceError, SourceUnavailable, format_list

if TYPE_CHECKING:
    import httpx


WHOLE = (200, 201, 203)
# Try again, of the 2xx and 4xx: accepted, reset, a part; time-out, too early, too many.
PASSING = (202, 205, 206, 408, 425, 429)
PROXY = "Give its name and password in the environment's HTTP_PROXY or HTTPS_PROXY."
LASTING = (501, 505)  # of the 5xx: it cannot do that
REMEDIES = {
    304: "It was not asked whether anything changed: ask who runs the server.",
    404: "Correct `source.url`, or ask who runs the server where the data went.",
    407: PROXY,
    410: "Correct `source.url`, or ask who runs the server where the data went.",
}
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


def transport_error(error: Exception, request: Request, source: HttpSource) -> SourceError:
    """What an error of httpx means for a request that has no whole answer."""
    import httpx

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror) and cause.errno in NO_SUCH_NAME:
            return SourceError(
                f"{request.shown} cannot be asked: no host has that name. Nothing was fetched, and"
                f" earlier versions stand. Correct `source.url`, or this machine's name service."
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceError(
                f"{request.shown} shows a certificate that does not hold: {cause.verify_message}."
                f" Nothing was sent to it, and earlier versions stand. If your organisation signs"
                f" its own, name its certificates in the environment's SSL_CERT_FILE; else ask who"
                f" runs the server."
            )
    if isinstance(error, (UnicodeError, httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return SourceError(
            f"{request.shown} cannot be asked as forecast.toml says: {error}. Nothing was fetched,"
            f" and earlier versions stand. Correct [source]."
        )
    if isinstance(error, httpx.ProxyError) and re.match(r"40[0-7]\b", str(error)):
        return SourceError(
            f"The proxy on the way to {request.shown} refuses: {error}. Nothing was fetched, and"
            f" earlier versions stand. {PROXY}"
        )
    if isinstance(error, httpx.ConnectTimeout):
        why = f"no connection within `source.connect_seconds` = {source.connect_seconds:g}"
    elif isinstance(error, httpx.TimeoutException):
        why = f"not a byte within `source.timeout_seconds` = {source.timeout_seconds:g}"
    else:
        texts = (getattr(one, "strerror", None) or str(one) for one in reversed(causes))
        why = next(filter(None, texts), type(error).__name__)
    return SourceUnavailable(
        f"{request.shown} did not answer, or not to the end: {why.rstrip('.')}. Nothing of it was"
        f" used; another try may pass."
    )


def raise_for_status(
    response: "httpx.Response", request: Request, source: HttpSource, hidden: SecretRedactor
) -> None:
    """Let a response pass that has a body to read.

    Raises SourceUnavailable where its status says that it may have one later, else SourceError.
    """
    status = response.status_code
    if status in WHOLE:
        return
    lasts = status in LASTING or status < HTTPStatus.INTERNAL_SERVER_ERROR
    if status in PASSING or not lasts:
        after = _after_seconds(response)
        asks = f" It asks to be left alone for {after:.0f} s." if after else ""
        raise SourceUnavailable(
            f"{request.shown} answered {status_text(status)}. Nothing of it was used; another try may"
            f" pass.{asks}",
            after_seconds=after,
        )
    raise SourceError(
        f"{request.shown} answered {status_text(status)}{_explained(response, hidden)}. Asking again"
        f" would not help: nothing was fetched, and earlier versions stand."
        f" {_remedy(status, request, source)}"
    )


def status_text(status: int) -> str:
    """A status with its name."""
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
    return f"{status} {phrase}".strip()


def _remedy(status: int, request: Request, source: HttpSource) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        if not request.is_at_home:
            return (
                "What [source] says of headers goes only to the origin that `source.url` names, and"
                " this is another: if it is right, put that address into `source.url`."
            )
        texts = (source.url, *source.headers.values(), *source.params.values())
        names = [text.removeprefix("env:") for text in texts if text.startswith("env:")]
        if names:
            return f"Check {format_list(names)} in the environment: is it right, and still valid?"
        return 'Give what it asks for in `source.headers`, as "env:NAME".'
    return REMEDIES.get(status, "Correct [source] in forecast.toml: what is asked for, and how.")


def _explained(response: "httpx.Response", hidden: SecretRedactor) -> str:
    """The first words of a refusal, where they are written for people."""
    import httpx

    kind = response.headers.get("Content-Type", "")
    if not re.search(r"json|text/plain", kind) or "Content-Encoding" in response.headers:
        return ""
    try:
        start = next(response.iter_raw(), b"")
    except httpx.HTTPError:
        return ""
    # Scrubbed before it is cut: half a secret is not known again.
    words = hidden.scrub(" ".join(start.decode(errors="replace").split()))
    return f' ("{words[:200]}")' if words else ""


def _after_seconds(response: "httpx.Response") -> float:
    """What `Retry-After` asks for, as seconds or as a date; a date is held against the server's."""
    asked = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return float(asked)
    try:
        until, now = (
            parsedate_to_datetime(text).astimezone(UTC)
            for text in (asked, response.headers.get("Date", ""))
        )
    except (TypeError, ValueError):
        return 0.0
    return max((until - now).total_seconds(), 0.0)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of, the first cause last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
