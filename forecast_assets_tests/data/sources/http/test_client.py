"""The HTTP client: total time, certificates, size limits and decompression."""

import gzip
import socket
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import (
    CSV,
    HOST,
    Reply,
    Request,
    assert_refused,
    csv_reply,
    fetch,
    redirect,
    serve,
)
from forecast_assets_tests.notification_servers import silent_port

pytestmark = pytest.mark.usefixtures("no_proxy")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
TEXT = {"Content-Type": "text/csv"}
BLOCK = b"a,2026-01-02,1.5\n" * 4096


def drip(start: bytes, drop: bytes) -> Iterator[bytes]:
    """Yield something at once, and then a few bytes every 20 ms for ten seconds."""
    yield start
    for _ in range(500):
        time.sleep(0.02)
        yield drop


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (HEAD + b"\r\n" + CSV, b"a"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (HEAD, b"X: y\r\n"),
        (b"", b"H"),
    ],
    ids=["a body without length", "a long body", "chunks", "headers", "a status line"],
)
def test_a_server_that_drips_is_stopped_in_time(tmp_path: Path, start: bytes, drop: bytes) -> None:
    lines: list[str] = []
    with serve([Reply(drip(start, drop), is_raw=True), csv_reply()]) as server:
        fetch(tmp_path, server.url(), log=lines.append, total_seconds=0.15, timeout_seconds=5)
    (line,) = lines
    assert (
        "/data gave no complete response within `source.total_seconds` = 0.15. Nothing of it was"
        " used."
    ) in line


def test_a_slow_body_within_the_total_time_is_read(tmp_path: Path) -> None:
    """The time between two bytes is not the time since the start."""

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(CSV), 8):
            time.sleep(0.03)
            yield CSV[start : start + 8]

    with serve(Reply(slowly(), headers=TEXT)) as server:
        assert len(fetch(tmp_path, server.url(), timeout_seconds=0.2, max_retries=0)) == 3


def test_a_silent_server_is_left_in_time(tmp_path: Path) -> None:
    with silent_port() as port:
        with pytest.raises(SourceError, match=r"no data for `source\.timeout_seconds` = 0\.1"):
            fetch(tmp_path, f"http://{HOST}:{port}/", timeout_seconds=0.1, max_retries=1)
        with pytest.raises(SourceError, match=r"within `source\.connect_seconds` = 0\.1\."):
            fetch(tmp_path, f"https://{HOST}:{port}/", connect_seconds=0.1, max_retries=1)
    with socket.create_server((HOST, 0), backlog=0) as full:
        port, started = full.getsockname()[1], time.monotonic()
        with socket.create_connection((HOST, port)), pytest.raises(SourceError, match="total_sec"):
            fetch(tmp_path, f"http://{HOST}:{port}/", total_seconds=0.1, max_retries=0)
        assert time.monotonic() - started < 5


def test_only_authorities_of_the_environment_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trustme

    authority = trustme.CA()
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(secure)
    with serve([Reply(is_raw=True, end="reset"), csv_reply()], secure) as server:
        with pytest.raises(
            SourceError,
            match=r"https://127\.0\.0\.1:\d+/data has an invalid certificate: unable to get local"
            r" issuer certificate\. Nothing was sent to it; earlier versions are unchanged\. If"
            r" your organisation has its own certificate authority, set SSL_CERT_FILE in the",
        ):
            fetch(tmp_path, server.url())
        assert server.requests == []
        certificate = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(certificate))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(fetch(tmp_path, server.url())) == 3
        with pytest.raises(SourceError, match="an invalid certificate: Hostname mismatch"):
            fetch(tmp_path, server.url().replace(HOST, "localhost"))
        server.answer = lambda _: Reply(drip(HEAD + b"\r\n", b"a"), is_raw=True)
        with pytest.raises(SourceError, match=r"within `source\.total_seconds` = 0\.2\."):
            fetch(tmp_path, server.url(), total_seconds=0.2, max_retries=0)
        server.answer = lambda _: redirect(f"http://{HOST}:1/")
        with pytest.raises(SourceError, match="which leaves https for http"):
            fetch(tmp_path, server.url())


