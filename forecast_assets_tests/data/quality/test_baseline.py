"""The verdict on versions that are stored: which one each is compared with."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from forecast_assets.data.quality.baseline import (
    evaluate_stored,
    previous_rows,
    previous_series,
    source_code_version,
)
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.errors import StoreError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF, make_raw, make_series, make_settings
from forecast_assets_tests.store_builders import WEEK, make_commit, make_store, write_series

FILE = {"kind": "file", "path": "x.csv"}


def write(store: Store, *y: float, weeks: int = 0, code_version: str = "1") -> Commit:
    """A version of raw_data, and of `series`, which is returned."""
    as_of = AS_OF + weeks * WEEK
    raw = make_commit("raw_data", as_of=as_of)
    raw = store.write(
        make_raw(make_series(a=y)),
        Commit(raw.asset, None, raw.run_id, as_of, code_version, raw.inputs),
    )
    return write_series(store, *y, run_id=f"run {weeks}", as_of=as_of, inputs=[raw])


def test_a_version_is_compared_with_the_newest_of_an_earlier_moment(tmp_path: Path):
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


def test_a_stored_version_is_judged_as_it_was_when_it_came(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    first, second = write(store, *range(20)), write(store, *range(10), weeks=1)
    write(store, *range(30), weeks=0)  # a replay, later
    assert [one.kind for one in evaluate_stored(store, second, settings)] == ["shrunk", "late"]
    assert [one.kind for one in evaluate_stored(store, first, settings)] == ["new_week", "late"]


def test_the_demo_is_nothing_to_hold_own_data_against(tmp_path: Path):
    store, demo = make_store(tmp_path), make_settings(tmp_path)
    write(store, 1, 2, code_version=f"2-{source_fingerprint(demo)}")
    later = AS_OF + WEEK
    assert previous_series(store, demo, as_of=later) is not None
    assert previous_series(store, make_settings(tmp_path, source=FILE), as_of=later) is None


def test_a_version_that_does_not_say_what_it_was_made_from_is_refused(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match="does not say which raw_data it was made from"):
        evaluate_stored(store, write_series(store, 1, 2), make_settings(tmp_path))


SQL = {"kind": "sql", "url": "sqlite:///x.db", "query": "SELECT * FROM x WHERE ds > :last_ds"}


def test_what_is_new_is_put_into_what_was_published_and_not_into_what_was_held(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=SQL)
    version = source_code_version(settings)
    write(store, 1, 2, code_version=version)
    held = make_commit("raw_data", as_of=AS_OF + WEEK)
    rows = make_raw(make_series(a=[1, 2, 99]))
    store.write(rows, replace(held, code_version=version))
    found = previous_rows(store, settings, as_of=AS_OF + 2 * WEEK)
    assert found is not None
    assert found["y"].tolist() == [1, 2]


def test_nothing_is_put_into_the_rows_of_another_source(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=SQL)
    write(store, 1, 2, code_version="2-another0")
    assert previous_rows(store, settings, as_of=AS_OF + WEEK) is None
    whole = make_settings(tmp_path, source=FILE)
    write(store, 1, 2, weeks=1, code_version=source_code_version(whole))
    assert previous_rows(store, whole, as_of=AS_OF + WEEK) is None
