"""Http as a source: what is read, what is tried again, and in which words the rest is refused."""

import gzip
import io
import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from forecast_assets.config.loader import parse
from forecast_assets.data.sources.fetch import display_name
from forecast_assets.errors import ForecastAssetsError, SettingsError, SourceError
from forecast_assets_tests.http_servers import (
    CSV,
    HERE,
    ROWS,
    Reply,
    Request,
    as_json,
    chunked,
    csv,
    fetch,
    web,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

EXPECTED = [("a", "2026-01-02", 1.5), ("a", "2026-01-09", None), ("007", "2026-01-02", 2.0)]
JSONL = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    """The rows as Parquet."""
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


def told(rows: pd.DataFrame) -> list[tuple[str, str, float | None]]:
    """Rows as plain values."""
    return [
        (unique_id, f"{ds:%Y-%m-%d}", None if pd.isna(y) else y)
        for unique_id, ds, y in rows.itertuples(index=False)
    ]


def refused(folder: Path, reply: Reply, match: str, **source: Any) -> None:
    """See that a reply is refused in these words, at the first try."""
    with web(reply) as server:
        with pytest.raises(SourceError, match=match):
            fetch(folder, server.url(), **source)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (CSV, "text/csv; charset=utf-8"),
        (json.dumps(ROWS).encode(), "application/json"),
        (json.dumps(ROWS).encode(), "application/vnd.api+json"),
        (JSONL, "application/x-ndjson"),
        (parquet(), "application/vnd.apache.parquet"),
    ],
)
def test_the_content_type_says_how_to_read(tmp_path: Path, body: bytes, media: str) -> None:
    with web(Reply(body, headers={"Content-Type": media})) as server:
        assert told(fetch(tmp_path, server.url())) == EXPECTED


@pytest.mark.parametrize(
    ("body", "path"),
    [(CSV, "/a.csv"), (json.dumps(ROWS).encode(), "/a.JSON"), (JSONL, "/a.ndjson?x=1")],
)
def test_else_the_address_says_it(tmp_path: Path, body: bytes, path: str) -> None:
    with web(Reply(body, headers={"Content-Type": "application/octet-stream"})) as server:
        assert told(fetch(tmp_path, server.url(path))) == EXPECTED


def test_the_settings_say_it_before_both(tmp_path: Path) -> None:
    with web(Reply(CSV, headers={"Content-Type": "text/html"})) as server:
        assert told(fetch(tmp_path, server.url("/a.json"), format="csv")) == EXPECTED


def test_where_nothing_says_it_the_setting_is_named(tmp_path: Path) -> None:
    refused(
        tmp_path,
        Reply(CSV, headers={"Content-Type": "application/octet-stream"}),
        r"http://127\.0\.0\.1:\d+/data does not tell what it gave: its Content-Type is"
        r" `application/octet-stream`, and its address has no ending that is known\. No row of it"
        r' was used\. Set `source\.format` to "csv", "json", "jsonl" or "parquet"\.',
    )


def test_a_request_holds_what_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets come from the environment; the day is that of the source's zone."""
    monkeypatch.setenv("TOKEN", "Bearer of secrets")
    monkeypatch.setenv("DEPTH", "deep {as_of:%Y}")
    with web(as_json({"data": {"rows": ROWS}})) as server:
        rows = fetch(
            tmp_path,
            server.url("/of/{as_of:%Y/%m}?kind={kind}"),
            as_of=datetime(2026, 11, 22, 23, 30, tzinfo=UTC),
            timezone="Europe/Vienna",
            method="POST",
            headers={"authorization": "env:TOKEN", "X-API-key": "one", "accept-encoding": "br"},
            params={"day": "{as_of}"},
            body={"until": ["{as_of}", {"deep": "env:DEPTH"}], "n": 3},
            records="data.rows",
        )
    (asked,) = server.asked
    assert len(rows) == 3
    assert asked.method == "POST"
    assert asked.path.startswith("/of/2026/11?")
    assert asked.query == {"kind": "{kind}", "day": "2026-11-23"}
    assert asked.headers["authorization"] == "Bearer of secrets"
    assert asked.headers["X-API-key"] == "one"
    assert asked.headers["Accept-Encoding"] == "gzip, deflate"
    assert asked.headers["Content-Type"] == "application/json"
    assert json.loads(asked.body) == {"until": ["2026-11-23", {"deep": "deep 2026"}], "n": 3}


