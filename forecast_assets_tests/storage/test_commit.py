"""The record of a version: what it says, and that it says it whole."""

from dataclasses import replace
from datetime import timedelta

import pytest

from forecast_assets.storage.commit import Commit, InputVersion, latest_per_content, newest
from forecast_assets_tests.builders import AS_OF

ONE = Commit(
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


def test_a_record_survives_the_log():
    entry = {"timestamp": 1_700_000_000_000, **ONE.described}
    assert Commit.parsed("metrics", 5, entry) == ONE
    assert Commit.parsed("metrics", 5, entry).is_as_sealed


def test_an_entry_of_another_tool_is_read_and_is_not_ours():
    found = Commit.parsed("metrics", 0, {"timestamp": 1_700_000_000_000})
    assert not found.is_ours
    assert found.as_of == found.written_at


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "other"},
        {"n_rows": 4},
        {"partition": None},
        {"as_of": AS_OF + timedelta(seconds=1)},
        {"inputs": ONE.inputs[:2]},
        {"data_version": "e"},
    ],
)
def test_the_seal_covers_what_is_said(changed: dict[str, object]):
    entry = {"timestamp": 0, **replace(ONE, **changed).described, "seal": ONE.described["seal"]}
    assert not Commit.parsed("metrics", 5, entry).is_as_sealed


def test_what_it_was_made_from_is_told_in_a_line():
    assert ONE.made_from == "backtest_predictions 12-17, series 4"
    assert ONE.as_input.named == "metrics of theta"


def at(version: int, data_version: str, weeks: int) -> Commit:
    """A version of some content, for a moment some weeks on."""
    as_of = AS_OF + timedelta(weeks=weeks)
    return replace(ONE, version=version, data_version=data_version, as_of=as_of)


def test_the_newest_is_of_the_latest_moment_then_of_the_last_writing():
    commits = [at(0, "a", 1), at(1, "b", 2), at(2, "c", 1), at(3, "d", 2)]
    assert newest(commits).version == 3


def test_what_was_said_again_counts_once_and_last():
    commits = [at(0, "a", 1), at(1, "b", 2), at(2, "a", 3), at(3, "b", 1)]
    assert [one.version for one in latest_per_content(commits)] == [1, 2]
