"""Whom a notice concerns, and handing it to real servers, sound and otherwise."""

import base64
import concurrent.futures
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.notifications.apprise_client import (
    CUT,
    TITLE_BYTES,
    check_url,
    is_partial,
    send,
)
from forecast_assets.notifications.routing import all_channels, recipients, report_recipients
from forecast_assets.reporting.render import escape_markdown
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.notification_servers import (
    HERE,
    mail_server,
    make_notice,
    refusing_port,
    silent_port,
    webhook,
)

SECONDS = 30.0  # enough for any answer that comes
SOON = 0.3  # for answers that do not come
HOSTILE = "Ü 🎉\r\nBcc: eve@example.org\n\x00\x1b[31m\u2028" + "🎉" * 200


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    """Wait for the threads that were left behind, which end when their server does."""
    yield
    for thread in threading.enumerate():
        if thread.name == "notice":
            assert thread.daemon
            thread.join(SECONDS)


def part(mail: EmailMessage, kind: str) -> str:
    """The text of one of a mail's two forms, plain or html."""
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content()).replace("\r\n", "\n")


def assert_says(reason: str | None, said: str) -> None:
    """The reason is one line that holds this, and nobody has the notice."""
    assert reason is not None
    assert re.search(said, reason), reason
    assert "\n" not in reason
    assert not is_partial(reason)


# Whom it concerns
def rule(url: str, **asked: Any) -> dict[str, Any]:
    return {"urls": [url], **asked}


@pytest.mark.parametrize(
    ("asked", "about", "is_told"),
    [
        ({}, {}, True),
        ({"events": ["report"]}, {"event": "report"}, True),
        ({"events": ["report", "week_missed"]}, {"event": "week_missed"}, True),
        ({"events": ["run_failed"]}, {"event": "report"}, False),
        ({"severity": "warning"}, {"severity": "info"}, False),
        ({"severity": "warning"}, {"severity": "warning"}, True),
        ({"severity": "warning"}, {"severity": "error"}, True),
        ({"severity": "error"}, {"severity": "warning"}, False),
        ({"series": ["us_*"]}, {"series": ("us_crude", "mn_gas")}, True),
        ({"series": ["us_*"]}, {"series": ("mn_gas",)}, False),
        ({"series": ["us_*"]}, {"series": ("US_crude",)}, False),
        ({"series": ["us_*"]}, {"series": ()}, True),
        ({"series": ["*"]}, {"series": ("a\nb",)}, True),
        ({"series": ["a*c"]}, {"series": ("a\nb\n🎉c",)}, True),
        ({"series": ["a[1]"]}, {"series": ("a[1]",)}, True),
        ({"series": ["a?"]}, {"series": ("ab",)}, True),
        (
            {"events": ["run_failed"], "severity": "error", "series": ["us_*"]},
            {"event": "run_failed", "severity": "error", "series": ("us_crude",)},
            True,
        ),
        (
            {"events": ["run_failed"], "severity": "error", "series": ["us_*"]},
            {"event": "run_failed", "severity": "error", "series": ("mn_gas",)},
            False,
        ),
    ],
)
def test_a_rule_is_told_where_all_that_it_asks_for_holds(
    tmp_path: Path, asked: dict[str, Any], about: dict[str, Any], *, is_told: bool
):
    settings = make_settings(tmp_path, notify={"rules": [rule("env:OPS", **asked)]})
    assert recipients(make_notice(**about), settings) == (["env:OPS"] if is_told else [])


def test_urls_are_told_everything_and_each_once(tmp_path: Path):
    rules = [rule("env:B"), rule("json://c", events=["run_failed"]), rule("json://a")]
    settings = make_settings(tmp_path, notify={"urls": ["json://a", "env:B"], "rules": rules})
    assert recipients(make_notice(), settings) == ["json://a", "env:B"]
    assert recipients(make_notice(event="run_failed"), settings) == [
        "json://a",
        "env:B",
        "json://c",
    ]
    assert all_channels(settings) == ["json://a", "env:B", "json://c"]


def test_who_reads_of_a_part_is_told_as_that_part_is(tmp_path: Path):
    """`b` asks for problems of all and for the part; it gets one report, whatever is wrong."""
    rules = [
        rule("json://b", severity="warning"),
        rule("json://b", series=["us_*"]),
        rule("json://c", series=["us_*"], severity="warning"),
    ]
    settings = make_settings(tmp_path, notify={"urls": ["json://a"], "rules": rules})
    every, part = ("*",), ("us_*",)
    a, b, c = "json://a", "json://b", "json://c"
    for wrong, told in (
        ((), {every: [a], part: [b]}),
        ((every,), {every: [a, b]}),
        ((every, part), {every: [a, b], part: [c]}),
    ):
        found = report_recipients(
            settings, severity_of=lambda of, w=wrong: "warning" if of in w else "info"
        )
        assert found == told


