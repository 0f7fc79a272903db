"""Kept bodies: asked for only where they changed, and thrown away where they are no good."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import CSV, Reply, Request, as_json, csv, fetch, web

pytestmark = pytest.mark.usefixtures("no_proxy")

STAMP = "Mon, 16 Nov 2026 05:00:00 GMT"


def kept(folder: Path) -> list[Path]:
    """The files of what is kept."""
    return sorted((folder / "var" / "fetched").iterdir())


def conditional(request: Request) -> Reply:
    """A server that gives a body once, and then says that it is the same."""
    if "If-None-Match" in request.headers or "If-Modified-Since" in request.headers:
        return Reply(status=304)
    return csv(ETag='W/"7"', Last_Modified=STAMP)


def test_what_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    with web(conditional) as server:
        first = fetch(tmp_path, server.url())
        assert fetch(tmp_path, server.url()).equals(first)
    assert "If-None-Match" not in server.asked[0].headers
    assert server.asked[1].headers["If-None-Match"] == 'W/"7"'
    assert server.asked[1].headers["If-Modified-Since"] == STAMP
    note, body = sorted(kept(tmp_path), key=lambda path: path.suffix, reverse=True)
    assert body.read_bytes() == CSV
    assert json.loads(note.read_text())["etag"] == 'W/"7"'
    assert {oct(path.stat().st_mode)[-3:] for path in (note, body)} == {"600"}


@pytest.mark.parametrize("header", [{"ETag": '"7"'}, {"Last_Modified": STAMP}])
def test_one_of_the_two_is_enough(tmp_path: Path, header: dict[str, str]) -> None:
    with web([csv(**header), Reply(status=304)]) as server:
        assert len(fetch(tmp_path, server.url())) == len(fetch(tmp_path, server.url())) == 3
    sent = {"If-None-Match", "If-Modified-Since"} & set(server.asked[1].headers)
    assert sent == ({"If-None-Match"} if "ETag" in header else {"If-Modified-Since"})


@pytest.mark.parametrize("header", [{}, {"ETag": '"7"', "Cache_Control": "private, no-store"}])
def test_a_body_without_a_mark_is_not_kept(tmp_path: Path, header: dict[str, str]) -> None:
    with web(csv(**header)) as server:
        fetch(tmp_path, server.url())
    assert kept(tmp_path) == []


def test_what_is_posted_is_asked_without_a_condition(tmp_path: Path) -> None:
    """To a POST, If-None-Match means: do nothing where something is there."""
    with web(csv(ETag='"7"')) as server:
        for _ in range(2):
            fetch(tmp_path, server.url(), method="POST")
    assert "If-None-Match" not in server.asked[1].headers
    assert kept(tmp_path) == []


def test_what_changed_takes_the_place_of_what_was_kept(tmp_path: Path) -> None:
    other = csv(CSV + b"b,2026-01-02,3\n", ETag='"8"')
    with web([csv(ETag='"7"'), other, Reply(status=304)]) as server:
        assert [len(fetch(tmp_path, server.url())) for _ in range(3)] == [3, 4, 4]
    assert [asked.headers.get("If-None-Match") for asked in server.asked] == [None, '"7"', '"8"']


@pytest.mark.parametrize("damage", ["body", "note", "no body", "no note", "odd note", "list"])
def test_a_damaged_body_is_asked_for_again(tmp_path: Path, damage: str) -> None:
    with web(conditional) as server:
        fetch(tmp_path, server.url())
        body, note = kept(tmp_path)
        {
            "body": lambda: body.write_bytes(CSV.replace(b"1.5", b"9.5")),
            "note": lambda: note.write_text("{"),
            "no body": body.unlink,
            "no note": note.unlink,
            "odd note": lambda: note.write_text('{"etag": "1"}'),
            "list": lambda: note.write_text("[1]"),
        }[damage]()
        assert fetch(tmp_path, server.url())["y"].iloc[0] == 1.5
    conditions = ["If-None-Match" in asked.headers for asked in server.asked]
    assert conditions == ([False, True, False] if damage == "body" else [False, False])
    assert len(kept(tmp_path)) == 2


def test_another_request_has_another_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, address, parameters, headers and body: whichever changes, nothing is taken over."""
    monkeypatch.setenv("KEY", "first key")
    every: list[dict[str, Any]] = [
        {},
        {"params": {"a": "1"}},
        {"headers": {"X-Key": "env:KEY"}},
        {"method": "POST"},
        {"method": "POST", "body": {"a": 1}},
    ]
    with web(conditional) as server:
        for source in every:
            fetch(tmp_path, server.url(), **source)
        monkeypatch.setenv("KEY", "second key")
        fetch(tmp_path, server.url(), **every[2])
    assert not any("If-None-Match" in asked.headers for asked in server.asked)


