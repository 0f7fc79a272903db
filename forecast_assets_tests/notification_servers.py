"""Mail servers and webhooks on loopback: some accept, others refuse, hang or drip."""

import email.policy
import json
import socket
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from forecast_assets.notifications.routing import Notification

HOST = "127.0.0.1"


def make_notification(notification_id: str = "report 2026-01-02", **changes: Any) -> Notification:
    """Return a notification of a weekly report, with changes."""
    values: dict[str, Any] = {
        "event": "report",
        "severity": "info",
        "title": "The week of 2 January",
        "text": "All went *well*.\n",
    }
    return Notification(id=notification_id, **{**values, **changes})


def deliveries(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the queue in a folder, in the order of their insertion."""
    with closing(sqlite3.connect(folder / "queue.sqlite")) as db:
        db.row_factory = sqlite3.Row
        rows = db.execute("SELECT * FROM queue WHERE channel_key <> '' ORDER BY rowid")
        return [{**row, "title": json.loads(row["notification"])["title"]} for row in rows]


@dataclass
class MailServer:
    """A mail server and the mails that it received, one for each recipient."""

    port: int = 0
    refused: Collection[str] = ()
    mails: list[EmailMessage] = field(default_factory=list)

    def url(self, *to: str) -> str:
        """Return the URL of a channel to these recipients; the server needs no password."""
        return (
            f"mailto://{HOST}:{self.port}?mode=insecure&from=week@example.org"
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
        return "250 OK"


class _AnyPort(Controller):
    """Server of aiosmtpd in a thread, on a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(*, refused: Collection[str] = ()) -> Iterator[MailServer]:
    """Run a mail server that refuses some recipients."""
    server = MailServer(refused=refused)
    controller = _AnyPort(server, hostname=HOST, port=0)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


Answer = int | Literal["drips", "hangs"]


@dataclass
class Webhook:
    """A web server: its answer, and the method, path and JSON of each request."""

    answer: Answer
    port: int = 0
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL of the channel for Apprise."""
        return f"json://{HOST}:{self.port}/hook"

    @property
    def messages(self) -> list[Any]:
        """The JSON of each message, in order."""
        return [message for method, _, message in self.requests if method == "POST"]

    @property
    def titles(self) -> list[str]:
        """The title of each message, in order."""
        return [message["title"] for message in self.messages]


@contextmanager
def webhook(answer: Answer = 200, *, moved_to: str = "/elsewhere") -> Iterator[Webhook]:
    """Run a web server that answers each POST with this status, or does not finish its answer."""
    hook, is_over = Webhook(answer), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            message = json.loads(self.rfile.read(length) or "null")
            hook.requests.append((self.command, self.path, message))
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
            hook.requests.append((self.command, self.path, None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignore clients that did not wait for the end."""

    server = Server((HOST, 0), Handler)
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
    """Yield a port that accepts connections and never answers."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def refusing_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
