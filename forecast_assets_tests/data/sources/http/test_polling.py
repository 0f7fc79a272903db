"""Polls: a conditional request tells whether a new fetch is worth a run."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.data.sources.http.reader import is_unchanged
from forecast_assets_tests.http_servers import (
    AS_OF,
    CSV,
    Reply,
    Request,
    csv_reply,
    fetch,
    http_request,
    redirect,
    serve,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

LAST_MODIFIED = "Mon, 16 Nov 2026 05:00:00 GMT"
LATER = AS_OF + timedelta(hours=1)


def conditional(request: Request) -> Reply:
    """Answer 304 to conditional requests."""
    if "If-None-Match" in request.headers or "If-Modified-Since" in request.headers:
        return Reply(status=304)
    return csv_reply(ETag='W/"7"', Last_Modified=LAST_MODIFIED)


def poll(folder: Path, url: str, **source: Any) -> bool:
    return is_unchanged(http_request(folder, url, as_of=LATER, **source), stored_as_of=AS_OF)


@pytest.mark.parametrize("headers", [["ETag"], ["Last_Modified"], ["ETag", "Last_Modified"]])
def test_a_poll_sends_the_validators_of_the_last_fetch(tmp_path: Path, headers: list[str]) -> None:
    reply = csv_reply(**dict.fromkeys(headers, LAST_MODIFIED))
    with serve([reply, Reply(status=304)]) as server:
        fetch(tmp_path, server.url())
        assert poll(tmp_path, server.url())
    names = {"ETag": "If-None-Match", "Last_Modified": "If-Modified-Since"}
    first, second = (
        {name: text for name, text in request.headers.items() if name.startswith("If-")}
        for request in server.requests
    )
    assert first == {}
    assert second == {names[header]: LAST_MODIFIED for header in headers}
    (kept,) = (tmp_path / "var").iterdir()
    assert CSV.decode() not in kept.read_text()


@pytest.mark.parametrize(
    "reply", [csv_reply(ETag='"8"'), Reply(status=500), Reply(status=404), Reply(is_raw=True)]
)
def test_other_answers_count_as_changed(tmp_path: Path, reply: Reply) -> None:
    with serve([csv_reply(ETag='"7"'), reply]) as server:
        fetch(tmp_path, server.url())
        assert not poll(tmp_path, server.url())
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "source", [{"paging": {"kind": "link"}}, {"paging": {"kind": "page"}}, {"method": "POST"}]
)
def test_pages_and_posts_are_always_fetched(tmp_path: Path, source: dict[str, Any]) -> None:
    with serve([csv_reply(ETag='"7"'), Reply(status=204)]) as server:
        fetch(tmp_path, server.url(), **source)
        n_requests = len(server.requests)
        assert not poll(tmp_path, server.url(), **source)
        assert len(server.requests) == n_requests


def test_a_fetch_that_was_not_stored_does_not_count(tmp_path: Path) -> None:
    """Neither does one before the source's settings changed, nor one without validators."""
    with serve(conditional) as server:
        fetch(tmp_path, server.url(), as_of=LATER)
        assert not poll(tmp_path, server.url())
        fetch(tmp_path, server.url())
        assert not poll(tmp_path, server.url(), unique_id="shop")
        server.answer = lambda _: csv_reply()
        fetch(tmp_path, server.url())
        assert not poll(tmp_path, server.url())
        assert len(server.requests) == 3


def test_validators_are_sent_only_with_the_request_that_they_belong_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another date, key or target of a redirect is another request."""
    monkeypatch.setenv("KEY", "first key")
    source = {"headers": {"X-Key": "env:KEY"}}
    target = "/first"
    with serve(csv_reply()) as server:
        server.answer = lambda request: (
            redirect(target) if request.path.startswith("/data") else conditional(request)
        )
        url = server.url("/data?day={as_of:%d%H}")
        fetch(tmp_path, url, **source)
        assert poll(tmp_path, url, **source)
        target = "/second"
        assert not poll(tmp_path, url, **source)
        target = "/first"
        monkeypatch.setenv("KEY", "second key")
        assert not poll(tmp_path, url, **source)
    conditions = [request.path for request in server.requests if "If-None-Match" in request.headers]
    assert conditions == ["/first"]


def test_a_damaged_file_of_validators_counts_as_changed(tmp_path: Path) -> None:
    with serve(conditional) as server:
        fetch(tmp_path, server.url())
        (path,) = (tmp_path / "var").iterdir()
        for text in ("{", "[1]", '{"ETag": 1}', '{"source": null}'):
            path.write_text(text)
            assert not poll(tmp_path, server.url())


def test_a_validator_that_repeats_a_secret_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret key")
    with serve(csv_reply(ETag='"secret%20key"')) as server:
        fetch(tmp_path, server.url(), params={"key": "env:KEY"})
    assert list((tmp_path / "var").iterdir()) == []
