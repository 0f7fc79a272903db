"""HTTP sources: formats, columns and pages to rows, and retries to the end."""

import gzip
import io
import json
import re
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.data.sources.http.reader import compact, concat
from forecast_assets.errors import ForecastAssetsError, SourceError
from forecast_assets_tests.http_servers import (
    CSV,
    HOST,
    ROWS,
    Reply,
    assert_refused,
    csv_reply,
    fetch,
    json_reply,
    serve,
)

pytestmark = pytest.mark.usefixtures("no_proxy")

EXPECTED = [("a", "2026-01-02", 1.5), ("a", "2026-01-09", None), ("007", "2026-01-02", 2.0)]
JSON = json.dumps(ROWS).encode()
JSONL = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


def plain(rows: pd.DataFrame) -> list[tuple[str, str, float | None]]:
    """Return rows as plain values."""
    return [
        (unique_id, f"{ds:%Y-%m-%d}", None if pd.isna(y) else y)
        for unique_id, ds, y in rows.itertuples(index=False)
    ]


@pytest.mark.parametrize(
    ("body", "media_type", "path", "source"),
    [
        (CSV, "text/csv; charset=utf-8", "/data", {}),
        (JSON, "application/json", "/data", {}),
        (JSON, "application/vnd.api+json", "/data", {}),
        (JSONL, "application/x-ndjson", "/data", {}),
        (parquet(), "application/vnd.apache.parquet", "/data", {}),
        (JSONL, "application/jsonlines", "/data", {}),
        (JSON, "application/octet-stream", "/a.JSON", {}),
        (JSONL, "application/octet-stream", "/a.ndjson?x=1", {}),
        (CSV, "text/html", "/a.json", {"format": "csv"}),
    ],
)
def test_the_format_is_that_of_the_setting_the_content_type_or_the_url(
    tmp_path: Path, body: bytes, media_type: str, path: str, source: dict[str, Any]
) -> None:
    with serve(Reply(body, headers={"Content-Type": media_type})) as server:
        assert plain(fetch(tmp_path, server.url(path), **source)) == EXPECTED


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
@pytest.mark.parametrize(
    ("media_type", "path"),
    [("text/csv", "/data"), ("application/gzip", "/a.csv.gz"), ("", "/A.CSV.GZ?x=1")],
)
def test_a_gzip_file_is_decompressed(
    tmp_path: Path, media_type: str, path: str, headers: dict[str, str]
) -> None:
    body = gzip.compress(CSV, mtime=0)
    chunks = (body[i : i + 1] for i in range(len(body)))  # so that the first byte comes alone
    reply = Reply(body if headers else chunks, headers={"Content-Type": media_type, **headers})
    with serve(reply) as server:
        assert plain(fetch(tmp_path, server.url(path))) == EXPECTED


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, csv_reply(gzip.compress(CSV, mtime=0)[:-9]), "it is cut off", n_requests=4
    )


def test_an_unknown_format_names_the_setting(tmp_path: Path) -> None:
    message = (
        r"The format of http://127\.0\.0\.1:\d+/data is unknown: its Content-Type is `text/x`, and"
        r" its URL has no known ending\. Nothing was published\. Set `source\.format` to"
    )
    assert_refused(tmp_path, Reply(CSV, headers={"Content-Type": "text/x"}), message)


def test_missing_and_repeated_columns_are_permanent_errors(tmp_path: Path) -> None:
    """A repeated column matters only if it is mapped."""
    repeated = csv_reply(b"unique_id,ds,y,z,z\na,2026-01-02,1,2,3\n")
    for reply in (csv_reply(), json_reply(ROWS), repeated):
        assert_refused(tmp_path, reply, "has no column value; it has unique_id, ds, y", y="value")
    assert_refused(tmp_path, Reply(parquet()), "has no column value", y="value", format="parquet")
    assert_refused(tmp_path, repeated, "has several columns named z", y="z")
    with serve(repeated) as server:
        assert plain(fetch(tmp_path, server.url())) == [("a", "2026-01-02", 1.0)]


@pytest.mark.parametrize("value", [{"data": {"items": ROWS}}, {"error": "busy"}, 3, [1]])
def test_json_without_a_list_of_rows_names_the_setting(tmp_path: Path, value: object) -> None:
    assert_refused(
        tmp_path,
        json_reply(value),
        r"The JSON of http\S+ has no list of rows: .* Nothing was published; earlier versions are"
        r" unchanged\. Set `source\.records` to the path of that list, such as",
        **({"records": "data.rows"} if isinstance(value, dict) else {}),
    )


