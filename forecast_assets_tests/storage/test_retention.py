"""Pruning: what can be made again goes when nothing has needed it for long, and nothing else."""

import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import pytest

from forecast_assets.errors import StoreError, VersionPrunedError
from forecast_assets.storage import tombstones
from forecast_assets.storage.audit import verify
from forecast_assets.storage.retention import PruneCandidate, find_prunable, remove
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import table_contracts
from forecast_assets.storage.versions import select
from forecast_assets_tests.builders import AS_OF, make_raw, make_series
from forecast_assets_tests.object_store import keys
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


def found(store: Store, *, before: datetime = NOW - HALF_A_YEAR) -> list[PruneCandidate]:
    cache, home = store.var / "fold_cache", store.var / "dagster"
    return find_prunable(store, fold_cache=cache, dagster_home=home, before=before)


def names(store: Store) -> list[str]:
    return [stale.name for stale in found(store)]


def prune(store: Store) -> int:
    return remove(store, found(store), now=NOW)


def superseded(folder: Path, *models: str, n: int = 3, weeks: float = 27) -> Store:
    """The store of some models, each with versions that nothing needs but the last."""
    store = make_store(folder)
    for i in range(n):
        for model in models or ("naive",):
            write_predictions(store, model, float(i), as_of=AS_OF + i * WEEK)
    age(store, BACKTEST, weeks)
    return make_store(folder)


# Which versions go
def test_versions_superseded_long_ago_are_found_and_those_that_stand_are_not(tmp_path: Path):
    store = superseded(tmp_path, "naive", "drift")
    assert names(store) == [
        f"{BACKTEST} of {model}, version {version}"
        for version, model in enumerate(["naive", "drift", "naive", "drift"])
    ]
    sizes = [file.stat().st_size for file in data_files(store, BACKTEST)]
    assert [stale.n_bytes for stale in found(store)] == sizes[:4]


def test_what_counts_is_when_a_version_was_superseded_not_when_it_was_written(tmp_path: Path):
    store = superseded(tmp_path, n=2, weeks=27)
    assert len(found(store)) == 1
    shutil.rmtree(store.location(BACKTEST))
    store = superseded(tmp_path, n=1, weeks=27)
    write_predictions(store, "naive", 9.0, as_of=AS_OF + WEEK)
    assert found(make_store(tmp_path)) == []
    assert len(found(store, before=datetime.now(UTC) + WEEK)) == 1


def test_the_newest_by_its_moment_stays_though_an_older_week_was_repeated(tmp_path: Path):
    store = make_weeks(tmp_path)  # versions 2 and 3 are the newest, 4 and 5 stand
    age(store, BACKTEST, 27)
    assert names(make_store(tmp_path)) == [
        f"{BACKTEST} of naive, version 0",
        f"{BACKTEST} of drift, version 1",
    ]


def test_what_the_newest_forecast_was_made_from_stays(tmp_path: Path):
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


def test_no_other_asset_loses_a_version(tmp_path: Path):
    store = make_store(tmp_path)
    for i in range(3):
        write_series(store, i)
        store.write(make_raw(make_series(a=[i])), make_commit("raw_data"))
    for asset in ("series", "raw_data"):
        age(store, asset, 500)
    assert found(make_store(tmp_path)) == []


def test_what_another_tool_wrote_stays(tmp_path: Path):
    store = superseded(tmp_path, n=1)
    store.write(make_scores(), make_commit("metrics"))
    rows = store.read(select(store, "metrics"))
    for _ in range(2):
        deltalake.write_deltalake(store.location("metrics"), rows, mode="overwrite")
    age(store, "metrics", 27)
    assert found(make_store(tmp_path)) == []


# What is left of them
def test_a_pruned_version_is_gone_but_on_record_and_what_stands_is_as_it_was(tmp_path: Path):
    store = superseded(tmp_path, "naive", "drift")
    before = store.read(select(store, BACKTEST)), store.history(BACKTEST)
    assert prune(store) == 4
    assert len(data_files(store, BACKTEST)) == 2
    for opened in (store, make_store(tmp_path)):
        assert opened.read(select(opened, BACKTEST)).equals(before[0])
        assert opened.history(BACKTEST) == before[1]
        assert opened.pruned(BACKTEST) == dict.fromkeys(range(4), NOW)


