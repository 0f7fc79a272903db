"""Looking back: which version answers a question, and how two of them differ."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import VersionNotFoundError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.versions import diff, select
from forecast_assets_tests.builders import AS_OF, make_raw
from forecast_assets_tests.store_builders import (
    BAKE_OFF,
    WEEK,
    make_commit,
    make_scores,
    make_store,
    make_weeks,
    write_predictions,
    write_series,
)


def numbers(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def test_with_nothing_asked_a_repeated_old_week_is_not_the_latest(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF)) == [3, 2]  # drift, naive


def test_of_one_as_of_the_last_written_is_the_newest(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, as_of=AS_OF + WEEK / 2)) == [5, 4]


def test_a_version_is_the_table_as_it_stood_after_that_commit(tmp_path: Path):
    store = make_weeks(tmp_path)
    assert numbers(select(store, BAKE_OFF, version=0)) == [0]
    assert numbers(select(store, BAKE_OFF, version=4)) == [3, 4]
    assert numbers(select(store, BAKE_OFF, version=4, partitions=["drift"])) == [3]


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, run_id="ab")) == [3, 2]


def test_a_partition_is_shown_alone(tmp_path: Path):
    assert numbers(select(make_weeks(tmp_path), BAKE_OFF, partitions=["naive"])) == [2]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"version": 6}, r"answers to version 6: it has versions 0 to 5, so there is nothing"),
        ({"version": -1}, r"answers to version -1: it has versions 0 to 5"),
        ({"as_of": AS_OF - WEEK}, r"answers to known on 2025-12-29T00:00:00\+00:00: it has"),
        ({"run_id": "zz"}, r"answers to run zz: it has .* `forecast-assets history backtest_pre"),
        ({"partitions": ["x"]}, r"answers to partition x: it has versions 0 to 5"),
        ({"partitions": ["naive", "x"]}, r"answers to partition naive, x: it has versions 0 to 5"),
        ({"run_id": "aa", "version": 0, "partitions": ["drift"]}, r"partition drift, version 0, r"),
        ({"run_id": "a"}, r"3 runs that wrote .* begin with 'a': aa1, ab2, ac3\. .*more of its id"),
    ],
)
def test_what_nothing_answers_to_is_refused(tmp_path: Path, asked: dict[str, object], says: str):
    with pytest.raises(VersionNotFoundError, match=says):
        select(make_weeks(tmp_path), BAKE_OFF, **asked)


def test_an_asset_that_was_never_made_is_refused_with_the_command_that_makes_it(tmp_path: Path):
    with pytest.raises(
        VersionNotFoundError,
        match=r"series has nothing that answers to that: it has no version at all, .* Make one:"
        r" dagster asset materialize -m forecast_assets.definitions --select series\.",
    ):
        select(make_store(tmp_path), "series")


def test_a_diff_names_what_was_added_removed_and_changed(tmp_path: Path):
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


def test_a_diff_of_equal_versions_is_empty(tmp_path: Path):
    store = make_store(tmp_path)
    old, new = write_series(store, 1, 2), write_series(store, 1, 2)
    assert diff(store, [old], [new]).empty


def test_volatile_columns_do_not_count_as_change(tmp_path: Path):
    store = make_store(tmp_path)
    old = store.write(make_scores(), make_commit("metrics"))
    new = store.write(make_scores().assign(fit_seconds=99.0), make_commit("metrics"))
    assert diff(store, [old], [new]).empty


def test_nulls_on_both_sides_are_no_change(tmp_path: Path):
    store = make_store(tmp_path)
    frame = make_scores().assign(mape=np.nan)
    old, new = (store.write(frame, make_commit("metrics")) for _ in range(2))
    assert diff(store, [old], [new]).empty


def test_rows_without_a_key_come_and_go(tmp_path: Path):
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