def test_a_source_without_rows_is_refused(tmp_path: Path) -> None:
    for reply in (csv_reply(b"unique_id,ds,y\n"), json_reply([])):
        message = r"/data gave no rows\. A week without data cannot be forecast"
        assert_refused(tmp_path, reply, message)


def test_ids_of_two_pages_keep_their_types(tmp_path: Path) -> None:
    """7 on one page and "007" on the next are two series."""
    pages = {
        None: {"rows": [{"unique_id": 7, "ds": "2026-01-02", "y": 1}], "next": "/data?at=2"},
        "2": {"rows": [{"unique_id": "007", "ds": "2026-01-02", "y": 2.5}], "next": None},
    }
    source = {"records": "rows", "paging": {"kind": "link", "path": "next"}}
    with serve(lambda request: json_reply(pages[request.query.get("at")])) as server:
        rows = fetch(tmp_path, server.url(), **source)
    assert plain(rows) == [("7", "2026-01-02", 1.0), ("007", "2026-01-02", 2.5)]


def test_a_body_that_cannot_be_written_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with pytest.raises(
        SourceError,
        match=r"Fetched data cannot be kept in FORECAST_VAR: .* Nothing was published; earlier"
        r" versions are unchanged\. Free disk space, or let this user write there\.",
    ):
        fetch(tmp_path, f"http://{HOST}:1/")


def transient_failures() -> Iterator[tuple[Reply | None, str]]:
    """Yield 41 replies (None: the server is down), each with the message it should give."""
    gzipped = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    csv_of_100 = {"Content-Type": "text/csv", "Content-Length": "100"}
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
    chunk = head + b"Transfer-Encoding: chunked\r\n\r\n10\r\nunique_id"
    html = Reply(b"<!DOCTYPE html><html>Wait!", headers={"Content-Type": "text/csv"})
    failures: list[tuple[Reply | None, str]] = [
        (None, "Connection refused"),
        (Reply(is_raw=True, end="hang"), r"no data for `source\.timeout_seconds"),
        (Reply(head + b"\r\nunique", is_raw=True, end="hang"), "no data for"),
        (Reply(CSV[:20], headers=csv_of_100, end="reset"), "Connection reset by peer"),
        (Reply(is_raw=True, end="reset"), "Connection reset by peer"),
        (Reply(is_raw=True), "Server disconnected without sending a response"),
        (Reply(b"SSH-2.0-x\r\n\r\n", is_raw=True), "illegal status line"),
        (Reply(CSV[:20], headers=csv_of_100), "received 20 bytes, expected 100"),
        (Reply(chunk, is_raw=True), "incomplete chunked read"),
        (Reply(gzip.compress(CSV * 50)[:-9], headers=gzipped), "decompressed: it is cut off"),
        (Reply(CSV, headers=gzipped), "cannot be decompressed: .* header check"),
        (csv_reply(b""), "gave an empty body"),
        (Reply(status=204), "answered 204 No Content"),
        (html, "gave an HTML page instead of data"),
        (csv_reply(b'[{"unique_id": "a"', Content_Type="application/json"), "not valid json"),
        (csv_reply(CSV + b"a,2026-01-16,1,2\n"), r"not valid csv, .*: Row #5: .* got 4\. N"),
        (csv_reply(parquet()[:-4], Content_Type="application/parquet"), "not valid parquet"),
        (Reply(status=503, headers={"Retry-After": "0"}), "503 Service Unavailable"),
        (Reply(status=429, headers={"Retry-After": "1"}), "asks for 1 s without requests"),
    ]
    failures += [
        (Reply(b"{}", status=status), f"answered {status}")
        for status in (202, 206, 408, 425, 429, 500, 502, 503, 504, 507, 520)
    ]
    yield from islice(cycle(failures), 41)


