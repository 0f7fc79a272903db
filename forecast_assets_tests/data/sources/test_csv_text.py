"""CSV as programs write it: what is recognized, what is refused, and the settings that decide."""

import codecs
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import ForecastAssetsError, SourceError
from forecast_assets_tests.builders import AS_OF, make_settings

COMMAS = "shop,week,sold\nKöln,2026-01-02,1.5\nKöln,2026-01-09,2\nLinz,2026-01-02,3\n"
SEMICOLONS = COMMAS.replace(",", ";").replace("1.5", "1,5")
SOLD = [("Köln", "2026-01-02", 1.5), ("Köln", "2026-01-09", 2.0), ("Linz", "2026-01-02", 3.0)]
COLUMNS = {"unique_id": "shop", "ds": "week", "y": "sold"}


def read(
    folder: Path, content: str | bytes, *notes: str, name: str = "a.csv", **source: Any
) -> list[tuple[str, str, float]]:
    """Read a file, check what is noted about it, and return its rows."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    settings = make_settings(folder, source={"kind": "file", "path": name, **COLUMNS, **source})
    noted: list[str] = []
    raw = fetch(FetchRequest(settings, AS_OF, note=noted.append))
    assert noted == list(notes)
    days = raw["ds"].dt.strftime("%Y-%m-%d")
    return list(zip(raw["unique_id"], days, raw["y"], strict=True))


SEPARATED, COMMA = "columns are separated by {}", "numbers have a decimal comma"
TITLE, FOOTER = "1 line before the header is left out", "1 line after the last row is left out"


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (COMMAS, []),
        (COMMAS.rstrip("\n"), []),
        (COMMAS.replace("\n", "\r\n"), []),
        (COMMAS.replace("\n", "\r"), []),
        (COMMAS.replace("shop,week", '" shop ", week'), []),
        (SEMICOLONS, [SEPARATED.format("`;`"), COMMA]),
        (COMMAS.replace(",", "\t"), [SEPARATED.format("tabs")]),
        (COMMAS.replace(",", "|"), [SEPARATED.format("`|`")]),
        ("sep=;\n" + SEMICOLONS, [SEPARATED.format("`;`"), TITLE, COMMA]),
        ("Sold: all, by week\n\n" + COMMAS, ["2 lines before the header are left out"]),
        ("#\n" * 90 + COMMAS, ["90 lines before the header are left out"]),
        (COMMAS + "\nSource: the till\n(3 rows)\n", ["2 lines after the last row are left out"]),
        (COMMAS + "Source: the till", [FOOTER]),
        (COMMAS + "Total,6.5\n", [FOOTER]),
        (COMMAS + ",,\n,,\n", ["2 rows without any value are left out"]),
        (codecs.BOM_UTF8 + COMMAS.encode(), []),
        (COMMAS.encode("utf-16"), ["the encoding is utf-16-le"]),
        (codecs.BOM_UTF16_BE + COMMAS.encode("utf-16-be"), ["the encoding is utf-16-be"]),
        (COMMAS.encode("utf-16-le"), ["the encoding is utf-16-le"]),
        (COMMAS.encode("utf-16-be"), ["the encoding is utf-16-be"]),
        (codecs.BOM_UTF32_LE + COMMAS.encode("utf-32-le"), ["the encoding is utf-32-le"]),
        (
            ("Umsatz;\n" + SEMICOLONS + "Quelle: Kasse\n").encode("utf-16"),
            [
                "the encoding is utf-16-le",
                SEPARATED.format("`;`"),
                TITLE,
                FOOTER,
                COMMA,
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_certain_is_read_and_noted(
    tmp_path: Path, content: str | bytes, notes: list[str]
) -> None:
    assert read(tmp_path, content, *notes) == SOLD


def test_a_file_of_tabs_has_its_own_suffix(tmp_path: Path) -> None:
    content = COMMAS.replace(",", "\t")
    assert read(tmp_path, content, SEPARATED.format("tabs"), name="a.tsv") == SOLD


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (SEMICOLONS, {"separator": ";", "decimal": ","}),
        (COMMAS.replace(",", ":"), {"separator": ":"}),
        (COMMAS.encode("cp1252"), {"encoding": "cp1252"}),
        ("shop,week,sold\n" + COMMAS, {"skip_rows": 1}),
        (COMMAS.encode("utf-16"), {"encoding": "utf-16"}),
    ],
)
def test_a_setting_decides_and_needs_no_note(
    tmp_path: Path, content: str | bytes, source: dict[str, Any]
) -> None:
    assert read(tmp_path, content, **source) == SOLD


def test_other_columns_may_have_another_encoding(tmp_path: Path) -> None:
    content = COMMAS.replace("Köln", "Wels").replace("\n", ",é\n").encode("latin-1")
    assert len(read(tmp_path, content)) == 3


REPAIRS: list[tuple[str | bytes, str, dict[str, Any] | Callable[[str], str]]] = [
    (
        COMMAS.encode("latin-1"),
        (r"a\.csv is not written in utf-8: line 2 holds the byte 0xf6\. None of its rows were"
        r" used\. Set `source\.encoding` to the encoding of the program that writes it, such as"
        r' "cp1252" \(Windows in Western Europe\), "latin-1" or "utf-16"\.'),
        {"encoding": "cp1252"},
    ),
    (
        COMMAS.replace("shop", "größe").encode("latin-1"),
        r"a\.csv is not written in utf-8: line 1 holds the byte 0xf6\.",
        {"encoding": "latin-1", "unique_id": "größe"},
    ),
    (
        SEMICOLONS.replace("shop", "Shop"),
        r"a\.csv has no column shop; it has Shop, week, sold\. .* Did you mean `Shop` for shop\?",
        {"unique_id": "Shop"},
    ),
    (
        "\n\nSold, all\nweek;sold\n2026-01-02;1,5\n2026-01-09;2\n",
        (r"a\.csv \(its header seems to be line 4; .*\) has no column shop; it has week, sold\. .*"
        r" If it has one series only, add a"
        r' column with its name in a function \(`kind = "python"`; docs/connect'),
        lambda _: SEMICOLONS,
    ),
    (
        "week,Köln,Linz\n2026-01-02,1.5,3\n2026-01-09,2,\n",
        (r"a\.csv has no column shop, sold; it has week, Köln, Linz\. Nothing was published\. It"
        r" looks like a wide table, with a column for each series\. Make it a long one in a"
        r' function \(`kind = "python"`; docs'),
        lambda _: COMMAS,
    ),
    (
        "shop;2026-01-02;2026-01-09\nKöln;1,5;2\nLinz;3;\n",
        r"has no column week, sold; .* a wide table, with a column for each week\. Make it a long",
        lambda _: COMMAS,
    ),
    (
        "shop,week,sold\nKöln,2026-01-02,1,5\nKöln,2026-01-09,2,0\nLinz,2026-01-02,3,0\n",
        r"Row #2: Expected 3 columns, got 4, and so have others: quote numbers",
        lambda _: COMMAS,
    ),
    (
        gzip.compress(COMMAS.encode(), mtime=0),
        r"a\.csv is compressed with gzip, and not CSV\. .* add \.gz to its name",
        lambda _: COMMAS,
    ),
    (
        b"PK\x03\x04 and more",
        r"a\.csv is a zip archive or an Excel file, and not .* or name it \.xlsx",
        lambda _: COMMAS,
    ),
    (
        "Köln,2026-01-02,1.5\nKöln,2026-01-09,2\nLinz,2026-01-02,3\n",
        r"has no column .* Its first line looks like data: add a line with names, or read it in a",
        lambda text: "shop,week,sold\n" + text,
    ),
    (
        COMMAS.replace(",", ":"),
        r"has no column shop, week, sold; it has shop:week:sold\. .* set `source\.separator`",
        {"separator": ":"},
    ),
    (
        COMMAS + "Wels,2026-01-02,4,5\n",
        r"CSV parse error: Row #5: Expected 3 columns, got 4\. None of its rows were used\.",
        lambda _: COMMAS,
    ),
    (
        COMMAS.replace("Köln,2026-01-09,2", "Köln"),
        r"CSV parse error: Row #3: Expected 3 columns, got 1\. None",
        lambda _: COMMAS,
    ),
    (COMMAS + "Lin", r"Row #5: Expected 3 columns, got 1\. .* it was cut off", lambda _: COMMAS),
    (COMMAS + "Wels,2026-0", r"Row #5: Expected 3 columns, got 2\. None", lambda _: COMMAS),
    (
        COMMAS + "Total,,6.5\n",
        (r"1 of 4 rows .* column `week`, hold no time: row 4: nan\. They are the last ones, as"
        r" totals and notes below a table are\. Nothing"),
        {"on_bad_rows": "quarantine"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message", "repair"), REPAIRS)
def test_what_is_refused_names_its_cause_and_a_remedy_that_works(
    tmp_path: Path,
    content: str | bytes,
    message: str,
    repair: dict[str, Any] | Callable[[str], str],
) -> None:
    with pytest.raises(ForecastAssetsError) as refused:
        read(tmp_path, content)
    assert re.search(message, str(refused.value)), refused.value
    source = repair if isinstance(repair, dict) else {}
    if not isinstance(repair, dict):
        (tmp_path / "a.csv").write_text(repair(str(content)))
    source = {"kind": "file", "path": "a.csv", **COLUMNS, **source}
    raw = fetch(FetchRequest(make_settings(tmp_path, source=source), AS_OF))
    assert raw["y"].dropna().isin([1.5, 2.0, 3.0, 6.5]).all()


def test_a_file_without_a_column_is_refused_also_among_others(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(COMMAS.replace("sold", "units"))
    with pytest.raises(SourceError, match=r"b\.csv has no column sold; it has shop, week, units\."):
        read(tmp_path, COMMAS, path="*.csv")


def test_a_long_file_is_read_from_its_first_block(tmp_path: Path) -> None:
    """Lines around the table in a file of several blocks; then an invalid byte far behind."""
    rows = [f"Köln {n};2026-01-02;{n},5" for n in range(100_000)]
    content = "\n".join(["Titel", "shop;week;sold", *rows, "Quelle: Kasse", ""])
    settings = {"kind": "file", "path": "a.csv", **COLUMNS}
    (tmp_path / "a.csv").write_text(content)
    request = FetchRequest(make_settings(tmp_path, source=settings), AS_OF)
    assert fetch(request)["y"].tolist() == [n + 0.5 for n in range(100_000)]
    (tmp_path / "a.csv").write_bytes(content.encode().replace(b"99999;", b"99999\xf6;"))
    with pytest.raises(SourceError, match=r"a\.csv is not written in utf-8\. None of its rows"):
        fetch(request)


def test_parquet_ids_with_nulls_are_whole_numbers(tmp_path: Path) -> None:
    """Written as floats by pandas, as integers by others, and too large for a float."""
    exact = pd.array([1, None, 2**53 + 1], dtype="Int64")
    for ids, expected in (([1.0, None, 10.0], ["1", "10"]), (exact, ["1", str(2**53 + 1)])):
        frame = pd.DataFrame({"shop": ids, "week": "2026-01-02", "sold": 1})
        frame.to_parquet(tmp_path / "a.parquet")
        source = {"kind": "file", "path": "a.parquet", "on_bad_rows": "quarantine", **COLUMNS}
        raw = fetch(FetchRequest(make_settings(tmp_path, source=source), AS_OF))
        assert raw["unique_id"].dropna().tolist() == expected


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["Новосибирск-Главный", "東京都千代田区丸の内一丁目駅前店"])
def test_other_scripts_are_recognized_in_utf_16(tmp_path: Path, encoding: str, name: str):
    """Few bytes of their text are zeros, but those of separators are."""
    text = COMMAS.replace("Köln", name * 9).replace("shop,", f"{name},shop,").replace("\n", "\n,")
    content = text.removesuffix(",").replace("\n,", "\nx,").encode(encoding)
    assert read(tmp_path, content, f"the encoding is {encoding}")[0][0] == name * 9
