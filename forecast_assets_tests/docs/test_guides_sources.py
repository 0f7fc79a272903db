"""The examples of the guide to sources, against real servers."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import to_weeks
from forecast_assets_tests.databases import Server
from forecast_assets_tests.http_servers import Reply, Request, json_reply, serve
from forecast_assets_tests.markdown_blocks import blocks, settings_of
from forecast_assets_tests.s3_server import bucket

AS_OF = datetime(2026, 11, 23, 6, tzinfo=UTC)
TOKEN = "Bearer 5f2c-in-no-log"  # noqa: S105 - it must not be found anywhere
SOLD = [("Graz", "2026-11-06", 131.0), ("Graz", "2026-11-13", 120.0), ("Linz", "2026-11-13", 80.0)]
CREATE_TABLE = "CREATE TABLE sales (shop text, day date, sold float)"


def example(folder: Path, mark: str, **source: Any) -> Settings:
    """Parse the one example that contains the mark."""
    (block,) = [
        block
        for block in blocks("toml")
        if mark in block.text and not block.file and "[source]" in block.text
    ]
    return settings_of(block, folder, **source)


def fetched(
    settings: Settings, previous: pd.DataFrame | None = None
) -> list[tuple[str, str, float]]:
    """Fetch rows, which have to make weeks."""
    raw = fetch.fetch(FetchRequest(settings, AS_OF, previous=previous))
    assert not to_weeks(raw, settings, as_of=AS_OF).frame.empty
    days = raw["ds"].dt.strftime("%Y-%m-%d")
    return sorted(zip(raw["unique_id"], days, raw["y"], strict=True))


def test_http_pages_with_a_secret_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [dict(zip(("shop", "day", "sold"), row, strict=True)) for row in SOLD]

    def answer(request: Request) -> Reply:
        if request.headers.get("Authorization") != TOKEN:
            return Reply(status=401)
        is_last = request.query.get("page") == "2"
        next_url = None if is_last else server.url("/v2/sales?page=2")
        return json_reply(
            {"data": {"items": items[2:] if is_last else items[:2], "next": next_url}}
        )

    monkeypatch.setenv("SALES_TOKEN", TOKEN)
    with serve(answer) as server:
        settings = example(tmp_path, 'kind = "http"', url=server.url("/v2/sales"))
        assert fetched(settings) == SOLD
        first, second = server.requests
    assert first.query == {"from": "2019-01-01", "until": "2026-11-23", "per_page": "5000"}
    assert second.query["page"] == "2"
    assert TOKEN not in "".join(
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_database_read_whole_and_incrementally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: Server
) -> None:
    (incremental,) = [block for block in blocks("sql") if block.guide == "connect-your-data.md"]
    server = postgresql_server
    values = ", ".join(f"('{shop}', '{day}', {sold})" for shop, day, sold in SOLD)
    others = "('test', '2026-11-13', 1), ('Graz', '2030-01-04', 1)"
    server.run("DROP TABLE IF EXISTS sales", CREATE_TABLE)
    server.run(f"INSERT INTO sales VALUES {values}, {others}")  # noqa: S608 - ours
    monkeypatch.setenv("SALES_DATABASE", server.url())
    settings = example(tmp_path, 'kind = "sql"')
    assert fetched(settings) == SOLD
    before = fetch.fetch(FetchRequest(settings, AS_OF))
    server.run(
        "DELETE FROM sales WHERE day > '2026-11-20' OR shop = 'test'",
        "UPDATE sales SET sold = 81 WHERE shop = 'Linz'",
        "INSERT INTO sales VALUES ('Linz', '2026-11-20', 82), ('Graz', '2026-08-07', 1)",
    )
    new = example(tmp_path, 'kind = "sql"', query=incremental.text)
    assert new.source.is_incremental
    # Rows more than four weeks before the newest one are not read again.
    changed = [("Linz", "2026-11-13", 81.0), ("Linz", "2026-11-20", 82.0)]
    assert fetched(new, before) == SOLD[:2] + changed


def test_a_dated_file_in_a_bucket(tmp_path: Path) -> None:
    rows = pd.DataFrame(SOLD, columns=["unique_id", "ds", "y"]).to_csv(index=False)
    file = ("sales/2026/11/sales_2026-11-23.csv.gz", gzip.compress(rows.encode(), mtime=0))
    with bucket(file):
        assert fetched(example(tmp_path, "s3://bucket")) == SOLD
