"""Secrets: in no message, log, file or chain of errors that a fetch leaves."""

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from forecast_assets.config.redaction import Redactor, redact, redact_url_parts, url_secrets
from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import (
    CSV,
    HttpServer,
    Reply,
    csv_reply,
    fetch,
    http_request,
    redirect,
    serve,
)
from forecast_assets_tests.notification_servers import refusing_port

pytestmark = pytest.mark.usefixtures("no_proxy")

KEY = "key/with spaces+and&more=ä"
HEADER = "Bearer of-a-long-token"
SECRETS = (KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), "of-a-long-token", "pass word",
           "pass%20word", "YW5uOnBhc3Mgd29yZA", "plain-token")  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the secrets that the settings name."""
    monkeypatch.setenv("API_KEY", KEY)
    monkeypatch.setenv("API_HEADER", HEADER)


def echo(server: HttpServer, status: int, media_type: str) -> Reply:
    """Reply with everything that the server received last: URL, headers and body."""
    last = server.requests[-1]
    text = f"{last.path} {dict(last.headers)} {last.body!r} {KEY} {HEADER}"
    return Reply(text.encode(), status=status, headers={"Content-Type": media_type})


def all_texts(error: BaseException | None) -> Iterator[str]:
    """Yield the texts of an error and of all errors behind it, also of hidden ones."""
    while error is not None:
        yield from (str(error), repr(error), *traceback.format_exception(error))
        yield from all_texts(error.__cause__)
        error = error.__context__


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("status", "media_type"),
    [(200, "application/json"), (200, "text/csv"), (200, "x/unknown"), (401, "application/json"),
     (404, "text/plain"), (503, "application/json"), (302, "text/plain")],
)  # fmt: skip
def test_secrets_that_a_server_repeats_are_redacted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, media_type: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection"):
        caplog.set_level(logging.DEBUG, name)
    lines: list[str] = []
    with (
        serve(lambda _: echo(server, status, media_type)) as server,
        pytest.raises(SourceError) as caught,
    ):
        fetch(
            tmp_path,
            server.url("/a").replace("//", "//ann:pass%20word@"),
            log=lines.append,
            headers={"X-Header": "env:API_HEADER"},
            params={"key": "env:API_KEY", "token": "plain-token"},
            method="POST",
            body={"deep": ["env:API_KEY"]},
            max_retries=1,
        )
    assert server.requests[0].query["key"] == KEY
    assert server.requests[0].headers["X-Header"] == HEADER
    files = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    for text in (*all_texts(caught.value), *lines, *caplog.messages, *files):
        assert [secret for secret in SECRETS if secret in text] == []
    assert [record.name for record in caplog.records if record.name.startswith("http")] == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("end", ["refused", "late", "reset", "redirected"])
def test_urls_in_messages_have_no_secrets(tmp_path: Path, end: str) -> None:
    replies = {
        "late": Reply(is_raw=True, end="hang"),
        "reset": Reply(is_raw=True, end="reset"),
        "redirected": redirect(f"ftp://h/{quote(KEY)}?key={quote(KEY)}"),
    }
    quick = {"timeout_seconds": 0.1, "max_retries": 1}
    lines: list[str] = []
    with serve(replies.get(end, Reply())) as server:
        url = server.url() if end != "refused" else f"http://127.0.0.1:{refusing_port()}/data"
        with pytest.raises(SourceError) as caught:
            fetch(tmp_path, url, log=lines.append, params={"key": "env:API_KEY"}, **quick)
    for text in (*all_texts(caught.value), *lines):
        assert [secret for secret in SECRETS if secret in text] == []
    assert "/data" in str(caught.value)


def test_a_url_of_the_environment_is_shown_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reply in (
        Reply(status=404),
        csv_reply(b"1,2,3,4\n".join([CSV, CSV])),
        csv_reply(b"x\n1\n"),
    ):
        with serve(reply) as server:
            monkeypatch.setenv("DATA_URL", server.url("/hooks/T0P-S3CRET/x.csv?sig=abcdefgh"))
            with pytest.raises(SourceError, match="env:DATA_URL") as caught:
                fetch(tmp_path, "env:DATA_URL", max_retries=0)
        text = "".join(all_texts(caught.value))
        assert [part for part in ("S3CRET", "abcdefgh") if part in text] == []


def test_an_invalid_url_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason may be a character of its password."""
    monkeypatch.setenv("DATA_URL", "https://ann:p@ss/word:1@h.org/a")
    for url in ("env:DATA_URL", "https://ann:pa/ss:word@h.org/a", "https://ann:pa\u2488@h.org/"):
        with pytest.raises(SourceError) as caught:
            fetch(tmp_path, url, max_retries=0)
        text = "".join(all_texts(caught.value))
        assert not any(part in text for part in ("p@ss", "word:1", "ss:word", "pa\u2488"))


