"""Test data.quality.baseline."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from forecast_assets.data.quality.baseline import (
    previous_rows,
    previous_series,
    source_code_version,
)
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF, make_raw, make_series, make_settings
from forecast_assets_tests.store_builders import WEEK, make_commit, make_store, write_series

FILE = {"kind": "file", "path": "x.csv"}
SQL = {"kind": "sql", "url": "sqlite:///x.db", "query": "SELECT * FROM x WHERE ds > :last_ds"}


def write_fetch(store: Store, *y: float, weeks: int = 0, code_version: str = "1") -> Commit:
    """Write a version of raw_data, some weeks after AS_OF, and return it."""
    commit = make_commit("raw_data", run_id=f"run {weeks}", as_of=AS_OF + weeks * WEEK)
    return store.write(make_raw(make_series(a=y)), replace(commit, code_version=code_version))


def write(store: Store, *y: float, weeks: int = 0, code_version: str = "1") -> Commit:
    """Write a version of raw_data and one of `series` made from it, and return the second."""
    raw = write_fetch(store, *y, weeks=weeks, code_version=code_version)
    return write_series(store, *y, run_id=raw.run_id, as_of=raw.as_of, inputs=[raw])


def test_a_fetch_is_compared_with_the_newest_version_of_an_earlier_time(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    for n, weeks in ((1, 0), (3, 2), (2, 1)):
        write(store, *range(n), weeks=weeks)
    for weeks, n in ((1, 1), (2, 2), (9, 3)):
        before = previous_series(store, settings, as_of=AS_OF + weeks * WEEK)
        assert before is not None
        assert len(before.frame) == n
    assert previous_series(store, settings, as_of=AS_OF) is None


def test_a_run_is_not_compared_with_itself(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    write(store, 1, 2)
    later = AS_OF + timedelta(hours=1)
    assert previous_series(store, settings, as_of=later, runs=["run 0"]) is None


def test_own_data_are_not_compared_with_the_demo(tmp_path: Path):
    store, demo = make_store(tmp_path), make_settings(tmp_path)
    write(store, 1, 2, code_version=f"2-{source_fingerprint(demo)}")
    later = AS_OF + WEEK
    assert previous_series(store, demo, as_of=later) is not None
    assert previous_series(store, make_settings(tmp_path, source=FILE), as_of=later) is None


def test_new_rows_are_added_to_published_rows_not_to_held_ones(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=SQL)
    version = source_code_version(settings)
    write(store, 1, 2, code_version=version)
    write_fetch(store, 1, 2, 99, weeks=1, code_version=version)
    rows = previous_rows(store, settings, as_of=AS_OF + 2 * WEEK)
    assert rows is not None
    assert rows["y"].tolist() == [1, 2]


def test_nothing_is_added_to_the_rows_of_another_source(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=SQL)
    write(store, 1, 2, code_version="2-another0")
    assert previous_rows(store, settings, as_of=AS_OF + WEEK) is None
    whole = make_settings(tmp_path, source=FILE)
    write(store, 1, 2, weeks=1, code_version=source_code_version(whole))
    assert previous_rows(store, whole, as_of=AS_OF + WEEK) is None
