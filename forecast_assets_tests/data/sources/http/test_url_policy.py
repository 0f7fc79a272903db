"""Hops: which addresses an answer may lead to, and who is told what there."""

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.data.sources.http.url_policy import AddressRules, UrlPolicy, is_public
from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import Reply, as_json, csv, fetch, web

pytestmark = pytest.mark.usefixtures("no_proxy")

PUBLIC = "https://93.184.216.34/data"
SECRETS: dict[str, Any] = {
    "headers": {"X-Key": "key of mine"},
    "params": {"token": "token of mine"},
}


def moved(to: str, status: int = 302) -> Reply:
    """A redirect."""
    return Reply(status=status, headers={"Location": to})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nobody is bound to it
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1 behind NAT64
        ("2002:a00:1::", False),  # 10.0.0.1 in 6to4
    ],
)
def test_what_is_public(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_public(ip_address(text)) is expected


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "2852039166",
     "0xa9fea9fe", "169.254.43518", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
     "metadata.google.internal", "METADATA.google.internal."],
)  # fmt: skip
def test_nobody_may_lead_to_a_machines_own_passwords(address: str) -> None:
    with pytest.raises(
        SourceError,
        match=r"`source\.url` leads to http://.*/x, which is where a cloud tells a machine its own"
        r" passwords\. Nothing was asked there, and nothing was published\. Name the address of"
        r" your data\.",
    ):
        UrlPolicy().first(f"http://{address}/x")
    with pytest.raises(
        SourceError,
        match=r"http://10\.0\.0\.1/ names as its redirect http://.*/x, which is where a cloud",
    ):
        UrlPolicy().after(f"http://{address}/x", came_from="http://10.0.0.1/", what="redirect")


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher", "ws"])
def test_only_http_is_followed(scheme: str) -> None:
    with pytest.raises(
        SourceError,
        match=rf"names as its next page {scheme}://h/x, which is neither http nor https\. It was"
        r" not followed, and nothing was published\. If it is right, put that address into"
        r" `source\.url`; if not, ask who runs the server\.",
    ):
        UrlPolicy().after(f"{scheme}://h/x", came_from="http://10.0.0.1/", what="next page")


def test_https_is_not_left() -> None:
    with pytest.raises(SourceError, match=r"http://93\.\S+, which is http and no longer https\."):
        UrlPolicy().after("http://93.184.216.34/", came_from=PUBLIC, what="redirect")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[fd12::1]", "localhost", "0"])
def test_the_public_internet_does_not_lead_to_a_private_network(host: str) -> None:
    with pytest.raises(SourceError, match="not on the public internet, as what named it is"):
        UrlPolicy().after(f"https://{host}/", came_from=PUBLIC, what="redirect")
    bounds = UrlPolicy().after(f"https://{host}/", came_from="https://10.9.9.9/", what="redirect")
    assert bounds == AddressRules(link_local=False, private=True)


@pytest.mark.parametrize("host", ["169.254.1.1", "[fe80::1]"])
def test_nothing_leads_to_a_link_local_address(host: str) -> None:
    """Settings may name one all the same."""
    with pytest.raises(SourceError, match=r", which is a link-local address\."):
        UrlPolicy().after(f"http://{host}/", came_from="http://10.0.0.1/", what="redirect")
    assert UrlPolicy().first(f"http://{host}/") == AddressRules()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(tmp_path: Path, status: int) -> None:
    """At home, the headers go with it; the parameters are the new address's affair."""
    with web([moved("/there?a=1", status), csv()]) as server:
        assert len(fetch(tmp_path, server.url(), **SECRETS)) == 3
    first, second = server.asked
    assert first.query == {"token": "token of mine"}
    assert second.path == "/there?a=1"
    assert second.headers["X-Key"] == "key of mine"


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b'{"a":1}'),
     (308, "POST", b'{"a":1}')],
)  # fmt: skip
def test_a_posted_request_goes_on_as_the_status_says(
    tmp_path: Path, status: int, method: str, body: bytes
) -> None:
    with web([moved("/there", status), csv()]) as server:
        fetch(tmp_path, server.url(), method="POST", body={"a": 1})
    assert (server.asked[1].method, server.asked[1].body) == (method, body)
    assert ("Content-Type" in server.asked[1].headers) is (method == "POST")


def test_another_origin_is_told_nothing(tmp_path: Path) -> None:
    """Another port is another origin: neither header, parameter nor password goes there."""
    with web(csv()) as other, web(moved(other.url("/there"))) as server:
        url = server.url().replace("//", "//ann:password@")
        assert len(fetch(tmp_path, url, **SECRETS)) == 3
    (asked,) = other.asked
    assert asked.path == "/there"
    assert set(asked.headers) == {
        "Host", "Accept", "Accept-Encoding", "User-Agent"}  # fmt: skip


