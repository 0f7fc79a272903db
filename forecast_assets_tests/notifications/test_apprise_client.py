"""Tests of sending to real servers on loopback, and of what failures say."""

import base64
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.notifications.apprise_client import (
    CUT,
    TITLE_BYTES,
    SendFailure,
    check_url,
    send,
)
from forecast_assets.notifications.routing import Notification
from forecast_assets.reporting.render import escape_markdown
from forecast_assets_tests.notification_servers import (
    HOST,
    MailServer,
    Webhook,
    mail_server,
    make_notification,
    refusing_port,
    silent_port,
    webhook,
)

SECONDS = 30.0  # for answers that come
SOON = 0.3  # for answers that do not come
HOSTILE = "Ü 🎉\r\nBcc: eve@example.org\n\x00\x1b[31m\u2028" + "🎉" * 200
JSON = "json://{}:{}/hook"
MAIL = "mailto://{}:{}?mode=insecure&from=a@example.org"
CHAT = "mmost://{}:{}/abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def shared_mail() -> Iterator[MailServer]:
    with mail_server(refused=["bob@example.org"]) as server:
        yield server


@pytest.fixture
def mail(shared_mail: MailServer) -> MailServer:
    """Return a mail server without mails, which does not know bob."""
    shared_mail.mails.clear()
    return shared_mail


@pytest.fixture(scope="module")
def shared_hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


@pytest.fixture
def hook(shared_hook: Webhook) -> Webhook:
    """Return a web server that accepts everything, and has received nothing."""
    shared_hook.answer = 200
    shared_hook.requests.clear()
    return shared_hook


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "send":
            assert thread.daemon
            thread.join(SECONDS)


def deliver(notification: Notification, url: str) -> None:
    """Send a notification that the channel accepts."""
    assert send(notification, url, seconds=SECONDS) is None


def text_of(mail: EmailMessage, kind: str) -> str:
    """Return the plain or the html text of a mail."""
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def failure_of(url: str, *, seconds: float = SECONDS) -> SendFailure:
    """Return the failure of a notification, whose reason is one line."""
    failure = send(make_notification(), url, seconds=seconds)
    assert failure is not None
    assert "\n" not in failure.reason
    return failure


