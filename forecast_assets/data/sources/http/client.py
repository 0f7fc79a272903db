"""Send HTTP requests, follow redirects, and receive bodies into a file within time and size limits.

How a body is parsed does not belong here.
"""

import logging
import re
import ssl
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.request import getproxies

import httpx2

from forecast_assets.config.redaction import Redactor, url_secrets
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.errors import raise_for_status, status_text, transport_error
from forecast_assets.data.sources.http.request import HttpRequest
from forecast_assets.data.sources.request import ByteBudget, Deadline, shut_down
from forecast_assets.errors import SourceError, SourceUnavailable

MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
# Browsers turn these into a GET without a body.
REDIRECTS_AS_GET = (301, 302, 303)
# The most bytes that are decompressed at once.
BLOCK = 1 << 20
GZIP = 16 + zlib.MAX_WBITS
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class HttpBody:
    """A body in a file that is read from its start, and the headers that matter."""

    request: HttpRequest  # after redirects
    file: IO[bytes]
    sha256: str
    headers: Mapping[str, str]


class HttpClient:
    """Sends the requests of one fetch, over connections that stay open between pages; close it."""

    def __init__(self, source: HttpSource, redactor: Redactor, folder: Path) -> None:
        self._source, self._redactor, self._folder = source, redactor, folder
        self._deadline = Deadline(source.total_seconds)
        self._streams: list[Any] = []
        connect_seconds = min(source.connect_seconds, source.total_seconds)
        limits = httpx2.Timeout(source.timeout_seconds, connect=connect_seconds)
        for proxy in getproxies().values():
            redactor.add(*url_secrets(proxy if "://" in proxy else f"http://{proxy}"))
        try:
            self._client = httpx2.Client(timeout=limits, event_hooks={"response": [_take_location]})
        except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
            raise SourceError(
                "The certificates or proxies of the environment cannot be used. Nothing was"
                " fetched; earlier versions are unchanged. Correct SSL_CERT_FILE, SSL_CERT_DIR,"
                " HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY, whichever is set."
            ) from error
        _silence_logs()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def fetch(self, request: HttpRequest, budget: ByteBudget) -> Iterator[HttpBody | None]:
        """Yield the body of the response, or None if it is 204 No Content.

        Raises SourceUnavailable for transient errors and SourceError for permanent ones.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            body = None
            with self._response_to(request) as (final, response):
                if response.status_code != HTTPStatus.NO_CONTENT:
                    raise_for_status(response, final, self._source, self._redactor)
                    digest = _receive(response, file, budget, final.label)
                    body = HttpBody(final, file, digest, response.headers)
            yield body

    def is_not_modified(self, request: HttpRequest, headers: Mapping[str, str], key: str) -> bool:
        """Return whether the server answers 304 to these conditional headers.

        They are sent only with the request of that key, which may be one that it redirects to.
        """
        with self._response_to(request, headers, key=key) as (final, response):
            return final.key == key and response.status_code == HTTPStatus.NOT_MODIFIED

    @contextmanager
    def _response_to(
        self, request: HttpRequest, conditions: Mapping[str, str] | None = None, *, key: str = ""
    ) -> Iterator[tuple[HttpRequest, httpx2.Response]]:
        """Yield the response after all redirects, with the request that it answers."""
        with self._deadline.limit(self._shut_down):
            for _ in range(MAX_REDIRECTS + 1):
                headers = conditions if conditions and request.key == key else {}
                with self._send(request, headers) as response:
                    if response.status_code not in REDIRECTS:
                        yield request, response
                        return
                    request = _redirected(request, response)
        raise SourceError(
            f"{request.label} is the last of more than {MAX_REDIRECTS} redirects. Nothing was"
            f" fetched; earlier versions are unchanged. Set `source.url` to the final address, or"
            f" ask the operator of the server."
        )

    @contextmanager
    def _send(self, request: HttpRequest, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Yield a response before its body; translate errors until the body is complete."""
        try:
            raw_request = httpx2.Request(
                request.method,
                request.url,
                headers=request.sent_headers(headers),
                content=request.content,
                extensions={"trace": self._remember_stream},
            )
            with closing(self._client.send(raw_request, stream=True)) as response:
                yield response
        except (httpx2.HTTPError, UnicodeError, ssl.SSLError) as error:
            raise transport_error(error, request, self._source) from error
        finally:
            # A body without a length seems complete when the connection is shut down.
            if self._deadline.is_expired:
                raise SourceUnavailable(
                    f"{request.label} gave no complete response within `source.total_seconds` ="
                    f" {self._deadline.seconds:g}. Nothing of it was used."
                )

    def _remember_stream(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep each new connection for the deadline (a trace hook of httpcore2)."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._streams.append(info["return_value"])
            if self._deadline.is_expired:
                self._shut_down()

    def _shut_down(self) -> None:
        for stream in self._streams:
            shut_down(stream.get_extra_info("socket").fileno())


def _redirected(request: HttpRequest, response: httpx2.Response) -> HttpRequest:
    """Return the request that a redirect asks for (RFC 9110, 15.4)."""
    location = response.extensions["location"]
    if not location:
        raise SourceError(
            f"{request.label} answered {status_text(response.status_code)} without a `Location`"
            f" header. Nothing was fetched; earlier versions are unchanged. Ask the operator of the"
            f" server."
        )
    if response.status_code in REDIRECTS_AS_GET:
        request = replace(request, method="GET", body=None)
    return request.follow(location, "redirect")


def _take_location(response: httpx2.Response) -> None:
    """Hide redirects from httpx2, which parses every `Location` and fails on a bad one."""
    response.extensions["location"] = response.headers.pop("Location", "")


def _silence_logs() -> None:
    """Keep the libraries from logging URLs and headers."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("httpx2", "httpcore2")):
            logging.getLogger(name).setLevel(logging.WARNING)


def _receive(response: httpx2.Response, file: IO[bytes], budget: ByteBudget, label: str) -> str:
    """Write the body to a file, without any compression by gzip, and return its SHA-256."""
    declared = response.headers.get("Content-Length", "")
    if re.fullmatch(r"\d{1,18}", declared):
        copy(budget).take(int(declared), of=label)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise SourceError(
            f"{label} compresses its body as `{encoding}`, but only gzip was accepted. Nothing was"
            f" published. Ask the operator of the server to respect `Accept-Encoding`."
        )
    digest, blocks = sha256(), _counted(response.iter_raw(), copy(budget), label)
    try:
        if encoding.endswith("gzip"):
            blocks = _gunzip(blocks)
        for block in _gunzip_file(blocks):
            budget.take(len(block), of=label)
            digest.update(block)
            file.write(block)
    except (zlib.error, EOFError) as error:
        raise SourceUnavailable(
            f"{label} gave a body that cannot be decompressed: {error}. Nothing of it was used."
        ) from error
    if not file.tell():
        raise SourceUnavailable(f"{label} gave an empty body.")
    file.seek(0)
    return digest.hexdigest()


def _counted(blocks: Iterable[bytes], budget: ByteBudget, label: str) -> Iterator[bytes]:
    """Count bytes as they are received: gzip may be endless and decompress to nothing."""
    for block in blocks:
        budget.take(len(block), of=label)
        yield block


def _gunzip_file(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a body that is a gzip file, such as sales.csv.gz; pass any other on."""
    rest = iter(blocks)
    start = b""
    while len(start) < len(GZIP_MAGIC) and (block := next(rest, b"")):
        start += block
    body = chain([start], rest)
    yield from _gunzip(body) if start.startswith(GZIP_MAGIC) else body


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress gzip in small blocks. Raises EOFError if it is cut off.

    Not left to httpx2, which takes a body that is cut off, or the first of several gzip members,
    for the whole.
    """
    member = zlib.decompressobj(GZIP)
    for block in blocks:
        rest = block
        while rest:
            if member.eof:
                member = zlib.decompressobj(GZIP)
            yield member.decompress(rest, BLOCK)
            rest = member.unused_data or member.unconsumed_tail
    while tail := member.decompress(b"", BLOCK):
        yield tail
    if not member.eof:
        raise EOFError("it is cut off")
