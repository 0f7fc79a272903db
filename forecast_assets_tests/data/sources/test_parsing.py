"""Parsing: every format and compression, and files that do not have the format of their suffix."""

import gzip
import lzma
import re
from pathlib import Path
from traceback import format_exception

import pandas as pd
import pytest

from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError
from forecast_assets_tests.builders import AS_OF, make_settings

CSV = b"unique_id,ds,y\n007,2026-01-02,1.5\n007,2026-01-09,\nNA,2026-01-02,2\n"
ROWS = pd.DataFrame({"unique_id": "a", "ds": ["2026-01-02", "2026-01-09"], "y": [1.0, 2.0]})


def read(folder: Path, name: str, content: bytes | None = None, **source: str) -> pd.DataFrame:
    """Read the file, written with this content if there is any, through a file source."""
    if content is not None:
        (folder / name).write_bytes(content)
    settings = make_settings(folder, source={"kind": "file", "path": name, **source})
    return fetch(FetchRequest(settings, AS_OF))


def test_text_and_missing_values_stay_as_they_are(tmp_path: Path) -> None:
    """An id keeps its zeros, and an id of NA is not a missing value."""
    raw = read(tmp_path, "a.csv", CSV)
    assert raw["unique_id"].tolist() == ["007", "007", "NA"]
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02", "2026-01-09", "2026-01-02"]))
    assert raw["y"].fillna(-1).tolist() == [1.5, -1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("A.CSV", CSV),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)),
        ("a.csv.xz", lzma.compress(CSV)),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("commas.csv", CSV.replace(b"\n", b",\n")),
        ("a[1].csv", CSV),
        ("a.json", b'[{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}]'),
        ("a.jsonl", b'{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}\n'),
        ("a.ndjson", b'{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}\n'),
    ],
)
def test_every_known_suffix_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    first = read(tmp_path, name, content).iloc[0][:3]
    assert first.tolist() == ["007", pd.Timestamp("2026-01-02"), 1.5]


@pytest.mark.parametrize("index", ["unique_id", "ds", ["unique_id", "ds"]])
def test_an_index_that_pandas_wrote_is_a_column(tmp_path: Path, index: str | list[str]) -> None:
    ROWS.set_index(index).to_parquet(tmp_path / "a.parquet")
    raw = read(tmp_path, "a.parquet")
    assert raw["unique_id"].tolist() == ["a", "a"]
    assert raw["ds"].tolist() == list(pd.to_datetime(ROWS["ds"]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("empty.parquet", b""),
        ("longer.csv", b"unique_id,ds,y\nAnn,2026-01-02,1,2\n"),
        ("quote.csv", b'unique_id,ds,y\n"Ann,2026-01-02,1\n'),
        ("cut.json", b'[{"unique_id": "a"'),
        ("scalar.json", b"3"),
        ("cut.parquet", ROWS.to_parquet()[:-20]),
        ("no.csv.gz", b"unique_id,ds,y\n"),
        ("cut.csv.gz", gzip.compress(CSV, mtime=0)[:-12]),
        ("corrupt.csv.gz", gzip.compress(CSV, mtime=0)[:10] + b"\xff" * 60),
        ("no.csv.xz", b"unique_id,ds,y and more than a header"),
    ],
)
def test_a_file_without_the_format_of_its_suffix_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(
        SourceError,
        match=rf"{re.escape(name)} does not have the format of its suffix, or is empty: [\s\S]+\."
        r" None of its rows were used\. Check the file; if it was cut off, write it again\.",
    ) as refused:
        read(tmp_path, name, content)
    assert "Ann" not in "".join(format_exception(refused.value))


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b"unique_id,ds,y\n"), ("a.json", b"[]"), ("a.jsonl", b"")]
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(
        SourceError,
        match=r"a\.\w+ has no rows\. Nothing was published\. Check what writes the file\.$",
    ):
        read(tmp_path, name, content)


def test_other_columns_are_mapped_and_bad_rows_quarantined_if_configured(tmp_path: Path) -> None:
    content = b"v,t,i,x\n1,2026-01-02,a,\n?,2026-01-09,a,\n"
    source = {"unique_id": "i", "ds": "t", "y": "v", "on_bad_rows": "quarantine"}
    raw = read(tmp_path, "a.csv", content, **source)
    assert raw.iloc[0, :3].tolist() == ["a", pd.Timestamp("2026-01-02"), 1.0]
    assert raw["problem"].tolist() == [None, "`v` holds no number"]