def test_a_mail_holds_the_markdown_as_text_and_as_html_and_the_files(
    tmp_path: Path, mail: MailServer
):
    files = {'a ä?x=1#".html': b"<p>\xff\x00\r\n.\r\n</p>", "empty.csv": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    text = "# Häd 🎉\n\n| a | b |\n|---|--:|\n| x\\_y | 1 |\n"
    notification = make_notification(text=text, files=tuple(tmp_path / name for name in files))
    deliver(notification, mail.url())
    (message,) = mail.mails
    assert message["subject"] == "The week of 2 January"
    assert message["to"] == "ann@example.org"
    assert message["from"] == "week@example.org"
    assert "<h1>Häd 🎉</h1>" in text_of(message, "html")
    assert "<td>x_y</td>" in text_of(message, "html")
    assert "Häd 🎉" in text_of(message, "plain")
    attached = {
        part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()
    }
    assert attached == {"a a?x=1#_.html": files['a ä?x=1#".html'], "empty.csv": b""}


def test_a_subject_is_one_line_that_a_header_can_hold(mail: MailServer):
    deliver(make_notification(title=HOSTILE, text=""), mail.url())
    (message,) = mail.mails
    subject = str(message["subject"])
    assert text_of(message, "plain").strip()  # a notification without text repeats its title
    assert subject.startswith("Ü 🎉 Bcc: eve@example.org [31m")
    assert subject.endswith("🎉…")
    assert TITLE_BYTES - 4 < len(subject.encode()) <= TITLE_BYTES
    assert message["bcc"] is None


def test_an_escaped_name_is_text_in_a_mail(mail: MailServer):
    name = "<script>alert(1)</script> | *a* [b](http://c) &amp; `d`\n# e"
    notification = make_notification(text=escape_markdown(name))
    deliver(notification, mail.url())
    assert text_of(mail.mails[0], "plain").strip() == " ".join(name.split())
    assert re.findall(r"<(\w+)", text_of(mail.mails[0], "html")) == ["p"]


def test_a_webhook_receives_markdown_with_severity_and_files(tmp_path: Path, hook: Webhook):
    (tmp_path / "report.md").write_bytes(b"\x00\xff")
    files = (tmp_path / "report.md", tmp_path / "gone.html", tmp_path / ("x" * 300))
    notification = make_notification(severity="error", title="a\udc80", files=files)
    deliver(notification, hook.url)
    ((method, path, message),) = hook.requests
    assert (method, path) == ("POST", "/hook")
    assert (message["title"], message["type"]) == ("a?", "failure")
    assert message["message"] == (
        "All went *well*.\n\n\nNot attached, because it cannot be read:"
        f" `gone.html`, `{'x' * 300}`."
    )
    (file,) = message["attachments"]
    assert file["filename"] == "report.md"
    assert base64.b64decode(file["base64"]) == b"\x00\xff"


def test_a_long_text_reaches_mail_and_webhook_whole_and_a_chat_as_one_message(
    mail: MailServer, hook: Webhook
):
    """The chat's has whole lines, unless its URL asks for several messages."""
    text = "".join(f"line {i} of many {'x' * 1000}\n\n" for i in range(110))
    chat = CHAT.format(HOST, hook.port)
    for url in (mail.url(), hook.url, chat, f"{chat}?overflow=split"):
        deliver(make_notification(text=text), url)
    assert "line 109 of many" in text_of(mail.mails[0], "html")
    whole, cut, *parts = hook.messages
    assert whole["message"] == text.rstrip()
    assert len(cut["text"]) <= 4000
    assert cut["text"].endswith(f"xxx\n{CUT}")
    assert sum(message["text"].count(" of many ") for message in parts) == 110


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, r"Internal server error., error=500\. The service may accept it later; its own log"),
        (429, r"error=429\. The service may accept it later"),
        (404, r"Page not found., error=404\. Check that the service is running"),
        (401, r"Verification Failed., error=401\. Correct the user, password or token in the URL"),
        (302, r"error=302\. The service has moved: correct the URL, or add redirect=yes to it"),
    ],
)
def test_the_answer_of_a_webhook_that_refuses_has_a_remedy(hook: Webhook, answer: int, reason: str):
    hook.answer = answer
    assert re.search(reason, failure_of(hook.url).reason)
    assert [method for method, _, _ in hook.requests] == ["POST"]


def test_a_redirect_is_followed_if_the_url_says_so(hook: Webhook):
    with webhook(307, moved_to=f"http://{HOST}:{hook.port}/hook") as moved:
        deliver(make_notification(), f"{moved.url}?redirect=yes")
    assert hook.titles == ["The week of 2 January"]


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        (JSON, "Connection refused"),
        (f"{JSON}?optional=yes", "Connection refused"),
        (MAIL, "Connection refused"),
        ("json://no.such.host.invalid", ".+"),
    ],
)
def test_a_server_that_cannot_be_reached_is_reported_with_the_cause(url: str, cause: str):
    reason = rf"\({cause}\)\. Check that the service is running and that the host and port in"
    assert re.search(reason, failure_of(url.format(HOST, refusing_port())).reason)


@pytest.mark.parametrize(
    ("url", "seconds", "expected"),
    [
        (JSON, SOON, r"within 0\.3 seconds\. It may have received|no answer in time"),
        (MAIL, SOON, r"within 0\.3 seconds\. It may have received|no answer in time"),
        (f"{JSON}?rto=0.1&cto=0.1", SECONDS, r"\(no answer in time\)"),
    ],
)
def test_a_server_that_does_not_answer_is_left_after_the_time_given(
    url: str, seconds: float, expected: str
):
    with silent_port() as port:
        assert re.search(expected, failure_of(url.format(HOST, port), seconds=seconds).reason)


