"""Which versions belong together: what a step reads, and what is refused."""

import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.errors import MixedVintagesError, VersionNotFoundError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import check_same_vintage, find_stale, resolve_inputs
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import AS_OF, make_raw, make_series
from forecast_assets_tests.store_builders import (
    BAKE_OFF,
    WEEK,
    make_choice,
    make_commit,
    make_forecast,
    make_scores,
    make_store,
    make_weeks,
    write_predictions,
    write_series,
)


def numbers(commits: list[Commit]) -> list[int]:
    return [commit.version for commit in commits]


def read(store: Store, *runs: str, models: tuple[str, ...] = ("naive",)) -> list[int]:
    return numbers(resolve_inputs(store, BAKE_OFF, partitions=models, runs=runs, as_of=AS_OF))


def test_a_step_reads_what_its_own_run_wrote(tmp_path: Path):
    assert read(make_weeks(tmp_path), "aa1") == [0]
    assert read(make_weeks(tmp_path / "other"), "ab2") == [2]  # its own is never too new


def test_a_step_of_a_repeated_run_reads_its_parent_s(tmp_path: Path):
    assert read(make_weeks(tmp_path), "new", "aa1") == [0]
    assert read(make_weeks(tmp_path / "other"), "new", "ab2", "aa1") == [2]


def test_a_step_reads_the_last_that_its_run_wrote(tmp_path: Path):
    store = make_weeks(tmp_path)
    write_predictions(store, "naive", 2, run_id="aa1")
    assert read(store, "aa1") == [6]


def test_a_step_of_a_new_run_reads_the_newest_that_was_known(tmp_path: Path):
    assert read(make_weeks(tmp_path), "new", models=("drift", "naive")) == [5, 4]


def test_a_table_without_partitions_is_read_by_run(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1)
    assert numbers(resolve_inputs(store, "series", partitions=None, runs=["new"], as_of=AS_OF)) == [
        0
    ]


def test_every_partition_that_is_missing_is_named_with_its_command(tmp_path: Path):
    command = "dagster asset materialize -m forecast_assets.definitions --select"
    with pytest.raises(
        VersionNotFoundError,
        match=rf"no version of theta, ses that was known on 2026-01-05 00:00 UTC.*Make it first:"
        rf" {command} {BAKE_OFF} --partition ses && {command} {BAKE_OFF} --partition theta$",
    ):
        read(make_weeks(tmp_path), "new", models=("naive", "theta", "ses"))


def test_a_version_of_a_later_moment_is_not_there_for_an_earlier_run(tmp_path: Path):
    store = make_store(tmp_path)
    write_series(store, 1, as_of=AS_OF + WEEK)
    with pytest.raises(
        VersionNotFoundError, match=r"series has no version at all that was known on 2026"
    ):
        resolve_inputs(store, "series", partitions=None, runs=["new"], as_of=AS_OF)


def test_many_missing_partitions_are_mended_by_the_whole_week(tmp_path: Path):
    with pytest.raises(VersionNotFoundError, match=r"a, b, c, d, e that .* -j weekly_forecast$"):
        read(make_store(tmp_path), "new", models=("a", "b", "c", "d", "e"))


def test_inputs_of_one_vintage_belong_together(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1, 2)
    models = [write_predictions(store, m, 1, inputs=[series]) for m in ("naive", "drift")]
    check_same_vintage(store, [series, *models], for_asset="metrics")


