"""HTTP requests: what they contain, where they may be redirected, and who receives secrets."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.request import HttpRequest, build_request
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.errors import SettingsError, SourceError
from forecast_assets_tests.http_servers import (
    HOST,
    ROWS,
    Reply,
    assert_refused,
    csv_reply,
    fetch,
    http_request,
    json_reply,
    redirect,
    serve,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

SECRETS: dict[str, Any] = {
    "headers": {"X-Key": "key of mine"},
    "params": {"token": "token of mine"},
}
HTTPS, HTTP = "https://a.org/data", "http://a.org/data"


def test_a_request_contains_what_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets come from the environment; dates are in the source's time zone."""
    monkeypatch.setenv("TOKEN", "Bearer of secrets")
    monkeypatch.setenv("DEPTH", "deep {as_of:%Y}")
    with serve(json_reply({"data": {"rows": ROWS}})) as server:
        rows = fetch(
            tmp_path,
            server.url("/of/{as_of:%Y/%m}?kind={kind}"),
            as_of=datetime(2026, 11, 22, 23, 30, tzinfo=UTC),
            timezone="Europe/Vienna",
            method="POST",
            headers={"authorization": "env:TOKEN", "X-API-key": "one", "accept-encoding": "br"},
            params={"day": "{as_of}"},
            body={"until": ["{as_of}", {"deep": "env:DEPTH"}], "n": 3},
            records="data.rows",
        )
    (request,) = server.requests
    assert len(rows) == 3
    assert request.method == "POST"
    assert request.path.startswith("/of/2026/11?")
    assert request.query == {"kind": "{kind}", "day": "2026-11-23"}
    assert request.headers["authorization"] == "Bearer of secrets"
    assert request.headers["X-API-key"] == "one"
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {"until": ["2026-11-23", {"deep": "deep 2026"}], "n": 3}
    with pytest.raises(SettingsError, match=r'a `body` needs `method = "POST"`'):
        fetch(tmp_path, "http://h/", body={"a": 1})


def test_credentials_in_the_url_become_a_header(tmp_path: Path) -> None:
    with serve(csv_reply()) as server:
        url = server.url().replace("//", "//ann:s%40sam@")
        fetch(tmp_path, url)
        fetch(tmp_path, url, headers={"authorization": "Bearer 7", "user-agent": "ours"})
    basic, bearer = server.requests
    assert basic.headers["Authorization"] == "Basic YW5uOnNAc2Ft"
    assert "@" not in basic.headers["Host"]
    assert bearer.headers["authorization"] == "Bearer 7"
    assert "Authorization" not in bearer.headers
    assert bearer.headers["user-agent"] == "ours"


@pytest.mark.parametrize("url", ["ftp://h/a.csv", "h/a.csv", "http:///a.csv", "http://[::1/", "x"])
def test_an_invalid_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(
        SourceError,
        match=r"`source\.url` = .* is not a valid URL: it needs http:// or https:// and a host, and"
        r" .* Nothing was fetched; earlier versions are unchanged\. Correct it in forecast\.toml\.",
    ):
        fetch(tmp_path, url)


@pytest.mark.parametrize("value", ["two\nlines", "trailing\n", "überall", " before"])
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("KEY", value)
    with serve(csv_reply()) as server:
        with pytest.raises(
            SourceError,
            match=r"/data cannot be requested as set in forecast\.toml: .*\. Nothing was fetched;"
            r" earlier versions are unchanged\. Correct \[source\]\.",
        ) as caught:
            fetch(tmp_path, server.url(), headers={"X-Key": "env:KEY"})
        assert server.requests == []
    assert value.strip() not in str(caught.value)


def build(url: str, **source: Any) -> HttpRequest:
    request = http_request(Path("/r"), url, **source)
    assert isinstance(request.settings.source, HttpSource)
    return build_request(request.settings.source, request, Redactor())