# What arrives
def test_a_mail_holds_the_markdown_as_text_and_as_html_and_the_files(tmp_path: Path):
    files = {'a ä?x=1#".html': b"<p>\xff\x00\r\n.\r\n</p>", "empty.csv": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    text = "# Häd 🎉\n\n| a | b |\n|---|--:|\n| x\\_y | 1 |\n"
    paths = tuple(tmp_path / name for name in files)
    with mail_server() as server:
        assert send(make_notice(text=text, files=paths), server.url(), seconds=SECONDS) is None
    (mail,) = server.mails
    assert mail["subject"] == "The week of 2 January"
    assert mail["to"] == "ann@example.org"
    assert mail["from"] == "week@example.org"
    assert "<h1>Häd 🎉</h1>" in part(mail, "html")
    assert "<td>x_y</td>" in part(mail, "html")
    assert "Häd 🎉" in part(mail, "plain")
    attached = {one.get_filename(): one.get_payload(decode=True) for one in mail.iter_attachments()}
    assert attached == {"a a?x=1#_.html": files['a ä?x=1#".html'], "empty.csv": b""}


def test_a_subject_is_one_line_that_a_header_can_hold():
    with mail_server() as server:
        assert send(make_notice(title=HOSTILE), server.url(), seconds=SECONDS) is None
    (mail,) = server.mails
    subject = str(mail["subject"])
    assert subject.startswith("Ü 🎉 Bcc: eve@example.org [31m")
    assert subject.endswith("🎉…")
    assert TITLE_BYTES - 4 < len(subject.encode()) <= TITLE_BYTES
    assert mail["bcc"] is None


def test_a_text_that_is_no_unicode_is_told_all_the_same():
    with webhook() as hook:
        notice = make_notice(title="a\udc80", text="b\udc80")
        assert send(notice, hook.url, seconds=SECONDS) is None
    assert hook.asked[0][2]["title"] == "a?"
    assert hook.asked[0][2]["message"] == "b?"


def test_a_name_that_was_escaped_is_text_in_a_mail():
    name = "<script>alert(1)</script> | *a* [b](http://c) &amp; `d`\n# e"
    with mail_server() as server:
        assert send(make_notice(text=escape_markdown(name)), server.url(), seconds=SECONDS) is None
    (mail,) = server.mails
    assert part(mail, "plain").strip() == " ".join(name.split())
    assert re.findall(r"<(\w+)", part(mail, "html")) == ["p"]


def test_a_webhook_is_told_in_markdown_with_severity_and_files(tmp_path: Path):
    (tmp_path / "report.md").write_bytes(b"\x00\xff")
    notice = make_notice(severity="error", files=(tmp_path / "report.md",))
    with webhook() as hook:
        assert send(notice, hook.url, seconds=SECONDS) is None
    ((method, path, said),) = hook.asked
    assert (method, path) == ("POST", "/hook")
    assert (said["title"], said["type"]) == (notice.title, "failure")
    assert said["message"] == "All went *well*."
    (file,) = said["attachments"]
    assert file["filename"] == "report.md"
    assert base64.b64decode(file["base64"]) == b"\x00\xff"


@pytest.mark.parametrize("name", ["gone.html", "x" * 300, "."])
def test_a_file_that_cannot_be_read_is_named_and_does_not_hold_up_the_notice(
    tmp_path: Path, name: str
):
    path = tmp_path / name
    with webhook() as hook:
        notice = make_notice(files=(path,))
        assert send(notice, hook.url, seconds=SECONDS) is None
    assert hook.asked[0][2]["attachments"] == []
    assert hook.asked[0][2]["message"].endswith(
        f"Not attached, for it cannot be read: `{path.name}`."
    )


def test_a_notice_without_a_text_says_its_title():
    with webhook() as hook:
        assert send(make_notice(text=""), hook.url, seconds=SECONDS) is None
    assert hook.asked[0][2]["message"] == "The week of 2 January"


def test_a_long_text_reaches_mail_and_webhook_whole():
    text = "".join(f"line {i} of many\n\n" for i in range(6000))
    assert len(text) > 100_000
    with mail_server() as server, webhook() as hook:
        for url in (server.url(), hook.url):
            assert send(make_notice(text=text), url, seconds=SECONDS) is None
    assert "line 5999 of many" in part(server.mails[0], "html")
    assert hook.asked[0][2]["message"] == text.rstrip()


def test_a_long_text_reaches_a_chat_as_one_message_of_whole_lines():
    text = "".join(f"line {i} of many\n" for i in range(6000))
    with webhook() as hook:
        url = f"mmost://{HERE}:{hook.port}/abcdefghijklmnopqrstuvwxyz"
        assert send(make_notice(text=text), url, seconds=SECONDS) is None
    ((_, _, said),) = hook.asked
    assert len(said["text"]) <= 4000
    assert said["text"].endswith(f" of many{CUT}")


def test_who_asks_apprise_to_split_gets_all_the_pieces():
    with webhook() as hook:
        url = f"mmost://{HERE}:{hook.port}/abcdefghijklmnopqrstuvwxyz?overflow=split"
        assert send(make_notice(text="all of it\n" * 1000), url, seconds=SECONDS) is None
    assert sum(said["text"].count("all of it") for _, _, said in hook.asked) == 1000


# What fails
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (500, r"Internal server error., error=500\. It may take it later; its own log"),
        (429, r"error=429\. It may take it later"),
        (404, r"Page not found., error=404\. See that it is up"),
        (401, r"Verification Failed., error=401\. Correct the user, password or token in its URL"),
        (302, r"error=302\. It has moved: give the address that it leads to, or add redirect=yes"),
    ],
)
def test_a_webhook_that_says_no_is_quoted_with_a_remedy(answer: int, said: str):
    with webhook(answer) as hook:
        assert_says(send(make_notice(), hook.url, seconds=SECONDS), said)
    assert [method for method, _, _ in hook.asked] == ["POST"]


