"""Secrets: in no message, no log, no file and no chain of errors that a fetch leaves behind."""

import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from forecast_assets.config import redaction
from forecast_assets.config.loader import parse
from forecast_assets.config.redaction import SecretRedactor
from forecast_assets.errors import SettingsError, SourceError
from forecast_assets_tests.http_servers import CSV, ROWS, Reply, Web, as_json, csv, fetch, web
from forecast_assets_tests.notification_servers import refusing_port

pytestmark = pytest.mark.usefixtures("no_proxy")

KEY = "key/with spaces+and&more=ä"
HEADER = "Bearer of-a-long-token"
SECRETS = (KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), "of-a-long-token", "pass word",
           "pass%20word", "YW5uOnBhc3Mgd29yZA", "plain-token")  # fmt: skip
LATE = {"timeout_seconds": 0.1, "max_retries": 1}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that the settings name."""
    monkeypatch.setenv("API_KEY", KEY)
    monkeypatch.setenv("API_HEADER", HEADER)


def echo(asked: Web, status: int = 200, media: str = "application/json") -> Reply:
    """All that a server was sent last, sent back: address, headers and body."""
    last = asked.asked[-1]
    text = f"{last.path} {dict(last.headers)} {last.body!r} {KEY} {HEADER}"
    return Reply(text.encode(), status=status, headers={"Content-Type": media})


def everything(error: BaseException | None) -> Iterator[str]:
    """What an error and all errors behind it say, whether a traceback shows them or not."""
    while error is not None:
        yield from (str(error), repr(error), *traceback.format_exception(error))
        yield from everything(error.__cause__)
        error = error.__context__


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("status", "media"),
    [(200, "application/json"), (200, "text/csv"), (200, "x/unknown"), (401, "application/json"),
     (404, "text/plain"), (503, "application/json"), (302, "text/plain")],
)  # fmt: skip
def test_what_a_server_repeats_is_told_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, media: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        caplog.set_level(logging.DEBUG, name)
    said: list[str] = []
    with web(lambda _: echo(server, status, media)) as server, pytest.raises(SourceError) as caught:
        fetch(
            tmp_path,
            server.url("/a").replace("//", "//ann:pass%20word@"),
            say=said.append,
            headers={"X-Header": "env:API_HEADER"},
            params={"key": "env:API_KEY", "token": "plain-token"},
            method="POST",
            body={"deep": ["env:API_KEY"]},
            max_retries=1,
        )
    assert server.asked[0].query["key"] == KEY
    assert server.asked[0].headers["X-Header"] == HEADER
    kept = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*everything(caught.value), *said, *caplog.messages, *kept):
        assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("end", ["refused", "late", "reset", "moved"])
def test_an_address_is_told_without_what_is_secret_in_it(tmp_path: Path, end: str) -> None:
    replies = {
        "late": Reply(is_bare=True, ends="hang"),
        "reset": Reply(is_bare=True, ends="reset"),
        "moved": Reply(status=302, headers={"Location": f"ftp://h/{quote(KEY)}?key={quote(KEY)}"}),
    }
    said: list[str] = []
    with web(replies.get(end, Reply())) as server:
        url = server.url() if end != "refused" else f"http://127.0.0.1:{refusing_port()}/data"
        with pytest.raises(SourceError) as caught:
            fetch(tmp_path, url, say=said.append, params={"key": "env:API_KEY"}, **LATE)
    for text in (*everything(caught.value), *said):
        assert [secret for secret in SECRETS if secret in text] == []
    assert "/data" in str(caught.value)


@pytest.mark.parametrize(
    "reply", [Reply(status=404), Reply(status=503), csv(CSV + b"1,2,3,4\n"), csv(b"x\n1\n")]
)
def test_an_address_of_the_environments_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    with web(reply) as server:
        monkeypatch.setenv("DATA_URL", server.url("/hooks/T0P-S3CRET/x.csv?sig=abcdefgh"))
        with pytest.raises(SourceError, match="env:DATA_URL") as caught:
            fetch(tmp_path, "env:DATA_URL", max_retries=0)
    told = "".join(everything(caught.value))
    assert "S3CRET" not in told
    assert "abcdefgh" not in told


def test_an_address_that_cannot_be_read_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it may be a sign in its password."""
    monkeypatch.setenv("DATA_URL", "https://ann:p@ss/word:1@h.org/a")
    for url in ("env:DATA_URL", "https://ann:pa/ss:word@h.org/a", "https://ann:pa\u2488@h.org/"):
        with pytest.raises(SourceError) as caught:
            fetch(tmp_path, url, max_retries=0)
        told = "".join(everything(caught.value))
        assert not any(part in told for part in ("p@ss", "word:1", "ss:word", "pa\u2488"))


