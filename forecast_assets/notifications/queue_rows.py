"""Convert notifications to rows of the queue's table and back.

`queue` keeps and sends them; its table describes the columns.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from forecast_assets.config.redaction import mask
from forecast_assets.notifications import json_queue
from forecast_assets.notifications.apprise_client import to_utf8
from forecast_assets.notifications.routing import NOTIFICATION_ADAPTER, Notification

Row = Mapping[str, Any]


def channel_key(url: str) -> str:
    """Return what is stored to find a URL in the settings: `env:NAME`, or a digest of the URL."""
    if not url or url.startswith("env:"):
        return url
    return hashlib.blake2b(url.encode(), digest_size=16).hexdigest()


def row_of(notification: Notification, url: str, queued_at: str) -> Row:
    """Return the row of a notification for one URL of the settings; "" if nobody receives it."""
    return {
        "id": notification.id,
        "notification": NOTIFICATION_ADAPTER.dump_json(notification).decode(),
        "queued_at": queued_at,
        "channel_key": channel_key(url),
        "channel": mask(url),
        "state": "waiting" if url else "sent",
        "n_tries": 0,
        "tried_at": None,
        "reason": None,
    }


def withdrawal_row(report: Row, text: str, queued_at: str) -> Row:
    """Return the row that tells a channel of a report that the report was withdrawn."""
    sent = notification_of(report)
    notification = replace(
        sent,
        id=f"withdrawn {queued_at} {sent.id}",
        severity="warning",
        title=f"Withdrawn: {sent.title}",
        text=to_utf8(text),
        files=(),
    )
    channel = {name: report[name] for name in ("channel_key", "channel")}
    return {**row_of(notification, "", queued_at), **channel, "state": "waiting"}


def old_rows(old: json_queue.OldNotification) -> list[Row]:
    """Return the rows of a notification of version 0.1."""
    row = row_of(old.notice, "", timestamp(old.put_at))
    return [
        {**row, **channel.model_dump(), "tried_at": time and timestamp(time)}
        for channel in old.channels
        for time in [channel.tried_at]
    ] or [row]


def notification_of(row: Row) -> Notification:
    """Return the notification of a row; its text may be deleted."""
    return NOTIFICATION_ADAPTER.validate_json(row["notification"])


def normalize(notification: Notification) -> Notification:
    """Return a notification in UTF-8, with absolute paths."""
    return replace(
        notification,
        id=to_utf8(notification.id),
        title=to_utf8(notification.title),
        text=to_utf8(notification.text),
        files=tuple(path.absolute() for path in notification.files),
        series=tuple(to_utf8(name) for name in notification.series),
    )


def timestamp(moment: datetime) -> str:
    """Return a time as text, which sorts in the same order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