def test_a_name_and_a_password_become_a_header(tmp_path: Path) -> None:
    with web(csv()) as server:
        fetch(tmp_path, server.url().replace("//", "//ann:s%40sam@"))
    assert server.asked[0].headers["Authorization"] == "Basic YW5uOnNAc2Ft"
    assert "@" not in server.asked[0].headers["Host"]
    with web(csv()) as server:
        url = server.url().replace("//", "//ann:s%40sam@")
        fetch(tmp_path, url, headers={"authorization": "Bearer 7", "user-agent": "ours"})
    assert server.asked[0].headers["authorization"] == "Bearer 7"
    assert "Authorization" not in server.asked[0].headers
    assert server.asked[0].headers["User-Agent"] == "ours"


def test_a_get_has_no_body(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'a `body` needs `method = "POST"`'):
        fetch(tmp_path, "http://h/", body={"a": 1})


@pytest.mark.parametrize("url", ["ftp://h/a.csv", "h/a.csv", "http:///a.csv", "http://[::1/", "x"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(
        SourceError,
        match=r"`source\.url` = .* is no address that can be asked: it has to begin with http:// or"
        r" https:// and a host, and .* Nothing was fetched, and earlier versions stand\. Correct it"
        r" in forecast\.toml\.",
    ):
        fetch(tmp_path, url)


@pytest.mark.parametrize("value", ["two\nlines", "trailing\n", "überall", " before"])
def test_a_header_that_cannot_be_sent_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("KEY", value)
    with pytest.raises(SourceError, match=r"`source\.headers\.X-Key` cannot be sent: ") as caught:
        fetch(tmp_path, "http://127.0.0.1:1/", headers={"X-Key": "env:KEY"})
    assert value not in str(caught.value)


def causes() -> Iterator[tuple[str, Reply | None, str]]:
    """Forty-one failures: their kind, what the server answers (None: nobody listens), the words."""
    csv_of_100 = {"Content-Type": "text/csv", "Content-Length": "100"}
    gzipped = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
    chunk = head + b"Transfer-Encoding: chunked\r\n\r\n10\r\nunique_id"
    packed = gzip.compress(CSV * 50, mtime=0)
    html = Reply(b"<!DOCTYPE html><html>Wait!", headers={"Content-Type": "text/csv"})
    bad_json = {"Content-Type": "application/json"}
    every: list[tuple[str, Reply | None, str]] = [
        ("refused", None, "Connection refused"),
        ("silent", Reply(is_bare=True, ends="hang"), r"not a byte within `source\.timeout_seconds"),
        ("stalled", Reply(head + b"\r\nunique", is_bare=True, ends="hang"), "not a byte within"),
        ("reset", Reply(CSV[:20], headers=csv_of_100, ends="reset"), "Connection reset by peer"),
        ("reset at once", Reply(is_bare=True, ends="reset"), "Connection reset by peer"),
        ("closed at once", Reply(is_bare=True), "Server disconnected without sending a response"),
        ("no http", Reply(b"SSH-2.0-x\r\n\r\n", is_bare=True), "illegal status line"),
        ("wrong length", Reply(CSV[:20], headers=csv_of_100), "received 20 bytes, expected 100"),
        ("cut chunk", Reply(chunk, is_bare=True), "incomplete chunked read"),
        ("cut gzip", Reply(packed[:-9], headers=gzipped), r"body that was cut off \(gzip\)"),
        ("no gzip", Reply(CSV, headers=gzipped), r"cannot be unpacked \(gzip\): .* header check"),
        ("nothing", csv(b""), "gave an empty body"),
        ("no content", Reply(status=204), "answered 204 No Content"),
        ("html", html, "gave an HTML page where data should be"),
        ("cut json", Reply(b'[{"unique_id": "a"', headers=bad_json), "not the json that it"),
        ("bad csv", csv(CSV + b"a,2026-01-16,1,2\n"), "not the csv that it should be"),
        ("bad parquet", Reply(parquet()[:-4], headers={"Content-Type": "application/parquet"}),
         "not the parquet that it should be"),
        ("later", Reply(status=503, headers={"Retry-After": "0"}), "503 Service Unavailable"),
        ("slower", Reply(status=429, headers={"Retry-After": "1"}), "alone for 1 s"),
    ]  # fmt: skip
    every += [
        (str(status), Reply(b"{}", status=status), f"answered {status}")
        for status in (202, 206, 408, 425, 429, 500, 502, 503, 504, 507, 520)
    ]
    for i in range(41):
        yield every[i % len(every)]


def test_a_server_that_fails_41_times_of_42_is_read_in_the_end(tmp_path: Path) -> None:
    """Refused, reset, late, cut off and nonsensical: each try is told with its cause and wait."""
    script = list(causes())
    replies = [reply for _, reply, _ in script]
    said: list[str] = []
    with web(csv()) as server:

        def prepare() -> None:
            """Make the server what the next try is to meet."""
            reply = replies[len(said)] if len(said) < len(replies) else csv()
            if reply is None:
                server.down()
            else:
                server.up()
                server.answer = lambda _: reply

        def say(line: str) -> None:
            said.append(line)
            prepare()

        prepare()
        rows = fetch(
            tmp_path,
            server.url(),
            say=say,
            max_retries=41,
            retry_base_seconds=0.001,
            retry_cap_seconds=0.02,
            timeout_seconds=0.15,
        )
    assert told(rows) == EXPECTED
    assert len(said) == 41
    for n, (line, (_, _, words)) in enumerate(zip(said, script, strict=True), start=1):
        start = rf"Try {n} of 42: http://127\.0\.0\.1:\d+/data .*{words}"
        assert re.fullmatch(start + r".* The next in [\d.e-]+ s\.", line, re.DOTALL), line
    assert list((tmp_path / "var" / "fetched").iterdir()) == []


def test_after_the_last_try_it_is_refused(tmp_path: Path) -> None:
    with web(Reply(status=500)) as server:
        with pytest.raises(
            SourceError,
            match=r"answered 500 Internal Server Error\. Nothing of it was used; another try may"
            r" pass\. That was try 4 of 4, in \d+ s; nothing was published, and earlier versions"
            r" stand\.",
        ):
            fetch(tmp_path, server.url())
        assert len(server.asked) == 4


def test_a_server_that_asks_to_be_left_alone_is(tmp_path: Path) -> None:
    """Retry-After counts in seconds, or as a date that is held against the server's own."""
    date = {
        "Date": "Mon, 23 Nov 2026 05:00:00 GMT",
        "Retry-After": "Mon, 23 Nov 2026 05:00:07 GMT",
    }
    replies = [
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503, headers=date),
        Reply(status=503, headers={"Retry-After": date["Retry-After"]}),
        Reply(status=503, headers={**date, "Retry-After": "soon"}),
        csv(),
    ]
    said: list[str] = []
    with web(replies) as server:
        fetch(tmp_path, server.url(), say=said.append, max_retries=9, retry_cap_seconds=0.03)
    assert ["alone for 7 s. The next in 0.03 s." in line for line in said] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 501, 505, 300, 304])
