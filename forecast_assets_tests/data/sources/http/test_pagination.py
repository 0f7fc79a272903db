"""Pagination: by a link, a number or a cursor, and where it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.data.sources.http import pagination
from forecast_assets_tests.http_servers import (
    ROWS,
    HttpServer,
    Reply,
    Request,
    assert_refused,
    csv_reply,
    fetch,
    json_reply,
    serve,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

ROW, ROW_WITHOUT_VALUE, LAST_ROW = ROWS
LINK = {"kind": "link", "path": "links.next"}


def page(row: dict[str, Any], next_page: object) -> Reply:
    """Return a page of one row that names the next one."""
    return json_reply({"rows": [row], "links": {"next": next_page}})


def read(folder: Path, server: HttpServer, **source: Any) -> list[float]:
    """Return the values of all pages, a missing one as -1."""
    rows = fetch(folder, server.url(), **{"records": "rows", **source})
    return [float(y) for y in rows["y"].fillna(-1)]


@pytest.mark.parametrize(
    "target",
    [
        "/data?page=2",
        "?page=2",
        "data?page=2#top",
        pytest.param(lambda server: server.url("/data?page=2"), id="an absolute URL"),
    ],
)
@pytest.mark.parametrize("end", [None, "", False])
def test_a_link_in_json_is_followed_until_there_is_none(
    tmp_path: Path, target: str | Callable[[HttpServer], str], end: object
) -> None:
    def answer(request: Request) -> Reply:
        if "page" in request.query:
            return page(ROW_WITHOUT_VALUE, end)
        return page(ROW, target if isinstance(target, str) else target(server))

    with serve(answer) as server:
        assert read(tmp_path, server, paging=LINK, params={"key": "abcdef"}) == [1.5, -1]
    assert [request.query for request in server.requests] == [{"key": "abcdef"}, {"page": "2"}]


@pytest.mark.parametrize("last", [{"links": None}, {}])
def test_a_missing_link_ends_the_pages(tmp_path: Path, last: dict[str, None]) -> None:
    with serve([page(ROW, "?page=2"), json_reply({"rows": [LAST_ROW], **last})]) as server:
        assert read(tmp_path, server, paging=LINK) == [1.5, 2]


@pytest.mark.parametrize(
    ("header", "has_next"),
    [
        ('</data>; rel="first", <?page=2>; title="a, b"; rel="last next"', True),
        ("<?page=2>; rel=next", True),
        ('<a,b>;rel="prev", <?page=2>; REL = "Next"', True),
        ('<a;b>; rel="nextish", <?page=2>; rel="up next"; rel="x"', True),
        ("<?page=2>", False),
        ('<?page=2>; rel="prev"; title="rel=next"', False),
    ],
)
def test_a_link_in_the_header_is_followed(tmp_path: Path, header: str, *, has_next: bool) -> None:
    with serve([csv_reply(Link=header), csv_reply(Link='</data>; rel="prev"')]) as server:
        fetch(tmp_path, server.url(), paging={"kind": "link"})
    assert [request.path for request in server.requests[1:]] == ["/data?page=2"] * has_next


def test_page_numbers_increase_until_a_page_is_empty(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        number = int(request.query["p"])
        return json_reply({"rows": [ROWS[number]] if number < 3 else []})

    numbers = {"kind": "page", "parameter": "p", "first": 0}
    with serve(answer) as server:
        assert read(tmp_path, server, paging=numbers, params={"size": "1"}) == [1.5, -1, 2]
    assert [request.query["p"] for request in server.requests] == ["0", "1", "2", "3"]
    assert {request.query["size"] for request in server.requests} == {"1"}


def test_a_later_page_without_content_ends_the_pages(tmp_path: Path) -> None:
    with serve([csv_reply(), Reply(status=204)]) as server:
        assert len(fetch(tmp_path, server.url(), paging={"kind": "page"})) == 3
    with serve([page(ROW, "?page=2"), Reply(status=204)]) as server:
        assert read(tmp_path, server, paging=LINK) == [1.5]


@pytest.mark.parametrize("end", [{"next": None}, {"next": ""}, {"next": False}, {}])
@pytest.mark.parametrize("cursor", ["a/b c", 0, 17])
def test_cursors_are_sent_back_until_there_is_none(
    tmp_path: Path, end: dict[str, Any], cursor: object
) -> None:
    def answer(request: Request) -> Reply:
        is_second = "cursor" in request.query
        return json_reply(
            {"rows": [LAST_ROW], **end} if is_second else {"rows": [ROW], "next": cursor}
        )

    with serve(answer) as server:
        cursors = {"kind": "cursor", "path": "next"}
        assert read(tmp_path, server, paging=cursors) == [1.5, 2]
    assert server.requests[1].query["cursor"] == str(cursor)


def test_a_post_has_its_cursor_in_the_body(tmp_path: Path) -> None:
    """Unless the URL has a parameter of that name."""
    replies = [json_reply({"rows": [ROW], "next": 17}), json_reply({"rows": [LAST_ROW]})]
    post = {"method": "POST", "body": {"n": 1}, "paging": {"kind": "cursor", "path": "next"}}
    with serve(replies) as server:
        assert read(tmp_path, server, **post) == [1.5, 2]
    bodies = [json.loads(request.body) for request in server.requests]
    assert bodies == [{"n": 1}, {"n": 1, "cursor": 17}]
    with serve(replies) as server:
        assert read(tmp_path, server, **post, params={"cursor": "0"}) == [1.5, 2]
    assert [request.query["cursor"] for request in server.requests] == ["0", "17"]


CURSOR = {"kind": "cursor", "path": "links.next"}
CIRCLE = [page(ROW, "?a"), page(ROW, "?b"), page(ROW, "?a"), page(ROW, "?b")]


@pytest.mark.parametrize(
    ("reply", "paging", "n_requests", "message"),
    [
        (CIRCLE, LINK, 3, r"names the same address for two next pages, so its pages would never"),
        (CIRCLE, CURSOR, 3, r"names the same cursor for two next pages"),
        (page(ROW, "/data"), LINK, 1, "names the same address for two next pages"),
        (page(ROW, 1), {"kind": "page", "parameter": "nr"}, 2,
         r"gives the same body for `nr` = 2 as for the page before, so it ignores the number"),
        (page(ROW, {"href": "?page=2"}), LINK, 1, "has a dict at `source.paging.path`"),
        (page(ROW, True), LINK, 1, "has a bool at"),  # noqa: FBT003 - JSON
        (page(ROW, 1), LINK, 1, r"has a int at .*, which cannot name a page\. Nothing was publi"),
        (page(ROW, {"id": 1}), CURSOR, 1, "has a dict at"),
        (csv_reply(), LINK, 1, r"gives a page that is not a JSON object, which `source\.paging"),
        (json_reply(ROWS), {"kind": "link", "path": "next"}, 1, "gives a page that is not a JS"),
        (page(ROW, "http://[::1/"), LINK, 1, "names a next page whose URL is invalid"),
    ],
)  # fmt: skip
def test_pages_that_cannot_be_read_on_are_refused(
    tmp_path: Path, reply: Any, paging: dict[str, str], n_requests: int, message: str
) -> None:
    records = "rows" if paging != {"kind": "link", "path": "next"} else None
    source = {"paging": paging, "records": records}
    assert_refused(tmp_path, reply, f"/data {message}", n_requests=n_requests, **source)


@pytest.mark.parametrize(
    ("meta", "path", "found"),
    [
        ({"cursor": "b"}, "links.cursr", "links.cursor"),
        ({"cursor": None}, "links.Cursor", "links.cursor"),
        ({"cursor": "b"}, "cursor", "links.cursor"),
        ({"next": "b"}, "links.next_cursor.id", "links.next"),
        ({"nextPageToken": "b"}, "links.token", "links.nextPageToken"),
        ({"total": 3, "has_more": True}, "links.after", "links.has_more"),
        ({"after": "b"}, "links.before", "links.after"),
    ],
)
def test_a_first_page_without_the_path_but_with_another_next_page_is_refused(
    tmp_path: Path, meta: dict[str, Any], path: str, found: str
) -> None:
    assert_refused(
        tmp_path,
        json_reply({"rows": [ROW], "links": meta}),
        rf"/data gives a first page without `source\.paging\.path` = {path}, but with {found}\. Its"
        r" other pages would not be read, so nothing was published\. Correct the path\.",
        records="rows",
        paging={"kind": "cursor", "path": path},
    )


@pytest.mark.parametrize(
    ("path", "meta", "found"),
    [
        ("before", {"before": None, "after": "b"}, "links.after"),
        ("previous", {"previous": "", "next": "b", "cursor": "a"}, "links.next"),
        ("next", {"next": False, "hasMore": True}, "links.hasMore"),
    ],
)
def test_a_first_page_with_an_empty_path_beside_another_next_page_is_refused(
    tmp_path: Path, path: str, meta: dict[str, Any], found: str
) -> None:
    assert_refused(
        tmp_path,
        json_reply({"rows": [ROW], "links": meta}),
        rf"first page with an empty `source\.paging\.path` = links\.{path}, but with {found}\. Its",
        records="rows",
        paging={"kind": "cursor", "path": f"links.{path}"},
    )


OF_THIS_PAGE = {"following": None, "cursor": "a", "next_update": "2026-01-05", "retry_after": 9}


@pytest.mark.parametrize(
    "meta", [{"total": 1}, {"previous": "a"}, {"has_more": False}, OF_THIS_PAGE, None]
)
@pytest.mark.parametrize("kind", ["cursor", "link"])
def test_a_first_page_without_the_path_may_be_the_only_one(
    tmp_path: Path, meta: object, kind: str
) -> None:
    with serve(json_reply({"rows": [ROW], "links": meta})) as server:
        assert read(tmp_path, server, paging={"kind": kind, "path": "links.following"}) == [1.5]


def test_too_many_pages_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MAX_PAGES", 3)
    replies = [page(ROW, f"?{n}") for n in range(3)]
    message = (
        r"/data has more than 3 pages\. Reading stopped, and nothing was published\. Request mo"
    )
    assert_refused(tmp_path, replies, message, n_requests=3, records="rows", paging=LINK)


def test_only_the_page_that_failed_is_retried(tmp_path: Path) -> None:
    """Its number is in the log."""
    lines: list[str] = []
    replies = [page(ROW, "?page=2"), Reply(status=503), page(LAST_ROW, None)]
    with serve(replies) as server:
        assert read(tmp_path, server, paging=LINK, log=lines.append) == [1.5, 2]
    paths = [request.path for request in server.requests]
    assert paths == ["/data", "/data?page=2", "/data?page=2"]
    (line,) = lines
    assert line.startswith(f"Attempt 1 of 4 failed: {server.url()} (page 2) answered")