def test_a_next_page_of_another_origin_is_told_nothing(tmp_path: Path) -> None:
    with web(csv()) as other, web(csv(Link=f'<{other.url("/2")}>; rel="next"')) as server:
        assert len(fetch(tmp_path, server.url(), paging={"kind": "link"}, **SECRETS)) == 6
    assert "X-Key" not in other.asked[0].headers
    assert other.asked[0].path == "/2"


def test_a_password_that_a_redirect_names_is_not_sent(tmp_path: Path) -> None:
    with web([moved("//x:y@127.0.0.1:{}/there"), csv()]) as server:
        server.answer = lambda request: (
            csv() if request.path == "/there" else moved(f"//x:y@127.0.0.1:{server.port}/there")
        )
        fetch(tmp_path, server.url())
    assert "Authorization" not in server.asked[1].headers


def test_a_body_goes_to_no_other_origin(tmp_path: Path) -> None:
    with web(csv()) as other, web(moved(other.url("/there"), 307)) as server:
        with pytest.raises(
            SourceError,
            match=r"/data sends on to http://127\.0\.0\.1:\d+/there, which is not the origin that"
            r" `source\.url` names, so `source\.body` was not sent there\. Nothing was published\."
            r" If it is right, put that address into `source\.url`\.",
        ):
            fetch(tmp_path, server.url(), method="POST", body={"a": 1})
        assert other.asked == []


def test_another_origin_that_wants_to_know_who_asks_is_named(tmp_path: Path) -> None:
    with (
        web(Reply(status=401)) as other,
        web(moved(other.url("/there"))) as server,
        pytest.raises(
            SourceError,
            match=r"What \[source\] says of headers goes only to the origin that `source\.url`"
            r" names, and this is another: if it is right, put that address into `source\.url`\.",
        ),
    ):
        fetch(tmp_path, server.url(), **SECRETS)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("file:///etc/passwd", r"file:///etc/passwd, which is neither http nor https"),
        ("data:text/csv,unique_id", "which is neither http nor https"),
        ("http://169.254.169.254/latest/meta-data", "where a cloud tells a machine its own"),
        ("http://169.254.7.7/", "a link-local address"),
        ("http://[::1/", "names another address, which is none that can be read"),
        ("", r"answered 302 Found, and not where to\."),
    ],
)
def test_a_redirect_that_may_not_be_followed_is_refused_at_once(
    tmp_path: Path, to: str, words: str
) -> None:
    with web(moved(to)) as server:
        with pytest.raises(SourceError, match=words):
            fetch(tmp_path, server.url())
        assert len(server.asked) == 1


def test_redirects_that_have_no_end_are_refused(tmp_path: Path) -> None:
    with web(moved("/data")) as server:
        with pytest.raises(
            SourceError,
            match=r"/data is where more than 10 redirects led, each to the next\. Nothing was"
            r" fetched, and earlier versions stand\. Put the last address into `source\.url`, or",
        ):
            fetch(tmp_path, server.url())
        assert len(server.asked) == 11


def test_a_name_that_is_looked_up_twice_may_not_change_its_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First it is of the public internet, then, to connect, of this machine: nothing is asked."""
    lookup, seen = socket.getaddrinfo, list[str]()

    def fickle(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "fickle.example":
            seen.append(host)
            host = "93.184.216.34" if len(seen) == 1 else "127.0.0.1"
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", fickle)
    with web(csv()) as inner, web(moved(f"http://fickle.example:{inner.port}/")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "fickle.example")
        with pytest.raises(
            SourceError,
            match=r"http://fickle\.example:\d+/ leads to 127\.0\.0\.1, which is not on the public"
            r" internet, as what named it is\. Nothing was asked there, and nothing was published",
        ):
            fetch(tmp_path, "http://93.184.216.34/data")
        assert inner.asked == []


def test_behind_a_proxy_the_rules_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that only the proxy knows is asked there; what is known here is judged here."""
    with web([moved("http://known.invalid/b"), csv()]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert len(fetch(tmp_path, "http://93.184.216.34/a")) == 3
        assert [asked.path for asked in proxy.asked] == [
            "http://93.184.216.34/a", "http://known.invalid/b"]  # fmt: skip
        proxy.answer = lambda _: moved("http://10.0.0.1/b")
        with pytest.raises(SourceError, match=r"10\.0\.0\.1/b, which is not on the public intern"):
            fetch(tmp_path, "http://93.184.216.34/a")
        proxy.answer = lambda _: as_json({"rows": [], "next": "http://127.0.0.1/b"})
        with pytest.raises(SourceError, match=r"names as its next page http://127\.0\.0\.1/b, whi"):
            fetch(
                tmp_path, "http://93.184.216.34/a", records="rows",
                paging={"kind": "link", "path": "next"})  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_to_know_who_asks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with web(Reply(status=407)) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(
            SourceError,
            match=r"407 Proxy Authentication Required\. .* earlier versions stand\. Give its name"
            r" and password in the environment's HTTP_PROXY or HTTPS_PROXY\.",
        ):
            fetch(tmp_path, f"{scheme}://93.184.216.34/data")
        assert len(proxy.asked) == 1