def test_what_does_not_pass_is_refused_at_once(tmp_path: Path, status: int) -> None:
    refused(
        tmp_path,
        Reply(status=status),
        rf"http://127\.0\.0\.1:\d+/data answered {status} [\w' -]+\. Asking again would not help:"
        r" nothing was fetched, and earlier versions stand\. \S+ ",
    )


def test_a_refusal_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    reply = Reply(
        b'{"error": "no such\n series"}', status=422, headers={"Content-Type": "application/json"}
    )
    refused(
        tmp_path, reply, r'answered 422 \w+ \w+ \("\{"error": "no such series"\}"\)\. Asking again'
    )


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_ask_is_told_which_secret_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("API_TOKEN", "old token")
    refused(
        tmp_path,
        Reply(status=status),
        r"Check API_TOKEN in the environment: is it right, and still valid\?",
        headers={"X-Api-Key": "env:API_TOKEN"},
    )
    refused(tmp_path, Reply(status=status), 'Give what it asks for in `source.headers`, as "env:')


def test_an_unknown_host_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []

    def nobody(host: str, *_: object, **__: object) -> None:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(
        SourceError,
        match=r"http://data\.invalid/a\.csv cannot be asked: no host has that name\. Nothing was"
        r" fetched, and earlier versions stand\. Correct `source\.url`, or this machine's name",
    ):
        fetch(tmp_path, "http://data.invalid/a.csv")
    assert looked_up == ["data.invalid"] * 2  # before asking, and to ask


