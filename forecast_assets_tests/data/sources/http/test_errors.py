"""HTTP errors: which are permanent, and what their messages advise."""

import socket
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import Reply, assert_refused, csv_reply, fetch, serve

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 501, 505, 300, 304])
def test_permanent_statuses_are_not_retried(tmp_path: Path, status: int) -> None:
    assert_refused(
        tmp_path,
        Reply(status=status),
        rf"http://127\.0\.0\.1:\d+/data answered {status} [\w' -]+, which a retry would not"
        r" change\. Nothing was fetched; earlier versions are unchanged\. \S+ ",
    )


def test_the_servers_explanation_is_quoted(tmp_path: Path) -> None:
    reply = Reply(
        b'{"error": "no such\n series"}', status=422, headers={"Content-Type": "application/json"}
    )
    assert_refused(tmp_path, reply, r'422 \w+ \w+ \("\{"error": "no such series"\}"\), which')


@pytest.mark.parametrize("status", [401, 403])
def test_missing_rights_name_the_secrets_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("API_TOKEN", "old token")
    assert_refused(
        tmp_path,
        Reply(status=status),
        r"Check that API_TOKEN in the environment is correct and still valid\.",
        headers={"X-Api-Key": "env:API_TOKEN"},
    )
    assert_refused(tmp_path, Reply(status=status), "Add the credentials that it needs to `source.h")


def test_retry_after_is_respected_up_to_the_cap(tmp_path: Path) -> None:
    replies = [
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503, headers={"Retry-After": "Mon, 23 Nov 2026 05:00:07 GMT"}),
        csv_reply(),
    ]
    lines: list[str] = []
    with serve(replies) as server:
        fetch(tmp_path, server.url(), log=lines.append, retry_cap_seconds=0.03)
    is_asked = ["for 7 s without requests. Retrying in 0.03 s." in line for line in lines]
    assert is_asked == [True, False]


def test_an_unknown_host_is_a_permanent_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = []

    def find_nothing(host: str, *_: object, **__: object) -> None:
        lookups.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    with pytest.raises(
        SourceError,
        match=r"http://data\.invalid/a\.csv cannot be requested: its host name is unknown\. Nothing"
        r" was fetched; earlier versions are unchanged\. Correct `source\.url`, or this machine's",
    ):
        fetch(tmp_path, "http://data.invalid/a.csv")
    assert lookups == ["data.invalid"]


def test_a_failure_of_name_resolution_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, lines = socket.getaddrinfo, list[str]()

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        if not lines:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", fail_once)
    with serve(csv_reply()) as server:
        fetch(tmp_path, server.url(), log=lines.append)
    assert "no complete response: Temporary failure in name resolution." in lines[0]


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