def test_reading_a_pruned_version_says_so_and_how_to_have_it_again(tmp_path: Path):
    store = superseded(tmp_path, "naive", "drift")
    prune(store)
    says = (
        rf"Pruned on {NOW:%Y-%m-%d}: version 2 of {BACKTEST} of naive\. The rows were deleted and"
        rf" the record stays, so `forecast-assets history {BACKTEST}` still lists it\. To have them"
        rf" made again, from what the source says now: `forecast-assets run --as-of"
        rf" 2026-01-12T00:00:00\+00:00`\."
    )
    with pytest.raises(VersionPrunedError, match=says):
        store.read([store.history(BACKTEST)[2]])
    with pytest.raises(
        VersionPrunedError, match=r"version 3 of .* of drift, 2 of .* of naive\. The"
    ):
        store.read(select(store, BACKTEST, version=3))
    with pytest.raises(VersionPrunedError, match="version 0 of"):
        store.content(store.history(BACKTEST)[0])


def test_verify_calls_a_pruned_version_sound_and_a_lost_one_not(tmp_path: Path):
    store = superseded(tmp_path, n=4)
    lost = data_files(store, BACKTEST)[1]
    lost.unlink()
    assert names(store) == [f"{BACKTEST} of naive, version {n}" for n in (0, 2)]
    prune(store)
    findings = verify(make_store(tmp_path), [BACKTEST])
    assert [(one.version, one.pruned_at is not None) for one in findings] == [
        *((0, True), (1, False), (2, True), (3, False))
    ]
    assert [one.version for one in findings if one.problem] == [1]


def test_a_table_that_replaced_a_pruned_one_is_not_taken_for_it(tmp_path: Path):
    store = superseded(tmp_path)
    prune(store)
    shutil.rmtree(store.location(BACKTEST))
    store = make_store(tmp_path)
    for i in range(3):
        write_predictions(store, "naive", float(i), run_id="another")
    assert store.pruned(BACKTEST) == {}
    assert not store.read([store.history(BACKTEST)[0]]).empty


def test_versions_go_on_being_numbered_and_written(tmp_path: Path):
    store = superseded(tmp_path)
    prune(store)
    assert write_predictions(store, "naive", 9.0, as_of=AS_OF + 9 * WEEK).version == 3
    assert make_store(tmp_path).read(select(store, BACKTEST))["y_hat"].tolist() == [9.0]


def test_an_object_store_is_pruned_like_a_folder(tmp_path: Path, object_store_address: str):
    def opened() -> Store:
        return Store("s3://bucket/store", table_contracts((80, 95)), var=tmp_path)

    store = opened()
    for i in range(3):
        for model in ("naive", "drift"):
            write_predictions(store, model, float(i), as_of=AS_OF + i * WEEK)
    after = NOW + WEEK
    stale = found(store, before=after)
    assert [one.n_files for one in stale] == [1] * 4
    assert remove(store, stale, now=NOW) == 4
    assert sum("/model=" in key for key in keys(object_store_address)) == 2
    store = opened()
    assert found(store, before=after) == []
    assert store.read(select(store, BACKTEST))["y_hat"].tolist() == [2.0, 2.0]
    findings = verify(store, [BACKTEST])
    assert [one.pruned_at is not None for one in findings] == [True] * 4 + [False] * 2
    assert not any(one.problem for one in findings)


# Twice, at once, and in between
def test_pruning_twice_finds_nothing_the_second_time(tmp_path: Path):
    store = superseded(tmp_path)
    assert prune(store) == 2
    assert found(store) == []
    assert prune(make_store(tmp_path)) == 0
    assert len(tombstones.recorded(store.uri)) == 2


def test_a_prune_that_ended_in_between_is_carried_on(tmp_path: Path):
    store = superseded(tmp_path)
    rows = [one for stale in found(store) for one in stale.rows]
    tombstones.record(store.uri, rows, now=NOW - WEEK)
    tombstones.delete(store.location(BACKTEST), rows[0].file)
    store = make_store(tmp_path)
    assert names(store) == [f"{BACKTEST} of naive, version 1"]
    assert not any(one.problem for one in verify(store, [BACKTEST]))
    assert prune(store) == 1
    assert store.pruned(BACKTEST) == dict.fromkeys(range(2), NOW - WEEK)


