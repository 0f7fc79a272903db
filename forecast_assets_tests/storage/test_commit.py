"""A version's metadata survive Delta's log, their seal covers all, and pruned files are known."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from forecast_assets.errors import StoreError
from forecast_assets.storage.commit import (
    PRUNED,
    Commit,
    DataFile,
    InputVersion,
    mark_pruned,
    read_pruned,
)
from forecast_assets_tests.builders import AS_OF

COMMIT = Commit(
    asset="metrics",
    partition="theta",
    run_id="run",
    as_of=AS_OF,
    code_version="1",
    inputs=(
        InputVersion("backtest_predictions", "naive", 12, "x"),
        InputVersion("backtest_predictions", "theta", 17, "y"),
        InputVersion("series", None, 4, "z"),
    ),
    data_version="d",
    content="c",
    n_rows=3,
    version=5,
)
FILE = DataFile("series", 0, "seal", "part.parquet", 7)
LATER = AS_OF + timedelta(weeks=1)


def test_metadata_survives_the_log():
    entry = {"timestamp": 1_700_000_000_000, **COMMIT.to_metadata()}
    assert Commit.from_metadata("metrics", 5, entry) == COMMIT
    assert Commit.from_metadata("metrics", 5, entry).has_valid_seal


def test_an_entry_of_another_tool_is_read_and_is_not_ours():
    commit = Commit.from_metadata("metrics", 0, {"timestamp": 1_700_000_000_000})
    assert not commit.is_ours
    assert commit.as_of == commit.written_at


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "other"},
        {"n_rows": 4},
        {"partition": None},
        {"as_of": LATER},
        {"inputs": COMMIT.inputs[:2]},
        {"data_version": "e"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_field_breaks_the_seal(changed: dict[str, object]):
    metadata = replace(COMMIT, **changed).to_metadata()
    entry = {"timestamp": 0, **metadata, "seal": COMMIT.to_metadata()["seal"]}
    assert not Commit.from_metadata("metrics", 5, entry).has_valid_seal


def test_a_commit_lists_its_inputs():
    assert COMMIT.made_from == "backtest_predictions 12-17, series 4"
    assert COMMIT.as_input.label == "metrics of theta"
    assert COMMIT.input_of("series") == COMMIT.inputs[2]
    assert COMMIT.input_of("raw_data") is None


def test_pruned_files_are_recorded_with_the_first_time_and_a_damaged_record_is_refused(
    tmp_path: Path,
):
    uri, other = str(tmp_path), replace(FILE, asset="metrics")
    assert read_pruned(uri) == {}
    mark_pruned(uri, [FILE], now=LATER)
    mark_pruned(uri, [FILE], now=AS_OF)
    mark_pruned(uri, [FILE, other], now=LATER)
    assert read_pruned(uri) == {FILE: AS_OF, other: LATER}
    (tmp_path / PRUNED / "_delta_log" / f"{0:020}.json").write_text("not JSON")
    with pytest.raises(StoreError, match="Could not read the record of pruned versions in the st"):
        read_pruned(uri)
