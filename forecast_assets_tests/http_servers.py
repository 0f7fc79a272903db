"""Web servers on loopback that answer as a script says: soundly, late, in pieces, or not at all."""

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

from forecast_assets.config.loader import parse
from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest

HERE = "127.0.0.1"
AS_OF = datetime(2026, 11, 23, tzinfo=UTC)
NO_WAIT = struct.pack("ii", 1, 0)  # as SO_LINGER takes it
CSV = b"unique_id,ds,y\na,2026-01-02,1.5\na,2026-01-09,\n007,2026-01-02,2\n"
ROWS = [
    {"unique_id": "a", "ds": "2026-01-02", "y": 1.5},
    {"unique_id": "a", "ds": "2026-01-09", "y": None},
    {"unique_id": "007", "ds": "2026-01-02", "y": 2.0},
]


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the address, the last of each."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass(frozen=True)
class Reply:
    """What a server answers. Bytes have a length; an iterator is sent as it comes, without one."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_bare: bool = False  # the body is all that is sent
    ends: Literal["close", "reset", "hang"] = "close"


def csv(body: bytes = CSV, **headers: str) -> Reply:
    """Rows as CSV."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(body, headers={"Content-Type": "text/csv", **given})


def as_json(value: Any, **headers: str) -> Reply:
    """Anything as JSON."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(value).encode()
    return Reply(body, headers={"Content-Type": "application/json", **given})


Answer = Callable[[Request], Reply]


class Web:
    """A web server: what it answers, where it is, and what it was asked."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.asked = answer, list[Request]()
        self.port = 0
        self._context, self._is_over = context, threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def url(self, path: str = "/data") -> str:
        """An address there."""
        return f"http{'s' if self._context else ''}://{HERE}:{self.port}{path}"

    def up(self) -> None:
        """Listen, at the same port as ever."""
        if self._server:
            return
        self._server = _Server((HERE, self.port), _handler(self, self._is_over))
        self.port = self._server.server_port
        if self._context:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Listen no more: who asks is refused."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def end(self) -> None:
        """Be gone, and let go of who still waits."""
        self._is_over.set()
        self.down()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def shutdown_request(self, request: Any) -> None:
        """Close it; where it does not linger, with a reset and nothing said before."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(NO_WAIT)) == NO_WAIT:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Who asked did not wait for the end."""


def _handler(web: Web, is_over: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Request(self.command, self.path, dict(self.headers.items()), body)
            web.asked.append(asked)
            self._send(web.answer(asked))

        do_POST = do_CONNECT = do_GET  # noqa: N815 - http.server calls them so

        def _send(self, reply: Reply) -> None:
            if not reply.is_bare:
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if isinstance(reply.body, bytes) and "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.send_header("Connection", "close")
                self.end_headers()
            for block in [reply.body] if isinstance(reply.body, bytes) else reply.body:
                self.wfile.write(block)
            if reply.ends == "hang":
                is_over.wait(30)
            if reply.ends == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def web(
    answer: Answer | Reply | Sequence[Reply], context: ssl.SSLContext | None = None
) -> Iterator[Web]:
    """A server that gives each of these replies in turn, the last of them for ever."""
    if isinstance(answer, Reply):
        answer = [answer]
    if not callable(answer):
        replies = list(answer)
        answer = lambda _: replies.pop(0) if len(replies) > 1 else replies[0]  # noqa: E731
    server = Web(answer, context)
    server.up()
    try:
        yield server
    finally:
        server.end()


def chunked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks as chunks of a body whose length is not known."""
    for block in blocks:
        yield b"%x\r\n%s\r\n" % (len(block), block)
    yield b"0\r\n\r\n"


def fetch(
    folder: Path,
    url: str,
    *,
    say: Callable[[str], None] = lambda _: None,
    as_of: datetime = AS_OF,
    **source: Any,
) -> pd.DataFrame:
    """The rows of an http source at this address; everything is kept below the folder."""
    quick = {"max_retries": 3, "retry_base_seconds": 0.001, "timeout_seconds": 5}
    table = {"kind": "http", "url": url, **quick, **source}
    settings = parse({"source": table}, root=folder, var=folder / "var", origin="a test")
    rows = sources.fetch(FetchRequest(settings, as_of, log=say, rng=Random(7)))  # noqa: S311
    return rows[["unique_id", "ds", "y"]]
