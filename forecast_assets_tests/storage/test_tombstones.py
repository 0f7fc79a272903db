"""The record of pruned versions, and the data files of versions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forecast_assets.errors import StoreError
from forecast_assets.storage import tombstones
from forecast_assets.storage.tombstones import DataFile
from forecast_assets_tests.store_builders import (
    BACKTEST,
    data_files,
    make_store,
    write_predictions,
    write_series,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
FILE = DataFile("series", 0, "seal", "part.parquet", 7)


def test_records_accumulate(tmp_path: Path):
    assert tombstones.read_tombstones(str(tmp_path)) == {}
    tombstones.write_tombstones(str(tmp_path), [FILE], now=NOW)
    other = DataFile("metrics", 3, "seal", "part.parquet", 7)
    tombstones.write_tombstones(str(tmp_path), [other], now=NOW + timedelta(weeks=1))
    assert tombstones.read_tombstones(str(tmp_path)) == {FILE: NOW, other: NOW + timedelta(weeks=1)}


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_recorded_twice_keeps_the_earlier_time(tmp_path: Path, order: int):
    for now in [NOW, NOW + timedelta(weeks=1)][::order]:
        tombstones.write_tombstones(str(tmp_path), [FILE], now=now)
    assert tombstones.read_tombstones(str(tmp_path)) == {FILE: NOW}


def test_the_files_of_a_version_are_those_of_its_partition(tmp_path: Path):
    store = make_store(tmp_path)
    commits = [write_predictions(store, model, 1) for model in ("naive", "drift", "naive")]
    files = [tombstones.data_files(store.location(BACKTEST), commit) for commit in commits]
    on_disk = data_files(store, BACKTEST)
    assert [len(some) for some in files] == [1, 1, 1]
    for (one,), path, commit in zip(files, on_disk, commits, strict=True):
        assert store.location(BACKTEST) / Path(one.file) == path
        assert one.n_bytes == path.stat().st_size
        assert (one.version, one.seal) == (commit.version, commit.to_metadata()["seal"])


def test_files_are_listed_and_deleted_once(tmp_path: Path):
    store = make_store(tmp_path)
    for y in range(2):
        write_series(store, y)
    location = store.location("series")
    old, new = (path.name for path in data_files(store, "series"))
    assert tombstones.list_files(location) == {old, new}
    assert tombstones.newest_files(location) == {new}
    assert [tombstones.delete(location, old) for _ in range(2)] == [1, 0]
    assert tombstones.list_files(location) == {new}


def test_a_damaged_record_is_refused(tmp_path: Path):
    tombstones.write_tombstones(str(tmp_path), [FILE], now=NOW)
    (entry,) = (tmp_path / tombstones.NAME / "_delta_log").glob("*.json")
    entry.write_text("not JSON")
    with pytest.raises(StoreError, match="Could not read the record of pruned versions in the st"):
        tombstones.read_tombstones(str(tmp_path))


def test_a_file_that_may_not_be_deleted_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    (file,) = data_files(store, "series")
    file.unlink()
    (file / "a folder in its place").mkdir(parents=True)
    with pytest.raises(StoreError, match=rf"Could not write \(delete\) {file.name} in the store"):
        tombstones.delete(store.location("series"), file.name)