def prune_elsewhere(folder: Path) -> int:
    return prune(make_store(folder))


def write_elsewhere(folder: Path) -> int:
    store = make_store(folder)
    for i in range(20):
        write_predictions(store, f"model_{i % 2}", float(i), as_of=AS_OF + 9 * WEEK)
    return 0


def test_prunes_at_once_beside_runs_that_write_delete_each_file_once(tmp_path: Path):
    models = [f"model_{n}" for n in range(5)]
    superseded(tmp_path, *models, n=6)
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(write_elsewhere, tmp_path) for _ in range(2)]
        prunes = [pool.submit(prune_elsewhere, tmp_path) for _ in range(2)]
        assert sum(one.result(timeout=100) for one in prunes) == 25
        assert [one.result(timeout=100) for one in runs] == [0, 0]
    store = make_store(tmp_path)
    findings = verify(store, [BACKTEST])
    assert [one.problem for one in findings if one.problem] == []
    assert [one.version for one in findings if one.pruned_at] == list(range(25))
    assert len(findings) == 70


# Folds and records of steps
def folder_of(root: Path, files: Sequence[str], *, weeks: float) -> list[Path]:
    made = []
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        made.append(age_file(path, weeks))
    return made


def test_fold_caches_without_a_new_fold_go_with_their_journals(tmp_path: Path):
    cache = tmp_path / "fold_cache"
    old = folder_of(cache, ["a-1.sqlite", "a-1.sqlite-journal", "b-1.damaged"], weeks=27)
    kept = folder_of(cache, ["c-1.sqlite", "other.txt"], weeks=25)
    kept += folder_of(cache, ["c-1.sqlite-journal"], weeks=27)
    store = make_store(tmp_path)
    assert [(one.kind, one.name, one.n_files, one.n_bytes) for one in found(store)] == [
        ("folds", "a-1.sqlite", 2, 10),
        ("folds", "b-1.damaged", 1, 5),
    ]
    assert found(store)[0].files == tuple(old[:2])  # the database before its journal
    assert prune(store) == 3
    assert sorted(cache.iterdir()) == sorted(kept)


def test_records_of_old_runs_go_and_nothing_else_of_dagster_s(tmp_path: Path):
    storage = tmp_path / "dagster" / "storage"
    steps = ["backtest_predictions.fan/result/naive", "backtest_predictions.backtest[naive]/result"]
    folder_of(storage / "old", steps, weeks=27)
    kept = folder_of(storage / "old", ["compute_logs/x.out"], weeks=27)
    kept += folder_of(storage / "new", [steps[0]], weeks=25)
    kept += folder_of(storage / "new", [steps[1]], weeks=27)
    kept += folder_of(tmp_path / "dagster" / "history", ["runs.db"], weeks=27)
    store = make_store(tmp_path)
    assert [(one.kind, one.name, one.n_files) for one in found(store)] == [("records", "old", 2)]
    assert prune(store) == 2
    assert sorted(p for p in (tmp_path / "dagster").rglob("*") if p.is_file()) == sorted(kept)
    assert [path.name for path in (storage / "old").iterdir()] == ["compute_logs"]


def test_what_may_not_be_deleted_is_named(tmp_path: Path):
    (file,) = folder_of(tmp_path / "fold_cache", ["a-1.sqlite"], weeks=27)
    store = make_store(tmp_path)
    stale = found(store)
    file.unlink()
    assert remove(store, stale, now=NOW) == 0  # another process was faster
    file.mkdir()
    with pytest.raises(StoreError, match=r"Could not delete .*a-1\.sqlite: .* prune again\."):
        remove(store, stale, now=NOW)


def test_nothing_at_all_has_nothing_to_prune(tmp_path: Path):
    store = make_store(tmp_path)
    assert found(store) == []
    assert prune(store) == 0
    assert list(tmp_path.iterdir()) == []
