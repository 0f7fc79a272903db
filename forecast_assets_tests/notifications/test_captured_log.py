"""What is heard of Apprise: by the thread that listens alone, and without the URL."""

import logging
import threading

import pytest

from forecast_assets.config.redaction import redact_url_parts
from forecast_assets.notifications.apprise_client import CapturedLog, capture_log

APPRISE = logging.getLogger("apprise")


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("login of me with hunter2", "json://me:hunter2@host", "login of *** with ***"),
        ("posted to json://me:x@host/t", "json://me:x@host/t", "posted to json://***"),
        ("user p@ss w0rd!", "json://me:p%40ss+w0rd%21@host", "user ***@*** ***"),
        ("path /s%C3%A9cret/x", "json://host/sécret", "path /***/x"),
        ("HTTP x-abc123456-y", "json://host?+X=abc123456", "HTTP x-***-y"),
        ("the key KEY-123", "slack://key-123", "the key ***"),
        ("a cat sat at a table", "json://host/a", "*** cat sat at *** table"),
        ("sent to nobody from here", "mailto://host?to=x&from=y", "sent to nobody from here"),
        ("nothing to hide", "no url at all", "nothing to hide"),
    ],
)
def test_nothing_of_a_url_is_shown_but_its_scheme_and_the_names_of_options(
    text: str, address: str, shown: str
):
    assert redact_url_parts(text, address) == shown


def test_what_is_heard_is_in_no_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG), capture_log() as heard:
        APPRISE.warning("it failed.")
        APPRISE.debug("a token")
        logging.getLogger("urllib3.connectionpool").debug("a path")
    assert (heard.complaints, caplog.records) == (["it failed."], [])


def test_what_others_say_is_not_heard_and_is_logged(caplog: pytest.LogCaptureFixture):
    with capture_log() as heard:
        other = threading.Thread(target=APPRISE.warning, args=("mine",))
        other.start()
        other.join()
    APPRISE.warning("mine, too")
    APPRISE.debug("below the level that Apprise's log had")
    assert heard.complaints == []
    assert caplog.messages == ["mine", "mine, too"]


def test_the_cause_is_the_root_of_what_was_caught():
    with capture_log() as heard:
        try:
            try:
                raise ConnectionRefusedError(111, "Connection refused")
            except OSError as error:
                raise ConnectionError("http://host/token") from error
        except OSError:
            APPRISE.warning("A connection error occurred.")
    assert heard.told("json://host/token") == "A connection error occurred (Connection refused)"


def test_what_the_listener_was_handling_already_is_no_cause():
    try:
        int("no number")
    except ValueError:
        with capture_log() as heard:
            APPRISE.warning("unusable")
    assert heard.told("json://host") == "unusable"


def test_an_error_that_says_nothing_safe_is_named():
    with capture_log() as heard:
        try:
            int("the token")
        except ValueError:
            APPRISE.debug("caught")
    assert heard.causes == ["ValueError"]


def test_all_is_told_in_one_line_and_once():
    heard = CapturedLog(complaints=["a\r\nb.", "c", "a\r\nb."], causes=["d", "d"])
    assert heard.told("json://host") == "a b; c (d)"
