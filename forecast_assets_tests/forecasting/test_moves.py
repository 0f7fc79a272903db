"""By what forecasts moved since the previous run, as far as no model runs again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.fold_blocks import as_weeks
from forecast_assets.forecasting.made_with import MadeWith
from forecast_assets.forecasting.moves import COLUMNS, NewestFolds, largest_moves, with_moves
from forecast_assets.storage.commit import Commit
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.store_builders import make_commit

CUTOFF = pd.Timestamp("2024-01-05")
MODELS = ["naive", "drift"]
# At the cutoff naive forecasts 10, 20 and 30 for the series a, b and c, drift 2 more.
FOLDS = NewestFolds(
    MODELS,
    ["a", "b", "c"],
    as_weeks(np.array([CUTOFF] * 3, dtype="datetime64[ns]")),
    np.array([[10.0, 20.0, 30.0], [12.0, 22.0, 32.0]]),
)


def make_rows(week: int, **rows: tuple[float, str, str | None, str | None]) -> pd.DataFrame:
    """Make rows of next_week_forecast: (forecast, model, members, weights) by series."""
    frame = pd.DataFrame.from_dict(
        rows, orient="index", columns=["y_hat", "model", "members", "weights"]
    )
    cutoff = CUTOFF + pd.Timedelta(weeks=week)
    frame = frame.rename_axis("unique_id").reset_index()
    return frame.assign(h=1, cutoff=cutoff, ds=cutoff + pd.Timedelta(weeks=1))


BEFORE = make_rows(
    0,
    a=(10.0, "naive", None, None),
    b=(20.5, "combination_inverse_error", "naive, drift", "0.75, 0.25"),
    c=(30.0, "combination_inverse_error", "naive, drift", None),
)
AFTER = make_rows(
    1,
    a=(15.0, "drift", None, None),
    b=(20.0, "combination_inverse_error", "naive, drift", "0.5, 0.5"),
    c=(31.0, "naive", None, None),
    d=(1.0, "naive", None, None),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, models={"enabled": MODELS})


def commit_of(settings: Settings) -> Commit:
    record = MadeWith.of(BEFORE, settings).to_text()
    return replace(make_commit("next_week_forecast"), made_with=record)


def moves_of(
    settings: Settings, before: pd.DataFrame = BEFORE, commit: Commit | None = None
) -> pd.DataFrame:
    moved = with_moves(AFTER, FOLDS, (commit or commit_of(settings), before), settings)
    return moved.set_index("unique_id")[COLUMNS]


def test_the_newest_fold_tells_models_from_data(settings: Settings):
    moved = moves_of(settings)
    np.testing.assert_allclose(moved.loc["a"], [10, 0, 2, 3, 0, np.nan])
    np.testing.assert_allclose(moved.loc["b"], [20.5, 0, 0.5, -1, 0, np.nan])
    change = AFTER.set_index("unique_id")["y_hat"] - moved["moved_from"]
    np.testing.assert_allclose(moved.iloc[:, 1:].sum(axis=1)[:3], change[:3])


def test_what_is_not_recorded_is_not_split_and_a_new_series_has_no_parts(settings: Settings):
    moved = moves_of(settings)
    np.testing.assert_allclose(moved.loc["c"], [30, np.nan, np.nan, 1, 0, 0])
    assert moved.loc["d"].isna().all()
    earlier = moves_of(settings, BEFORE.assign(cutoff=CUTOFF - pd.Timedelta(weeks=1)))
    np.testing.assert_allclose(earlier.loc["a"], [10, np.nan, np.nan, np.nan, 0, 5])
    pd.testing.assert_frame_equal(with_moves(AFTER, FOLDS, None, settings), AFTER)


def test_a_difference_on_equal_values_is_that_of_the_code_where_it_changed(settings: Settings):
    before = BEFORE.assign(y_hat=BEFORE["y_hat"] - 1)
    same, other = (
        moves_of(settings, before, commit) for commit in (None, make_commit("next_week_forecast"))
    )
    assert (same["moved_by_code"].iloc[0], same["moved_by_data"].iloc[0]) == (0, 4)
    assert (other["moved_by_code"].iloc[0], other["moved_by_data"].iloc[0]) == (1, 3)


def test_adding_up_is_a_part(settings: Settings):
    before = BEFORE.assign(y_hat_base=[9.0, np.nan, np.nan])
    moved = moves_of(settings, before)
    assert moved.loc["a", "moved_by_totals"] == -1
    assert moved.loc["a"].iloc[1:].sum() == 5


def test_the_furthest_moves_come_first(settings: Settings):
    rows = with_moves(AFTER, FOLDS, (commit_of(settings), BEFORE), settings)
    rows = rows.assign(
        lo_80=rows["y_hat"] - [10, 0.5, np.nan, 1], hi_80=rows["y_hat"] + [10, 0.5, np.nan, 1]
    )
    largest = largest_moves(rows)
    assert list(largest["unique_id"]) == ["b", "a", "c"]
    np.testing.assert_allclose(largest["size"], [1, 0.5, 0.2])
    assert largest_moves(AFTER).empty
