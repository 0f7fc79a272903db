"""Tests of the queue: every channel receives a notification once, whatever fails in between."""

import fcntl
import json
import multiprocessing
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.errors import StoreError
from forecast_assets.notifications.apprise_client import check_url
from forecast_assets.notifications.queue import RETRY_DELAYS, NotificationQueue
from forecast_assets.notifications.queue_rows import channel_key
from forecast_assets.notifications.routing import report_id
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.notification_servers import (
    HOST,
    Webhook,
    deliveries,
    mail_server,
    make_notification,
    refusing_port,
    silent_port,
    webhook,
)

SECONDS = 30.0
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Webhook, Webhook]]:
    with webhook() as up, webhook(500) as down:
        yield up, down


@pytest.fixture
def up(servers: tuple[Webhook, Webhook]) -> Webhook:
    """Return a channel that accepts everything, and has received nothing."""
    servers[0].requests.clear()
    return servers[0]


@pytest.fixture
def down(servers: tuple[Webhook, Webhook]) -> Webhook:
    """Return a channel that refuses everything, and has received nothing."""
    servers[1].requests.clear()
    return servers[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def queue(folder: Path) -> NotificationQueue:
    return NotificationQueue(folder)


def settings_for(*urls: str, **rules: Any) -> Settings:
    """Return settings whose `urls` receive everything."""
    return make_settings(Path("/nowhere"), notify={"urls": list(urls), **rules})


def deliver(
    queue: NotificationQueue, *urls: str, now: datetime = AS_OF, seconds: float = SECONDS
) -> int:
    """Deliver with settings whose `urls` receive everything."""
    return queue.deliver(settings_for(*urls), now=now, seconds=seconds)


def states(folder: Path) -> list[str]:
    """Return the state of each notification and channel."""
    return [row["state"] for row in deliveries(folder)]


# Enqueue


def test_an_id_is_queued_once_whatever_became_of_it(queue: NotificationQueue, up: Webhook):
    assert queue.enqueue(make_notification(), [up.url, up.url], now=AS_OF)
    assert not queue.enqueue(make_notification(title="other"), [up.url], now=AS_OF)
    assert deliver(queue, up.url) == 1
    later = AS_OF + timedelta(weeks=1)
    assert not queue.enqueue(make_notification(), [up.url], now=later)
    assert deliver(queue, up.url, now=later) == 0
    assert up.titles == ["The week of 2 January"]
    assert queue.enqueue(make_notification("without recipients"), [], now=AS_OF)
    assert not queue.enqueue(make_notification("without recipients"), [up.url], now=AS_OF)


def test_any_text_can_be_queued_and_sent(queue: NotificationQueue, folder: Path, up: Webhook):
    hostile = "../../x\x00\n🎉\udc80" * 50
    notification = make_notification(hostile, title=hostile, text=hostile, series=(hostile,))
    assert (deliver(queue, up.url), queue.undelivered(now=AS_OF)) == (0, [])
    assert not folder.exists()
    assert queue.enqueue(notification, [up.url], now=AS_OF)
    assert not queue.enqueue(notification, [up.url], now=AS_OF)
    deliver(queue, up.url)
    (row,) = deliveries(folder)
    assert (row["id"], row["state"]) == (hostile.replace("\udc80", "?"), "sent")
    assert up.titles[0].startswith("../../x 🎉?../../x 🎉?")
    assert list(folder.parent.iterdir()) == [folder]


def test_a_database_that_cannot_be_used_is_an_error_with_a_remedy(
    queue: NotificationQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def check(message: str) -> None:
        with pytest.raises(StoreError, match=message):
            queue.enqueue(make_notification(), ["env:OPS"], now=AS_OF)

    file = folder / "queue.sqlite"
    file.mkdir(parents=True)
    check(r"queue\.sqlite cannot be used: unable to open .*\. .* stay in it.* Let this user write")
    file.rmdir()
    file.write_bytes(b"no database" * 1000)
    check(r"file is not a database\. Restore queue\.sqlite .* or move it out of")
    file.unlink()
    monkeypatch.setattr("forecast_assets.notifications.queue.BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        check(r"is locked\. .* stay in it.* Wait until that process has ended")


def test_a_full_disk_is_an_error_and_keeps_what_is_queued(queue: NotificationQueue, folder: Path):
    queue.enqueue(make_notification("before"), ["env:OPS"], now=AS_OF)
    large = make_notification("large", text="x" * 100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "queue.sqlite").stat().st_size, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot be used: .* a disk with free space"):
            queue.enqueue(large, ["env:OPS"], now=AS_OF)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [row["id"] for row in deliveries(folder)] == ["before"]
    assert queue.enqueue(large, ["env:OPS"], now=AS_OF)


# Deliver


def test_each_channel_receives_the_notification_with_its_files(
    queue: NotificationQueue, folder: Path, up: Webhook, monkeypatch: pytest.MonkeyPatch
):
    report, later = folder.parent / "report.html", AS_OF + MINUTE
    report.write_bytes(b"<p>the week</p>")
    monkeypatch.setenv("OPS", up.url)
    with mail_server() as server:
        urls = ["env:OPS", server.url()]
        queue.enqueue(make_notification(files=(report,)), urls, now=AS_OF)
        assert deliver(queue, *urls, now=later) == 2
    rows = deliveries(folder)
    assert [row["channel"] for row in rows] == ["env:OPS", "mailto://***"]
    assert {(row["state"], row["n_tries"]) for row in rows} == {("sent", 1)}
    assert {row["tried_at"] for row in rows} == {later.isoformat(timespec="microseconds")}
    assert "All went" not in str(rows)  # the text is no longer needed
    (attached,) = server.mails[0].iter_attachments()
    assert attached.get_payload(decode=True) == b"<p>the week</p>"


def test_a_channel_is_retried_with_growing_delays_and_given_up(
    queue: NotificationQueue, folder: Path, up: Webhook, down: Webhook
):
    urls, now = [down.url, up.url], AS_OF
    queue.enqueue(make_notification(), urls, now=now)
    deliver(queue, *urls)
    for delay in (*RETRY_DELAYS, *RETRY_DELAYS):
        assert deliver(queue, *urls, now=now + delay - timedelta(seconds=1)) == 0
        now += delay
        deliver(queue, *urls, now=now)
    assert [delay / MINUTE for delay in RETRY_DELAYS] == [1, 5, 30, 120, 360, 720]
    assert (len(up.requests), len(down.requests)) == (1, 7)
    given_up, sent = deliveries(folder)
    assert (given_up["state"], given_up["n_tries"], sent["state"]) == ("given up", 7, "sent")
    assert "error=500" in given_up["reason"]
    assert given_up["tried_at"][:19] == (AS_OF + sum(RETRY_DELAYS, timedelta())).isoformat()[:19]


def test_a_channel_that_recovers_receives_what_waits(
    queue: NotificationQueue, folder: Path, up: Webhook, monkeypatch: pytest.MonkeyPatch
):
    queue.enqueue(make_notification(), ["env:OPS"], now=AS_OF)
    monkeypatch.delenv("OPS", raising=False)
    deliver(queue, "env:OPS")
    (undelivered,) = queue.undelivered(now=AS_OF)
    assert undelivered.startswith("'The week of 2 January' to env:OPS (waiting): ")
    assert "the environment has no OPS" in undelivered
    monkeypatch.setenv("OPS", f"json://{HOST}:{refusing_port()}")
    deliver(queue, "env:OPS", now=AS_OF + MINUTE)
    (undelivered,) = queue.undelivered(now=AS_OF)
    assert "(Connection refused)" in undelivered
    monkeypatch.setenv("OPS", up.url)
    deliver(queue, "env:OPS", now=AS_OF + 6 * MINUTE)
    assert queue.undelivered(now=AS_OF) == []
    (row,) = deliveries(folder)
    assert (row["state"], row["n_tries"], len(up.requests)) == ("sent", 3, 1)


def test_a_url_of_which_some_recipients_have_it_is_not_tried_again(
    queue: NotificationQueue, folder: Path
):
    with mail_server(refused=["bob@example.org"]) as server:
        url = server.url("ann@example.org", "bob@example.org")
        queue.enqueue(make_notification(), [url], now=AS_OF)
        for hours in (0, 24):
            now = AS_OF + timedelta(hours=hours)
            deliver(queue, url, now=now)
    (row,) = deliveries(folder)
    assert (row["state"], row["n_tries"], len(server.mails)) == ("partly sent", 1, 1)
    (undelivered,) = queue.undelivered(now=AS_OF)
    assert "to mailto://*** (partly sent): Only some of the recipients" in undelivered


def test_corrected_urls_receive_what_waits_for_the_wrong_ones(
    queue: NotificationQueue, folder: Path, up: Webhook
):
    wrong = [f"json://{HOST}:{refusing_port()}/{name}" for name in "ab"]
    before = settings_for(up.url, rules=[{"urls": wrong, "events": ["run_failed"]}])
    queue.enqueue(make_notification("a", event="run_failed"), [up.url, *wrong], now=AS_OF)
    queue.deliver(before, now=AS_OF, seconds=SECONDS)
    rules = [
        {"urls": [f"{up.url}/1", f"{up.url}/2"], "events": ["run_failed"]},
        {"urls": ["env:REPORTS"], "events": ["report"]},
    ]
    after = settings_for(up.url, rules=rules)
    assert queue.deliver(after, now=AS_OF, seconds=SECONDS) == 2
    assert queue.deliver(after, now=AS_OF + 5 * MINUTE, seconds=SECONDS) == 0
    assert [path for _, path, _ in up.requests] == ["/hook", "/hook/1", "/hook/2"]
    assert states(folder) == ["sent"] * 3
    assert queue.undelivered(now=AS_OF) == []


def test_a_report_that_waits_goes_to_readers_of_the_same_series(
    queue: NotificationQueue, up: Webhook
):
    for patterns in (("*",), ("a*",)):
        title = patterns[0]
        notification = make_notification(f"report {patterns}", series=patterns, title=title)
        queue.enqueue(notification, [f"env:OLD{len(title)}"], now=AS_OF)
    rules = [
        {"urls": [f"{up.url}/part"], "series": ["a*"], "events": ["report"]},
        {"urls": [f"{up.url}/other"], "series": ["ab", "a*"]},
    ]
    settings = settings_for(up.url, rules=rules)
    queue.deliver(settings, now=AS_OF, seconds=SECONDS)
    received = [(path, message["title"]) for _, path, message in up.requests]
    assert received == [("/hook", "*"), ("/hook/part", "a*")]


def test_the_oldest_is_sent_first_and_a_channel_that_failed_is_left_alone_until_the_next_call(
    queue: NotificationQueue, up: Webhook, down: Webhook
):
    for i in (2, 0, 1):
        notification = make_notification(f"notification {i}", title=f"title {i}")
        queue.enqueue(notification, [down.url, up.url], now=AS_OF + i * MINUTE)
    for n_requests in (1, 2):
        deliver(queue, up.url, down.url, now=AS_OF + 5 * MINUTE)
        assert up.titles == ["title 0", "title 1", "title 2"]
        assert down.titles == ["title 0", "title 1"][:n_requests]
    # A clock that is set back does not delay what waits.
    deliver(queue, down.url, now=AS_OF)
    assert down.titles == ["title 0", "title 1", "title 0"]


def test_channels_that_hang_leave_time_for_the_others(
    queue: NotificationQueue, folder: Path, up: Webhook
):
    assert check_url(up.url) is None  # loads Apprise before the time counts
    with silent_port() as port:
        urls = [f"json://{HOST}:{port}/{i}" for i in range(20)]
        queue.enqueue(make_notification("a"), [*urls[:2], up.url], now=AS_OF)
        deliver(queue, *urls, up.url, seconds=3.0)
        assert states(folder) == ["waiting", "waiting", "sent"]
        queue.enqueue(make_notification("b"), urls, now=AS_OF)
        n_results = deliver(queue, *urls, up.url, seconds=0.8)
    # What there was no time for does not count as tried.
    assert 0 < n_results < 20
    n_tries = [row["n_tries"] for row in deliveries(folder) if row["id"] == "b"]
    assert n_tries == [1] * n_results + [0] * (20 - n_results)


# Several processes


def test_while_another_process_delivers_notifications_are_queued_only(
    queue: NotificationQueue, folder: Path, up: Webhook
):
    queue.enqueue(make_notification("a"), [up.url], now=AS_OF)
    with (folder / "delivering").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert deliver(queue, up.url) == 0
        assert queue.enqueue(make_notification("b"), [up.url], now=AS_OF)
        assert up.requests == []
    assert deliver(queue, up.url) == 2


def test_one_of_several_writers_queues_an_id_and_one_of_several_deliveries_sends_it(
    folder: Path, up: Webhook
):
    """Each thread opens the database for itself, as a process does."""

    def enqueue_and_deliver(_: int) -> tuple[list[bool], int]:
        queue = NotificationQueue(folder)
        ids = [f"notification {i}" for i in range(10)]
        is_new = [queue.enqueue(make_notification(name), [up.url], now=AS_OF) for name in ids]
        return is_new, deliver(queue, up.url)

    with ThreadPoolExecutor(4) as pool:
        is_new, _ = zip(*pool.map(enqueue_and_deliver, range(4)), strict=True)
    assert [sum(each) for each in zip(*is_new, strict=True)] == [1] * 10
    deliver(NotificationQueue(folder), up.url)
    assert (len(up.requests), states(folder)) == (10, ["sent"] * 10)


def test_a_process_that_is_killed_repeats_the_last_notification_only(
    queue: NotificationQueue, folder: Path, up: Webhook
):
    with webhook("hangs") as hung:
        urls = [up.url, hung.url]
        check_url(up.url)  # loads Apprise before the fork
        queue.enqueue(make_notification(), urls, now=AS_OF)
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=deliver, args=[queue, *urls], kwargs={"seconds": 600.0})
        process.start()
        assert comes_true(lambda: bool(hung.requests), within=60)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert states(folder) == ["sent", "waiting"]
        deliver(queue, *urls, seconds=1.0)
    assert (len(up.requests), len(hung.requests)) == (1, 2)


# Report and purge


def test_undelivered_names_what_waits_and_for_a_week_what_was_given_up(
    queue: NotificationQueue, down: Webhook
):
    queue.enqueue(make_notification("waits", title="waits"), [down.url], now=AS_OF)
    queue.enqueue(make_notification("gone", title="gone"), [down.url, "env:GONE"], now=AS_OF)
    queue.enqueue(make_notification("untried"), [down.url], now=AS_OF + MINUTE)
    deliver(queue, down.url)
    _, undelivered = queue.undelivered(now=AS_OF)
    assert undelivered.startswith("'gone' to env:GONE (given up): The settings no longer name thi")
    for days, titles in ((6.9, ["waits", "gone"]), (7, ["waits"]), (300, ["waits"])):
        undelivered = queue.undelivered(now=AS_OF + timedelta(days=days))
        assert [text.split("'")[1] for text in undelivered] == titles


def test_what_was_sent_more_than_a_year_ago_is_forgotten(queue: NotificationQueue, up: Webhook):
    queue.enqueue(make_notification("sent"), [up.url], now=AS_OF)
    deliver(queue, up.url)
    queue.enqueue(make_notification("waiting"), [up.url], now=AS_OF)
    for days, is_forgotten in ((365, False), (366, True)):
        now = AS_OF + timedelta(days=days)
        queue.purge(now=now)
        assert queue.enqueue(make_notification("sent"), [up.url], now=now) == is_forgotten
        assert not queue.enqueue(make_notification("waiting"), [up.url], now=now)


def test_no_file_holds_a_secret(queue: NotificationQueue, folder: Path, down: Webhook):
    urls = [
        f"json://me:hunter2@{HOST}:{down.port}/t0ken?-key=topsecret",
        f"json://me:hunter2@{HOST}:{refusing_port()}/t0ken?-key=topsecret",
        "nosuch://me:hunter2@host/t0ken",
    ]
    queue.enqueue(make_notification(), urls, now=AS_OF)
    deliver(queue, *urls)
    files = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"error=500" in files
    assert [secret for secret in (b"hunter2", b"t0ken", b"topsecret") if secret in files] == []
    assert channel_key(urls[0]) != channel_key(urls[0].replace("hunter2", "hunter3"))


# A report that is withdrawn


def test_only_who_received_a_report_is_told_that_it_was_withdrawn(
    queue: NotificationQueue, folder: Path, up: Webhook, down: Webhook
):
    assert queue.withdraw_report("abc", "Sorry.", now=AS_OF) == []
    assert not folder.exists()
    urls = [up.url, down.url]
    report = make_notification(report_id("abc", ("*",)), title="Report")
    queue.enqueue(report, urls, now=AS_OF)
    deliver(queue, *urls)
    down.requests.clear()
    later = AS_OF + MINUTE
    assert queue.withdraw_report("other", "Sorry.", now=later) == []
    assert queue.withdraw_report("abc", "Sorry: *wrong*.", now=later) == ["json://***"]
    deliver(queue, *urls, now=later)
    assert (up.titles, down.titles) == (["Report", "Withdrawn: Report"], [])
    message = up.messages[-1]
    assert (message["type"], message["attachments"]) == ("warning", [])
    assert "Sorry" in message["message"]
    assert states(folder) == ["sent", "withdrawn", "sent"]
    assert queue.undelivered(now=later) == []
    assert queue.enqueue(report, [up.url], now=later)  # the same forecast, published again
    deliver(queue, *urls, now=later)
    assert queue.withdraw_report("abc", "Sorry.", now=later + MINUTE) == ["json://***"]


# The queue of version 0.1


def write_json(folder: Path, notification_id: str, *states: str) -> Path:
    """Write a file of version 0.1, which kept it in the folder of its state."""
    name = {"waiting": "waiting", "given up": "given_up"}.get(states[0], "done")
    time = "2026-01-05T06:00:00Z"
    notice = asdict(make_notification(notification_id, title=notification_id))
    channels = [
        {"key": f"env:CHANNEL{i}", "shown": f"env:CHANNEL{i}", "state": state, "n_tries": 1}
        | {"tried_at": time, "reason": None if state == "sent" else "error=500"}
        for i, state in enumerate(states)
    ]
    path = folder / name / f"{notification_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"notice": notice, "put_at": time, "channels": channels}))
    return path


def test_the_queue_of_version_0_1_is_taken_over_once_whenever_it_arrives(
    queue: NotificationQueue, folder: Path, up: Webhook, monkeypatch: pytest.MonkeyPatch
):
    old = {"half": ["waiting", "sent"], "lost": ["given up"], "done": ["sent"]}
    for name, channels in old.items():
        write_json(folder, name, *channels)
    (folder / "waiting/bad.json").write_text('{"notice": {"id": "a"')
    wrong = write_json(folder, "wrong", "waiting")
    wrong.write_text(wrong.read_text().replace('"n_tries": 1', '"n_tries": {}'))
    sqlite3.connect(folder / "queue.sqlite").execute("VACUUM")  # of a takeover that was interrupted
    urls = ["env:CHANNEL0", "env:CHANNEL1"]
    monkeypatch.setenv("CHANNEL0", up.url)
    monkeypatch.setenv("CHANNEL1", up.url)
    others = [NotificationQueue(folder) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(lambda other: deliver(other, *urls), others)) == 1
    assert up.titles == ["half"]
    assert not any(queue.enqueue(make_notification(name), [], now=AS_OF) for name in old)
    write_json(folder, "late", "waiting")
    assert (deliver(queue, *urls), up.titles) == (1, ["half", "late"])
    assert list(folder.rglob("*.json")) == []
    assert "waiting/wrong.unreadable (set aside): The file" in queue.undelivered(now=AS_OF)[-1]
