"""Keep each notification in an SQLite table until all of its channels received it.

Any later process continues with the retries. Which channels receive a notification is decided in
`routing`; sending is in `apprise_client`.
"""

import fcntl
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from forecast_assets.config.settings import Settings
from forecast_assets.notifications import json_queue
from forecast_assets.notifications.apprise_client import SendFailure, send, to_utf8
from forecast_assets.notifications.queue_errors import BUSY_SECONDS, explained_errors
from forecast_assets.notifications.queue_rows import (
    Row,
    channel_key,
    normalize,
    notification_of,
    old_rows,
    row_of,
    timestamp,
    withdrawal_row,
)
from forecast_assets.notifications.routing import (
    Notification,
    all_channels,
    current_recipients,
    report_id,
)

# From a restart to an outage overnight. A channel that fails for 21 hours needs a person.
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360, 720))
# A busy mail server takes this long.
MIN_SEND_SECONDS = 10.0
RETENTION = timedelta(days=365)
REPORTED = timedelta(weeks=1)
NOT_IN_SETTINGS = "The settings no longer name this channel, so nothing is sent to it."

# One row for each channel of a notification; one without a channel if nobody receives it. Times are
# in ISO 8601 and UTC.
TABLE = """
CREATE TABLE queue (
    id TEXT NOT NULL,
    notification TEXT NOT NULL, -- JSON; its text is deleted once nothing more is sent
    queued_at TEXT NOT NULL,
    channel_key TEXT NOT NULL,  -- finds the URL in the settings
    channel TEXT NOT NULL,      -- the URL without its secrets
    state TEXT NOT NULL,        -- waiting, sent, partly sent, given up, withdrawn
    n_tries INTEGER NOT NULL,
    tried_at TEXT,
    reason TEXT,                -- why the last attempt failed
    PRIMARY KEY (id, channel_key)
)"""
VERSION = "PRAGMA user_version"  # 0 until the table is created
INSERT = """
INSERT OR IGNORE INTO queue VALUES (
    :id, :notification, :queued_at, :channel_key, :channel, :state, :n_tries, :tried_at, :reason
)"""
UPDATE = """
UPDATE queue SET state = :state, n_tries = :n_tries, tried_at = :tried_at, reason = :reason,
    notification = CASE :state WHEN 'waiting' THEN notification
        ELSE json_set(notification, '$.text', '') END
WHERE id = :id AND channel_key = :channel_key"""
DELETE = "DELETE FROM queue WHERE id = :id AND channel_key = :channel_key"
KEYS = "SELECT channel_key FROM queue WHERE id = ?"
REPORTS = "SELECT * FROM queue WHERE id LIKE ? AND channel_key <> '' ORDER BY rowid"
# The same forecast may be published again: its report then is another one.
WITHDRAW = """
UPDATE queue SET id = id || ' until ' || :at,
    state = CASE state WHEN 'waiting' THEN 'withdrawn' ELSE state END
WHERE id LIKE :id"""
WAITING = "SELECT * FROM queue WHERE state = 'waiting' ORDER BY queued_at, rowid"
UNDELIVERED = """
SELECT * FROM queue
WHERE (state = 'waiting' AND reason IS NOT NULL)
    OR (state IN ('partly sent', 'given up') AND coalesce(tried_at, queued_at) > ?)
ORDER BY queued_at DESC, rowid"""
PURGE = """
DELETE FROM queue
WHERE queued_at < ? AND id NOT IN (SELECT id FROM queue WHERE state = 'waiting')"""


