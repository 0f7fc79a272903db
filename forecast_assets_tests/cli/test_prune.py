"""Pruning from the command line: told first, done when asked twice."""

from pathlib import Path

import pytest

from forecast_assets.storage.store import Store
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.cli_runner import configure, output_of, records
from forecast_assets_tests.store_builders import (
    BACKTEST,
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
    age(store, BACKTEST, 30)
    record = tmp_path / "dagster/storage/a-run/backtest_predictions.fan/result/naive"
    for path, weeks in ((tmp_path / "fold_cache/naive-1.sqlite", 40), (record, 50)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12345")
        age_file(path, weeks)
    return make_store(tmp_path)


def test_what_would_go_is_told_and_stays(store: Store):
    n_bytes = sum(file.stat().st_size for file in data_files(store, BACKTEST)[:2]) + 10
    told = output_of("prune")
    assert "rows of superseded backtests and scores" in told
    assert told.endswith(f"\n{n_bytes / 1000:.1f} kB would go; --yes deletes them.\n")
    rows = records("prune")
    assert [(row["kind"], row["name"], row["n_files"], row["deleted"]) for row in rows] == [
        ("records", "a-run", 1, False),
        ("folds", "naive-1.sqlite", 1, False),
        ("rows", f"{BACKTEST} of naive, version 0", 1, False),
        ("rows", f"{BACKTEST} of naive, version 1", 1, False),
    ]
    assert sum(row["n_bytes"] for row in rows) == n_bytes
    assert len(data_files(store, BACKTEST)) == 3
    assert store.pruned(BACKTEST) == {}


def test_what_was_pruned_is_told_ever_after(store: Store):
    assert output_of("prune", "--yes").splitlines()[-1].startswith("Deleted: ")
    assert output_of("prune", "--yes") == (
        "Nothing to delete: all of it was needed in the last 26 weeks.\n"
    )
    assert len(data_files(store, BACKTEST)) == 1
    since = [row["pruned_at"] for row in records("history", BACKTEST)]
    assert [one is None for one in since] == [False, False, True]
    assert output_of("history", BACKTEST).splitlines()[0].split()[-2:] == ["pruned_at", "made_from"]
    assert "pruned_at" not in output_of("history", BACKTEST, "--limit", "1")
    assert "Error: Pruned on " in output_of("show", BACKTEST, "--version", "0", exit_code=2)
    assert [row["y_hat"] for row in records("show", BACKTEST)] == [2.0]
    assert output_of("verify") == (
        "Sound: 1 versions are there, readable and as recorded."
        " 2 more are pruned: their records are as written.\n"
    )
    assert [row["pruned_at"] for row in records("verify")] == since


def test_weeks_to_keep_are_counted_back_from_now(store: Store):
    assert [row["kind"] for row in records("prune", "--keep-weeks", "35")] == ["records", "folds"]
    assert records("prune", "--keep-weeks", "60", "--yes") == []
    assert len(data_files(store, BACKTEST)) == 3
    refused = output_of("prune", "--keep-weeks", "0", exit_code=2)
    assert "0 is not in the range x>=1" in refused


def test_what_was_deleted_is_told_to_programs(store: Store):
    assert {row["deleted"] for row in records("prune", "--yes")} == {True}
    assert len(data_files(store, BACKTEST)) == 1


def test_dagster_s_home_is_the_one_in_force(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert store.var == tmp_path
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert "records" not in [row["kind"] for row in records("prune")]