def test_a_stale_partition_is_named_with_its_command(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    stale = write_predictions(store, "naive", 1, inputs=[old])
    new = write_series(store, 1, 2, 3)
    fresh = write_predictions(store, "drift", 1, inputs=[new])
    with pytest.raises(
        MixedVintagesError,
        match=r"inputs of metrics .*: backtest_predictions of naive descend from an older series\."
        r".*nothing was made.*--select backtest_predictions --partition naive$",
    ):
        check_same_vintage(store, [new, stale, fresh], for_asset="metrics")


def test_the_same_data_under_a_new_version_is_not_stale(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    models = [write_predictions(store, "naive", 1, inputs=[old])]
    again = write_series(store, 1, 2)
    models.append(write_predictions(store, "drift", 1, inputs=[again]))
    check_same_vintage(store, [again, *models], for_asset="metrics")


def test_what_lies_between_is_made_again_too(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    models = [write_predictions(store, m, 1, inputs=[old]) for m in ("naive", "drift")]
    scores = store.write(make_scores(), make_commit("metrics", inputs=[old, *models]))
    new = write_series(store, 1, 2, 3)
    with pytest.raises(
        MixedVintagesError,
        match=r"metrics descend from an older series.*--partition drift && .*--partition naive"
        r" && .*--select metrics$",
    ):
        check_same_vintage(store, [new, scores], for_asset="best_model")


def test_an_ancestor_that_is_gone_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1)
    naive = write_predictions(store, "naive", 1, inputs=[series])
    shutil.rmtree(store.location("series"))
    with pytest.raises(
        VersionNotFoundError, match=r"series has no version 0, though .*was deleted"
    ):
        check_same_vintage(make_store(tmp_path), [naive], for_asset="metrics")


# What is behind
def whole_week(store: Store, *y: float, as_of: datetime = AS_OF) -> dict[str, Commit]:
    """Every table of a week with two models, each made from what it reads in the graph."""
    made: dict[str, Commit] = {}

    def write(asset: str, frame: pd.DataFrame, *inputs: str) -> None:
        read = [made[name] for name in inputs]
        made[asset] = store.write(frame, make_commit(asset, as_of=as_of, inputs=read))

    models = ["backtest of drift", "backtest of naive"]
    write("raw_data", make_raw(make_series(a=y)))
    write("series", make_series(a=y), "raw_data")
    for name in models:
        model = name.split()[-1]
        made[name] = write_predictions(store, model, *y, as_of=as_of, inputs=[made["series"]])
    write("metrics", make_scores(mae=y[-1]), *models, "series")
    write("best_model", make_choice(score=y[-1]), "metrics")
    write("next_week_forecast", make_forecast(), "best_model", "series", *models)
    write("forecast_accuracy", store.tables["forecast_accuracy"].empty(), "next_week_forecast")
    write("weekly_report", store.tables["weekly_report"].empty(), "next_week_forecast", "metrics")
    return made


def found_behind(store: Store, *models: str, as_of: datetime = AS_OF) -> list[str]:
    found = find_stale(store, models=models or ("drift", "naive"), as_of=as_of)
    return list(found.assets) if found else []


def state(store: Store, *models: str) -> str:
    """The digest of what is behind."""
    found = find_stale(store, models=models or ("drift", "naive"), as_of=AS_OF)
    assert found is not None
    return found.state


def test_nothing_is_behind_after_a_whole_week(tmp_path: Path):
    store = make_store(tmp_path)
    whole_week(store, 1, 2)
    assert found_behind(store) == []


def test_nothing_is_behind_before_the_first_whole_week(tmp_path: Path):
    store = make_store(tmp_path)
    assert found_behind(store) == []
    write_series(store, 1)
    assert found_behind(store) == []


def test_a_model_made_again_with_other_results_leaves_its_scores_behind(tmp_path: Path):
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    write_predictions(store, "drift", 1, 3, inputs=[made["series"]])
    assert found_behind(store) == list(ASSETS[ASSETS.index("metrics") :])


def test_a_model_made_again_with_the_same_results_leaves_nothing_behind(tmp_path: Path):
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    write_predictions(store, "drift", 1, 2, inputs=[made["series"]])
    assert found_behind(store) == []


def test_new_data_leaves_the_models_behind_until_all_are_of_its_vintage(tmp_path: Path):
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    fresh = write_series(store, 1, 5, inputs=[made["raw_data"]])
    assert found_behind(store)[0] == BAKE_OFF
    write_predictions(store, "drift", 1, 5, inputs=[fresh])
    assert found_behind(store)[0] == BAKE_OFF
    write_predictions(store, "naive", 1, 5, inputs=[fresh])
    assert found_behind(store)[0] == "metrics"


def test_a_model_that_did_not_compete_yet_leaves_the_scores_behind(tmp_path: Path):
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    assert found_behind(store, "drift", "naive", "ses") == []  # never made: its week will come
    write_predictions(store, "ses", 1, 2, inputs=[made["series"]])
    assert found_behind(store, "drift", "naive", "ses")[0] == "metrics"


def test_an_old_week_repeated_leaves_nothing_behind(tmp_path: Path):
    store = make_store(tmp_path)
    whole_week(store, 1, 2, 3, as_of=AS_OF + WEEK)
    whole_week(store, 1, 2, as_of=AS_OF)
    assert found_behind(store, as_of=AS_OF + WEEK) == []


def test_why_something_is_behind_stays_the_same_while_the_same_data_come_again(tmp_path: Path):
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    write_series(store, 1, 5, inputs=[made["raw_data"]])
    first = state(store)
    write_series(store, 1, 5, inputs=[made["raw_data"]])
    assert state(store) == first
    write_series(store, 1, 6, inputs=[made["raw_data"]])
    assert state(store) != first


def test_the_same_reason_after_it_was_mended_once_is_another_one(tmp_path: Path):
    """A model is taken out, and put in again: both times the scores are behind."""
    store = make_store(tmp_path)
    made = whole_week(store, 1, 2)
    ses = write_predictions(store, "ses", 1, 2, inputs=[made["series"]])
    asked = ("drift", "naive", "ses")
    first = state(store, *asked)
    models = [made["backtest of drift"], made["backtest of naive"]]
    for inputs in ([*models, ses, made["series"]], [*models, made["series"]]):
        store.write(make_scores(mae=2), make_commit("metrics", inputs=inputs))
    assert found_behind(store, *asked)[0] == "metrics"
    assert state(store, *asked) != first