def test_a_name_service_that_is_away_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, said = socket.getaddrinfo, list[str]()

    def away(*args: Any, **kwargs: Any) -> Any:
        if not said:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return lookup(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", away)
    with web(csv()) as server:
        fetch(tmp_path, server.url(), say=said.append)
    assert "did not answer, or not to the end: Temporary failure in name resolution." in said[0]


def test_a_column_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    for reply in (csv(), as_json(ROWS), Reply(parquet(), headers={"Content-Type": "x/+json"})):
        if reply.headers["Content-Type"] == "x/+json":
            refused(tmp_path, reply, "has no column value", y="value", format="parquet")
        else:
            refused(tmp_path, reply, "has no column value; it has unique_id, ds, y", y="value")


@pytest.mark.parametrize("names", ["unique_id,ds,y,y", "unique_id,ds,y,z,z"])
def test_a_column_that_is_there_twice_matters_where_it_is_mapped(
    tmp_path: Path, names: str
) -> None:
    body = f"{names}\na,2026-01-02,1,2{',3' if 'z' in names else ''}\n".encode()
    if "z" in names:
        with web(csv(body)) as server:
            assert told(fetch(tmp_path, server.url())) == [("a", "2026-01-02", 1.0)]
    else:
        refused(tmp_path, csv(body), "has more than one column y")
        refused(tmp_path, csv(body), "has no column value", y="value")


@pytest.mark.parametrize("value", [{"data": {"items": ROWS}}, {"error": "busy"}, 3, [1]])
def test_json_without_rows_where_they_should_be_is_refused_at_once(
    tmp_path: Path, value: object
) -> None:
    refused(
        tmp_path,
        as_json(value),
        r"The JSON of http\S+ cannot be taken as rows: .* No row of it was used, and earlier"
        r" versions stand\. Say in `source\.records` where the list of rows is, such as",
        **({"records": "data.rows"} if isinstance(value, dict) else {}),
    )


@pytest.mark.parametrize("reply", [csv(b"unique_id,ds,y\n"), as_json([])])
def test_no_rows_at_all_are_refused(tmp_path: Path, reply: Reply) -> None:
    refused(tmp_path, reply, r"/data gave no rows\. A week without data cannot be forecast, so")


CHUNKED = {"Content-Type": "text/csv", "Transfer-Encoding": "chunked"}
LONG = {"Content-Type": "text/csv", "Content-Length": str(10**10)}
BLOCK = b"a,2026-01-02,1.5\n" * 4096


@pytest.mark.parametrize(
    "reply",
    [
        Reply(chunked(repeat(BLOCK)), headers=CHUNKED),
        Reply(repeat(BLOCK), headers={"Content-Type": "text/csv"}),
        Reply(b"", headers=LONG, ends="hang"),
    ],
    ids=["chunked", "without a length", "with a length"],
)
def test_ten_gigabytes_are_not_taken_in(tmp_path: Path, reply: Reply) -> None:
    """They stop at the limit; where the length is told, before the first byte."""
    refused(
        tmp_path,
        reply,
        r"gives more than `source\.max_bytes` = 1,000,000 bytes, unpacked and all parts together\."
        r" Reading stopped there, and nothing was published\.",
        max_bytes=1_000_000,
    )
    assert list((tmp_path / "var" / "fetched").iterdir()) == []


def test_the_limit_is_of_all_pages_together_and_not_of_tries_that_failed(tmp_path: Path) -> None:
    bad = b"unique_id,ds,y\n1,2,3,4\n"

    def answer(request: Request) -> Reply:
        page = int(request.query["page"])
        body = CSV.replace(b"2026", b"202%d" % page) if page < 3 else b"unique_id,ds,y\n"
        return csv(body if len(server.asked) % 2 == 0 else bad)

    with web(answer) as server:
        limit = 2 * len(CSV) + len(bad)
        assert len(fetch(tmp_path, server.url(), paging={"kind": "page"}, max_bytes=limit)) == 6
        assert len(server.asked) == 6
        with pytest.raises(SourceError, match=r"more than `source\.max_bytes`"):
            fetch(tmp_path, server.url(), paging={"kind": "page"}, max_bytes=2 * len(CSV))


def test_a_body_that_is_packed_is_unpacked(tmp_path: Path) -> None:
    packed = csv(gzip.compress(CSV, mtime=0), Content_Encoding="gzip")
    with web(packed) as server:
        assert told(fetch(tmp_path, server.url())) == EXPECTED
    assert server.asked[0].headers["Accept-Encoding"] == "gzip, deflate"


def test_rows_that_two_pages_give_are_one_table(tmp_path: Path) -> None:
    """Ids stay as each page writes them: 7 on one and "007" on the next."""
    pages = {
        None: {"rows": [{"unique_id": 7, "ds": "2026-01-02", "y": 1}], "next": "/data?at=2"},
        "2": {"rows": [{"unique_id": "007", "ds": "2026-01-02", "y": 2.5}], "next": None},
    }
    with web(lambda request: as_json(pages[request.query.get("at")])) as server:
        rows = fetch(
            tmp_path, server.url(), records="rows", paging={"kind": "link", "path": "next"}
        )
    assert told(rows) == [("7", "2026-01-02", 1.0), ("007", "2026-01-02", 2.5)]


def whole(body: bytes, media: str, headers: bytes = b"") -> bytes:
    """A sound answer, to the byte."""
    length = b"\r\nContent-Length: %d" % len(body)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: "
        + media.encode()
        + headers
        + length
        + b"\r\n\r\n"
        + body
    )