def test_credentials_of_a_proxy_are_redacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for proxy in ("http://ann:proxy-pass@127.0.0.1:9", "nope://ann:proxy-pass@h"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        with pytest.raises(SourceError) as caught:
            fetch(tmp_path, "http://93.184.216.34/", max_retries=0)
        assert "proxy-pass" not in "".join(all_texts(caught.value))


def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    request = http_request(
        tmp_path,
        "https://ann:plain-token@h.org/a?key=plain-token",
        method="POST",
        headers={"X": "plain-token", "Y": "env:KEY"},
        params={"token": "plain-token"},
        body={"n": 1, "deep": [{"token": "plain-token"}, "env:KEY"]},
    )
    shown = request.settings.source.model_dump(mode="json")
    assert "plain-token" not in str(shown)
    assert shown["url"] == "https://h.org/a"
    assert shown["headers"] == {"X": "***", "Y": "env:KEY"}
    assert shown["body"] == {"n": 1, "deep": [{"token": "***"}, "env:KEY"]}


@pytest.mark.parametrize(
    ("text", "secrets", "expected"),
    [
        ("key=se%2Fcret, se/cret", ["se/cret"], "key=***, ***"),
        ("Key SE%2fCRET", ["se/cret"], "Key ***"),
        ('{"a": "qu\\"ote"}', ['qu"ote'], '{"a": "***"}'),
        ("Basic cGFzc3dvcmQ=", ["password"], "Basic ***"),
        ("token long-word", ["Token long-word"], "***"),
        ("the token is gone", ["Token long-word"], "the token is gone"),
        ("a pw, spwn and pw1", ["pw"], "a ***, spwn and pw1"),
        ("nothing", [], "nothing"),
    ],
)
def test_a_secret_is_found_in_every_written_form(
    text: str, secrets: list[str], expected: str
) -> None:
    """A short one only where it is a whole word."""
    assert redact(text, secrets) == expected


def test_credentials_and_parameters_of_a_url_are_secret() -> None:
    secrets = url_secrets("https://ann:p%40ss@h.org/a?key=abcdef&n=1")
    assert secrets >= {"p%40ss", "p@ss", "abcdef"}
    assert not secrets & {"ann", "1"}
    assert "api-token" in url_secrets("https://api-token@h.org/")
    assert "se/cr?et" in url_secrets("zip://*.csv::s3://id:se/cr?et@b/a.zip")
    assert url_secrets("sqlite:///a.db") == set()


def test_only_values_of_the_environment_become_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIN", "1234")
    redactor = Redactor()
    assert redactor.resolve("env:PIN") == "1234"
    assert redactor.resolve("plain text") == "plain text"
    redactor.add("added")
    assert redactor.redact("1234 plain text added") == "*** plain text ***"


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        ("login of me with hunter2", "json://me:hunter2@host", "login of *** with ***"),
        ("posted to json://me:x@host/t", "json://me:x@host/t", "posted to json://***"),
        ("user p@ss w0rd!", "json://me:p%40ss+w0rd%21@host", "user ***@*** ***"),
        ("path /s%C3%A9cret/x", "json://host/sécret", "path /***/x"),
        ("HTTP x-abc123456-y", "json://host?+X=abc123456", "HTTP x-***-y"),
        ("the key KEY-123", "slack://key-123", "the key ***"),
        ("a cat sat at a table", "json://host/a", "*** cat sat at *** table"),
        ("sent to nobody from here", "mailto://host?to=x&from=y", "sent to nobody from here"),
    ],
)
def test_every_part_of_a_channels_url_is_redacted(text: str, url: str, expected: str) -> None:
    """But its scheme and the names of its parameters."""
    assert redact_url_parts(text, url) == expected