@pytest.mark.parametrize(
    ("name", "value"),
    [("SSL_CERT_FILE", "/does/not/exist.pem"), ("HTTP_PROXY", "nope://ann:proxy-pass@h")],
)
def test_unusable_certificates_and_proxies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        SourceError,
        match=r"^The certificates or proxies of the environment cannot be used\. Nothing was"
        r" fetched; earlier versions are unchanged\. Correct SSL_CERT_FILE, SSL_CERT_DIR,",
    ):
        fetch(tmp_path, "https://127.0.0.1:1/")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(repeat(BLOCK), headers=TEXT),
        Reply(b"", headers={**TEXT, "Content-Length": str(10**10)}, end="hang"),
        csv_reply(gzip.compress(bytes(10**7)), Content_Encoding="gzip"),
        Reply(repeat(gzip.compress(b"") * 500), headers={**TEXT, "Content-Encoding": "gzip"}),
    ],
    ids=["no length", "too long a length", "a bomb", "gzip of nothing"],
)
def test_a_body_larger_than_the_limit_is_refused(tmp_path: Path, reply: Reply) -> None:
    """Reading stops at the limit; a declared length is refused before the first byte."""
    message = r"gives more than `source\.max_bytes` = 100,000 bytes, unpacked and all parts togeth"
    assert_refused(tmp_path, reply, message, max_bytes=100_000, total_seconds=10)
    assert list((tmp_path / "var").iterdir()) == []


def test_the_limit_counts_all_pages_but_no_failed_attempts(tmp_path: Path) -> None:
    bad = b"unique_id,ds,y\n1,2,3,4\n"

    def answer(request: Request) -> Reply:
        page = int(request.query["page"])
        body = CSV.replace(b"2026", b"202%d" % page) if page < 3 else b"unique_id,ds,y\n"
        return csv_reply(body if len(server.requests) % 2 == 0 else bad)

    with serve(answer) as server:
        limit = 2 * len(CSV) + len(bad)
        assert len(fetch(tmp_path, server.url(), paging={"kind": "page"}, max_bytes=limit)) == 6
        assert len(server.requests) == 6
        with pytest.raises(SourceError, match=r"more than `source\.max_bytes`"):
            fetch(tmp_path, server.url(), paging={"kind": "page"}, max_bytes=2 * len(CSV))


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_memory_is_bounded_while_a_body_is_received(tmp_path: Path, encoding: str) -> None:
    """60 MB are received and refused, and little of them is in memory at once."""
    block = BLOCK * 16  # 1 MB
    body = gzip.compress(block * 70, 1) if encoding == "gzip" else repeat(block)
    with serve(Reply(body, headers={**TEXT, "Content-Encoding": encoding})) as server:
        tracemalloc.start()
        try:
            with pytest.raises(SourceError, match=r"more than `source\.max_bytes`"):
                fetch(tmp_path, server.url(), max_bytes=60_000_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 10_000_000


def test_gzip_of_several_members_is_read_whole(tmp_path: Path) -> None:
    """Gzip that is cut off is not taken for whole: see the transient failures."""
    many = BLOCK * 32  # 2 MB, decompressed in several steps
    body = gzip.compress(CSV[:40]) + gzip.compress(CSV[40:]) + gzip.compress(many)
    with serve(csv_reply(body, Content_Encoding="gzip")) as server:
        rows = fetch(tmp_path, server.url())
    assert len(rows) == 3 + many.count(b"\n")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    message = rf"/data compresses its body as `{encoding}`, but only gzip was accepted\. Nothing w"
    assert_refused(tmp_path, csv_reply(Content_Encoding=encoding), message)
