"""Notices on their way: each channel told once, whatever fails, hangs or is killed in between."""

import fcntl
import json
import logging
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.errors import StoreError
from forecast_assets.notifications.apprise_client import check_url
from forecast_assets.notifications.delivery_record import WAITS, file_name
from forecast_assets.notifications.queue import NotificationQueue
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.notification_servers import (
    HERE,
    mail_server,
    make_notice,
    refusing_port,
    silent_port,
    webhook,
)

SECONDS = 30.0
MINUTE = timedelta(minutes=1)
DELIVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from forecast_assets.notifications.queue import Outbox
from forecast_assets_tests.builders import make_settings
settings = make_settings(Path(sys.argv[1]), notify={"urls": sys.argv[2:]})
Outbox(Path(sys.argv[1]) / "outbox").deliver(settings, now=datetime.now(UTC), seconds=600)
"""


def make_outbox(tmp_path: Path) -> NotificationQueue:
    return NotificationQueue(tmp_path / "outbox")


def told(tmp_path: Path, *urls: str, **rules: Any) -> Settings:
    """Settings that tell these URLs everything."""
    return make_settings(tmp_path, notify={"urls": list(urls), **rules})


def states(outbox: NotificationQueue) -> Mapping[tuple[str, str], tuple[str, int]]:
    """The state and the tries of each notice and channel."""
    return {(one.id, one.channel): (one.state, one.n_tries) for one in outbox.letters()}


def put_some(folder: Path, ids: Sequence[str]) -> list[bool]:
    """What another process does: put notices with these ids, and say which were new."""
    return [NotificationQueue(folder).put(make_notice(one), ["env:OPS"], now=AS_OF) for one in ids]


# Put
def test_a_notice_is_put_once_whatever_became_of_it(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        settings = told(tmp_path, hook.url)
        assert outbox.put(make_notice(), [hook.url], now=AS_OF)
        assert not outbox.put(make_notice(title="other"), [hook.url], now=AS_OF)
        outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
        assert not outbox.put(make_notice(), [hook.url], now=AS_OF + timedelta(weeks=1))
        assert outbox.deliver(settings, now=AS_OF + timedelta(weeks=1), seconds=SECONDS) == []
    assert hook.told == ["The week of 2 January"]


def test_a_notice_that_concerns_nobody_is_known_too(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    assert outbox.put(make_notice(), [], now=AS_OF)
    assert not outbox.put(make_notice(), ["env:OPS"], now=AS_OF)
    assert outbox.letters() == []


def test_of_processes_that_put_the_same_notice_one_does(tmp_path: Path):
    ids = [f"notice {i}" for i in range(20)]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        new = list(pool.map(put_some, [tmp_path / "outbox"] * 4, [ids] * 4))
    assert [sum(one) for one in zip(*new, strict=True)] == [1] * len(ids)
    assert len(make_outbox(tmp_path).letters()) == len(ids)


def test_any_id_title_and_name_can_be_put_and_told(tmp_path: Path):
    outbox, hostile = make_outbox(tmp_path), "../../x\x00\n🎉\udc80" * 50
    with webhook() as hook:
        notice = make_notice(hostile, title=hostile, text=hostile, series=(hostile,))
        assert outbox.put(notice, [hook.url], now=AS_OF)
        assert not outbox.put(notice, [hook.url], now=AS_OF)
        outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS)
    (one,) = outbox.letters()
    assert (one.id, one.state) == (hostile.replace("\udc80", "?"), "sent")
    assert hook.told[0].startswith("../../x 🎉?../../x 🎉?")
    assert [path.name for path in tmp_path.iterdir()] == ["outbox"]


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path):
    (tmp_path / "outbox").write_text("a file")
    said = r"The outbox .*outbox cannot be used: .* What was not told stays untold, .* run again\."
    with pytest.raises(StoreError, match=said):
        make_outbox(tmp_path).put(make_notice(), ["env:OPS"], now=AS_OF)


# Delivered
def test_an_empty_outbox_has_nothing_to_deliver_and_makes_no_folder(tmp_path: Path):
    assert make_outbox(tmp_path).deliver(told(tmp_path), now=AS_OF, seconds=SECONDS) == []
    assert make_outbox(tmp_path).letters() == []
    assert list(tmp_path.iterdir()) == []


def test_each_channel_is_told_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outbox, report = make_outbox(tmp_path), tmp_path / "report.html"
    report.write_bytes(b"<p>the week</p>")
    with mail_server() as server, webhook() as hook:
        monkeypatch.setenv("OPS", hook.url)
        urls = ["env:OPS", server.url()]
        outbox.put(make_notice(files=(report,)), urls, now=AS_OF)
        later = AS_OF + MINUTE
        tried = outbox.deliver(told(tmp_path, *urls), now=later, seconds=SECONDS)
    assert [(one.channel, one.state, one.n_tries) for one in tried] == [
        ("env:OPS", "sent", 1),
        ("mailto://***", "sent", 1),
    ]
    assert outbox.letters() == tried
    assert {(one.id, one.event, one.title, one.reason, one.at) for one in tried} == {
        ("report 2026-01-02", "report", "The week of 2 January", None, later)
    }
    (attached,) = server.mails[0].iter_attachments()
    assert attached.get_payload(decode=True) == b"<p>the week</p>"


def test_the_oldest_notice_goes_first_and_the_newest_is_shown_first(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        for i in (2, 0, 1):
            notice = make_notice(f"notice {i}", title=f"title {i}")
            outbox.put(notice, [hook.url], now=AS_OF + i * MINUTE)
        outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS)
    assert hook.told == ["title 0", "title 1", "title 2"]
    assert [one.title for one in outbox.letters()] == ["title 2", "title 1", "title 0"]


def test_who_took_it_is_not_told_again_when_another_is_retried(tmp_path: Path):
    """The one that is down is tried 7 times in 21 hours, then given up and never tried again."""
    outbox, now = make_outbox(tmp_path), AS_OF
    with webhook() as up, webhook(500) as down:
        settings = told(tmp_path, up.url, down.url)
        outbox.put(make_notice(), [down.url, up.url], now=now)
        for wait in (timedelta(0), *WAITS, *WAITS):
            if wait:
                early = now + wait - timedelta(seconds=1)
                assert outbox.deliver(settings, now=early, seconds=SECONDS) == []
            now += wait
            outbox.deliver(settings, now=now, seconds=SECONDS)
    assert (len(up.asked), len(down.asked)) == (1, 7)
    by_state = {one.state: one for one in outbox.letters()}
    assert set(by_state) == {"sent", "given up"}
    assert by_state["given up"].n_tries == 7
    assert "error=500" in str(by_state["given up"].reason)
    assert by_state["given up"].at == AS_OF + sum(WAITS, timedelta())


def test_a_channel_that_is_up_again_gets_what_waited(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        url = f"json://{HERE}:{refusing_port()}"
        outbox.put(make_notice(), ["env:OPS"], now=AS_OF)
        settings = told(tmp_path, "env:OPS")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OPS", url)
            (tried,) = outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
            assert (tried.state, "Connection refused" in str(tried.reason)) == ("waiting", True)
            environment.setenv("OPS", hook.url)
            (tried,) = outbox.deliver(settings, now=AS_OF + MINUTE, seconds=SECONDS)
            assert (tried.state, tried.n_tries, tried.reason) == ("sent", 2, None)
    assert len(hook.asked) == 1


def test_a_variable_that_is_missing_is_a_reason_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OPS", raising=False)
    outbox = make_outbox(tmp_path)
    outbox.put(make_notice(), ["env:OPS"], now=AS_OF)
    (tried,) = outbox.deliver(told(tmp_path, "env:OPS"), now=AS_OF, seconds=SECONDS)
    assert tried.state == "waiting"
    assert "the environment has no OPS" in str(tried.reason)


def test_a_url_of_whose_recipients_some_have_it_is_not_tried_again(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with mail_server(refused=["bob@example.org"]) as server:
        url = server.url("ann@example.org", "bob@example.org")
        outbox.put(make_notice(), [url], now=AS_OF)
        for hours in (0, 1, 24):
            now = AS_OF + timedelta(hours=hours)
            outbox.deliver(told(tmp_path, url), now=now, seconds=SECONDS)
    assert len(server.mails) == 1
    assert states(outbox) == {("report 2026-01-02", "mailto://***"): ("given up", 1)}


def test_a_channel_that_the_settings_no_longer_name_is_dropped_with_a_reason(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        outbox.put(make_notice(), [hook.url, "env:OPS"], now=AS_OF)
        tried = outbox.deliver(told(tmp_path), now=AS_OF, seconds=SECONDS)
    assert hook.asked == []
    assert [(one.state, one.n_tries) for one in tried] == [("given up", 0)] * 2
    assert {one.reason for one in outbox.letters()} == {
        "The settings no longer name this channel, so it is not told."
    }


def test_a_channel_whose_url_was_corrected_gets_what_waited_for_it(tmp_path: Path):
    """Of two that refused, both are corrected; the third has it, and is not told again."""
    outbox, alarm = make_outbox(tmp_path), make_notice("failed", event="run_failed")
    with webhook() as up, webhook() as one, webhook() as two:
        wrong = [f"json://{HERE}:{refusing_port()}/{name}" for name in "ab"]
        before = told(tmp_path, up.url, rules=[{"urls": wrong, "events": ["run_failed"]}])
        outbox.put(alarm, [up.url, *wrong], now=AS_OF)
        outbox.deliver(before, now=AS_OF, seconds=SECONDS)
        rules = [
            {"urls": [one.url, two.url], "events": ["run_failed"]},
            {"urls": ["env:REPORTS"], "events": ["report"]},
        ]
        after = told(tmp_path, up.url, rules=rules)
        tried = outbox.deliver(after, now=AS_OF, seconds=SECONDS)
        assert [(said.state, said.n_tries) for said in tried] == [("sent", 1)] * 2
        assert outbox.deliver(after, now=AS_OF + 5 * MINUTE, seconds=SECONDS) == []
    assert [len(hook.asked) for hook in (up, one, two)] == [1, 1, 1]
    assert {said.state for said in outbox.letters()} == {"sent"}
    assert outbox.undelivered(now=AS_OF) == []


def test_who_has_it_does_not_take_the_place_of_a_channel_that_is_gone(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as up:
        outbox.put(make_notice(event="run_failed"), [up.url, "env:GONE"], now=AS_OF)
        outbox.deliver(told(tmp_path, up.url), now=AS_OF, seconds=SECONDS)
    assert len(up.asked) == 1
    assert [one.state for one in outbox.letters()] == ["sent", "given up"]


def test_a_report_that_waits_goes_to_those_who_read_of_the_same_series(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as whole, webhook() as part, webhook() as other:
        for patterns in (("*",), ("a*",)):
            notice = make_notice(f"report {patterns}", series=patterns, title=patterns[0])
            outbox.put(notice, [f"env:OLD{len(patterns[0])}"], now=AS_OF)
        rules = [
            {"urls": [part.url], "series": ["a*"], "events": ["report"]},
            {"urls": [other.url], "series": ["ab", "a*"]},
        ]
        settings = told(tmp_path, whole.url, rules=rules)
        outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
    assert (whole.told, part.told, other.told) == (["*"], ["a*"], [])


def test_a_channel_of_a_rule_is_found_again(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        outbox.put(make_notice(), [hook.url], now=AS_OF)
        settings = told(tmp_path, rules=[{"urls": [hook.url]}])
        (tried,) = outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
    assert tried.state == "sent"


def test_a_channel_that_failed_is_left_alone_until_the_next_call(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as up, webhook(500) as down:
        for i in range(5):
            outbox.put(make_notice(f"notice {i}"), [down.url, up.url], now=AS_OF + i * MINUTE)
        settings = told(tmp_path, up.url, down.url)
        outbox.deliver(settings, now=AS_OF + 5 * MINUTE, seconds=SECONDS)
        assert (len(up.asked), len(down.asked)) == (5, 1)
        outbox.deliver(settings, now=AS_OF + 5 * MINUTE, seconds=SECONDS)
    assert (len(up.asked), len(down.asked)) == (5, 2)


def test_channels_that_hang_leave_time_for_the_others(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with silent_port() as one, silent_port() as two, webhook() as hook:
        urls = [f"json://{HERE}:{one}", f"json://{HERE}:{two}", hook.url]
        assert check_url(hook.url) is None  # Apprise is loaded before any time counts
        outbox.put(make_notice(), urls, now=AS_OF)
        tried = outbox.deliver(told(tmp_path, *urls), now=AS_OF, seconds=4.5)
    assert [one.state for one in tried] == ["waiting", "waiting", "sent"]


def test_what_there_is_no_time_for_waits_without_counting_as_tried(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with silent_port() as port:
        urls = [f"json://{HERE}:{port}/{i}" for i in range(20)]
        outbox.put(make_notice(), urls, now=AS_OF)
        tried = outbox.deliver(told(tmp_path, *urls), now=AS_OF, seconds=0.8)
    assert 0 < len(tried) < 20
    n_tries = [one.n_tries for one in outbox.letters()]
    assert n_tries == [1] * len(tried) + [0] * (20 - len(tried))


def test_a_clock_that_was_set_back_does_not_hold_up_what_waits(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook(500) as hook:
        settings = told(tmp_path, hook.url)
        outbox.put(make_notice(), [hook.url], now=AS_OF + timedelta(days=300))
        for now in (AS_OF + timedelta(days=300), AS_OF, AS_OF + 5 * MINUTE):
            outbox.deliver(settings, now=now, seconds=SECONDS)
    assert len(hook.asked) == 3


# Between processes
def test_while_another_delivers_nothing_is_tried_but_notices_are_put(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        settings = told(tmp_path, hook.url)
        outbox.put(make_notice("a"), [hook.url], now=AS_OF)
        with (tmp_path / "outbox" / "delivering").open("ab") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert outbox.deliver(settings, now=AS_OF, seconds=SECONDS) == []
            assert outbox.put(make_notice("b"), [hook.url], now=AS_OF)
            assert hook.asked == []
        assert len(outbox.deliver(settings, now=AS_OF, seconds=SECONDS)) == 2


def test_of_processes_that_deliver_at_once_each_channel_hears_one(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as hook:
        for i in range(20):
            outbox.put(make_notice(f"notice {i}"), [hook.url], now=AS_OF)
        command = [sys.executable, "-c", DELIVER, str(tmp_path), hook.url]
        processes = [subprocess.Popen(command) for _ in range(3)]
        assert [process.wait() for process in processes] == [0] * 3
    assert len(hook.asked) == 20
    assert {one.state for one in outbox.letters()} == {"sent"}


def test_who_is_killed_in_between_sends_nothing_twice_that_was_taken(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook() as up, webhook("hangs") as down:
        settings = told(tmp_path, up.url, down.url)
        outbox.put(make_notice(), [up.url, down.url], now=AS_OF)
        process = subprocess.Popen([sys.executable, "-c", DELIVER, str(tmp_path), up.url, down.url])
        assert comes_true(lambda: bool(down.asked), within=60)
        process.kill()
        process.wait()
        assert sorted(one.state for one in outbox.letters()) == ["sent", "waiting"]
        outbox.deliver(settings, now=AS_OF, seconds=1.0)
    assert (len(up.asked), len(down.asked)) == (1, 2)


def test_a_letter_that_its_killed_sender_did_not_put_away_is(tmp_path: Path):
    outbox, name = make_outbox(tmp_path), file_name(make_notice().id)
    with webhook() as hook:
        outbox.put(make_notice(), [hook.url], now=AS_OF)
        outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS)
        done = tmp_path / "outbox" / "done" / name
        done.rename(tmp_path / "outbox" / "waiting" / name)
        assert outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS) == []
    assert done.exists()
    assert len(hook.asked) == 1


# What is in the folder
def test_a_damaged_file_and_a_copy_are_named_and_stop_no_other(tmp_path: Path):
    outbox, waiting = make_outbox(tmp_path), tmp_path / "outbox" / "waiting"
    with webhook() as hook:
        for notice_id in ("a", "b"):
            outbox.put(make_notice(notice_id), [hook.url], now=AS_OF)
        shutil.copy(waiting / file_name("b"), waiting / "copy.json")
        (waiting / file_name("a")).write_bytes(b'{"notice":')
        tried = outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS)
    assert [(one.id, one.state) for one in tried] == [("b", "sent")]
    assert [(one.id, one.state) for one in outbox.letters()] == [
        (file_name("a"), "damaged"),
        ("copy.json", "damaged"),
        ("b", "sent"),
    ]
    assert len(hook.asked) == 1


def test_what_is_undelivered_is_told_without_a_look_at_what_was_sent(tmp_path: Path):
    """A thousand files that would be named as damaged by whoever reads them."""
    outbox, done = make_outbox(tmp_path), tmp_path / "outbox" / "done"
    with webhook() as up, webhook(500) as down:
        settings = told(tmp_path, up.url, down.url)
        outbox.put(make_notice("sent"), [up.url], now=AS_OF)
        outbox.put(make_notice("in part"), [up.url, down.url], now=AS_OF)
        outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
        assert [one.state for one in outbox.undelivered(now=AS_OF)] == ["waiting"]
        outbox.put(make_notice("gone"), ["env:GONE"], now=AS_OF)
        outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
    for i in range(999):
        (done / f"{i}.json").touch()
    (done / file_name("sent")).write_text("")
    assert [one.state for one in outbox.letters()].count("damaged") == 1000
    found = [(one.id, one.state) for one in outbox.undelivered(now=AS_OF)]
    assert sorted(found) == [("gone", "given up"), ("in part", "waiting")]


def test_what_was_given_up_is_news_for_a_week_and_what_waits_until_it_is_told(tmp_path: Path):
    outbox = make_outbox(tmp_path)
    with webhook(500) as down:
        settings = told(tmp_path, down.url)
        outbox.put(make_notice("waits"), [down.url], now=AS_OF)
        outbox.put(make_notice("gone"), ["env:GONE"], now=AS_OF)
        outbox.put(make_notice("not tried"), [down.url], now=AS_OF + MINUTE)
        outbox.deliver(settings, now=AS_OF, seconds=SECONDS)
    for days, ids in ((6.9, {"waits", "gone"}), (7, {"waits"}), (300, {"waits"})):
        later = AS_OF + timedelta(days=days)
        assert {one.id for one in outbox.undelivered(now=later)} == ids
    assert outbox.tidy(now=AS_OF + timedelta(days=366)) == 1
    assert not (tmp_path / "outbox" / "given_up" / file_name("gone")).exists()


def test_no_secret_is_in_any_file_entry_or_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    outbox = make_outbox(tmp_path)
    with caplog.at_level(logging.DEBUG), webhook(500) as hook:
        urls = [
            f"json://me:hunter2@{HERE}:{hook.port}/t0ken?-key=topsecret",
            f"json://me:hunter2@{HERE}:{refusing_port()}/t0ken?-key=topsecret",
            "nosuch://me:hunter2@host/t0ken",
        ]
        outbox.put(make_notice(), urls, now=AS_OF)
        outbox.deliver(told(tmp_path, *urls), now=AS_OF, seconds=SECONDS)
    files = [path.read_text() for path in (tmp_path / "outbox").rglob("*") if path.is_file()]
    shown = json.dumps([*files, str(outbox.letters()), caplog.text])
    assert "error=500" in shown
    assert [secret for secret in ("hunter2", "t0ken", "topsecret") if secret in shown] == []


@pytest.mark.parametrize(("age", "n_left"), [(timedelta(days=365), 2), (timedelta(days=366), 1)])
def test_what_was_sent_more_than_a_year_ago_is_forgotten(
    tmp_path: Path, age: timedelta, n_left: int
):
    outbox, now = make_outbox(tmp_path), AS_OF + age
    with webhook() as hook:
        outbox.put(make_notice("sent"), [hook.url], now=AS_OF)
        outbox.deliver(told(tmp_path, hook.url), now=AS_OF, seconds=SECONDS)
        outbox.put(make_notice("waiting"), [hook.url], now=AS_OF)
    assert outbox.tidy(now=now) == 2 - n_left
    assert len(outbox.letters()) == n_left
    assert outbox.put(make_notice("sent"), [hook.url], now=now) == (n_left == 1)


def test_a_moment_without_a_zone_is_a_mistake_in_the_program(tmp_path: Path):
    with pytest.raises(ValueError, match="timezone"):
        make_outbox(tmp_path).put(make_notice(), [], now=datetime(2026, 1, 5))  # noqa: DTZ001
