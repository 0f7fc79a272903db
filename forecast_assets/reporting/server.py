"""Serve the folder of reports to this machine's browser while another program, the UI, is running.

    python -m forecast_assets.reporting.server FOLDER PORT PROGRAM [ARGUMENT]...

How reports are written does not belong here: `render`.
"""

import signal
import subprocess
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import IO, Any
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"


class ReportHandler(SimpleHTTPRequestHandler):
    """Answer GET and HEAD with the files of a folder; hide dot files and what lies outside."""

    server_version, sys_version = "reports", ""

    def send_head(self) -> Any:
        """Send the headers of a file, and return the file; or an error."""
        # A page of another site could otherwise read the reports under a name of its own.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "Only for this machine")
            return None
        try:
            names = unquote(urlsplit(self.path).path).split("/")
            path = Path(self.translate_path(self.path)).resolve()
        except ValueError:  # such as a null byte
            self.send_error(HTTPStatus.BAD_REQUEST)
            return None
        root = Path(self.directory).resolve()
        if any(name.startswith(".") for name in names) or not path.is_relative_to(root):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> IO[bytes] | None:  # type: ignore[override]  # noqa: ARG002
        """Refuse to list a folder that has no index.html."""
        self.send_error(HTTPStatus.NOT_FOUND, "There is no index.html")
        return None

    def end_headers(self) -> None:
        """Let the browser ask again for pages that are built again."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is that of the UI."""


class ReportServer(ThreadingHTTPServer):
    """Serve with a thread for each request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing where a browser leaves before it has read a page."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def open_server(folder: Path, port: int) -> ReportServer:
    """Return a server of the folder on loopback. Raises OSError where the port is in use."""
    handler = partial(ReportHandler, directory=str(folder))
    return ReportServer((HOST, port), handler)


def run_with_reports(folder: Path, port: int, command: list[str]) -> int:
    """Run a program, serve the folder until it ends, and return its exit code.

    Ctrl-C reaches both; a termination of this process is passed on.
    """
    try:
        server = open_server(folder, port)
    except OSError as error:
        server = None
        print(f"The reports are not served: port {port}: {error.strerror}", file=sys.stderr)  # noqa: T201
    if server:
        Thread(target=server.serve_forever, daemon=True).start()
    program = subprocess.Popen(command)  # noqa: S603 - the caller's own

    def wait_for_program(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM:
            program.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, wait_for_program)
    code = program.wait()
    if server:
        server.shutdown()
        server.server_close()
    return code if code >= 0 else 128 - code  # as a shell


if __name__ == "__main__":
    sys.exit(run_with_reports(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
