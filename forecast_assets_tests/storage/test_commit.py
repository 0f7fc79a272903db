"""The metadata of a version survives Delta's log, and its seal covers all of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from forecast_assets.storage.commit import Commit, InputVersion
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
        {"as_of": AS_OF + timedelta(seconds=1)},
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
