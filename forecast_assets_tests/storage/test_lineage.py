"""Mixed vintages are refused, and assets with older inputs are found."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets.errors import MixedVintagesError, VersionNotFoundError
from forecast_assets.storage.commit import Commit
from forecast_assets.storage.lineage import check_same_vintage, find_stale
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.builders import AS_OF, make_raw, make_series
from forecast_assets_tests.store_builders import (
    BACKTEST,
    WEEK,
    make_choice,
    make_commit,
    make_forecast,
    make_scores,
    make_store,
    write_predictions,
    write_series,
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
def write_week(store: Store, *y: float, as_of: datetime = AS_OF) -> dict[str, Commit]:
    """Write every table of a week with two models, each from its inputs in the graph."""
    made: dict[str, Commit] = {}

    def write(asset: str, frame: pd.DataFrame, *inputs: str) -> None:
        read = [made[name] for name in inputs]
        made[asset] = store.write(frame, make_commit(asset, as_of=as_of, inputs=read))

    write("raw_data", make_raw(make_series(a=y)))
    write("series", make_series(a=y), "raw_data")
    for model in ("drift", "naive"):
        made[model] = write_predictions(store, model, *y, as_of=as_of, inputs=[made["series"]])
    write("metrics", make_scores(mae=y[-1]), "drift", "naive", "series")
    write("best_model", make_choice(score=y[-1]), "metrics")
    write("next_week_forecast", make_forecast(), "best_model", "series", "drift", "naive")
    write("forecast_accuracy", store.tables["forecast_accuracy"].empty(), "next_week_forecast")
    write("weekly_report", store.tables["weekly_report"].empty(), "next_week_forecast", "metrics")
    return made


@dataclass(frozen=True)
class Week:
    """A store with a whole week, and the commits of its tables and models."""

    store: Store
    made: dict[str, Commit]

    def write_series(self, *y: float) -> Commit:
        """Write a version of `series` made from the week's rows."""
        return write_series(self.store, *y, inputs=[self.made["raw_data"]])

    def write_predictions(self, model: str, *y: float, series: Commit | None = None) -> Commit:
        """Write a model's version, made from the week's `series` or another version."""
        inputs = [series or self.made["series"]]
        return write_predictions(self.store, model, *y, inputs=inputs)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Week:
    """A whole week: only copy it."""
    store = make_store(tmp_path_factory.mktemp("week"))
    return Week(store, write_week(store, 1, 2))


@pytest.fixture
def week(template: Week, tmp_path: Path) -> Week:
    """A copy of the whole week."""
    shutil.copytree(template.store.uri, tmp_path / "store")
    return Week(make_store(tmp_path), template.made)


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


def test_only_other_results_of_a_model_make_the_scores_stale(week: Week):
    assert stale_assets(week.store) == []
    week.write_predictions("drift", 1, 2)
    assert stale_assets(week.store) == []
    week.write_predictions("drift", 1, 3)
    assert stale_assets(week.store) == list(ASSETS[ASSETS.index("metrics") :])


def test_new_data_make_the_backtest_stale_until_every_model_used_them(week: Week):
    fresh = week.write_series(1, 5)
    assert stale_assets(week.store)[0] == BACKTEST
    week.write_predictions("drift", 1, 5, series=fresh)
    assert stale_assets(week.store)[0] == BACKTEST
    week.write_predictions("naive", 1, 5, series=fresh)
    assert stale_assets(week.store)[0] == "metrics"


def test_a_model_that_the_scores_lack_makes_them_stale(week: Week):
    models = ("drift", "naive", "ses")
    assert stale_assets(week.store, *models) == []  # never made: its week will come
    week.write_predictions("ses", 1, 2)
    assert stale_assets(week.store, *models)[0] == "metrics"


def test_a_repeated_old_week_makes_nothing_stale(week: Week):
    write_week(week.store, 1, as_of=AS_OF - WEEK)
    assert stale_assets(week.store) == []


def test_the_digest_stays_the_same_while_equal_data_arrive_again(week: Week):
    week.write_series(1, 5)
    first = state(week.store)
    week.write_series(1, 5)
    assert state(week.store) == first
    week.write_series(1, 6)
    assert state(week.store) != first


def test_the_digest_changes_if_the_same_reason_comes_back_after_a_rebuild(week: Week):
    """A model is enabled, disabled and enabled again: both times the scores are stale."""
    models = ("drift", "naive", "ses")
    ses = week.write_predictions("ses", 1, 2)
    first = state(week.store, *models)
    two = [week.made[name] for name in ("drift", "naive", "series")]
    for inputs in ([*two, ses], two):
        week.store.write(make_scores(mae=2), make_commit("metrics", inputs=inputs))
    assert stale_assets(week.store, *models)[0] == "metrics"
    assert state(week.store, *models) != first