def test_a_fetch_that_worked_deletes_what_it_did_not_use(tmp_path: Path) -> None:
    with web(conditional) as server:
        fetch(tmp_path, server.url("/a"))
        stray = tmp_path / "var" / "fetched" / "unfinished-of-a-dead-process"
        stray.write_text("half")
        old = kept(tmp_path)
        fetch(tmp_path, server.url("/b"))
        assert len(kept(tmp_path)) == 2
        assert not set(old) & set(kept(tmp_path))
        server.answer = lambda _: Reply(status=404)
        with pytest.raises(SourceError):
            fetch(tmp_path, server.url("/c"))
        assert len(kept(tmp_path)) == 2


def test_pages_are_kept_one_by_one_with_their_links(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        if "If-None-Match" in request.headers:
            return Reply(status=304)
        link = {"Link": '<?2>; rel="next"'} if "?" not in request.path else {}
        return csv(ETag=f'"{request.path}"', **link)

    with web(answer) as server:
        first, again = (
            len(fetch(tmp_path, server.url(), paging={"kind": "link"})) for _ in range(2)
        )
    assert first == again == 6
    assert [asked.headers.get("If-None-Match") for asked in server.asked[2:]] == [
        '"/data"',
        '"/data?2"',
    ]
    assert len(kept(tmp_path)) == 4


def test_a_mark_is_shown_to_none_but_who_gave_it(tmp_path: Path) -> None:
    """Where a redirect leads elsewhere by now, the body there is not the one that is kept."""
    target = ["/first"]

    def answer(request: Request) -> Reply:
        if request.path == "/data":
            return Reply(status=302, headers={"Location": target[0]})
        return conditional(request)

    with web(answer) as server:
        fetch(tmp_path, server.url())
        fetch(tmp_path, server.url())
        target[0] = "/second"
        fetch(tmp_path, server.url())
    asked = [(one.path, "If-None-Match" in one.headers) for one in server.asked]
    assert [one for one in asked if one[0] != "/data"] == [
        ("/first", False), ("/first", True), ("/second", False)]  # fmt: skip
    assert ("/data", True) not in asked


def test_a_body_that_proves_bad_is_not_kept_nor_the_one_before_forgotten(tmp_path: Path) -> None:
    replies = [csv(ETag='"7"'), csv(CSV + b"1,2,3,4\n", ETag='"8"'), csv(ETag='"9"')]
    with web(replies) as server:
        fetch(tmp_path, server.url())
        fetch(tmp_path, server.url())
    conditions = [asked.headers.get("If-None-Match") for asked in server.asked]
    assert conditions == [None, '"7"', '"7"']
    assert json.loads(kept(tmp_path)[1].read_text())["etag"] == '"9"'


def test_a_kept_body_that_the_settings_read_otherwise_by_now_is_asked_for_again(
    tmp_path: Path,
) -> None:
    with web(conditional) as server:
        fetch(tmp_path, server.url())
        server.answer = lambda request: (
            Reply(status=304) if "If-None-Match" in request.headers else as_json([{"y": 1}])
        )
        with pytest.raises(SourceError, match="has no column unique_id"):
            fetch(tmp_path, server.url(), format="json")
    assert len(server.asked) == 3


def test_a_server_that_says_unasked_that_nothing_changed_is_refused(tmp_path: Path) -> None:
    with web(Reply(status=304)) as server:
        with pytest.raises(
            SourceError,
            match=r"answered 304 Not Modified\. .* It was not asked whether anything changed: ask"
            r" who runs the server\.",
        ):
            fetch(tmp_path, server.url())
        assert len(server.asked) == 1


def test_two_fetches_at_once_do_not_trip_over_each_other(tmp_path: Path) -> None:
    """One tidies up while the other reads what was kept, and writes."""

    def answer(request: Request) -> Reply:
        if "If-None-Match" in request.headers:
            for path in kept(tmp_path):
                path.unlink()
            return Reply(status=304)
        if request.path == "/b":
            for path in kept(tmp_path):
                path.unlink()
        return conditional(request)

    with web(answer) as server:
        assert [len(fetch(tmp_path, server.url())) for _ in range(2)] == [3, 3]
        assert len(fetch(tmp_path, server.url("/b"))) == 3


def test_a_kept_body_counts_too(tmp_path: Path) -> None:
    with web(conditional) as server:
        fetch(tmp_path, server.url())
        with pytest.raises(SourceError, match=r"more than `source\.max_bytes` = 10 bytes"):
            fetch(tmp_path, server.url(), max_bytes=10)


def test_an_error_leaves_no_file_behind(tmp_path: Path) -> None:
    for reply in (csv(CSV + b"1,2,3,4\n"), Reply(CSV, headers={"Content-Length": "999"})):
        with web(reply) as server, pytest.raises(SourceError):
            fetch(tmp_path, server.url(), max_retries=1)
        assert kept(tmp_path) == []
    assert os.listdir(tmp_path / "var") == ["fetched"]  # noqa: PTH208 - names are enough