def garbled(answer: bytes, rng: Random) -> bytes:
    """An answer with some bytes changed, left out or put in."""
    text = bytearray(answer)
    for _ in range(rng.choice([1, 2, 5, 20])):
        at = rng.randrange(len(text))
        text[at : at + rng.choice([0, 1, 1, 30])] = rng.randbytes(rng.choice([0, 1, 1, 4]))
    return bytes(text)


def test_a_garbled_answer_is_read_or_refused_on_purpose(tmp_path: Path) -> None:
    zipped = b"\r\nContent-Encoding: gzip"
    answers = [
        whole(CSV, "text/csv", b'\r\nETag: "7"\r\nLink: <http://127.0.0.1:1/x>; rel="next"'),
        whole(gzip.compress(CSV, mtime=0), "text/csv", zipped),
        whole(json.dumps({"rows": ROWS, "next": "/data?2"}).encode(), "application/json"),
        whole(parquet(), "application/parquet"),
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x?y=z#q\r\nContent-Length: 0\r\n\r\n",
    ]
    linked = {"kind": "link", "path": "next"}
    ways: list[dict[str, Any]] = [
        {},
        {"format": "csv"},
        {"records": "rows", "paging": linked},
        {"paging": {"kind": "link"}},
    ]
    rng = Random(7)  # noqa: S311 - the same answers each time
    quick = {"max_retries": 0, "timeout_seconds": 0.03, "max_bytes": 10**6}
    said: list[str] = []
    with web(csv()) as server:
        for _ in range(100):
            reply = Reply(garbled(rng.choice(answers), rng), is_bare=True)
            server.answer = lambda _, reply=reply: reply
            try:
                assert len(fetch(tmp_path, server.url(), **quick, **rng.choice(ways)))
            except ForecastAssetsError as error:
                said.append(str(error))
    assert 50 < len(said) < 100
    assert all(text.endswith((".", "?")) for text in said)


def test_a_body_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "fetched").write_text("a file")
    with pytest.raises(
        SourceError,
        match=r"What is fetched cannot be written or read again: .* Nothing was published, and"
        r" earlier versions stand\. Make room in FORECAST_VAR's folder `fetched`",
    ):
        fetch(tmp_path, f"http://{HERE}:1/")


def test_the_source_is_described_without_what_is_secret(tmp_path: Path) -> None:
    table = {"kind": "http", "url": "https://ann:secret@h.org/a?key=secret"}
    settings = parse({"source": table}, root=tmp_path, var=tmp_path, origin="a test")
    assert display_name(settings) == "https://h.org/a"
