"""Test reporting.server: what it serves and hides, and that it ends with the program."""

import http.client
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from forecast_assets.reporting.server import open_server
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.notification_servers import refusing_port


def write_reports(folder: Path) -> Path:
    """Write a report, a dot file, and a secret next to the folder; return the folder of reports."""
    reports = folder / "reports"
    (reports / "2026-12-04_ab").mkdir(parents=True)
    (reports / "2026-12-04_ab" / "report.html").write_text("the week")
    (reports / ".hidden").write_text("secret")
    (folder / "secret.txt").write_text("secret")
    (reports / "link.txt").symlink_to(folder / "secret.txt")
    return reports


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve a folder of reports, and yield the port."""
    with open_server(write_reports(tmp_path_factory.mktemp("served")), 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def get(port: int, path: str, *, method: str = "GET", host: str = "") -> tuple[int, bytes]:
    """Send a request as it is, without what a client corrects; return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=bool(host))
        if host:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_report_is_served_and_nothing_else(port: int):
    assert get(port, "/2026-12-04_ab/report.html") == (200, b"the week")
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/.hidden", "/link.txt", "/", "/none"):
        status, body = get(port, path)
        assert status == 404, path
        assert b"secret" not in body.replace(path.encode(), b"")
    assert get(port, "/2026-12-04_ab/report.html", method="POST")[0] == 501
    assert get(port, "/2026-12-04_ab/report.html", host="evil.example:80")[0] == 403


def test_a_strange_address_and_a_browser_that_leaves_print_nothing(
    port: int, capsys: pytest.CaptureFixture[str]
):
    assert get(port, "/a%00b")[0] == 400
    with open_server(Path(), 0) as server:
        try:
            raise ConnectionResetError
        except ConnectionError:
            server.handle_error(None, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, None])
def test_it_ends_with_the_program_and_a_termination_ends_both(
    tmp_path: Path, number: signal.Signals | None
):
    free = refusing_port()
    program = (sys.executable, "-Sc", "import time; time.sleep(60)" if number else "print(7)")
    command = [sys.executable, "-m", "forecast_assets.reporting.server"]
    with subprocess.Popen([*command, str(write_reports(tmp_path)), str(free), *program]) as process:
        if number:
            assert comes_true(lambda: _answers(free), within=60)
            process.send_signal(number)
        assert process.wait(timeout=60) == (128 + number if number else 0)
    assert not _answers(free)


def test_a_port_in_use_is_named_and_the_program_runs(tmp_path: Path, port: int):
    command = [sys.executable, "-m", "forecast_assets.reporting.server", str(tmp_path), str(port)]
    ran = subprocess.run(
        [*command, sys.executable, "-Sc", "print(7)"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "7\n"
    assert f"The reports are not served: port {port}: Address already in use" in ran.stderr


def _answers(port: int) -> bool:
    try:
        return get(port, "/2026-12-04_ab/report.html")[0] == 200
    except OSError:
        return False
