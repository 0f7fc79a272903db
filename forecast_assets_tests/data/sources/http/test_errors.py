"""HTTP errors: which are permanent, and what their messages advise."""

import socket
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import Reply, assert_refused, csv_reply, fetch, serve

pytestmark = pytest.mark.usefixtures("no_proxy")

TOKEN = {"headers": {"X-Api-Key": "env:API_TOKEN"}}
TEXT = {"Content-Type": "text/plain"}
IN_CHUNKS = (
    b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nold t\r\n4\r\noken\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 501, 505, 300, 304])
def test_permanent_statuses_are_not_retried(tmp_path: Path, status: int) -> None:
    assert_refused(
        tmp_path,
        Reply(status=status),
        rf"http://127\.0\.0\.1:\d+/data answered {status} [\w' -]+, which a retry would not"
        r" change\. Nothing was fetched; earlier versions are unchanged\. \S+ ",
    )


@pytest.mark.parametrize(
    ("reply", "source", "message"),
    [
        (
            Reply(b'{"error": "no such\n id"}', 422, {"Content-Type": "application/json"}),
            {},
            r'422 \w+ \w+ \("\{"error": "no such id"\}"\), which',
        ),
        (Reply(status=401), TOKEN, r"Check that API_TOKEN in the environment is correct and stil"),
        (Reply(IN_CHUNKS, is_raw=True), TOKEN, r'answered 403 Forbidden \("\*\*\*"\), which'),
        (Reply(b"x" * 100_000, 403, TEXT), {}, r"Forbidden, which .* Add the credentials that it "),
    ],
)
def test_an_error_says_what_the_server_explains_or_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, source: Any, message: str
) -> None:
    monkeypatch.setenv("API_TOKEN", "old token")
    assert_refused(tmp_path, reply, message, **source)


def test_retry_after_is_respected_up_to_the_cap(tmp_path: Path) -> None:
    """It is in seconds, or a date relative to the server's own."""
    date, until = {"Date": "Mon, 23 Nov 2026 05:00:00 GMT"}, "Mon, 23 Nov 2026 05:00:07 GMT"
    replies = [
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503, headers={**date, "Retry-After": until}),
        Reply(status=503, headers={"Retry-After": until}),
        csv_reply(),
    ]
    lines: list[str] = []
    with serve(replies) as server:
        fetch(tmp_path, server.url(), log=lines.append, retry_cap_seconds=0.03)
    is_asked = ["for 7 s without requests. Retrying in 0.03 s." in line for line in lines]
    assert is_asked == [True, True, False]


UNKNOWN_HOST = (
    r"http://data\.invalid/a\.csv cannot be requested: its host name is unknown\. Nothing was"
    r" fetched; earlier versions are unchanged\. Correct `source\.url`, or this machine's"
)


@pytest.mark.parametrize(
    ("number", "n_lookups", "message"),
    [(socket.EAI_NONAME, 1, UNKNOWN_HOST), (socket.EAI_AGAIN, 4, "complete response: No name")],
)
def test_only_a_temporary_failure_of_name_resolution_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, n_lookups: int, message: str
) -> None:
    lookups = []

    def find_nothing(host: str, *_: object, **__: object) -> None:
        lookups.append(host)
        raise socket.gaierror(number, "No name")

    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    with pytest.raises(SourceError, match=message):
        fetch(tmp_path, "http://data.invalid/a.csv")
    assert lookups == ["data.invalid"] * n_lookups


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_needs_credentials_is_a_permanent_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with serve(Reply(status=407)) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url(""))
        with pytest.raises(
            SourceError,
            match=r"407 Proxy Authentication Required.* earlier versions are unchanged\. Add its"
            r" user name and password to HTTP_PROXY or HTTPS_PROXY in the environment\.",
        ):
            fetch(tmp_path, f"{scheme}://93.184.216.34/data")
        assert len(proxy.requests) == 1
