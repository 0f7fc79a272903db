"""Which version answers a query or is read by a run, and how two versions differ."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import VersionNotFoundError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.store import Store
from forecast_assets.storage.versions import (
    diff,
    latest_per_content,
    newest,
    previous_versions,
    resolve_inputs,
    select,
)
from forecast_assets_tests.builders import AS_OF, make_raw
from forecast_assets_tests.store_builders import (
    BACKTEST,
    WEEK,
    make_commit,
    make_input,
    make_scores,
    make_store,
    make_weeks,
    write_predictions,
    write_series,
)


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two partitions over two weeks, the first week repeated; no test writes to it."""
    return make_weeks(tmp_path_factory.mktemp("weeks"))


def numbers(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def at(version: int, data_version: str, weeks: int, inputs: str = "") -> Commit:
    """Make the version of some content as of some weeks after AS_OF."""
    commit = make_commit("best_model", as_of=AS_OF + timedelta(weeks=weeks))
    read = (make_input("metrics", 0, data_version=inputs),)
    return replace(commit, version=version, data_version=data_version, inputs=read)


def test_the_newest_version_has_the_latest_as_of_and_then_was_written_last():
    commits = [at(0, "a", 1), at(1, "b", 2), at(2, "c", 1), at(3, "d", 2), at(4, "e", 0)]
    assert newest(commits) == commits[3]
    assert newest(commits, as_of=AS_OF + WEEK) == commits[2]
    assert newest(commits, as_of=AS_OF - WEEK) is None


def test_equal_content_counts_once_as_its_newest_version():
    commits = [at(0, "a", 1), at(1, "b", 2), at(2, "a", 3), at(3, "b", 1)]
    assert numbers(latest_per_content(commits)) == [1, 2]


@pytest.mark.parametrize(
    ("data_version", "limit", "versions"),
    [("new", 9, [4, 3, 2]), ("y", 9, [3, 2]), ("new", 2, [4, 3])],
)
def test_previous_versions_were_made_from_other_content_before(
    monkeypatch: pytest.MonkeyPatch, data_version: str, limit: int, versions: list[int]
):
    commits = [at(n, f"{n}", n, inputs) for n, inputs in enumerate("xyxzyz")]
    store, query = make_store(Path("nowhere")), {"input_asset": "metrics", "limit": limit}
    monkeypatch.setattr(store, "history", lambda _: commits)
    previous = previous_versions(
        store, "best_model", before=AS_OF + 5 * WEEK, data_version=data_version, **query
    )
    assert numbers(previous) == versions


# What a step of a run reads
def read(store: Store, *runs: str, models: tuple[str, ...] = ("naive",)) -> list[int]:
    return numbers(resolve_inputs(store, BACKTEST, partitions=models, runs=runs, as_of=AS_OF))


@pytest.mark.parametrize(
    ("runs", "version"),
    [
        (["aa1"], 0),  # what its own run wrote, though other runs wrote later
        (["ab2"], 2),  # and though that is later than its `as_of`
        (["new", "aa1"], 0),  # what the run that it re-executes wrote
        (["new", "ab2", "aa1"], 2),
        (["new"], 4),  # the newest as of its time
    ],
)
def test_a_step_reads_what_its_run_wrote_else_the_newest(
    weeks: Store, runs: list[str], version: int
):
    assert read(weeks, *runs) == [version]


def test_a_step_reads_the_partitions_in_the_given_order(weeks: Store):
    assert read(weeks, "new", models=("drift", "naive")) == [5, 4]


def test_a_table_without_partitions_has_one_version_for_a_step(tmp_path: Path):
    store = make_store(tmp_path)
    for run_id, as_of in (("aa1", AS_OF), ("aa1", AS_OF), ("ab2", AS_OF + WEEK)):
        write_series(store, 1, run_id=run_id, as_of=as_of)
    for run in ("aa1", "new"):
        commits = resolve_inputs(store, "series", partitions=None, runs=[run], as_of=AS_OF)
        assert numbers(commits) == [1]
    with pytest.raises(VersionNotFoundError, match=r"series has no version as of 2025-12-29 00:00"):
        resolve_inputs(store, "series", partitions=None, runs=["new"], as_of=AS_OF - WEEK)


def test_every_missing_partition_is_named_with_the_command_that_makes_it(weeks: Store):
    command = "dagster asset materialize -m forecast_assets.definitions --select"
    with pytest.raises(
        VersionNotFoundError,
        match=rf"no version of theta, ses as of 2026-01-05 00:00 UTC.*Make it first:"
        rf" {command} {BACKTEST} --partition ses && {command} {BACKTEST} --partition theta$",
    ):
        read(weeks, "new", models=("naive", "theta", "ses"))
    with pytest.raises(VersionNotFoundError, match=r"a, b, c, d, e as of .* -j weekly_forecast$"):
        read(weeks, "new", models=("a", "b", "c", "d", "e"))


# Queries
@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ({}, [3, 2]),  # drift, naive: not the repeated old week
        ({"as_of": AS_OF + WEEK / 2}, [5, 4]),
        ({"version": 0}, [0]),
        ({"version": 4}, [3, 4]),  # the table as it was after that commit
        ({"version": 4, "partitions": ["drift"]}, [3]),
        ({"run_id": "ab"}, [3, 2]),
        ({"partitions": ["naive"]}, [2]),
    ],
    ids=str,
)
def test_a_query_selects_one_version_of_each_partition(
    weeks: Store, query: dict[str, object], versions: list[int]
):
    assert numbers(select(weeks, BACKTEST, **query)) == versions


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"version": 6}, r"No version of backtest_predictions matches version 6: it has ver"),
        ({"version": -1}, r"matches version -1: it has versions 0 to 5\. Nothing is shown\."),
        ({"as_of": AS_OF - WEEK}, r"matches as of 2025-12-29T00:00:00\+00:00: it has"),
        ({"run_id": "zz"}, r"matches run zz: it has .* `forecast-assets history backtest_pre"),
        ({"partitions": ["naive", "x"]}, r"matches partition naive, x: it has versions 0 to 5"),
        ({"run_id": "aa", "version": 0, "partitions": ["drift"]}, r"partition drift, version 0, r"),
        ({"run_id": "a"}, r"ids of 3 runs that wrote .* begin with 'a': aa1, ab2, ac3\. .*more ch"),
    ],
    ids=str,
)
def test_a_query_without_a_match_is_refused(weeks: Store, query: dict[str, object], message: str):
    with pytest.raises(VersionNotFoundError, match=message):
        select(weeks, BACKTEST, **query)


