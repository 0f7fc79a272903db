"""Mixed vintages are refused, and assets with older inputs are found."""

import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.errors import MixedVintagesError, VersionNotFoundError
from forecast_assets.storage.benchmark_tables import BENCHMARK_FORECASTS
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import check_same_vintage, find_stale
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import AS_OF
from forecast_assets_tests.store_builders import (
    BACKTEST,
    WEEK,
    make_commit,
    make_scores,
    make_store,
    write_predictions,
    write_series,
    write_whole_week,
)


def test_a_stale_partition_is_refused_with_the_command_that_rebuilds_it(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    stale = write_predictions(store, "naive", 1, inputs=[old])
    new = write_series(store, 1, 2, 3)
    fresh = write_predictions(store, "drift", 1, inputs=[new])
    with pytest.raises(
        MixedVintagesError,
        match=r"inputs of metrics come from different data: backtest_predictions of naive descend"
        r" from an older series\."
        r".*Nothing was made.*--select backtest_predictions --partition naive$",
    ):
        check_same_vintage(store, [new, stale, fresh], for_asset="metrics")


def test_the_same_data_under_a_new_version_is_not_stale(tmp_path: Path):
    store = make_store(tmp_path)
    old = write_series(store, 1, 2)
    models = [write_predictions(store, "naive", 1, inputs=[old])]
    again = write_series(store, 1, 2)
    models.append(write_predictions(store, "drift", 1, inputs=[again]))
    check_same_vintage(store, [again, *models], for_asset="metrics")


def test_the_command_rebuilds_the_steps_in_between_too(tmp_path: Path):
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


def test_a_missing_ancestor_is_named(tmp_path: Path):
    store = make_store(tmp_path)
    series = write_series(store, 1)
    naive = write_predictions(store, "naive", 1, inputs=[series])
    shutil.rmtree(store.location("series"))
    with pytest.raises(VersionNotFoundError, match=r"series has no version 0, .*was deleted"):
        check_same_vintage(make_store(tmp_path), [naive], for_asset="metrics")


# Stale assets
@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Commit]]:
    """Return a store with a whole week, to copy, and the commits of its tables and models."""
    store = make_store(tmp_path_factory.mktemp("week"))
    return store, write_whole_week(store, 1, 2)


@pytest.fixture
def made(template: tuple[Store, dict[str, Commit]]) -> dict[str, Commit]:
    """Return the commits of the whole week."""
    return template[1]


@pytest.fixture
def store(template: tuple[Store, dict[str, Commit]], tmp_path: Path) -> Store:
    """Return a copy of the store with the whole week."""
    shutil.copytree(template[0].uri, tmp_path / "store")
    return make_store(tmp_path)


def stale_assets(store: Store, *models: str, as_of: datetime = AS_OF) -> list[str]:
    stale = find_stale(store, models=models or ("drift", "naive"), as_of=as_of)
    return list(stale.assets) if stale else []


def state(store: Store, *models: str) -> str:
    """Return the digest of why something is stale."""
    stale = find_stale(store, models=models or ("drift", "naive"), as_of=AS_OF)
    assert stale is not None
    return stale.state


def test_nothing_is_stale_before_the_first_whole_week(tmp_path: Path):
    store = make_store(tmp_path)
    assert stale_assets(store) == []
    write_series(store, 1)
    assert stale_assets(store) == []


def test_only_other_results_of_a_model_make_the_scores_stale(store: Store, made: dict[str, Commit]):
    assert stale_assets(store) == []
    write_predictions(store, "drift", 1, 2, inputs=[made["series"]])
    assert stale_assets(store) == []
    write_predictions(store, "drift", 1, 3, inputs=[made["series"]])
    assert stale_assets(store) == list(ASSETS[ASSETS.index("metrics") :])


def test_new_data_make_the_backtest_stale_until_every_model_used_them(
    store: Store, made: dict[str, Commit]
):
    fresh = write_series(store, 1, 5, inputs=[made["raw_data"]])
    assert stale_assets(store)[0] == BACKTEST
    write_predictions(store, "drift", 1, 5, inputs=[fresh])
    assert stale_assets(store)[0] == BACKTEST
    write_predictions(store, "naive", 1, 5, inputs=[fresh])
    assert stale_assets(store)[0] == "metrics"


@pytest.mark.parametrize("asset", [REGRESSORS, BENCHMARK_FORECASTS])
def test_changed_regressors_and_benchmarks_make_the_backtest_stale(
    store: Store, made: dict[str, Commit], asset: str
):
    """New data make regressors stale, which are of series, but benchmarks no more than raw_data."""

    def write(value: float) -> Commit:
        row = {"unique_id": "*", "ds": pd.Timestamp("2024-01-05")}
        now = pd.Timestamp(AS_OF)
        if asset == REGRESSORS:
            row |= {"regressor": "a.b", "known_at": now, "value": value}
        else:
            row |= {"benchmark": "planner", "made_on": now, "y_hat": value}
        inputs = [made["series"]] if asset == REGRESSORS else []
        return store.write(pd.DataFrame([row]), make_commit(asset, inputs=inputs))

    def first_stale() -> str | None:
        stale = find_stale(store, models=["drift", "naive"], as_of=AS_OF, optional=[asset])
        return stale.assets[0] if stale else None

    used = write(1)
    for model in ("drift", "naive"):
        write_predictions(store, model, 1, 2, inputs=[made["series"], used])
    assert first_stale() is None
    write(1)
    assert first_stale() is None
    write(2)
    assert first_stale() == BACKTEST
    write_series(store, 1, 5, inputs=[made["raw_data"]])
    assert first_stale() == (REGRESSORS if asset == REGRESSORS else BACKTEST)


def test_a_repeated_old_week_makes_nothing_stale(store: Store):
    write_whole_week(store, 1, as_of=AS_OF - WEEK)
    assert stale_assets(store) == []


def test_the_digest_stays_the_same_while_equal_data_arrive_again(
    store: Store, made: dict[str, Commit]
):
    states = []
    for y in (5, 5, 6):
        write_series(store, 1, y, inputs=[made["raw_data"]])
        states.append(state(store))
    assert states[0] == states[1] != states[2]


def test_a_model_that_the_scores_lack_makes_them_stale_again_and_again(
    store: Store, made: dict[str, Commit]
):
    """A model is enabled, disabled and enabled again: the digest differs each time."""
    models = ("drift", "naive", "ses")
    assert stale_assets(store, *models) == []  # never made: its week will come
    ses = write_predictions(store, "ses", 1, 2, inputs=[made["series"]])
    assert stale_assets(store, *models)[0] == "metrics"
    first = state(store, *models)
    two = [made[name] for name in ("drift", "naive", "series")]
    for inputs in ([*two, ses], two):
        store.write(make_scores(mae=2), make_commit("metrics", inputs=inputs))
    assert stale_assets(store, *models)[0] == "metrics"
    assert state(store, *models) != first
