"""Test data.quality.stored_versions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from forecast_assets.config.settings import FindingPolicy
from forecast_assets.data.quality.finding import Finding
from forecast_assets.data.quality.stored_versions import (
    findings_of,
    last_held_fetch,
    previous_rows,
    previous_series,
    source_code_version,
    write_findings,
)
from forecast_assets.data.sources.request import source_fingerprint
from forecast_assets.errors import StoreError
from forecast_assets.storage.audit import verify
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


def test_a_run_is_not_compared_with_itself_nor_own_data_with_the_demo(tmp_path: Path):
    store, demo = make_store(tmp_path), make_settings(tmp_path)
    write(store, 1, 2, code_version=f"2-{source_fingerprint(demo)}")
    later = AS_OF + WEEK
    assert previous_series(store, demo, as_of=later) is not None
    assert previous_series(store, demo, as_of=later, runs=["run 0"]) is None
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


def invented(kind: str, policy: FindingPolicy = "warn") -> list[Finding]:
    """Return a finding that no evaluation makes."""
    return [Finding(kind, 7, (), "It is invented.", policy=policy)]


def keep(store: Store, findings: Sequence[Finding], fetch: Commit, run_id: str = "") -> Commit:
    """Write the findings on a fetch."""
    run_id = run_id or fetch.run_id
    return write_findings(store, findings, fetch=fetch, run_id=run_id, as_of=fetch.as_of)


def publish(store: Store, fetch: Commit, run_id: str = "") -> Commit:
    """Write the version of `series` made from a fetch."""
    run_id = run_id or fetch.run_id
    return write_series(store, 1, 2, run_id=run_id, as_of=fetch.as_of, inputs=[fetch])


def test_the_findings_on_a_fetch_are_read_not_evaluated(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    first, second = write_fetch(store, 1, 2), write_fetch(store, 1, 2, 3, weeks=1)
    for fetch, kind in ((first, "flat"), (second, "gaps")):
        commit = keep(store, invented(kind), fetch)
        assert (commit.run_id, commit.as_of) == (fetch.run_id, fetch.as_of)
        assert commit.inputs == (fetch.as_input,)
    assert findings_of(store, publish(store, first), settings) == invented("flat")
    assert findings_of(store, publish(store, second), settings) == invented("gaps")


def test_that_there_are_no_findings_is_stored_too(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    fetch = write_fetch(store, 1, 2)
    keep(store, [], fetch)
    assert findings_of(store, publish(store, fetch), settings) == []
    assert [audit.problem for audit in verify(store, ["data_findings"])] == [None]


def test_a_version_older_than_the_table_is_evaluated_as_of_its_time(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    first, second = write(store, *range(20)), write(store, *range(10), weeks=1)
    write(store, *range(30), weeks=0)  # the first week again, later
    kinds = [[one.kind for one in findings_of(store, it, settings)] for it in (first, second)]
    assert kinds == [["new_week", "late"], ["shrunk", "late"]]


def test_the_same_findings_on_one_fetch_are_written_once(tmp_path: Path):
    store, settings = make_store(tmp_path), make_settings(tmp_path, source=FILE)
    fetch = write_fetch(store, 1, 2)
    held = keep(store, invented("flat", "hold"), fetch)
    assert keep(store, invented("flat", "hold"), fetch, "re-executed") == held
    assert findings_of(store, publish(store, fetch, "re-executed"), settings) == invented(
        "flat", "hold"
    )
    assert keep(store, invented("flat"), fetch, "with other settings").version == held.version + 1
    other = publish(store, fetch, "with other settings")
    assert findings_of(store, other, settings) == invented("flat")


def test_a_fetch_is_held_until_series_are_made_from_it(tmp_path: Path):
    store = make_store(tmp_path)

    def held_findings(store: Store, *, now: datetime) -> list[Finding]:
        held = last_held_fetch(store, now=now)
        return held.findings if held else []

    assert held_findings(store, now=AS_OF + 2 * WEEK) == []
    first, second = write_fetch(store, 1, 2), write_fetch(store, 1, 2, 3, weeks=1)
    keep(store, invented("flat", "hold"), first)
    publish(store, first)  # it was accepted
    assert held_findings(store, now=AS_OF + 2 * WEEK) == []
    keep(store, [*invented("gaps"), *invented("shrunk", "hold")], second)
    assert held_findings(store, now=AS_OF + 2 * WEEK) == invented("shrunk", "hold")
    publish(store, second)
    assert held_findings(store, now=AS_OF + 2 * WEEK) == []
    past = write_fetch(store, 1, weeks=-1)
    keep(store, invented("shrunk", "hold"), past)  # the last run was of a past week
    assert held_findings(store, now=AS_OF + 2 * WEEK) == invented("shrunk", "hold")


def test_a_version_without_its_fetch_is_refused(tmp_path: Path):
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match="does not record which raw_data it was made from"):
        findings_of(store, write_series(store, 1, 2), make_settings(tmp_path))