@pytest.mark.usefixtures("environment")
def test_a_body_that_repeats_a_secret_is_not_kept(tmp_path: Path) -> None:
    """Nor one whose headers do: the address of a next page often holds the key."""
    for reply in (
        as_json({"rows": ROWS, "next": None, "self": f"/data?key={quote_plus(KEY)}"}, ETag='"1"'),
        as_json({"rows": ROWS}, ETag='"1"', Link=f'</?key={quote(KEY)}>; rel="self"'),
        as_json({"rows": ROWS}, ETag=f'"{quote(KEY)}"'),
    ):
        with web(reply) as server:
            fetch(tmp_path, server.url(), records="rows", params={"key": "env:API_KEY"})
        assert list((tmp_path / "var" / "fetched").iterdir()) == []
    with web(as_json({"rows": ROWS}, ETag='"1"')) as server:
        fetch(tmp_path, server.url(), records="rows", params={"key": "env:API_KEY"})
    assert len(list((tmp_path / "var" / "fetched").iterdir())) == 2


@pytest.mark.usefixtures("environment")
def test_httpx_tells_no_address_to_the_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpx")
    caplog.set_level(logging.DEBUG, "httpcore")
    with web(csv()) as server:
        fetch(tmp_path, server.url(), params={"key": "env:API_KEY"})
    assert [line.name for line in caplog.records if line.name.startswith("http")] == []


def test_settings_are_shown_without_it(tmp_path: Path) -> None:
    table = {
        "kind": "http",
        "url": "https://ann:plain-token@h.org/a?key=plain-token",
        "method": "POST",
        "headers": {"X": "plain-token", "Y": "env:KEY"},
        "params": {"token": "plain-token"},
        "body": {"n": 1, "deep": [{"token": "plain-token"}, "env:KEY"]},
    }
    settings = parse({"source": table}, root=tmp_path, var=tmp_path, origin="a test")
    shown = settings.source.model_dump(mode="json")
    assert "plain-token" not in str(shown)
    assert shown["url"] == "https://h.org/a"
    assert shown["headers"] == {"X": "***", "Y": "env:KEY"}
    assert shown["body"] == {"n": 1, "deep": [{"token": "***"}, "env:KEY"]}


def test_a_secret_that_the_environment_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    with pytest.raises(SettingsError, match="the environment has no API_KEY"):
        fetch(tmp_path, "http://127.0.0.1:1/", headers={"X": "env:API_KEY"})


def test_proxies_have_secrets_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://ann:proxy-pass@127.0.0.1:{refusing_port()}")
    with pytest.raises(SourceError) as caught:
        fetch(tmp_path, "http://93.184.216.34/", max_retries=0)
    assert "proxy-pass" not in "".join(everything(caught.value))
    monkeypatch.setenv("HTTP_PROXY", "nope://ann:proxy-pass@h")
    with pytest.raises(
        SourceError,
        match=r"The environment's certificates or proxies cannot be used, so nothing was fetched,"
        r" and earlier versions stand\. Correct SSL_CERT_FILE, SSL_CERT_DIR, HTTP_PROXY,",
    ) as caught:
        fetch(tmp_path, "http://93.184.216.34/", max_retries=0)
    assert "proxy-pass" not in "".join(everything(caught.value))


def test_short_words_are_no_secrets_unless_the_environment_gives_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIN", "1234")
    secrets = SecretRedactor()
    secrets.hide("json")
    assert secrets.reveal("env:PIN") == "1234"
    assert secrets.reveal("plain") == "plain"
    secrets.hide_address("http://ann:pw@h/", is_from_environment=False)
    assert secrets.scrub("ann: json 1234 pw plain") == "ann: json *** *** plain"


def test_a_secret_across_two_blocks_of_a_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "secret")
    secrets = SecretRedactor()
    assert not secrets.is_in_file(io.BytesIO(b"secret"))
    secrets.reveal("env:KEY")
    before = b"." * (redaction.BLOCK - 3)
    assert secrets.is_in_file(io.BytesIO(before + b"secret" + before))
    assert not secrets.is_in_file(io.BytesIO(before + b"secre." + before))
