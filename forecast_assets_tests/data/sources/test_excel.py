"""Excel files: the sheet and the rows that are read, and what is refused."""

import io
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import DataError, SourceError
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.http_servers import Reply, serve

HEADER = ["shop", "note", "week", "sold"]
ROWS = [
    HEADER,
    [7, None, datetime(2026, 1, 2), 1.5],  # noqa: DTZ001 - as Excel has it
    ["Köln", "?", "2026-01-02", "2,5"],
    [None, None, None, None],
    [7, None, date(2026, 1, 9), 3],
]
SOLD = [("7", "2026-01-02", 1.5), ("Köln", "2026-01-02", 2.5), ("7", "2026-01-09", 3.0)]


def workbook(**sheets: list[list[Any]]) -> bytes:
    """Return a workbook: keyword = the rows of a sheet."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def read(folder: Path, content: bytes, **source: Any) -> tuple[list[Any], list[str]]:
    """Return the rows of a file, and what is noted about it."""
    (folder / "a.xlsx").write_bytes(content)
    columns = {"unique_id": "shop", "ds": "week", "y": "sold"}
    settings = make_settings(folder, source={"kind": "file", "path": "a.xlsx", **columns, **source})
    notes: list[str] = []
    raw = fetch(FetchRequest(settings, AS_OF, note=notes.append))
    days = raw["ds"].dt.strftime("%Y-%m-%d")
    return list(zip(raw["unique_id"], days, raw["y"], strict=True)), notes


def test_the_rows_of_a_sheet_are_read(tmp_path: Path):
    assert read(tmp_path, workbook(a=ROWS)) == (SOLD, ["numbers have a decimal comma"])
    titled = workbook(cover=[["Sales"]], a=[["All"], [], *ROWS])
    rows, notes = read(tmp_path, titled)
    assert rows == SOLD
    assert notes[:2] == ["the sheet a is read", "2 lines before the header are left out"]
    assert read(tmp_path, titled, skip_rows=2, decimal=",")[1] == ["the sheet a is read"]


NOTES = [[], ["Source: the tills", None, None, None], ["3 rows"]]


@pytest.mark.parametrize("order", [HEADER, ["week", "shop", "sold", "note"]])
def test_notes_below_the_table_are_left_out(tmp_path: Path, order: list[str]):
    places = [HEADER.index(name) for name in order]
    rows = [[row[i] for i in places] for row in ROWS]
    sold, notes = read(tmp_path, workbook(a=rows + NOTES))
    assert sold == SOLD
    assert "2 lines after the last row are left out" in notes


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (["Total", None, None, 7], r"column `week`, hold no time: row 4: None\. They are the last"),
        (["Köln", None, None, None], r"column `week`, hold no time: row 4: None"),
        ([None, None, date(2026, 1, 9), None], r"column `shop`, hold no series .*: row 4: None"),
        (["2026-01-09", None, None, None], r"column `week`, hold no time: row 4: None"),
    ],
)
def test_last_rows_that_may_be_of_the_table_are_not_left_out(
    tmp_path: Path, last: list[Any], message: str
):
    with pytest.raises(DataError, match=message):
        read(tmp_path, workbook(a=[*ROWS, last]))


def test_a_workbook_over_http_is_read(tmp_path: Path):
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    columns = {"unique_id": "shop", "ds": "week", "y": "sold"}
    with serve(Reply(workbook(a=ROWS), headers={"Content-Type": media_type})) as server:
        source = {"kind": "http", "url": server.url(), **columns}
        raw = fetch(FetchRequest(make_settings(tmp_path, source=source), AS_OF))
    assert raw["y"].tolist() == [1.5, 2.5, 3.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (workbook(a=ROWS, b=ROWS), r"has 2 sheets with the columns shop, week, sold: a, b"),
        (workbook(a=[["Shop", *HEADER[2:]]]), r"no column shop; it has Shop, week, sold\. "),
        (workbook(a=[HEADER]), r"a\.xlsx has no rows\."),
        (workbook(a=[[*HEADER, "sold"]]), r"has several columns named sold"),
        (workbook(a=ROWS)[:500], r"a\.xlsx does not have the format of its suffix"),
        (b"shop,week,sold", r"a\.xlsx does not have the format of its suffix"),
    ],
)  # fmt: skip
def test_other_workbooks_are_refused(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, content)


def test_a_workbook_that_is_too_large_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match=r"gives more than `source\.max_bytes` = 20 bytes"):
        read(tmp_path, workbook(a=ROWS), max_bytes=20)


def test_without_openpyxl_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = workbook(a=ROWS)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(
        SourceError,
        match=r"is not installed\. Nothing was read\. Install it with `pip install open",
    ):
        read(tmp_path, content)