def test_a_channel_that_hangs_does_not_keep_a_process_from_ending():
    code = f"""
import sys
from forecast_assets.notifications.apprise_client import send
from forecast_assets.notifications.routing import Notification
print(send(Notification("a", "report", "info", "a", "b"), sys.argv[1], seconds={SOON}))
"""
    with webhook("drips") as hook:  # a byte every 20 ms: no timeout of a library passes
        command = [sys.executable, "-c", code, hook.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "did not answer within 0.3 seconds" in done.stdout
    assert done.stderr == ""


def test_the_answer_of_a_mail_server_that_refuses_is_reported(mail: MailServer):
    failure = failure_of(mail.url("bob@example.org"))
    assert "(550 5.1.1 no such user). Correct the recipients in the URL" in failure.reason
    assert not failure.is_partial
    url = f"mailto://me:hunter2@{HOST}:{mail.port}?mode=insecure&from=a@example.org"
    assert "(SMTP AUTH extension not supported by server)" in failure_of(url).reason


@pytest.mark.parametrize("other", [",bob@example.org", "&cc=bob@example.org"])
def test_a_mail_that_only_some_recipients_received_is_partial(mail: MailServer, other: str):
    failure = failure_of(mail.url(f"ann@example.org{other}"))
    assert [message["to"] for message in mail.mails] == ["ann@example.org"]
    assert failure.is_partial
    assert failure.reason.startswith("Only some of the recipients in the URL received it: ")


def test_an_error_of_this_package_is_raised(hook: Webhook):
    with pytest.raises(KeyError, match="dire"):
        send(make_notification(severity="dire"), hook.url, seconds=SECONDS)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nosuch://host", r"^Apprise cannot use this URL: Unparseable URL nosuch://\*\*\*\. Noth"),
        ("json://", r"Unparseable JSON URL .*https://appriseit\.com/services/ shows the URL of"),
        ("dbus://]%[", r"^Apprise cannot use this URL: it is no URL\. Nothing is sent to it"),
        ("host.example.org", r"^Apprise cannot use this URL: Unsupported URL"),
        ("mailto://host.example.org", r"Invalid ~From~ email specified"),
        ("json://host?method=steal", r"The method specified \(\*\*\*\) is invalid"),
        ("mailto://h.org?from=a@x.org&to=nobody", r"Dropped invalid To email \(\*\*\*\) specified"),
        ("env:NO_SUCH", r"the environment has no NO_SUCH"),
        ("env:OPS", r"Unparseable JSON URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_reported_before_anything_is_sent(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPS", "json://")
    monkeypatch.delenv("NO_SUCH", raising=False)
    assert re.search(reason, str(check_url(url)))
    assert re.search(r"cannot|no Email recipients|has no", failure_of(url).reason)


def test_a_url_that_can_be_used_has_no_problem(monkeypatch: pytest.MonkeyPatch):
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
def test_no_reason_and_no_log_holds_a_secret(
    url: str, answer: Any, hook: Webhook, monkeypatch: pytest.MonkeyPatch
):
    hook.answer = 500 if answer == "refuses" else answer
    address = url.format(HOST, refusing_port() if answer == "refuses" else hook.port)
    # caplog would add handlers to other loggers than the root, too.
    log, root = StringIO(), logging.getLogger()
    handler = logging.StreamHandler(log)
    monkeypatch.setattr(root, "level", logging.DEBUG)
    monkeypatch.setattr(root, "handlers", [*root.handlers, handler])
    shown = [failure_of(address, seconds=SOON).reason, str(check_url(address)), log.getvalue()]
    assert [secret for secret in SECRETS if secret in json.dumps(shown)] == []
