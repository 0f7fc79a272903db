"""What folds saw, for a look back at a backtest."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from forecast_assets.backtesting.folds import plan
from forecast_assets.defs.inputs import as_scored
from forecast_assets.storage.regressor_table import REGRESSORS
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.store_builders import (
    make_commit,
    make_row,
    make_scores,
    make_store,
    write_predictions,
)

LAST_MONDAY = datetime(2024, 7, 29, tzinfo=UTC)  # after the 30th week


def test_folds_of_a_past_backtest_see_the_values_and_regressors_of_their_ticks(tmp_path: Path):
    """Of 30 weeks, the value of the 28th was twice as large at its tick."""
    tables = {"regressors": {"p": {"kind": "file", "path": "p.csv", "columns": ["x"]}}}
    tables["regressors"]["p"]["known"] = "ahead"
    settings = make_settings(tmp_path, backtest={"n_windows": 4}, **tables)
    store, series = make_store(tmp_path), make_series(a=walk(30, seed=1))
    early = series.head(28).copy()
    early.loc[27, "y"] *= 2
    store.write(early, make_commit("series", as_of=LAST_MONDAY - timedelta(weeks=2)))
    now = store.write(series, make_commit("series", as_of=LAST_MONDAY))
    row = {"regressor": "p.x", "unique_id": "*", "ds": series["ds"][29], "value": 5.0}
    known_at = LAST_MONDAY - timedelta(weeks=9)
    x = make_row(REGRESSORS, **row, known_at=known_at)
    known = store.write(x, make_commit(REGRESSORS, as_of=LAST_MONDAY, inputs=[now]))
    predictions = write_predictions(store, "naive", 1, inputs=[now, known])
    commit = make_commit("metrics", as_of=LAST_MONDAY, inputs=[predictions, now])
    scored = store.write(make_scores(), commit)
    (folds,) = as_scored(plan(series, settings.backtest), series, settings, [store], scored)
    assert folds.real_training(28)[-1] == early["y"][27]
    assert folds.real_training(29)[-2] == series["y"][27]
    assert folds.x is not None
    assert folds.x.seen(29, 29, 30).tolist() == [[5.0]]
