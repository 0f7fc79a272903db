"""Read the queue of version 0.1, which kept a JSON file for each notification.

The present queue takes these files over when it is created.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forecast_assets.notifications.routing import NOTIFICATION_ADAPTER

NOBODY = {"key": "", "shown": "", "state": "sent", "n_tries": 0}


def read(folder: Path) -> tuple[Sequence[dict[str, Any]], Sequence[Path]]:
    """Return rows for the queue's table, and the files that they come from.

    A file that version 0.1 could not read either is skipped.
    """
    rows: list[dict[str, Any]] = []
    files = []
    for state in ("waiting", "given_up", "done"):
        # A name that begins with a dot is left by a write that was interrupted.
        for file in sorted((folder / state).glob("[!.]*.json")):
            with suppress(ValueError, KeyError, TypeError):
                rows += [*_rows(json.loads(file.read_bytes()))]
                files.append(file)
    return rows, files


def _rows(content: Any) -> Iterator[dict[str, Any]]:
    notification = NOTIFICATION_ADAPTER.validate_python(content["notice"])
    for channel in content["channels"] or [NOBODY]:
        yield {
            "id": notification.id,
            "notification": NOTIFICATION_ADAPTER.dump_json(notification).decode(),
            "queued_at": content["put_at"],
            "channel_key": channel["key"],
            "channel": channel["shown"],
            "state": channel["state"],
            "n_tries": channel["n_tries"],
            "tried_at": channel.get("tried_at"),
            "reason": channel.get("reason"),
        }
