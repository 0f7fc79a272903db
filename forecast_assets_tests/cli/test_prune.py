"""Pruning from the command line: told first, done when asked twice."""

from pathlib import Path

import pytest

from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.cli_runner import configure, records, said
from forecast_assets_tests.store_builders import (
    BAKE_OFF,
    WEEK,
    age,
    age_file,
    data_files,
    make_store,
    write_predictions,
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three versions of a model, written 30 weeks ago, a fold cache, and records of a run."""
    configure(tmp_path, monkeypatch)
    store = make_store(tmp_path)
    for i in range(3):
        write_predictions(store, "naive", float(i), as_of=AS_OF + i * WEEK)
    age(store, BAKE_OFF, 30)
    record = tmp_path / "dagster/storage/a-run/backtest_predictions.fan/result/naive"
    for path, weeks in ((tmp_path / "fold_cache/naive-1.sqlite", 40), (record, 50)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12345")
        age_file(path, weeks)
    return make_store(tmp_path)


def test_what_would_go_is_told_and_stays(store: Store):
    n_bytes = sum(file.stat().st_size for file in data_files(store, BAKE_OFF)[:2]) + 10
    told = said("prune")
    assert "rows of superseded backtests and scores" in told
    assert told.endswith(f"\n{n_bytes / 1000:.1f} kB would go; --yes deletes them.\n")
    rows = records("prune")
    assert [(row["kind"], row["name"], row["n_files"], row["deleted"]) for row in rows] == [
        ("records", "a-run", 1, False),
        ("folds", "naive-1.sqlite", 1, False),
        ("rows", f"{BAKE_OFF} of naive, version 0", 1, False),
        ("rows", f"{BAKE_OFF} of naive, version 1", 1, False),
    ]
    assert sum(row["n_bytes"] for row in rows) == n_bytes
    assert len(data_files(store, BAKE_OFF)) == 3
    assert store.pruned(BAKE_OFF) == {}


def test_what_was_pruned_is_told_ever_after(store: Store):
    assert said("prune", "--yes").splitlines()[-1].startswith("Deleted: ")
    assert said("prune", "--yes") == (
        "Nothing to delete: all of it was needed in the last 26 weeks.\n"
    )
    assert len(data_files(store, BAKE_OFF)) == 1
    since = [row["pruned_at"] for row in records("history", BAKE_OFF)]
    assert [one is None for one in since] == [False, False, True]
    assert said("history", BAKE_OFF).splitlines()[0].split()[-2:] == ["pruned_at", "made_from"]
    assert "pruned_at" not in said("history", BAKE_OFF, "--limit", "1")
    assert "Error: Pruned on " in said("show", BAKE_OFF, "--version", "0", exit_code=2)
    assert [row["y_hat"] for row in records("show", BAKE_OFF)] == [2.0]
    assert said("verify") == (
        "Sound: 1 versions are there, readable and as recorded."
        " 2 more are pruned: their records are as written.\n"
    )
    assert [row["pruned_at"] for row in records("verify")] == since


def test_weeks_to_keep_are_counted_back_from_now(store: Store):
    assert [row["kind"] for row in records("prune", "--keep-weeks", "35")] == ["records", "folds"]
    assert records("prune", "--keep-weeks", "60", "--yes") == []
    assert len(data_files(store, BAKE_OFF)) == 3
    refused = said("prune", "--keep-weeks", "0", exit_code=2)
    assert "0 is not in the range x>=1" in refused


def test_what_was_deleted_is_told_to_programs(store: Store):
    assert {row["deleted"] for row in records("prune", "--yes")} == {True}
    assert len(data_files(store, BAKE_OFF)) == 1


def test_dagster_s_home_is_the_one_in_force(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert store.var == tmp_path
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert "records" not in [row["kind"] for row in records("prune")]
