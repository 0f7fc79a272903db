"""Every kind of damage to a version is found and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forecast_assets.errors import VersionNotFoundError
from forecast_assets.storage.audit import verify
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import walk
from forecast_assets_tests.store_builders import (
    BACKTEST,
    data_files,
    log_entry,
    make_commit,
    make_store,
    make_weeks,
    write_predictions,
    write_series,
)


def problems(store: Store, *assets: str) -> dict[tuple[str, int], str]:
    findings = verify(store, assets or list(store.tables))
    return {(f.asset, f.version): f.problem for f in findings if f.problem}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))


def replace_by_its_neighbour(file: Path) -> None:
    """Put a valid file of other values and the same length in its place, as Delta cannot see."""
    others = [path for path in file.parent.glob("*.parquet") if path != file]
    assert {path.stat().st_size for path in others} == {file.stat().st_size}
    shutil.copyfile(others[0], file)


def test_intact_versions_have_no_problem(tmp_path: Path):
    store = make_weeks(tmp_path)
    write_series(store, 1)
    findings = verify(store, store.tables)
    assert [(f.asset, f.version, f.partition, f.problem) for f in findings] == [
        ("series", 0, None, None),
        *((BACKTEST, n, "drift" if n % 2 else "naive", None) for n in range(6)),
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "cannot be read: Could not read version 1 of series in the store"),
        (lambda file: file.write_bytes(b""), "cannot be read: Could not read version 1"),
        (lambda file: file.write_bytes(b"PAR1" * 30), "cannot be read: Could not read version 1"),
        (replace_by_its_neighbour, "its rows differ from its record"),
    ],
    ids=["deleted", "emptied", "garbage", "replaced"],
)
def test_a_damaged_data_file_is_named_by_its_version(
    tmp_path: Path, damage: Callable[[Path], object], message: str
):
    store = make_store(tmp_path)
    for y in range(3):
        write_series(store, *walk(3, seed=y))
    damage(data_files(store, "series")[1])
    for opened in (store, make_store(tmp_path)):
        found = problems(opened, "series")
        assert list(found) == [("series", 1)]
        assert message in found["series", 1]


def test_no_flipped_byte_of_a_data_file_goes_unnoticed(tmp_path: Path):
    store = make_store(tmp_path)
    commit = write_predictions(store, "naive", 1, np.nan, 3)
    (file,) = data_files(store, BACKTEST)
    intact = file.read_bytes()
    n_named = 0
    for offset in range(0, len(intact), 301):
        flip(file, offset)
        if problems(store, BACKTEST):
            n_named += 1
        else:  # a byte that no value depends on
            assert store.content(commit) == commit.content
        file.write_bytes(intact)
    assert n_named > 1


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_deleted_log_entry_is_named_by_its_version(tmp_path: Path, lost: int):
    store = make_store(tmp_path)
    for y in range(3):
        last = write_series(store, y)
    write_predictions(store, "naive", 1, inputs=[last])
    log_entry(store, "series", lost).unlink()
    found = problems(make_store(tmp_path))
    assert list(found) == [("series", lost)]
    assert ("it is gone" if lost == 2 else "all later ones cannot be read") in found["series", lost]


def test_a_version_that_was_replaced_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1)
    write_predictions(store, "naive", 1, inputs=[series])
    shutil.rmtree(store.location("series"))
    write_series(make_store(tmp_path), 2)
    assert problems(make_store(tmp_path), "series") == {
        ("series", 0): "another version was written in its place: backtest_predictions of naive,"
        " version 0, was made from it"
    }


def test_a_changed_or_deleted_report_file_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    for n in range(2):
        rows = store.write_report_files(
            f"reports/{n}", {"report.html": f"<p>{n}", "report.md": f"# {n}"}
        )
        store.write(rows, make_commit("weekly_report"))
    assert not problems(store)
    (tmp_path / "reports/1/report.html").write_text("<p>2")
    (tmp_path / "reports/1/report.md").unlink()
    found = problems(store)
    assert list(found) == [("weekly_report", 1)]
    assert "reports/1/report.html differs from its record; " in found["weekly_report", 1]
    assert found["weekly_report", 1].endswith("reports/1/report.md is gone")


def test_an_unknown_asset_cannot_be_verified(tmp_path: Path):
    with pytest.raises(VersionNotFoundError, match=r"no asset 'nope'"):
        verify(make_store(tmp_path), ["nope"])


def test_a_changed_record_is_noticed(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, *walk(9, seed=1))
    entry = log_entry(store, "series", 0)
    text = entry.read_text()
    for old, new in (
        ('"code_version":"1"', '"code_version":"2"'),
        ('"n_rows":"9"', '"n_rows":"8"'),
    ):
        assert old in text
        entry.write_text(text.replace(old, new))
        found = problems(make_store(tmp_path), "series")
        assert found == {("series", 0): "its record in the log was changed"}
