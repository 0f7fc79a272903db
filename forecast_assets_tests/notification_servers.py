"""Mail servers and webhooks on loopback: sound ones, and ones that refuse, hang or drip."""

import asyncio
import email.policy
import json
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from forecast_assets.notifications.routing import Notification

HERE = "127.0.0.1"


def make_notice(notice_id: str = "report 2026-01-02", **changes: Any) -> Notification:
    """A notice of the week's report, changed where asked."""
    said: dict[str, Any] = {
        "event": "report",
        "severity": "info",
        "title": "The week of 2 January",
        "text": "All went *well*.\n",
    }
    return Notification(id=notice_id, **{**said, **changes})


@dataclass
class MailServer:
    """What a mail server was sent, a message for each recipient."""

    port: int = 0
    refused: Collection[str] = ()
    hangs_after_data: bool = False
    mails: list[EmailMessage] = field(default_factory=list)

    def url(self, *to: str) -> str:
        """The channel of these recipients; the server asks for no password."""
        return (
            f"mailto://{HERE}:{self.port}?mode=insecure&from=week@example.org"
            f"&to={','.join(to or ('ann@example.org',))}"
        )

    async def handle_RCPT(  # noqa: N802, D102 - aiosmtpd calls it so
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802, D102
        parser = BytesParser(policy=email.policy.default)
        self.mails.append(parser.parsebytes(envelope.original_content or b""))
        if self.hangs_after_data:
            await asyncio.Event().wait()
        return "250 OK"


class _AnyPort(Controller):
    """aiosmtpd's server in a thread, on a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(
    *, refused: Collection[str] = (), hangs_after_data: bool = False
) -> Iterator[MailServer]:
    """A mail server that refuses some recipients, or takes a mail and never says so."""
    server = MailServer(refused=refused, hangs_after_data=hangs_after_data)
    controller = _AnyPort(server, hostname=HERE, port=0)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


@dataclass
class Webhook:
    """What a web server answers, and was asked: method, path and JSON of each request."""

    answer: "Answer"
    port: int = 0
    asked: list[tuple[str, str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The channel, as Apprise writes it."""
        return f"json://{HERE}:{self.port}/hook"

    @property
    def told(self) -> list[str]:
        """The titles of what was posted, in order."""
        return [said["title"] for method, _, said in self.asked if method == "POST"]


Answer = int | Literal["drips", "hangs"]


@contextmanager
def webhook(answer: Answer = 200, *, moved_to: str = "/elsewhere") -> Iterator[Webhook]:
    """A web server that gives this status to all that is posted, or never comes to an end."""
    hook, is_over = Webhook(answer), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            said = json.loads(self.rfile.read(length) or "null")
            hook.asked.append((self.command, self.path, said))
            answer = hook.answer
            if answer == "hangs":
                is_over.wait()
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("Location", moved_to)
            self.send_header("Content-Length", "1000" if answer == "drips" else "0")
            self.end_headers()
            while answer == "drips" and not is_over.wait(0.02):
                self.wfile.write(b" ")

        def do_GET(self) -> None:
            hook.asked.append((self.command, self.path, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who asked did not wait for the end, as it should not."""

    server = Server((HERE, 0), Handler)
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections are made and nobody ever says a word."""
    with socket.create_server((HERE, 0)) as listener:
        yield listener.getsockname()[1]


def refusing_port() -> int:
    """A port where nobody listens."""
    with socket.create_server((HERE, 0)) as listener:
        return int(listener.getsockname()[1])