class NotificationQueue:
    """Notifications on disk, shared by several processes.

    No URL is stored except `env:NAME`: a digest finds any other one in the settings. Attached files
    are stored as paths. All methods raise StoreError if the database cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / "queue.sqlite"

    def enqueue(self, notification: Notification, urls: Sequence[str], *, now: datetime) -> bool:
        """Store a notification for these URLs of the settings; return False if its id is known."""
        notification = normalize(notification)
        rows = [row_of(notification, url, timestamp(now)) for url in dict.fromkeys(urls) or [""]]
        with self._transaction() as db:
            is_new = db.execute(KEYS, [notification.id]).fetchone() is None
            if is_new:
                db.executemany(INSERT, rows)
        return is_new

    def deliver(self, settings: Settings, *, now: datetime, seconds: float) -> int:
        """Send what is due, oldest first, for about `seconds`; return how many results are new.

        After a failure, the notification is due again after 1, 5 and 30 minutes, and after 2, 6 and
        12 hours; then it is given up. If only some recipients of a URL received it, it is not sent
        to that URL again. After a failure the channel is left alone until the next call. A
        notification for a channel that the settings no longer name goes to its present recipients.

        Each result is stored before the next attempt: a process that is killed may cause one
        notification to be sent twice to one channel. Returns 0 while another process delivers.
        """
        if not self._folder.is_dir():
            return 0
        with explained_errors(self._path), (self._folder / "delivering").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with this process
            except BlockingIOError:
                return 0
            urls = {channel_key(url): url for url in all_channels(settings)}
            with self._transaction() as db:
                _replace_channels(db, settings, urls)
                due = [dict(row) for row in db.execute(WAITING) if _is_due(row, now)]
            return self._send_all(due, urls, now=now, seconds=seconds)

    def withdraw_report(self, version: str, text: str, *, now: datetime) -> list[str]:
        """Tell every channel that received a report that it was withdrawn; keep it from the others.

        `version` is that of `routing.report_id`, and `text` is Markdown. Waits for a delivery in
        progress. Returns the channels, without secrets; `deliver` sends the notifications.
        """
        if not self._folder.is_dir():
            return []
        pattern, at = report_id(version, "(%)"), timestamp(now)
        with explained_errors(self._path), (self._folder / "delivering").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._transaction() as db:
                rows = db.execute(REPORTS, [pattern]).fetchall()
                received = [row for row in rows if row["state"] in ("sent", "partly sent")]
                db.execute(WITHDRAW, {"id": pattern, "at": at})
                db.executemany(INSERT, [withdrawal_row(row, text, at) for row in received])
        return [row["channel"] for row in received]

    def undelivered(self, *, now: datetime) -> list[str]:
        """Describe what failed and waits for a retry, or was given up in the week before `now`."""
        if not self._folder.is_dir():
            return []
        with self._transaction("BEGIN") as db:
            rows = db.execute(UNDELIVERED, [timestamp(now - REPORTED)]).fetchall()
        return [
            f"{notification_of(row).title!r} to {row['channel']} ({row['state']}): {row['reason']}"
            for row in rows
        ] + json_queue.malformed_files(self._folder)

    def purge(self, *, now: datetime) -> None:
        """Delete what is finished and was queued over a year ago; its ids can be queued again."""
        with self._transaction() as db:
            db.execute(PURGE, [timestamp(now - RETENTION)])

    def _send_all(
        self, due: Sequence[Row], urls: Mapping[str, str], *, now: datetime, seconds: float
    ) -> int:
        end, minimum = time.monotonic() + seconds, min(MIN_SEND_SECONDS, seconds / 4)
        n_results, failed = 0, set()
        for index, row in enumerate(due):
            key, left = row["channel_key"], end - time.monotonic()
            if key not in urls:
                result: Row = {**row, "state": "given up", "reason": NOT_IN_SETTINGS}
            elif key in failed or left < minimum:
                continue
            else:
                share = min(left, max(minimum, left / (len(due) - index)))
                failure = send(notification_of(row), urls[key], seconds=share)
                result = _after_attempt(row, failure, now)
            if result["state"] != "sent":
                failed.add(key)
            with self._transaction() as db:
                db.execute(UPDATE, result)
            n_results += 1
        return n_results

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Open the database for one transaction, and create it if it is new."""
        with explained_errors(self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            with closing(connection) as db:
                db.row_factory = sqlite3.Row
                if not db.execute(VERSION).fetchone()[0]:
                    self._create(db)
                if files := json_queue.find_files(self._folder):
                    self._take_over(db, files)
                db.execute(begin)
                with db:
                    yield db

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        with db:
            if not db.execute(VERSION).fetchone()[0]:  # created by another process, a moment ago
                db.execute(TABLE)
                db.execute("PRAGMA user_version = 1")

    def _take_over(self, db: sqlite3.Connection, files: list[Path]) -> None:
        """Move the notifications of version 0.1 from their files into the table."""
        db.execute("BEGIN IMMEDIATE")
        with db:
            for old in json_queue.read_files(files):
                db.executemany(INSERT, old_rows(old))
        for file in files:
            file.unlink(missing_ok=True)


def _replace_channels(db: sqlite3.Connection, settings: Settings, urls: Mapping[str, str]) -> None:
    """Replace waiting channels that the settings no longer name by the present recipients.

    Do nothing for a notification whose present recipients all have it or wait for it.
    """
    unnamed: dict[str, list[Row]] = {}
    for row in db.execute(WAITING):
        if row["channel_key"] not in urls:
            unnamed.setdefault(row["id"], []).append(dict(row))
    for notification_id, rows in unnamed.items():
        notification = notification_of(rows[0])
        keys = {row["channel_key"] for row in db.execute(KEYS, [notification_id])}
        present = current_recipients(notification, settings)
        if added := [url for url in present if channel_key(url) not in keys]:
            db.executemany(DELETE, rows)
            db.executemany(
                INSERT, [row_of(notification, url, rows[0]["queued_at"]) for url in added]
            )


def _is_due(row: Row, now: datetime) -> bool:
    """Return whether it is time for an attempt. A last attempt after `now` shows a wrong clock."""
    if row["tried_at"] is None:
        return True
    tried_at = datetime.fromisoformat(row["tried_at"])
    delay = RETRY_DELAYS[min(row["n_tries"], len(RETRY_DELAYS)) - 1]
    return not tried_at <= now < tried_at + delay


def _after_attempt(row: Row, failure: SendFailure | None, now: datetime) -> Row:
    result = {**row, "n_tries": row["n_tries"] + 1, "tried_at": timestamp(now)}
    if failure is None:
        return {**result, "state": "sent", "reason": None}
    is_last = result["n_tries"] > len(RETRY_DELAYS)
    state = "partly sent" if failure.is_partial else "given up" if is_last else "waiting"
    return {**result, "state": state, "reason": to_utf8(failure.reason)}
