"""Rows in CSV, Parquet and Excel files, on a disk and in an object store."""

import io
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from forecast_assets.delivery.batch import Written
from forecast_assets.delivery.excel import MAX_ROWS, encode_excel
from forecast_assets.delivery.files import check_file, write_file
from forecast_assets.delivery.formats import ENCODERS
from forecast_assets.delivery.place import Place
from forecast_assets.errors import DeliveryError, DeliveryUnavailable
from forecast_assets.storage.commit import Commit
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.delivery.delivery_builders import (
    batch_of,
    deliver_settings,
    open_store,
    withdraw_week,
    write_forecast,
)
from forecast_assets_tests.s3_server import bucket, keys

SUFFIXES = tuple(ENCODERS)
HOSTILE = '=HYPERLINK("http://x")\x07'


class Target:
    """A store with versions to deliver to one file."""

    def __init__(self, folder: Path, path: str, **delivery: Any) -> None:
        self.store = open_store(folder)
        given = {"kind": "file", "path": path, **delivery}
        self.settings = deliver_settings(folder, erp=given)

    def deliver(self, commit: Commit | None) -> Written:
        """Deliver a version, or take withdrawn ones back."""
        delivery = self.settings.deliver["erp"]
        return write_file(delivery, batch_of(self.settings, self.store, commit))  # type: ignore[arg-type]

    def check(self) -> str:
        """Try what a delivery needs."""
        delivery = self.settings.deliver["erp"]
        batch = batch_of(self.settings, self.store, None)
        return check_file(delivery, batch, as_of=AS_OF)  # type: ignore[arg-type]


def read(path: Path) -> pd.DataFrame:
    """Read a file as its consumers do."""
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".xlsx": pd.read_excel}
    return readers[path.suffix](path)  # type: ignore[operator]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_holds_one_version_and_the_same_one_is_not_written_again(
    tmp_path: Path, suffix: str
):
    target, path = Target(tmp_path, f"out/numbers{suffix}"), tmp_path / "out" / f"numbers{suffix}"
    assert "does not exist yet" in target.check()
    first = write_forecast(target.store, 1.5, 2.5, h=2)
    assert target.deliver(first).n_changed == 4
    frame = read(path)
    assert list(zip(frame["unique_id"], frame["h"], frame["y_hat"], strict=True)) == [
        ("a", 1, 1.5), ("a", 2, 1.5), ("b", 1, 2.5), ("b", 2, 2.5),
    ]  # fmt: skip
    assert set(frame["producer"]) == {"forecast_assets"}
    times = pd.to_datetime(frame["as_of"], utc=True)
    assert set(times) == {pd.Timestamp(AS_OF)}
    assert set(pd.to_datetime(frame["ds"])) == {pd.Timestamp(f"2024-01-{d}") for d in (12, 19)}
    assert frame["override"].isna().all()
    before = path.stat()
    assert target.deliver(first).text.endswith("nothing changed.")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert "is replaced" in target.check()
    target.deliver(write_forecast(target.store, 7.0, n_weeks=1))
    assert list(read(path)["y_hat"]) == [7.0]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_types_of_parquet_do_not_depend_on_the_values(tmp_path: Path):
    target = Target(tmp_path, "numbers.parquet")
    target.deliver(write_forecast(target.store, 1.0))
    schema = pq.read_schema(tmp_path / "numbers.parquet")
    types = {name: str(schema.field(name).type) for name in ("ds", "override", "reason", "as_of")}
    expected = {"ds": "date32[day]", "override": "double", "reason": "string"}
    assert types == {**expected, "as_of": "timestamp[us, tz=UTC]"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_withdrawn_version_is_deleted_and_no_other(tmp_path: Path, suffix: str):
    target = Target(tmp_path, f"{{as_of}}{suffix}")
    for n_weeks in (0, 1):
        target.deliver(write_forecast(target.store, 1.0, n_weeks=n_weeks))
    withdraw_week(target.store, 1)
    assert target.deliver(None).n_taken_back == 1
    assert sorted(file.name for file in tmp_path.glob(f"2026*{suffix}")) == [f"2026-01-05{suffix}"]
    assert target.deliver(None).n_taken_back == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04 broken"])
def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, suffix: str, content: bytes):
    target, path = Target(tmp_path, f"numbers{suffix}"), tmp_path / f"numbers{suffix}"
    path.write_bytes(content)
    for attempt in (lambda: target.deliver(write_forecast(target.store, 1.0)), target.check):
        with pytest.raises(DeliveryError, match=r"exists and was written by another program\. It"):
            attempt()
    assert path.read_bytes() == content


def test_a_file_of_another_producer_is_neither_replaced_nor_taken_back(tmp_path: Path):
    target, other = (
        Target(tmp_path, "numbers.csv", producer=producer) for producer in ("=ours", "planner")
    )
    target.deliver(write_forecast(target.store, 1.0))
    withdraw_week(target.store, 0)
    assert other.deliver(None).n_taken_back == 0
    with pytest.raises(DeliveryError, match="exists and was written by '=ours"):
        other.deliver(write_forecast(target.store, 2.0, n_weeks=1))
    target.deliver(write_forecast(target.store, 3.0, n_weeks=1))
    assert list(read(tmp_path / "numbers.csv")["y_hat"]) == [3.0]