def test_a_redirect_is_followed_where_the_url_says_so():
    with webhook() as there, webhook(307, moved_to=f"http://{HERE}:{there.port}/hook") as hook:
        assert send(make_notice(), f"{hook.url}?redirect=yes", seconds=SECONDS) is None
    assert there.told == ["The week of 2 January"]


@pytest.mark.parametrize(
    "scheme", ["json://{}:{}/hook", "mailto://{}:{}?mode=insecure&from=a@example.org"]
)
def test_a_port_that_refuses_is_said_to(scheme: str):
    reason = send(make_notice(), scheme.format(HERE, refusing_port()), seconds=SECONDS)
    assert_says(reason, r"\(Connection refused\)\. See that it is up, and that its URL")


def test_a_host_that_does_not_exist_is_said_to():
    reason = send(make_notice(), "json://no.such.host.invalid", seconds=SECONDS)
    assert_says(reason, r"\(.+\)\. See that it is up, and that its URL says the right host")


@pytest.mark.parametrize(
    "scheme", ["json://{}:{}/hook", "mailto://{}:{}?mode=insecure&from=a@example.org"]
)
def test_a_server_that_never_says_a_word_is_not_waited_for(scheme: str):
    with silent_port() as port:
        reason = send(make_notice(), scheme.format(HERE, port), seconds=SOON)
    assert_says(reason, r"within 0\.3 seconds, and may have it all the same|no answer in tim")


@pytest.mark.parametrize("answer", ["hangs", "drips"])
def test_a_webhook_that_does_not_come_to_an_end_is_not_waited_for(answer: Any):
    """A byte every 20 ms keeps every time-out of the libraries below from passing."""
    with webhook(answer) as hook:
        reason = send(make_notice(), hook.url, seconds=SOON)
        assert_says(reason, r"within 0\.3 seconds|no answer in time")


