"""Pages: by a link, a number and a cursor, and where they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.data.sources.http import pagination
from forecast_assets.data.sources.http.pagination import next_of
from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import ROWS, Reply, Request, Web, as_json, csv, fetch, web

pytestmark = pytest.mark.usefixtures("no_proxy")

ROW, ANOTHER, LAST = ROWS
LINK = {"kind": "link", "path": "links.next"}


def page(row: dict[str, Any], following: object, **headers: str) -> Reply:
    """A page of one row that names the next one."""
    return as_json({"rows": [row], "links": {"next": following}}, **headers)


def read(folder: Path, server: Web, **source: Any) -> list[float]:
    """The values that the pages of a server give, a missing one as -1."""
    rows = fetch(folder, server.url(), **{"records": "rows", **source})
    return [float(y) for y in rows["y"].fillna(-1)]


@pytest.mark.parametrize(
    "named",
    [
        "/data?page=2",
        "?page=2",
        "data?page=2#top",
        pytest.param(lambda server: server.url("/data?page=2"), id="a whole address"),
    ],
)
@pytest.mark.parametrize("end", [None, "", False])
def test_a_link_in_json_is_followed_to_its_end(
    tmp_path: Path, named: str | Callable[[Web], str], end: object
) -> None:
    def answer(request: Request) -> Reply:
        if "page" in request.query:
            return page(ANOTHER, end)
        return page(ROW, named if isinstance(named, str) else named(server))

    with web(answer) as server:
        assert read(tmp_path, server, paging=LINK, params={"key": "abcdef"}) == [1.5, -1]
    assert [request.query for request in server.asked] == [{"key": "abcdef"}, {"page": "2"}]


def test_a_link_that_is_absent_ends_the_pages(tmp_path: Path) -> None:
    with web([page(ROW, "?page=2"), as_json({"rows": [LAST], "links": None})]) as server:
        assert read(tmp_path, server, paging=LINK) == [1.5, 2]
    with web(as_json({"rows": [LAST]})) as server:
        assert read(tmp_path, server, paging=LINK) == [2]


def test_a_link_in_the_header_is_followed(tmp_path: Path) -> None:
    link = '</data>; rel="first", <?page=2>; title="a, b"; rel="last next"'
    replies = [csv(Link=link), csv(Link='</data>; rel="prev"')]
    with web(replies) as server:
        assert len(fetch(tmp_path, server.url(), paging={"kind": "link"})) == 6
    assert [request.path for request in server.asked] == ["/data", "/data?page=2"]


@pytest.mark.parametrize(
    ("header", "url"),
    [
        ("", None),
        ("<a>", None),
        ("<a>; rel=next", "a"),
        ('<a,b>;rel="prev", <c;d>; REL = "Next"', "c;d"),
        ('<a>; rel="nextish", <b>; rel="up next"; rel="x"', "b"),
        ('<a>; rel="prev"; title="rel=next"', None),
    ],
)
def test_a_link_header_names_the_next_page(header: str, url: str | None) -> None:
    assert next_of(header) == url


def test_numbers_go_up_until_a_page_is_empty(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        number = int(request.query["p"])
        return as_json({"rows": [ROWS[number]] if number < 3 else []})

    numbers = {"kind": "page", "parameter": "p", "first": 0}
    with web(answer) as server:
        assert read(tmp_path, server, paging=numbers, params={"size": "1"}) == [1.5, -1, 2]
    assert [request.query["p"] for request in server.asked] == ["0", "1", "2", "3"]
    assert {request.query["size"] for request in server.asked} == {"1"}


def test_a_later_page_may_have_no_content_at_all(tmp_path: Path) -> None:
    with web([csv(), Reply(status=204)]) as server:
        assert len(fetch(tmp_path, server.url(), paging={"kind": "page"})) == 3
    with web([page(ROW, "?page=2"), Reply(status=204)]) as server:
        assert read(tmp_path, server, paging=LINK) == [1.5]


def test_a_server_that_does_not_heed_the_number_is_refused(tmp_path: Path) -> None:
    with (
        web(as_json({"rows": [ROW]})) as server,
        pytest.raises(
            SourceError,
            match=r"/data answers `nr` = 2 with the very body of the page before, so it does not"
            r" heed the number\. Nothing was published\. Correct `source\.paging\.parameter`\.",
        ),
    ):
        read(tmp_path, server, paging={"kind": "page", "parameter": "nr"})


@pytest.mark.parametrize("end", [{"rows": [LAST], "next": None}, {"rows": [LAST], "next": ""},
                                 {"rows": [LAST], "next": False}, {"rows": [LAST]}])  # fmt: skip
@pytest.mark.parametrize("cursor", ["a/b c", 0, 17])
def test_a_cursor_is_given_back_until_there_is_none(
    tmp_path: Path, end: object, cursor: object
) -> None:
    def answer(request: Request) -> Reply:
        is_second = "cursor" in request.query
        return as_json(end if is_second else {"rows": [ROW], "next": cursor})

    with web(answer) as server:
        cursors = {"kind": "cursor", "path": "next"}
        assert read(tmp_path, server, paging=cursors) == [1.5, 2]
    assert server.asked[1].query["cursor"] == str(cursor)


def test_a_posted_request_has_its_cursor_in_the_body(tmp_path: Path) -> None:
    """Unless the address has a parameter of that name."""
    replies = [as_json({"rows": [ROW], "next": 17}), as_json({"rows": [LAST]})]
    post = {"method": "POST", "body": {"n": 1}, "paging": {"kind": "cursor", "path": "next"}}
    with web(replies) as server:
        assert read(tmp_path, server, **post) == [1.5, 2]
    assert [json.loads(request.body) for request in server.asked] == [
        {"n": 1},
        {"n": 1, "cursor": 17},
    ]
    with web(replies) as server:
        assert read(tmp_path, server, **post, params={"cursor": "0"}) == [1.5, 2]
    assert [request.query["cursor"] for request in server.asked] == ["0", "17"]


@pytest.mark.parametrize(
    ("way", "what"),
    [(LINK, "address"), ({"kind": "cursor", "path": "links.next"}, "cursor")],
)
def test_pages_that_go_round_in_a_circle_are_refused(
    tmp_path: Path, way: dict[str, str], what: str
) -> None:
    replies = [page(ROW, "?a"), page(ROW, "?b"), page(ROW, "?a"), page(ROW, "?b")]
    with (
        web(replies) as server,
        pytest.raises(
            SourceError,
            match=rf"/data names the same {what} of a next page twice, so its pages have no end\."
            r" Nothing was published\. Correct `source\.paging`, or ask who runs the server\.",
        ),
    ):
        read(tmp_path, server, paging=way)
    assert len(server.asked) == 3


def test_a_page_that_names_itself_is_refused(tmp_path: Path) -> None:
    with web(page(ROW, "/data")) as server, pytest.raises(SourceError, match="names the same addr"):
        read(tmp_path, server, paging=LINK)


def test_more_pages_than_there_may_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "MOST_PAGES", 3)
    with (
        web(lambda _: page(ROW, f"?{len(server.asked)}")) as server,
        pytest.raises(
            SourceError,
            match=r"/data has more than 3 pages\. Reading stopped there, and nothing was"
            r" published\. Ask for more rows a page, or correct `source\.paging`\.",
        ),
    ):
        read(tmp_path, server, paging=LINK)
    assert len(server.asked) == 3


@pytest.mark.parametrize("named", [{"href": "?page=2"}, ["?page=2"], True, 1])
def test_a_link_that_is_no_text_is_refused(tmp_path: Path, named: object) -> None:
    with (
        web(page(ROW, named)) as server,
        pytest.raises(
            SourceError,
            match=r"/data holds a \w+ at `source\.paging\.path` = links\.next, which names no"
            r" page\. Nothing was published\. Correct the path\.",
        ),
    ):
        read(tmp_path, server, paging=LINK)


def test_a_cursor_that_is_no_text_or_number_is_refused(tmp_path: Path) -> None:
    with web(page(ROW, {"id": 1})) as server, pytest.raises(SourceError, match="holds a dict at"):
        read(tmp_path, server, paging={"kind": "cursor", "path": "links.next"})


@pytest.mark.parametrize(
    ("reply", "what"), [(csv(), "not JSON"), (as_json(ROWS), "a list")], ids=["csv", "list"]
)
def test_a_path_in_what_is_no_json_object_is_refused(
    tmp_path: Path, reply: Reply, what: str
) -> None:
    with (
        web(reply) as server,
        pytest.raises(
            SourceError,
            match=rf"/data answers with a page that is {what}, so nothing can be at"
            r" `source\.paging\.path` = links\.next: that needs a JSON object\. Nothing was"
            r" published\. Correct `source\.paging`; a `link` without a path reads the `Link` head",
        ),
    ):
        fetch(tmp_path, server.url(), paging=LINK)


def test_an_address_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with (
        web(page(ROW, "http://[::1/")) as server,
        pytest.raises(
            SourceError,
            match=r"/data names another address, which is none that can be read\. It was not"
            r" followed, and nothing was published\. Ask who runs the server\.",
        ),
    ):
        read(tmp_path, server, paging=LINK)


def test_a_page_that_fails_is_asked_again_alone(tmp_path: Path) -> None:
    """The pages before it are not, and its number is told."""
    said: list[str] = []
    replies = [page(ROW, "?page=2"), Reply(status=503), page(LAST, None)]
    with web(replies) as server:
        assert read(tmp_path, server, paging=LINK, say=said.append) == [1.5, 2]
    assert [request.path for request in server.asked] == ["/data", "/data?page=2", "/data?page=2"]
    assert [line.partition(" answered")[0] for line in said] == [
        f"Try 1 of 4: {server.url()} (page 2)"
    ]
