"""What can be computed again is deleted once nothing has needed it for long, and nothing else."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import pytest

from forecast_assets.errors import StoreError, VersionPrunedError
from forecast_assets.storage.audit import verify
from forecast_assets.storage.commit import mark_pruned
from forecast_assets.storage.report_files import write_derived
from forecast_assets.storage.retention import PruneCandidate, find_prunable, remove
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import AS_OF, make_raw, make_series
from forecast_assets_tests.s3_server import keys
from forecast_assets_tests.store_builders import (
    BACKTEST,
    WEEK,
    age,
    age_file,
    data_files,
    make_commit,
    make_scores,
    make_store,
    make_weeks,
    write_predictions,
    write_series,
)

NOW = datetime.now(UTC)
HALF_A_YEAR = timedelta(weeks=26)


def find(store: Store, *, before: datetime = NOW - HALF_A_YEAR) -> list[PruneCandidate]:
    cache, home = store.var / "fold_cache", store.var / "dagster"
    return find_prunable(store, fold_cache=cache, dagster_home=home, before=before)


def names(store: Store) -> list[str]:
    return [candidate.name for candidate in find(store)]


def prune(store: Store) -> int:
    return remove(store, find(store), now=NOW)


def test_pages_built_from_the_store_are_deleted_and_those_of_a_week_are_not(
    tmp_path: Path,
):
    store = make_store(tmp_path)
    store.write_report_files("reports/2026-01-09_1", {"report.html": "<p>"})
    write_derived(store, {"series/0.js": "0", "index.html": "<p>"})
    assert names(store) == []
    for file in (tmp_path / "reports").rglob("*.*"):
        age_file(file, 27)
    assert [(found.kind, found.name, found.n_files) for found in find(store)] == [
        ("pages", "reports", 2)
    ]
    assert prune(store) == 2
    assert (tmp_path / "reports/2026-01-09_1/report.html").exists()


def superseded(folder: Path, *models: str, n: int = 3, weeks: float = 27) -> Store:
    """Make a store where each model has `n` versions and nothing needs any but the last."""
    store = make_store(folder)
    for i in range(n):
        for model in models or ("naive",):
            write_predictions(store, model, float(i), as_of=AS_OF + i * WEEK)
    age(store, BACKTEST, weeks)
    return make_store(folder)


# Which versions are found
def test_versions_superseded_long_ago_are_found_and_current_ones_are_not(tmp_path: Path):
    store = superseded(tmp_path, "naive", "drift")
    assert names(store) == [
        f"{BACKTEST} of {model}, version {version}"
        for version, model in enumerate(["naive", "drift", "naive", "drift"])
    ]
    sizes = [file.stat().st_size for file in data_files(store, BACKTEST)]
    assert [candidate.n_bytes for candidate in find(store)] == sizes[:4]


def test_the_time_when_a_version_was_superseded_counts(tmp_path: Path):
    store = superseded(tmp_path, n=1)
    write_predictions(store, "naive", 9.0, as_of=AS_OF + WEEK)
    assert find(store) == []
    assert len(find(store, before=datetime.now(UTC) + WEEK)) == 1


def test_the_newest_version_by_as_of_stays_after_an_older_week_was_repeated(tmp_path: Path):
    store = make_weeks(tmp_path)  # versions 2 and 3 are the newest, 4 and 5 stand
    age(store, BACKTEST, 27)
    assert names(make_store(tmp_path)) == [
        f"{BACKTEST} of naive, version 0",
        f"{BACKTEST} of drift, version 1",
    ]


def test_inputs_of_the_newest_versions_stay(tmp_path: Path):
    store = make_store(tmp_path)
    behind = write_predictions(store, "naive", 1)
    scores = store.write(make_scores(), make_commit("metrics", inputs=[behind]))
    write_series(store, 1, inputs=[scores])  # any asset that is not pruned
    for i in range(2):
        write_predictions(store, "naive", float(i + 2), as_of=AS_OF + WEEK)
        store.write(make_scores(), make_commit("metrics", as_of=AS_OF + WEEK))
    for asset in (BACKTEST, "metrics"):
        age(store, asset, 27)
    assert names(make_store(tmp_path)) == [f"{BACKTEST} of naive, version 1", "metrics, version 1"]


def test_neither_other_assets_nor_versions_of_another_tool_lose_rows(tmp_path: Path):
    store = make_store(tmp_path)
    for i in range(2):
        write_series(store, i)
        store.write(make_raw(make_series(a=[i])), make_commit("raw_data"))
    store.write(make_scores(), make_commit("metrics"))
    rows = store.read(select(store, "metrics"))
    for _ in range(2):
        deltalake.write_deltalake(store.location("metrics"), rows, mode="overwrite")
    for asset in ("series", "raw_data", "metrics"):
        age(store, asset, 500)
    assert find(make_store(tmp_path)) == []


# Pruned versions
def test_pruned_versions_keep_their_records_and_are_refused_when_read(tmp_path: Path):
    store = superseded(tmp_path, "naive", "drift")
    rows, history = store.read(select(store, BACKTEST)), store.history(BACKTEST)
    assert prune(store) == 4
    assert len(data_files(store, BACKTEST)) == 2
    assert (find(store), prune(make_store(tmp_path))) == ([], 0)
    for opened in (store, make_store(tmp_path)):
        assert opened.read(select(opened, BACKTEST)).equals(rows)
        assert opened.history(BACKTEST) == history
        assert opened.pruned(BACKTEST) == dict.fromkeys(range(4), NOW)
    message = (
        rf"Pruned on {NOW:%Y-%m-%d}: version 2 of {BACKTEST} of naive\. Its rows were deleted;"
        rf" `forecast-assets history {BACKTEST}` still lists it\. To compute it again from what"
        rf" the source returns now: `forecast-assets run --as-of 2026-01-12T00:00:00\+00:00`\."
    )
    with pytest.raises(VersionPrunedError, match=message):
        store.read([history[2]])
    with pytest.raises(VersionPrunedError, match=r"version 3 of .* of drift, 2 of .* of naive\. I"):
        store.read(select(store, BACKTEST, version=3))
    with pytest.raises(VersionPrunedError, match="version 0 of"):
        store.content(history[0])
    assert write_predictions(store, "naive", 9.0, as_of=AS_OF + 9 * WEEK).version == 6


def test_verify_accepts_a_pruned_version_and_reports_a_lost_one(tmp_path: Path):
    store = superseded(tmp_path, n=4)
    lost = data_files(store, BACKTEST)[1]
    lost.unlink()
    assert names(store) == [f"{BACKTEST} of naive, version {n}" for n in (0, 2)]
    prune(store)
    findings = verify(make_store(tmp_path), [BACKTEST])
    assert [(item.version, item.pruned_at is not None) for item in findings] == [
        *((0, True), (1, False), (2, True), (3, False))
    ]
    assert [item.version for item in findings if item.problem] == [1]


def test_a_table_that_replaced_a_pruned_one_is_not_pruned(tmp_path: Path):
    store = superseded(tmp_path)
    prune(store)
    shutil.rmtree(store.location(BACKTEST))
    store = make_store(tmp_path)
    for i in range(3):
        write_predictions(store, "naive", float(i), run_id="another")
    assert store.pruned(BACKTEST) == {}
    assert not store.read([store.history(BACKTEST)[0]]).empty


@pytest.mark.usefixtures("object_store")
def test_an_object_store_is_pruned_like_a_folder(tmp_path: Path):
    store = Store("s3://bucket/store", table_contracts((80, 95)), var=tmp_path)
    for i in range(2):
        write_predictions(store, "naive", float(i), as_of=AS_OF + i * WEEK)
    after = NOW + WEEK
    (candidate,) = find(store, before=after)
    assert (candidate.n_files, remove(store, [candidate], now=NOW)) == (1, 1)
    assert sum("/model=" in key for key in keys()) == 1
    assert find(store, before=after) == []
    audits = verify(store, [BACKTEST])
    assert [audit.pruned_at is not None for audit in audits] == [True, False]
    assert not any(audit.problem for audit in audits)


# Repeated, concurrent and interrupted prunes
def test_an_interrupted_prune_is_continued(tmp_path: Path):
    store = superseded(tmp_path)
    rows = [item for candidate in find(store) for item in candidate.rows]
    mark_pruned(store.uri, rows, now=NOW - WEEK)
    Path(store.location(BACKTEST), rows[0].file).unlink()
    store = make_store(tmp_path)
    assert names(store) == [f"{BACKTEST} of naive, version 1"]
    assert not any(item.problem for item in verify(store, [BACKTEST]))
    assert prune(store) == 1
    assert store.pruned(BACKTEST) == dict.fromkeys(range(2), NOW - WEEK)


def test_concurrent_prunes_and_writers_delete_each_file_once(tmp_path: Path):
    superseded(tmp_path, "naive", "drift", "ses")

    def write() -> None:
        store = make_store(tmp_path)  # as in a process of its own
        for n in range(3):
            write_predictions(store, "naive", float(n), as_of=AS_OF + 9 * WEEK)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        prunes = [pool.submit(lambda: prune(make_store(tmp_path))) for _ in range(2)]
        assert sum(future.result() for future in prunes) == 6
        assert [future.result() for future in writers] == [None, None]
    audits = verify(make_store(tmp_path), [BACKTEST])
    assert [audit.problem for audit in audits if audit.problem] == []
    assert [audit.version for audit in audits if audit.pruned_at] == list(range(6))
    assert len(audits) == 9 + 6


def test_a_data_file_that_cannot_be_deleted_is_named(tmp_path: Path):
    store = superseded(tmp_path, n=2)
    (candidate,), file = find(store), data_files(store, BACKTEST)[0]
    file.unlink()
    assert remove(store, [candidate], now=NOW) == 0  # another process was faster
    (file / "a folder in its place").mkdir(parents=True)
    with pytest.raises(StoreError, match=rf"Could not write \(delete\) .*{file.name} in the store"):
        remove(store, [candidate], now=NOW)


# Fold caches and step records
def folder_of(root: Path, files: Sequence[str], *, weeks: float) -> list[Path]:
    made = []
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        made.append(age_file(path, weeks))
    return made


def test_old_fold_caches_are_deleted_with_their_journals(tmp_path: Path):
    cache = tmp_path / "fold_cache"
    old = folder_of(cache, ["a-1.sqlite", "a-1.sqlite-journal", "b-1.damaged"], weeks=27)
    kept = folder_of(cache, ["c-1.sqlite", "other.txt"], weeks=25)
    kept += folder_of(cache, ["c-1.sqlite-journal"], weeks=27)
    store = make_store(tmp_path)
    assert [(item.kind, item.name, item.n_files, item.n_bytes) for item in find(store)] == [
        ("folds", "a-1.sqlite", 2, 10),
        ("folds", "b-1.damaged", 1, 5),
    ]
    assert find(store)[0].files == tuple(old[:2])  # the database before its journal
    assert prune(store) == 3
    assert sorted(cache.iterdir()) == sorted(kept)


def test_only_the_step_records_of_old_runs_are_deleted_from_dagster_s_folder(tmp_path: Path):
    storage = tmp_path / "dagster" / "storage"
    steps = ["backtest_predictions.fan/result/naive", "backtest_predictions.backtest[naive]/result"]
    folder_of(storage / "old", steps, weeks=27)
    kept = folder_of(storage / "old", ["compute_logs/x.out"], weeks=27)
    kept += folder_of(storage / "new", [steps[0]], weeks=25)
    kept += folder_of(storage / "new", [steps[1]], weeks=27)
    kept += folder_of(tmp_path / "dagster" / "history", ["runs.db"], weeks=27)
    store = make_store(tmp_path)
    assert [(item.kind, item.name, item.n_files) for item in find(store)] == [("records", "old", 2)]
    assert prune(store) == 2
    assert sorted(p for p in (tmp_path / "dagster").rglob("*") if p.is_file()) == sorted(kept)
    assert [path.name for path in (storage / "old").iterdir()] == ["compute_logs"]


def test_a_file_that_cannot_be_deleted_is_named(tmp_path: Path):
    (file,) = folder_of(tmp_path / "fold_cache", ["a-1.sqlite"], weeks=27)
    store = make_store(tmp_path)
    candidate = find(store)
    file.unlink()
    assert remove(store, candidate, now=NOW) == 0  # another process was faster
    file.mkdir()
    with pytest.raises(StoreError, match=r"Could not delete .*a-1\.sqlite: .* prune again\."):
        remove(store, candidate, now=NOW)


def test_an_empty_folder_has_nothing_to_prune(tmp_path: Path):
    assert prune(make_store(tmp_path)) == 0
    assert list(tmp_path.iterdir()) == []