@pytest.mark.parametrize(
    ("start", "target", "allow_hosts", "refusal"),
    [
        (HTTPS, "/b", None, ""),
        (HTTPS, "https://other.org/b", None, ""),
        (HTTP, "/b", None, ""),
        (HTTP, "//A.org:80/b", None, ""),
        (HTTP, "https://other.org/b", None, ""),
        (HTTP, "http://b.org/b", ["*.org"], ""),
        (HTTP, "http://a.org:8080/b", ["A.org"], ""),
        (HTTPS, "/b", ["b.org"], ""),
        (HTTPS, "https://cdn.b.org/b", ["c.org", "*.b.org"], ""),
        (HTTPS, "http://a.org/b", ["a.org"], r"leaves https for http\. If that is safe, set `sour"),
        (HTTP, "http://b.org/b", None,
         r"is plain http elsewhere\. If it is correct, add b\.org to `source\.allow_hosts`"),
        (HTTP, "http://a.org:8080/b", None, "is plain http elsewhere"),
        (HTTP, "http://b.org/b", ["c.org"], "is on another host"),
        (HTTPS, "https://b.org/b", ["c.org"],
         r"is on another host\. If it is correct, add b\.org to `source\.allow_hosts`"),
        (HTTPS, "https://b.org.evil.net/b", ["b.org"], "is on another host"),
        (HTTPS, "https://b.org@evil.net/b", ["b.org"], "is on another host"),
        (HTTPS, "https://b.org\\@evil.net/b", ["b.org"], "is"),
        (HTTPS, "https://a.org:444/b", ["b.org"], "is on another host"),
        (HTTP, "file:///etc/passwd", ["*"], "is neither http nor https"),
        (HTTP, "data:text/csv,unique_id", None, "is neither http nor https"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["redirect", "next page"])
def test_only_same_origin_https_and_allowed_hosts_are_followed(
    start: str, target: str, allow_hosts: list[str] | None, refusal: str, kind: str
) -> None:
    request = build(start, allow_hosts=allow_hosts)
    if not refusal:
        assert request.follow(target, kind).url.endswith("/b")
        return
    with pytest.raises(
        SourceError,
        match=rf"^https?://a\.org/data names the {kind} \S+, which {refusal}.*\. Nothing was"
        r" published; earlier versions are unchanged\.$",
    ):
        request.follow(target, kind)


@pytest.mark.parametrize(
    "source",
    [
        {"allow_hosts": ["b.org"]},
        {"decimal": ","},
        {"thousands": " "},
        {"separator": ";"},
        {"encoding": "cp1252"},
        {"skip_rows": 0},
    ],
)
def test_a_setting_of_later_versions_changes_the_fingerprint_only_where_it_is_set(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    """Versions that were stored before it existed belong to the same source."""
    without, given = (
        source_fingerprint(http_request(tmp_path, HTTPS, **settings).settings)
        for settings in ({}, source)
    )
    assert without == "53c0060c"
    assert given != without


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b'{"a":1}'),
     (308, "POST", b'{"a":1}')],
)  # fmt: skip
def test_a_redirect_within_the_origin_keeps_the_headers_and_the_method_as_its_status_says(
    tmp_path: Path, status: int, method: str, body: bytes
) -> None:
    """It does not receive the parameters: its own URL is complete."""
    with serve([redirect("/there?a=1", status), csv_reply()]) as server:
        assert len(fetch(tmp_path, server.url(), method="POST", body={"a": 1}, **SECRETS)) == 3
    first, second = server.requests
    assert first.query == {"token": "token of mine"}
    assert second.path == "/there?a=1"
    assert second.headers["X-Key"] == "key of mine"
    assert (second.method, second.body) == (method, body)
    assert ("Content-Type" in second.headers) is (method == "POST")


@pytest.mark.parametrize("is_page", [False, True])
def test_another_origin_receives_no_secrets(tmp_path: Path, is_page: bool) -> None:  # noqa: FBT001
    """Neither header, parameter nor password, also not one that the response names."""
    with serve(csv_reply()) as other, serve(Reply()) as server:
        there = other.url("/there").replace("//", "//x:y@")
        server.answer = lambda _: redirect(there)
        if is_page:
            server.answer = lambda _: csv_reply(Link=f'<{there}>; rel="next"')
        fetch(
            tmp_path,
            server.url().replace("//", "//ann:password@"),
            allow_hosts=[HOST],
            paging={"kind": "link"},
            **SECRETS,
        )
    (request,) = other.requests
    assert request.path == "/there"
    assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent"}


def test_another_origin_receives_no_body_and_its_need_of_credentials_is_explained(
    tmp_path: Path,
) -> None:
    with serve(Reply(status=401)) as other:
        message = (
            r"/data names the redirect http://127\.0\.0\.1:\d+/there, which is outside the origin"
            r" of `source\.url`, so `source\.body` was not sent there\."
        )
        reply, hosts = redirect(other.url("/there"), 307), {"allow_hosts": [HOST]}
        assert_refused(tmp_path, reply, message, method="POST", body={"a": 1}, **hosts)
        assert other.requests == []
        message = r"Headers of \[source\] are sent only to the origin of `source\.url`, and this is"
        assert_refused(tmp_path, reply, message, **hosts, **SECRETS)


@pytest.mark.parametrize(
    ("target", "n_requests", "message"),
    [
        ("file:///etc/passwd", 1, r"file:///etc/passwd, which is neither http nor https"),
        ("http://[::1/", 1, "names a redirect whose URL is invalid"),
        ("", 1, r"answered 302 Found without a `Location` header\."),
        ("/data", 11, r"/data is the last of more than 10 redirects\. Nothing was fetch"),
    ],
)
def test_a_redirect_that_cannot_be_followed_is_not_retried(
    tmp_path: Path, target: str, n_requests: int, message: str
) -> None:
    assert_refused(tmp_path, redirect(target), message, n_requests=n_requests)