def test_a_server_that_fails_41_times_is_read_at_last(tmp_path: Path) -> None:
    """Every attempt is logged with its cause and wait, and no file is left."""
    failures = list(transient_failures())
    lines: list[str] = []
    with serve(csv_reply()) as server:

        def prepare(n: int) -> None:
            reply = failures[n][0] if n < len(failures) else csv_reply()
            if reply is None:
                server.stop()
            else:
                server.start()
                server.answer = lambda _: reply

        def log(line: str) -> None:
            lines.append(line)
            prepare(len(lines))

        prepare(0)
        quick = {"max_retries": 41, "retry_cap_seconds": 0.02, "timeout_seconds": 0.15}
        rows = fetch(tmp_path, server.url(), log=log, **quick)
    assert plain(rows) == EXPECTED
    assert len(lines) == 41
    for n, (line, (_, message)) in enumerate(zip(lines, failures, strict=True), start=1):
        start = rf"Attempt {n} of 42 failed: http://127\.0\.0\.1:\d+/data .*{message}"
        assert re.fullmatch(start + r".* Retrying in [\d.e-]+ s\.", line, re.DOTALL), line
    assert list((tmp_path / "var").iterdir()) == []


def test_the_last_attempt_is_an_error(tmp_path: Path) -> None:
    message = (
        r"answered 500 Internal Server Error\. Nothing of it was used\. Attempt 4 of 4 failed after"
        r" \d+ s\. Nothing was published; earlier versions are unchanged\."
    )
    assert_refused(tmp_path, Reply(status=500), message, n_requests=4)


def damage(reply: bytes, rng: Random) -> bytes:
    """Change, remove or insert some bytes."""
    text = bytearray(reply)
    for _ in range(rng.choice([1, 2, 5, 20])):
        start = rng.randrange(len(text))
        text[start : start + rng.choice([0, 1, 1, 30])] = rng.randbytes(rng.choice([0, 1, 1, 4]))
    return bytes(text)


def test_a_damaged_reply_is_read_or_refused_with_a_message(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: "
    rows = json.dumps({"rows": ROWS, "next": "/data?2"}).encode()
    replies = [
        (b'text/csv\r\nETag: "7"\r\nLink: <http://127.0.0.1:1/x>; rel="next"', CSV),
        (b"text/csv\r\nContent-Encoding: gzip", gzip.compress(CSV, mtime=0)),
        (b"application/json", rows),
        (b"application/parquet", parquet()),
        (b"text/csv\r\nLocation: http://127.0.0.1:1/x?y=z#q", b"?"),
    ]
    sources: list[dict[str, Any]] = [
        {},
        {"format": "csv"},
        {"records": "rows", "paging": {"kind": "link", "path": "next"}},
        {"paging": {"kind": "link"}},
    ]
    rng = Random(7)  # noqa: S311 - the same replies each time
    quick = {"max_retries": 0, "timeout_seconds": 0.03, "max_bytes": 10**6}
    errors: list[str] = []
    with serve(csv_reply()) as server:
        for _ in range(80):
            headers, body = rng.choice(replies)
            text = head % len(body) + headers + b"\r\n\r\n" + body
            server.answer = lambda _, text=text: Reply(damage(text, rng), is_raw=True)
            try:
                assert len(fetch(tmp_path, server.url(), **quick, **rng.choice(sources)))
            except ForecastAssetsError as error:
                errors.append(str(error))
    assert 40 < len(errors) < 80
    assert all(text.endswith(".") for text in errors)


def column(values: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def typed(values: "pd.Series[Any]") -> list[str]:
    """Return values with their types: 7, 7.0 and "7" differ; a missing value is None."""
    plain_values = [None if pd.isna(value) else value for value in values]
    return [repr(getattr(value, "item", lambda value=value: value)()) for value in plain_values]


def test_columns_of_one_type_are_stored_compactly() -> None:
    columns = (["a", "b", None], [1.5, 2.5], [1, 2], [1, 2.5], [1, None], ["a", 1], [10**30])
    dtypes = [str(compact(column(values))["x"].dtype) for values in columns]
    assert dtypes == ["category", "float64", "int64", *["object"] * 4]


VALUES = st.none() | st.text("7aé.", max_size=2) | st.integers() | st.floats(allow_nan=False)


@given(pages=st.lists(st.lists(VALUES, max_size=4), min_size=1, max_size=4))
@settings(max_examples=25)
def test_concatenated_pages_keep_every_value(pages: list[list[Any]]) -> None:
    rows = concat([compact(column(values)) for values in pages])
    assert typed(rows["x"]) == [text for values in pages for text in typed(column(values)["x"])]
