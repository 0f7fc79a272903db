"""Files of notices on their way: when a channel is due, and what is no notice of ours."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from forecast_assets.notifications.delivery_record import (
    WAITS,
    ChannelState,
    DeliveryStatus,
    QueuedNotification,
    channel_key,
    file_name,
    read,
    write,
)
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.notification_servers import make_notice

MINUTE = timedelta(minutes=1)
CHANNEL = ChannelState(key="env:OPS", shown="env:OPS")


def make_letter(notice_id: str = "a", *channels: ChannelState) -> QueuedNotification:
    """A letter that was put at AS_OF, to one channel that was not tried yet."""
    notice = make_notice(notice_id, files=(Path("/report.html"),), series=("a\nb", "🎉"))
    return QueuedNotification(notice=notice, put_at=AS_OF, channels=channels or (CHANNEL,))


def failed(n_tries: int, *, tried_at: datetime = AS_OF) -> ChannelState:
    return CHANNEL.model_copy(update={"n_tries": n_tries, "tried_at": tried_at})


# When it is due
def test_a_new_channel_is_due_at_once():
    assert CHANNEL.is_due(AS_OF)


@pytest.mark.parametrize(
    ("n_tries", "minutes"), [(1, 1), (2, 5), (3, 30), (4, 120), (5, 360), (6, 720)]
)
def test_the_waits_get_longer(n_tries: int, minutes: int):
    channel = failed(n_tries)
    assert not channel.is_due(AS_OF + minutes * MINUTE - timedelta(seconds=1))
    assert channel.is_due(AS_OF + minutes * MINUTE)


def test_a_clock_that_was_set_back_holds_nothing_up():
    channel = failed(6, tried_at=AS_OF + timedelta(days=365))
    assert channel.is_due(AS_OF)
    assert not channel.after("no", AS_OF).is_due(AS_OF)


def test_what_is_over_is_never_due():
    for state in ("sent", "given up"):
        assert not CHANNEL.model_copy(update={"state": state}).is_due(AS_OF)


def test_a_channel_is_given_up_after_the_last_wait():
    channel, states = CHANNEL, []
    for _ in range(len(WAITS) + 1):
        channel = channel.after("no", AS_OF)
        states.append(channel.state)
    assert states == ["waiting"] * len(WAITS) + ["given up"]
    assert (channel.n_tries, channel.reason, channel.tried_at) == (7, "no", AS_OF)


def test_a_channel_that_took_it_has_no_reason():
    channel = failed(2).model_copy(update={"reason": "no"}).after(None, AS_OF)
    assert (channel.state, channel.n_tries, channel.reason) == ("sent", 3, None)


def test_a_channel_that_took_it_in_part_is_not_tried_again():
    reason = "Some of its recipients have it, others do not: no such user."
    assert CHANNEL.after(reason, AS_OF).state == "given up"


# Files
def test_what_was_written_is_read(tmp_path: Path):
    letter = make_letter("a", failed(2), CHANNEL.after(None, AS_OF))
    name = file_name("a")
    write(tmp_path / "waiting" / name, letter)
    assert list(read(tmp_path / "waiting")) == [(name, letter)]


def test_the_same_letter_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write(tmp_path / name, make_letter())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("notice_id", ["../../etc/passwd", "", "a/b\x00\n", "🎉" * 5000, "."])
def test_any_id_gives_a_safe_name(notice_id: str):
    name = file_name(notice_id)
    assert name.removesuffix(".json").isalnum()
    assert len(name) == 37


def test_a_url_with_a_secret_in_it_is_kept_as_a_digest():
    assert channel_key("env:OPS") == "env:OPS"
    assert channel_key("json://me:hunter2@host").isalnum()
    assert channel_key("json://me:hunter2@host") != channel_key("json://me:hunter3@host")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "invalid json"),
        (b'{"notice": {"id": "a', "invalid json"),
        (b"\xff\xfe", "invalid json"),
        (b"{}", "field required"),
        (make_letter().model_dump_json().replace("waiting", "lost").encode(), "input should be"),
        (make_letter().model_dump_json().replace('00Z"', '00"').encode(), "timezone"),
        (make_letter("another").model_dump_json().encode(), "it is a copy of another"),
    ],
)
def test_a_file_that_is_no_notice_of_ours_is_named(tmp_path: Path, content: bytes, why: str):
    path = tmp_path / file_name("a")
    path.write_bytes(content)
    ((name, found),) = read(tmp_path)
    assert isinstance(found, DeliveryStatus)
    assert (found.id, found.state, found.at) == (name, "damaged", None)
    assert f"{path} is no notice that was put here: " in str(found.reason)
    assert why in str(found.reason)
    assert "Delete it, or restore it from a copy." in str(found.reason)


def test_folders_are_named_and_hidden_files_are_not(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / f".{file_name('a')}").write_text("what a write that was killed left")
    ((name, found),) = read(tmp_path)
    assert name == "folder"
    assert isinstance(found, DeliveryStatus)
    assert "is a directory" in str(found.reason)


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path):
    assert list(read(tmp_path / "none")) == []
