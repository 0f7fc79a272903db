"""Connections: no answer takes longer than it may, and only who proves who he is is asked."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import CSV, HERE, Reply, csv, fetch, web
from forecast_assets_tests.notification_servers import silent_port

pytestmark = pytest.mark.usefixtures("no_proxy")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"


def drip(before: bytes, drop: bytes) -> Iterator[bytes]:
    """Something at once, and then a byte or a few every 20 ms, for ten seconds."""
    yield before
    for _ in range(500):
        time.sleep(0.02)
        yield drop


@pytest.mark.parametrize(
    ("before", "drop"),
    [
        (HEAD + b"\r\n" + CSV, b"a"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (HEAD, b"X: y\r\n"),
        (b"", b"H"),
    ],
    ids=["a body without end", "a long body", "chunks", "headers", "a first line"],
)
def test_a_server_that_drips_is_left_in_time(tmp_path: Path, before: bytes, drop: bytes) -> None:
    said: list[str] = []
    with web(csv()) as server:
        replies = [Reply(drip(before, drop), is_bare=True), csv()]
        server.answer = lambda _: replies.pop(0)
        fetch(tmp_path, server.url(), say=said.append, total_seconds=0.15, timeout_seconds=5)
    (line,) = said
    assert (
        "/data did not come to an end within `source.total_seconds` = 0.15. Nothing of it was used;"
        " another try may pass."
    ) in line


def test_a_long_body_that_comes_in_time_is_read(tmp_path: Path) -> None:
    """What is slow between two bytes is not late."""
    body = (bytes([byte]) for byte in CSV)

    def slowly() -> Iterator[bytes]:
        for byte in body:
            time.sleep(0.002)
            yield byte

    with web(Reply(slowly(), headers={"Content-Type": "text/csv"})) as server:
        assert len(fetch(tmp_path, server.url(), timeout_seconds=0.2, max_retries=0)) == 3


def test_a_server_that_never_says_a_word_is_left_in_time(tmp_path: Path) -> None:
    with silent_port() as port:
        with pytest.raises(
            SourceError, match=r"not a byte within `source\.timeout_seconds` = 0\.1"
        ):
            fetch(tmp_path, f"http://{HERE}:{port}/", timeout_seconds=0.1, max_retries=1)
        with pytest.raises(SourceError, match=r"within `source\.connect_seconds` = 0\.1\."):
            fetch(tmp_path, f"https://{HERE}:{port}/", connect_seconds=0.1, max_retries=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificate of a server on loopback."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> ssl.SSLContext:
    """The server's side of TLS, for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HERE).configure_cert(context)
    return context


def test_a_certificate_that_nobody_known_signed_is_refused_at_once(
    tmp_path: Path, secure: ssl.SSLContext
) -> None:
    with web(csv(), secure) as server:
        with pytest.raises(
            SourceError,
            match=r"https://127\.0\.0\.1:\d+/data shows a certificate that does not hold: unable to"
            r" get local issuer certificate\. Nothing was sent to it, and earlier versions stand\."
            r" If your organisation signs its own, name its certificates in the environment's"
            r" SSL_CERT_FILE; else ask who runs the server\.",
        ):
            fetch(tmp_path, server.url())
        assert server.asked == []


def test_an_authority_of_ones_own_is_named_in_the_environment(
    tmp_path: Path, secure: ssl.SSLContext, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with web(csv(), secure) as server:
        assert len(fetch(tmp_path, server.url())) == 3
        with pytest.raises(
            SourceError, match="a certificate that does not hold: Hostname mismatch"
        ):
            fetch(tmp_path, server.url().replace(HERE, "localhost"))
    with web([Reply(is_bare=True, ends="reset"), csv()], secure) as server:
        assert len(fetch(tmp_path, server.url())) == 3
    with (
        web(Reply(drip(HEAD + b"\r\n", b"a"), is_bare=True), secure) as server,
        pytest.raises(
            SourceError, match=r"did not come to an end within `source\.total_seconds` = 0\.2\."
        ),
    ):
        fetch(tmp_path, server.url(), total_seconds=0.2, max_retries=0)
    with web(csv()) as plain, web(csv(), secure) as server:
        server.answer = lambda _: Reply(status=302, headers={"Location": plain.url()})
        with pytest.raises(SourceError, match="which is http and no longer https"):
            fetch(tmp_path, server.url())


def test_certificates_that_cannot_be_read_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no.pem"))
    with pytest.raises(SourceError, match=r"The environment's certificates or proxies cannot be"):
        fetch(tmp_path, "https://127.0.0.1:1/")
