"""One request, answered: sent, its redirects followed, its body taken in, its failures told apart.

What passes is SourceUnavailable, what does not is SourceError. What a body holds does not belong
here.
"""

import logging
import re
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from socket import SHUT_RDWR
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from forecast_assets.config.redaction import SecretRedactor
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.body_cache import (
    BodyCache,
    CachedBody,
    CacheMetadata,
    TempBody,
)
from forecast_assets.data.sources.http.decoding import ByteBudgets, decode_to_file
from forecast_assets.data.sources.http.errors import raise_for_status, status_text, transport_error
from forecast_assets.data.sources.http.request import Request, resolve_url
from forecast_assets.data.sources.http.url_policy import UrlPolicy, ip_of
from forecast_assets.errors import SourceError, SourceUnavailable

if TYPE_CHECKING:
    import httpx


class ConnectionDeadline:
    """Sees every connection that is made, and ends those whose answer is not over in time.

    A time-out between two bytes does not see a server that drips one after the other, and a name
    may be looked up a second time with another result: both are seen here.
    """

    def __init__(self, seconds: float, *, proxies: Collection[str]) -> None:
        self._seconds, self._proxies = seconds, proxies  # by their hosts
        self._streams: list[Any] = []
        self._is_late = threading.Event()

    @contextmanager
    def over(self) -> Iterator[None]:
        """End what is connected when the time is over."""
        self._is_late.clear()
        timer = threading.Timer(self._seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def refuse_late(self, name: str) -> None:
        """Raise SourceUnavailable where the time was over before the answer was."""
        if self._is_late.is_set():
            raise SourceUnavailable(
                f"{name} did not come to an end within `source.total_seconds` ="
                f" {self._seconds:g}. Nothing of it was used; another try may pass."
            )

    def tracing(self, request: Request) -> Callable[[str, Mapping[str, Any]], None]:
        """What httpx is to call as it connects. Raises SourceError where it may not go there."""
        reached: list[str] = []

        def told(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith(".connect_tcp.started"):
                reached.append(info["host"])
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                stream = info["return_value"]
                open_ones = [one for one in self._streams if _socket(one).fileno() >= 0]
                self._streams = [*open_ones, stream]
                if reached[-1] not in {*self._proxies} - {urlsplit(request.url).hostname}:
                    self._refuse_peer(stream, request)

        return told

    def _refuse_peer(self, stream: Any, request: Request) -> None:
        peer = ip_of(str(stream.get_extra_info("server_addr")[0]))
        if fault := request.bounds.fault(peer):
            stream.close()
            raise SourceError(
                f"{request.shown} leads to {peer}, which is {fault}. Nothing was asked there, and"
                f" nothing was published. Ask who runs the server, or the name service."
            )

    def _end(self) -> None:
        self._is_late.set()
        for stream in self._streams:
            with suppress(OSError):
                _socket(stream).shutdown(SHUT_RDWR)


def _socket(stream: Any) -> Any:
    return stream.get_extra_info("socket")


def silence_http_logs() -> None:
    """Keep addresses out of the logs: httpx and httpcore tell them whole."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)


MOST_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
AS_GET = (301, 302, 303)  # as every browser does


@dataclass(frozen=True)
class HttpBody:
    """A body in a file, at its start, and what was said of it."""

    file: IO[bytes]
    url: str
    note: CacheMetadata
    unfinished: TempBody | None = None  # None: it was kept from an earlier fetch
    is_to_be_kept: bool = False


class HttpClient:
    """What a server answers. One for each fetch: it keeps connections open between pages."""

    def __init__(
        self, source: HttpSource, hops: UrlPolicy, hidden: SecretRedactor, kept: BodyCache
    ) -> None:
        from urllib.request import getproxies

        import httpx

        self._source, self._hops, self._hidden, self._kept = source, hops, hidden, kept
        timeout = httpx.Timeout(source.timeout_seconds, connect=source.connect_seconds)
        try:
            given = [getproxies().get(scheme) for scheme in ("http", "https", "all")]
            proxies = [one if "://" in one else f"http://{one}" for one in given if one]
            for proxy in proxies:
                hidden.hide_address(proxy, is_from_environment=False)
            self._client = httpx.Client(timeout=timeout, event_hooks={"response": [_held_back]})
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            raise SourceError(
                "The environment's certificates or proxies cannot be used, so nothing was fetched,"
                " and earlier versions stand. Correct SSL_CERT_FILE, SSL_CERT_DIR, HTTP_PROXY,"
                " HTTPS_PROXY, ALL_PROXY or NO_PROXY, whichever is set."
            ) from error
        silence_http_logs()
        hosts = {urlsplit(proxy).hostname or "" for proxy in proxies}
        self._watch = ConnectionDeadline(source.total_seconds, proxies=hosts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._client.close()

    @contextmanager
    def to(self, request: Request, budgets: ByteBudgets) -> Iterator[HttpBody | None]:
        """The answer to a request; None where it has no content, and says so.

        Raises SourceUnavailable where it may come later, and SourceError where it will not.
        """
        kept = self._kept.opened(request.key)
        with self._kept.unfinished() as body:
            try:
                with self._watch.over():
                    answer = self._answer(request, kept, body, budgets)
                    if kept and answer and answer.file is kept.file and not kept.is_sound():
                        self._kept.drop(request.key)
                        answer = self._answer(request, None, body, budgets)
                if kept and answer and answer.file is kept.file:
                    budgets.unpacked.take(kept.n_bytes, of=request.shown)
                yield answer
            finally:
                if kept:
                    kept.file.close()

    def keep(self, request: Request, answer: HttpBody) -> None:
        """Keep a body that proved good, where the server will say whether it changed.

        One that repeats a secret, as an address of the next page may, is not kept.
        """
        if not answer.unfinished or not answer.is_to_be_kept:
            return
        told = " ".join(text for text in vars(answer.note).values() if text)
        if not self._hidden.is_in(told) and not self._hidden.is_in_file(answer.file):
            self._kept.keep(request.key, answer.unfinished, answer.note)

    def drop(self, request: Request) -> None:
        """Forget the body of a request, for it cannot be read."""
        self._kept.drop(request.key)

    def _answer(
        self, request: Request, kept: CachedBody | None, body: TempBody, budgets: ByteBudgets
    ) -> HttpBody | None:
        """Ask, and follow redirects. What a kept body holds is asked only of who gave it."""
        for _ in range(MOST_REDIRECTS + 1):
            address = sha256(request.url.encode()).hexdigest()
            is_kept = kept is not None and kept.note.address == address and request.method == "GET"
            conditions = kept.note.conditions if kept and is_kept else {}
            with self._sent(request, conditions) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:
                    return None
                if response.status_code == HTTPStatus.NOT_MODIFIED and kept and conditions:
                    return HttpBody(kept.file, request.url, kept.note)
                if response.status_code not in REDIRECTS:
                    raise_for_status(response, request, self._source, self._hidden)
                    return self._taken_in(request, response, body, budgets)
                request = self._moved(request, response)
        raise SourceError(
            f"{request.shown} is where more than {MOST_REDIRECTS} redirects led, each to the next."
            f" Nothing was fetched, and earlier versions stand. Put the last address into"
            f" `source.url`, or ask who runs the server."
        )

    @contextmanager
    def _sent(self, request: Request, conditions: Mapping[str, str]) -> "Iterator[httpx.Response]":
        """A response whose body is still to come; what goes wrong until its end is told apart."""
        import httpx

        sent = httpx.Request(
            request.method,
            request.url,
            headers={**request.sent_headers(), **conditions},
            content=request.content,
            extensions={"trace": self._watch.tracing(request)},
        )
        try:
            response = self._client.send(sent, stream=True)
            try:
                yield response
            finally:
                response.close()
        except (httpx.HTTPError, UnicodeError, ssl.SSLError) as error:
            self._watch.refuse_late(request.shown)
            raise transport_error(error, request, self._source) from error
        except SourceUnavailable:
            self._watch.refuse_late(request.shown)
            raise
        self._watch.refuse_late(request.shown)  # a body without a length seems to end in good order

    def _moved(self, request: Request, response: "httpx.Response") -> Request:
        """The request that a redirect asks for instead (RFC 9110, 15.4)."""
        status, location = response.status_code, response.extensions["location"]
        if not location:
            raise SourceError(
                f"{request.shown} answered {status_text(status)}, and not where to. Nothing"
                f" was fetched, and earlier versions stand. Ask who runs the server."
            )
        url = resolve_url(request.url, location)
        bounds = self._hops.after(url, came_from=request.url, what="redirect")
        if status in AS_GET:
            request = replace(request, method="GET", body=None)
        return request.to(url, bounds)

    def _taken_in(
        self, request: Request, response: "httpx.Response", body: TempBody, budgets: ByteBudgets
    ) -> HttpBody:
        headers = response.headers
        if re.fullmatch(r"\d{1,18}", declared := headers.get("Content-Length", "")):
            budgets.for_one_try().wire.take(int(declared), of=request.shown)
        body.file.seek(0)
        body.file.truncate()
        digest = decode_to_file(
            body.file,
            response.iter_raw(),
            headers.get("Content-Encoding", ""),
            budgets,
            name=request.shown,
        )
        note = CacheMetadata(
            address=sha256(request.url.encode()).hexdigest(),
            sha256=digest,
            etag=headers.get("ETag"),
            last_modified=headers.get("Last-Modified"),
            content_type=headers.get("Content-Type", ""),
            link=headers.get("Link", ""),
        )
        is_to_be_kept = (
            request.method == "GET"  # to another method, a condition means something else
            and bool(note.conditions)
            and "no-store" not in headers.get("Cache-Control", "").lower()
        )
        return HttpBody(body.file, request.url, note, body, is_to_be_kept)


def _held_back(response: "httpx.Response") -> None:
    """Keep a redirect from httpx, which takes every address apart, followed or not."""
    response.extensions["location"] = response.headers.pop("Location", "")