def hostile_rows() -> tuple[dict[str, Any], pd.DataFrame]:
    texts = [HOSTILE, "@SUM(A1)", "-2+3", "＝1", "fine - really", None]
    rows = pd.DataFrame({"name": texts, "y": [-1.5, 1e300, 0.0, 2.0, float("nan"), 1.0]})
    return {"name": "string", "y": "float"}, rows


def test_no_cell_of_csv_is_a_formula():
    kinds, rows = hostile_rows()
    lines = ENCODERS[".csv"](kinds, rows).decode().splitlines()
    assert lines == [
        "name,y",
        '"\'=HYPERLINK(""http://x"") ",-1.5',
        "'@SUM(A1),1e+300",
        "'-2+3,0.0",
        "'＝1,2.0",
        "fine - really,",
        ",1.0",
    ]


def test_no_cell_of_excel_is_a_formula():
    kinds, rows = hostile_rows()
    book = openpyxl.load_workbook(io.BytesIO(encode_excel(kinds, rows)))
    cells = [row[0] for row in book["forecast"].iter_rows(min_row=2)]
    assert [cell.data_type for cell in cells] == ["s"] * 5 + ["n"]
    assert [cell.value for cell in cells] == [HOSTILE.replace("\x07", " "), *rows["name"][1:]]
    numbers = [row[1].value for row in book["forecast"].iter_rows(min_row=2)]
    assert numbers == [-1.5, 1e300, 0, 2, None, 1]


def test_more_rows_than_a_sheet_holds_are_refused():
    rows = pd.DataFrame({"h": range(MAX_ROWS)})
    with pytest.raises(DeliveryError, match=r"1,048,576 rows with its header, and there are 1,0"):
        encode_excel({"h": "int"}, rows)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path):
    target, path = Target(tmp_path, "out/numbers.csv"), tmp_path / "out/numbers.csv"
    target.deliver(write_forecast(target.store, 1.0))
    newer = write_forecast(target.store, 2.0)
    with full_disk(), pytest.raises(DeliveryUnavailable, match="has space, and that this user may"):
        target.deliver(newer)
    assert list(read(path)["y_hat"]) == [1.0]
    assert [file.name for file in path.parent.iterdir()] == ["numbers.csv"]
    assert target.deliver(newer).n_changed == 1


@pytest.mark.parametrize("lock", ["~$numbers.xlsx", ".~lock.numbers.xlsx#"])
def test_a_workbook_that_is_open_elsewhere_is_not_replaced(tmp_path: Path, lock: str):
    target = Target(tmp_path, "numbers.xlsx")
    target.deliver(write_forecast(target.store, 1.0))
    newer = write_forecast(target.store, 2.0)
    (tmp_path / lock).touch()
    with pytest.raises(DeliveryUnavailable, match=r"numbers\.xlsx: the file is open in another"):
        target.deliver(newer)
    (tmp_path / lock).unlink()
    assert target.deliver(newer).n_changed == 1


def test_a_place_that_cannot_be_written_is_named_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    for path, message in {
        str(
            tmp_path / "file/numbers.csv"
        ): r"erp was not written to \S+/file/numbers\.csv: .*Not a",
        "nope://ann:s3cr3t@host/numbers.csv": r"erp cannot reach nope://host/numbers\.csv: Proto",
    }.items():
        target = Target(tmp_path, path)
        with pytest.raises(DeliveryError, match=message) as raised:
            target.deliver(write_forecast(target.store, 1.0))
        assert "s3cr3t" not in str(raised.value)
    monkeypatch.setenv("PLACE", str(tmp_path / "numbers.doc"))
    target = Target(tmp_path, "env:PLACE")
    with pytest.raises(DeliveryError, match=r"The path of a delivery ends with \.doc, so its form"):
        target.deliver(write_forecast(target.store, 1.0))


def test_an_object_store_has_the_whole_file(tmp_path: Path):
    target = Target(tmp_path, "s3://bucket/week/{as_of:%G-W%V}.parquet")
    with bucket():
        commit = write_forecast(target.store, 1.0)
        assert target.deliver(commit).n_changed == 1
        assert target.deliver(commit).n_changed == 0
        assert keys() == ["week/2026-W02.parquet"]
        frame = pd.read_parquet("s3://bucket/week/2026-W02.parquet")
        assert list(frame["y_hat"]) == [1.0]
        withdraw_week(target.store, 0)
        assert target.deliver(None).n_taken_back == 1
        assert keys() == []


def test_a_file_system_that_renames_is_used_like_a_disk(tmp_path: Path):
    target = Target(tmp_path, f"file://{tmp_path}/out/numbers.csv")
    target.deliver(write_forecast(target.store, 1.0))
    target.deliver(write_forecast(target.store, 2.0))
    assert list(read(tmp_path / "out/numbers.csv")["y_hat"]) == [2.0]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["numbers.csv"]


def test_excel_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    target = Target(tmp_path, "numbers.xlsx")
    assert target.deliver(write_forecast(target.store, 1.0)).n_changed == 1


def test_the_error_of_a_file_system_is_not_shown_with_its_secrets(monkeypatch: pytest.MonkeyPatch):
    def refuse(url: str) -> None:
        raise OSError(f"no bucket {url}")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    place = Place("s3://ann:s3cr3t@b/a.csv", prefix="It")
    with pytest.raises(DeliveryError, match=r"^It was not written to s3://b/a\.csv: no") as raised:
        place.read()
    assert "s3cr3t" not in "".join(format_exception(raised.value))