def test_a_channel_that_hangs_does_not_keep_a_process_from_ending():
    code = f"""
import sys
from forecast_assets.notifications.apprise_client import send
from forecast_assets_tests.notification_servers import make_notice
print(send(make_notice(), sys.argv[1], seconds={SOON}))
"""
    with webhook("drips") as hook:
        command = [sys.executable, "-c", code, hook.url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "did not take the notice within 0.3 seconds" in said.stdout
    assert said.stderr == ""


def test_a_mail_server_that_hangs_after_the_mail_is_not_waited_for():
    with mail_server(hangs_after_data=True) as server:
        reason = send(make_notice(), server.url(), seconds=SOON)
    assert_says(reason, r"within 0\.3 seconds|no answer in time")


def test_a_url_can_ask_for_less_patience():
    with silent_port() as port:
        url = f"json://{HERE}:{port}?rto=0.1&cto=0.1"
        assert_says(send(make_notice(), url, seconds=SECONDS), r"\(no answer in time\)")


def test_a_recipient_who_is_refused_is_said_to():
    with mail_server(refused=["ann@example.org"]) as server:
        reason = send(make_notice(), server.url(), seconds=SECONDS)
    assert_says(reason, r"\(550 5\.1\.1 no such user\)\. Correct the recipients in its URL")


@pytest.mark.parametrize("also", [",bob@example.org", "&cc=bob@example.org"])
def test_where_only_some_recipients_have_it_the_reason_says_so(also: str):
    with mail_server(refused=["bob@example.org"]) as server:
        url = server.url(f"ann@example.org{also}")
        reason = send(make_notice(), url, seconds=SECONDS)
    assert [mail["to"] for mail in server.mails] == ["ann@example.org"]
    assert reason is not None
    assert is_partial(reason)
    assert "Some of its recipients have it, others do not: " in reason


def test_a_server_that_takes_no_password_is_said_to():
    with mail_server() as server:
        url = f"mailto://me:hunter2@{HERE}:{server.port}?mode=insecure&from=a@example.org"
        reason = send(make_notice(), url, seconds=SECONDS)
    assert_says(reason, r"SMTP AUTH extension not supported by server")


def test_optional_channels_fail_like_any_other():
    url = f"json://{HERE}:{refusing_port()}?optional=yes"
    assert_says(send(make_notice(), url, seconds=SECONDS), "Connection refused")


def test_a_mistake_in_the_program_is_raised():
    with webhook() as hook, pytest.raises(KeyError, match="dire"):
        send(make_notice(severity="dire"), hook.url, seconds=SECONDS)


def test_channels_that_fail_at_the_same_time_give_their_own_reasons():
    with webhook(500) as one, webhook(404) as two, concurrent.futures.ThreadPoolExecutor() as pool:
        urls = [one.url, two.url] * 8
        said = list(pool.map(lambda url: send(make_notice(), url, seconds=SECONDS), urls))
    assert ["error=500" in str(reason) for reason in said] == [True, False] * 8
    assert ["error=404" in str(reason) for reason in said] == [False, True] * 8


# URLs that cannot be used, and what they hide
@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "nosuch://host",
            r"^Apprise cannot use this URL: Unparseable URL nosuch://\*\*\*\. Nobody",
        ),
        ("json://", r"Unparseable JSON URL .*https://appriseit\.com/services/ has the form of"),
        ("dbus://]%[", r"^Apprise cannot use this URL: it is no URL\. Nobody is told by it"),
        ("host.example.org", r"^Apprise cannot use this URL: Unsupported URL"),
        ("mailto://host.example.org", r"Invalid ~From~ email specified"),
        ("json://host?method=steal", r"The method specified \(\*\*\*\) is invalid"),
        (
            "mailto://h.org?from=a@example.org&to=nobody",
            r"Dropped invalid To email \(\*\*\*\) specified",
        ),
        ("env:NO_SUCH", r"the environment has no NO_SUCH, .* Set NO_SUCH where"),
        ("env:OPS", r"Unparseable JSON URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_said_to_before_anything_is_sent(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPS", "json://")
    monkeypatch.delenv("NO_SUCH", raising=False)
    assert_says(check_url(url), said)
    assert_says(send(make_notice(), url, seconds=SECONDS), r"cannot|no Email recipients")


def test_a_url_that_can_be_used_is_not_complained_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPS", "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlaz")
    for url in ("env:OPS", "json://host", "mailtos://me:pass@example.org", "tgram://123:abc/1"):
        assert check_url(url) is None


SECRETS = ("hunter2", "t0ken", "hunter", "topsecret", "ann@example", "S3CR")
URLS = (
    "json://me:hunter2@{}:{}/t0ken/x?-key=topsecret&+Authorization=topsecret",
    "jsons://me:hunter2@{}:{}/t0ken/x?-key=topsecret",
    "xml://me:hunter2@{}:{}/t0ken?-key=topsecret",
    "form://hunter2@{}:{}/t0ken?+X=topsecret",
    "mailto://me:hunter2@{}:{}?mode=insecure&from=ann@example.org&to=ann@example.org",
    "mailtos://me:hunter2@{}:{}?from=ann@example.org",
    "mmost://{}:{}/t0kent0kent0kent0kent0ken",
    "gotify://{}:{}/t0kenS3CRt0kenS3CR",
    "nosuch://me:hunter2@{}:{}/t0ken?key=topsecret",
    "json://me:hunter2@{}:{}/t0ken?method=topsecret",
    "me:hunter2@{}:{}/t0ken",
)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("answer", [500, 302, "refuses"])
def test_no_secret_is_in_a_reason_or_in_a_log(
    url: str, answer: Any, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG), webhook(500 if answer == "refuses" else answer) as hook:
        port = refusing_port() if answer == "refuses" else hook.port
        reason = send(make_notice(), url.format(HERE, port), seconds=1.0)
        checked = check_url(url.format(HERE, port))
    assert reason is not None
    shown = json.dumps([reason, checked, caplog.text])
    assert [secret for secret in SECRETS if secret in shown] == []
