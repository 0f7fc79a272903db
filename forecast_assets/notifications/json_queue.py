"""Read the queue of version 0.1, a JSON file for each notification, in the folder of its state.

The present queue takes the files over: `queue`.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from forecast_assets.notifications.routing import Notification

FOLDERS = ("waiting", "given_up", "done")
# The ending of a file that was set aside.
UNREADABLE = ".unreadable"


class OldChannel(BaseModel):
    """A channel of a notification; its fields are named as columns of the present queue."""

    channel_key: str = Field(alias="key")
    channel: str = Field(alias="shown")
    state: Literal["waiting", "sent", "given up"]
    n_tries: int = Field(ge=0, lt=2**31)
    tried_at: AwareDatetime | None
    reason: str | None


class OldNotification(BaseModel):
    """The content of a file."""

    notice: Notification
    put_at: AwareDatetime
    channels: list[OldChannel]


def find_files(folder: Path) -> list[Path]:
    """Return the files below a folder, those that wait first."""
    # A name that begins with a dot is left by a write that was interrupted.
    return [path for name in FOLDERS for path in sorted((folder / name).glob("[!.]*.json"))]


def read_files(files: list[Path]) -> Iterator[OldNotification]:
    """Yield the content of each file that still exists; rename a malformed file."""
    for path in files:
        with suppress(FileNotFoundError):  # taken over by another process, a moment ago
            try:
                yield OldNotification.model_validate_json(path.read_bytes())
            except ValidationError:
                path.replace(path.with_suffix(UNREADABLE))


def malformed_files(folder: Path) -> list[str]:
    """Describe each file that was set aside and still exists."""
    return [
        f"the notification in {path} (set aside): The file of version 0.1 cannot be read. Correct"
        " it and name it .json again to have it sent, or delete it."
        for name in FOLDERS
        for path in sorted((folder / name).glob(f"*{UNREADABLE}"))
    ]
