"""HTTP servers on loopback that reply as a test says: correctly, late, in pieces, or not at all."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from forecast_assets.config.loader import parse
from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError

HOST = "127.0.0.1"
AS_OF = datetime(2026, 11, 23, tzinfo=UTC)
NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection
CSV = b"unique_id,ds,y\na,2026-01-02,1.5\na,2026-01-09,\n007,2026-01-02,2\n"
ROWS = [
    {"unique_id": "a", "ds": "2026-01-02", "y": 1.5},
    {"unique_id": "a", "ds": "2026-01-09", "y": None},
    {"unique_id": "007", "ds": "2026-01-02", "y": 2.0},
]


@dataclass(frozen=True)
class Request:
    """A request that a server received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL, the last of each name."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass(frozen=True)
class Reply:
    """What a server sends. Bytes have a length; an iterator is sent without one."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_raw: bool = False  # the body is all that is sent
    end: Literal["close", "reset", "hang"] = "close"


def csv_reply(body: bytes = CSV, **headers: str) -> Reply:
    """Return a reply of CSV; `_` in a header's name stands for `-`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(body, headers={"Content-Type": "text/csv", **given})


def json_reply(value: Any, **headers: str) -> Reply:
    """Return a reply of JSON."""
    return csv_reply(json.dumps(value).encode(), Content_Type="application/json", **headers)


def redirect(url: str, status: int = 302) -> Reply:
    """Return a redirect."""
    return Reply(status=status, headers={"Location": url})


Answer = Callable[[Request], Reply]


class HttpServer:
    """A server with the function that answers, and the requests it received."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.requests = answer, list[Request]()
        self.port = 0
        self._context, self._is_closed = context, threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def url(self, path: str = "/data") -> str:
        """Return a URL of this server."""
        return f"http{'s' if self._context else ''}://{HOST}:{self.port}{path}"

    def start(self) -> None:
        """Listen, always at the same port."""
        if self._server:
            return
        self._server = _Server((HOST, self.port), _handler(self, self._is_closed))
        self.port = self._server.server_port
        if self._context:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self) -> None:
        """Stop, and release the replies that hang."""
        self._is_closed.set()
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, with a reset if it does not linger."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(NO_LINGER)) == NO_LINGER:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that do not wait for the end."""


def _handler(server: HttpServer, is_closed: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            server.requests.append(request)
            self._send(server.answer(request))

        do_POST = do_CONNECT = do_GET  # noqa: N815 - names of http.server

        def _send(self, reply: Reply) -> None:
            if not reply.is_raw:
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if isinstance(reply.body, bytes) and "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.send_header("Connection", "close")
                self.end_headers()
            for block in [reply.body] if isinstance(reply.body, bytes) else reply.body:
                self.wfile.write(block)
            if reply.end == "hang":
                is_closed.wait(30)
            if reply.end == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def serve(
    answer: Answer | Reply | Sequence[Reply], context: ssl.SSLContext | None = None
) -> Iterator[HttpServer]:
    """Run a server that gives each reply in turn, the last of them repeatedly."""
    if isinstance(answer, Reply):
        answer = [answer]
    if not callable(answer):
        replies = list(answer)
        answer = lambda _: replies.pop(0) if len(replies) > 1 else replies[0]  # noqa: E731
    server = HttpServer(answer, context)
    server.start()
    try:
        yield server
    finally:
        server.close()


def http_request(
    folder: Path,
    url: str,
    *,
    log: Callable[[str], None] = lambda _: None,
    as_of: datetime = AS_OF,
    **source: Any,
) -> FetchRequest:
    """Return a request to an http source that retries quickly; files are below the folder."""
    quick = {"max_retries": 3, "retry_base_seconds": 0.001, "timeout_seconds": 5}
    table = {"kind": "http", "url": url, **quick, **source}
    given = {"source": table, "series": {"aggregate": "sum"}}
    settings = parse(given, root=folder, var=folder / "var", origin="a test")
    return FetchRequest(settings, as_of, log=log, rng=Random(7))  # noqa: S311


def fetch(folder: Path, url: str, **given: Any) -> pd.DataFrame:
    """Return the rows of an http source."""
    return sources.fetch(http_request(folder, url, **given))[["unique_id", "ds", "y"]]


def assert_refused(
    folder: Path,
    reply: Answer | Reply | Sequence[Reply],
    match: str,
    *,
    n_requests: int = 1,
    **source: Any,
) -> None:
    """Check that an http source gives an error with this message, after so many requests."""
    with serve(reply) as server:
        with pytest.raises(SourceError, match=match):
            fetch(folder, server.url(), **source)
        assert len(server.requests) == n_requests