def test_an_asset_that_was_never_made_is_refused_with_the_command_that_makes_it(weeks: Store):
    with pytest.raises(
        VersionNotFoundError,
        match=r"series has no version yet, so there is nothing to show\. Run a week to make one:"
        r" forecast-assets run\.",
    ):
        select(weeks, "series")


# Differences
def test_a_diff_lists_what_was_added_removed_and_changed(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_predictions(store, "naive", 1, 2, np.nan)
    other = write_predictions(store, "drift", 9)
    new = write_predictions(store, "naive", 1, 2.5, 3, 4)
    frame = diff(store, [old, other], [new])
    changed = frame[frame["change"] == "changed"].set_index("column")
    assert changed.loc["error", ["old", "new"]].tolist() == ["it failed", None]
    assert changed.loc["y_hat", "new"].tolist() == [2.5, 3.0]
    assert changed.loc["y_hat", "old"].iloc[0] == 2.0
    assert frame.loc[frame["change"] == "added", "model"].tolist() == ["naive"]
    assert frame.loc[frame["change"] == "removed", "model"].tolist() == ["drift"]
    assert list(frame.columns)[-4:] == ["change", "column", "old", "new"]


def test_neither_volatile_columns_nor_nulls_on_both_sides_are_a_difference(tmp_path: Path):
    store = make_store(tmp_path)
    frame = make_scores().assign(mape=np.nan)
    old = store.write(frame, make_commit("metrics"))
    new = store.write(frame.assign(fit_seconds=99.0), make_commit("metrics"))
    assert diff(store, [old], [new]).empty


def test_rows_without_a_key_are_added_or_removed(tmp_path: Path):
    store = make_store(tmp_path)
    rows = pd.DataFrame({"unique_id": "a", "ds": pd.Timestamp("2024-01-05"), "y": [1, 1, np.nan]})
    old = store.write(make_raw(rows), make_commit("raw_data"))
    new = store.write(make_raw(rows.assign(y=[1, 2, np.nan])), make_commit("raw_data"))
    frame = diff(store, [old], [new])
    assert frame[["y", "occurrence", "change"]].to_numpy().tolist() == [
        [1.0, 1, "removed"],
        [2.0, 0, "added"],
    ]


def test_columns_of_an_older_contract_are_compared_as_null(tmp_path: Path):
    old = make_store(tmp_path, levels=[50]).write(make_scores([50]), make_commit("metrics"))
    store = make_store(tmp_path)
    new = store.write(make_scores(mae=2.0), make_commit("metrics"))
    frame = diff(store, [old], [new]).set_index("column")
    assert pd.isna(frame.loc["coverage_80", "old"])
    assert frame.loc["coverage_80", "new"] == 2.0
