"""Notices on their way, kept on disk: a retry outlives the process that tried first.

What is kept of each: `letters`. Whom a notice goes to, and handing it over: `notify`.
"""

import fcntl
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from forecast_assets.config.settings import Settings
from forecast_assets.errors import StoreError
from forecast_assets.notifications.apprise_client import send, to_utf8
from forecast_assets.notifications.delivery_record import (
    ChannelState,
    DeliveryStatus,
    QueuedNotification,
    channel_key,
    file_name,
    read,
    write,
)
from forecast_assets.notifications.routing import Notification, all_channels, current_recipients

LEAST_SECONDS = 10.0  # what a try gets while there is time: a busy mail server takes that long
KEPT = timedelta(days=365)
REMEMBERED = timedelta(weeks=1)  # what was given up before is no news
GONE = "The settings no longer name this channel, so it is not told."


class NotificationQueue:
    """Notices in a folder, safe between processes.

    Those on their way, those that a channel was given up for and those that all have lie apart, so
    that a look at what is due or went wrong stays cheap. Files that go with a notice are named, not
    copied. No URL is written but `env:NAME`: of any other a digest is, which finds it in the
    settings again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = folder / "waiting"
        self._given_up = folder / "given_up"
        self._done = folder / "done"

    def put(self, notice: Notification, urls: Sequence[str], *, now: datetime) -> bool:
        """Keep a notice for these URLs, as the settings write them; false where its id is known.

        Raises StoreError where the folder cannot be written.
        """
        notice = replace(
            notice,
            id=to_utf8(notice.id),
            title=to_utf8(notice.title),
            text=to_utf8(notice.text),
            files=tuple(path.absolute() for path in notice.files),
            series=tuple(to_utf8(name) for name in notice.series),
        )
        channels = [ChannelState.to(url) for url in dict.fromkeys(urls)]
        letter = QueuedNotification(notice=notice, put_at=now, channels=tuple(channels))
        name = file_name(notice.id)
        with self._used(), self._locked("lock"):
            if any((place / name).exists() for place in self._places):
                return False
            write((self._waiting if letter.is_waiting else self._done) / name, letter)
        return True

    def deliver(self, settings: Settings, *, now: datetime, seconds: float) -> list[DeliveryStatus]:
        """Try what is due, in about `seconds`, and say what became of it.

        A notice that failed is due again after 1, 5 and 30 minutes, 2, 6 and 12 hours, then it is
        given up; at once where some of a URL's recipients have it. What waits for a channel that
        the settings no longer name goes to those whom it is for by now and that do not have it,
        for a URL whose password was corrected is another one. After a channel failed it is
        left alone until the next call. Each try is on disk before the next one begins: whoever is
        killed in between sends one notice twice, to one channel. While another process delivers
        there is nothing to do. Raises StoreError where the folder cannot be read or written.
        """
        with self._used():
            if not self._waiting.is_dir() or not any(self._waiting.iterdir()):
                return []
            with self._locked("delivering", waits=False) as is_ours:
                return list(self._delivered(settings, now, seconds)) if is_ours else []

    def letters(self) -> list[DeliveryStatus]:
        """Everything that is known, the newest notice first, after files that are damaged.

        Raises StoreError where the folder cannot be read.
        """
        return self._read(*self._places)

    def undelivered(self, *, now: datetime) -> list[DeliveryStatus]:
        """What waits to be tried again, and what was given up within a week; in order as `letters`.

        No notice is read that every channel has. Raises StoreError where the folder cannot be read.
        """
        return [
            one
            for one in self._read(self._waiting, self._given_up)
            if one.state == "damaged"
            or (one.state == "waiting" and one.reason)
            or (one.state == "given up" and one.at and one.at > now - REMEMBERED)
        ]

    def tidy(self, *, now: datetime, kept: timedelta = KEPT) -> int:
        """Forget what was done with and put longer ago than `kept`, and say how many that were.

        Their ids may be put again. Raises StoreError where the folder cannot be written.
        """
        with self._used(), self._locked("lock"):
            old = [
                place / name
                for place in (self._given_up, self._done)
                for name, letter in read(place)
                if isinstance(letter, QueuedNotification) and letter.put_at < now - kept
            ]
            for path in old:
                path.unlink()
        return len(old)

    @property
    def _places(self) -> tuple[Path, ...]:
        """The folders, in the order that a notice passes through: read so, none is missed."""
        return self._waiting, self._given_up, self._done

    def _read(self, *places: Path) -> list[DeliveryStatus]:
        with self._used():
            found = {name: one for place in places for name, one in read(place)}
        damaged = [one for one in found.values() if isinstance(one, DeliveryStatus)]
        letters = [one for one in found.values() if isinstance(one, QueuedNotification)]
        letters.sort(key=lambda letter: letter.put_at, reverse=True)
        return [*damaged, *(one.delivery(to) for one in letters for to in one.channels)]

    def _delivered(
        self, settings: Settings, now: datetime, seconds: float
    ) -> Iterator[DeliveryStatus]:
        ends, least = time.monotonic() + seconds, min(LEAST_SECONDS, seconds / 4)
        urls = {channel_key(url): url for url in all_channels(settings)}
        found = read(self._waiting)
        letters = {
            name: _readdressed(one, settings, urls)
            for name, one in found
            if isinstance(one, QueuedNotification)
        }
        due = self._due(letters, now)
        failed = set()
        for nth, (name, place) in enumerate(due):
            letter = letters[name]
            channel = letter.channels[place]
            left = ends - time.monotonic()
            if channel.key not in urls:
                after = channel.model_copy(update={"state": "given up", "reason": GONE})
            elif channel.key in failed or left < least:
                continue
            else:
                share = min(left, max(least, left / (len(due) - nth)))
                after = channel.after(send(letter.notice, urls[channel.key], seconds=share), now)
            if after.state != "sent":
                failed.add(channel.key)
            channels = (*letter.channels[:place], after, *letter.channels[place + 1 :])
            letters[name] = letter.model_copy(update={"channels": channels})
            self._save(name, letters[name])
            yield letters[name].delivery(after)

    def _due(self, letters: dict[str, QueuedNotification], now: datetime) -> list[tuple[str, int]]:
        """Which channel of which notice is due, the oldest notice first; done ones are put away."""
        for name, letter in letters.items():
            if not letter.is_waiting:  # whoever sent it was killed before it did this
                self._put_away(name, letter)
        return [
            (name, place)
            for name, letter in sorted(letters.items(), key=lambda one: one[1].put_at)
            for place, channel in enumerate(letter.channels)
            if channel.is_due(now)
        ]

    def _save(self, name: str, letter: QueuedNotification) -> None:
        write(self._waiting / name, letter)
        if not letter.is_waiting:
            self._put_away(name, letter)

    def _put_away(self, name: str, letter: QueuedNotification) -> None:
        place = self._done if letter.is_with_all else self._given_up
        with self._locked("lock"):
            place.mkdir(exist_ok=True)
            (self._waiting / name).replace(place / name)

    @contextmanager
    def _locked(self, name: str, *, waits: bool = True) -> Iterator[bool]:
        """Hold one of the folder's two locks; false where another has it and this does not wait.

        `lock` is held for moments, by whoever adds or moves files; `delivering` while channels are
        tried, which may take minutes: putting must not wait for that.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / name).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                is_ours = False
            else:
                is_ours = True
            yield is_ours

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The outbox {self._folder} cannot be used: {error}. What was not told stays"
                f" untold, and what was just told may be told again. See that this user may read"
                f" and write there and that the disk is not full, then run again."
            ) from error


def _readdressed(
    letter: QueuedNotification, settings: Settings, named: Container[str]
) -> QueuedNotification:
    """The letter with whom it is for by now instead of waiting channels that are no longer named.

    As it was where that is nobody who does not have it.
    """
    gone = [one for one in letter.channels if one.state == "waiting" and one.key not in named]
    if not gone:
        return letter
    known = {one.key for one in letter.channels}
    new = [ChannelState.to(url) for url in current_recipients(letter.notice, settings)]
    new = [one for one in new if one.key not in known]
    if not new:
        return letter
    kept = [one for one in letter.channels if one not in gone]
    return letter.model_copy(update={"channels": (*kept, *new)})
