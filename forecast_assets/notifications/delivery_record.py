"""What is kept of a notice on its way: a JSON file, and how far each of its channels has come.

When a file is written, and by whom: `outbox`.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from forecast_assets.config.redaction import mask
from forecast_assets.notifications.apprise_client import is_partial
from forecast_assets.notifications.routing import Notification

WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360, 720))
# From a restart to a night's outage: a channel that was down for 21 hours is for people to mend.

Condition = Literal["sent", "waiting", "given up"]


@dataclass(frozen=True)
class DeliveryStatus:
    """How far one notice has come on its way to one channel, which is shown without its secrets.

    A file that is no notice of ours is `damaged`: its name stands for the id, and `reason` says
    what is wrong with it.
    """

    id: str
    event: str | None
    title: str
    channel: str
    state: Condition | Literal["damaged"]
    n_tries: int
    reason: str | None  # why the last try failed
    at: datetime | None  # of the last try, else of being put


class _PersistedModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelState(_PersistedModel):
    """A channel that a notice goes to; `key` finds its URL in the settings."""

    key: str
    shown: str
    state: Condition = "waiting"
    n_tries: int = Field(0, ge=0)
    tried_at: AwareDatetime | None = None
    reason: str | None = None

    @classmethod
    def to(cls, url: str) -> Self:
        """The channel of a URL, as the settings write it, that was not tried yet."""
        return cls(key=channel_key(url), shown=mask(url))

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for a try. Where the last one is yet to come, a clock was wrong."""
        if self.state != "waiting" or self.tried_at is None:
            return self.state == "waiting"
        wait = WAITS[min(self.n_tries, len(WAITS)) - 1]
        return not self.tried_at <= now < self.tried_at + wait

    def after(self, reason: str | None, now: datetime) -> "ChannelState":
        """The channel after a try that failed for this reason, or did not."""
        n_tries = self.n_tries + 1
        state: Condition = "sent"
        if reason is not None:
            is_over = n_tries > len(WAITS) or is_partial(reason)
            state = "given up" if is_over else "waiting"
        changes = {"state": state, "n_tries": n_tries, "tried_at": now, "reason": reason}
        return self.model_copy(update=changes)


class QueuedNotification(_PersistedModel):
    """What a file holds: a notice, and whom it goes to."""

    notice: Notification
    put_at: AwareDatetime
    channels: tuple[ChannelState, ...]

    @property
    def is_waiting(self) -> bool:
        """Whether any channel is still to have it."""
        return any(channel.state == "waiting" for channel in self.channels)

    @property
    def is_with_all(self) -> bool:
        """Whether every channel has it."""
        return all(channel.state == "sent" for channel in self.channels)

    def delivery(self, channel: ChannelState) -> DeliveryStatus:
        """How far it has come on its way to one of its channels."""
        return DeliveryStatus(
            id=self.notice.id,
            event=self.notice.event,
            title=self.notice.title,
            channel=channel.shown,
            state=channel.state,
            n_tries=channel.n_tries,
            reason=channel.reason,
            at=channel.tried_at or self.put_at,
        )


def channel_key(url: str) -> str:
    """What is kept of a URL to find it in the settings again: `env:NAME` itself, else a digest."""
    if url.startswith("env:"):
        return url
    return hashlib.blake2b(url.encode(), digest_size=16).hexdigest()


def file_name(notice_id: str) -> str:
    """The name of a notice's file, whatever its id is made of."""
    return f"{hashlib.blake2b(notice_id.encode(), digest_size=16).hexdigest()}.json"


def write(path: Path, letter: QueuedNotification) -> None:
    """Write a file whole or not at all. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}")  # what is left of a write that was killed is no notice
    with part.open("w", encoding="utf-8") as file:
        file.write(letter.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(folder: Path) -> Iterator[tuple[str, QueuedNotification | DeliveryStatus]]:
    """Each file of a folder by its name, or what is wrong with it. Raises OSError."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = path.name
        if name.startswith("."):
            continue
        try:
            letter = QueuedNotification.model_validate_json(path.read_bytes())
        except FileNotFoundError:  # done with meanwhile
            continue
        except ValidationError as error:
            yield name, _damaged(path, f"it says {error.errors()[0]['msg'].lower()}")
        except OSError as error:
            yield name, _damaged(path, str(error.strerror).lower())
        else:
            is_own = name == file_name(letter.notice.id)
            yield name, letter if is_own else _damaged(path, "it is a copy of another")


def _damaged(path: Path, why: str) -> DeliveryStatus:
    reason = (
        f"{path} is no notice that was put here: {why}. What it may hold is not told; all others"
        f" are. Delete it, or restore it from a copy."
    )
    return DeliveryStatus(path.name, None, "", "", "damaged", 0, reason, None)
