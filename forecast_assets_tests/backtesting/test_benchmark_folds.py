"""Folds of a benchmark that competes like a model: what it had forecast at each tick."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.benchmark_folds import NONE_YET, benchmark_folds
from forecast_assets.backtesting.folds import FoldForecasts, latest_folds, plan
from forecast_assets.backtesting.model_job import BacktestRequest
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.errors import ModelError, SettingsError
from forecast_assets.forecasting.eligibility import status_of
from forecast_assets.models.registry import enabled, find_model, with_candidates
from forecast_assets_tests.builders import make_series, make_settings

SERIES = make_series(a=range(100, 120), b=range(200, 220))
BENCHMARK = {"planner": {"kind": "file", "path": "planner.csv", "use": True}}


def mondays(weeks: Sequence[date]) -> list[datetime]:
    """Return the Monday morning after each week, named by its Friday."""
    start = datetime.min.time()
    return [datetime.combine(week + timedelta(days=3), start, UTC) for week in weeks]


def forecasts(*, days_before: float, plus: float = 0.0) -> pd.DataFrame:
    """Return forecasts of every week and two weeks ahead that were made before their end."""
    ahead = SERIES.groupby("unique_id").tail(2)
    rows = pd.concat([SERIES, ahead.assign(ds=ahead["ds"] + pd.Timedelta(weeks=2))])
    made_on = (rows["ds"] - pd.Timedelta(days=days_before)).dt.tz_localize("UTC")
    frame = rows[["unique_id", "ds"]].assign(made_on=made_on, y_hat=rows["y"] + plus)
    return frame.assign(benchmark="planner")


def look_up(folder: Path, rows: pd.DataFrame, *, latest: bool = False) -> FoldForecasts:
    planned = latest_folds(SERIES) if latest else plan(SERIES, BacktestSettings(n_windows=8))
    settings = make_settings(folder, benchmark=BENCHMARK)
    request = BacktestRequest(find_model("planner", settings), planned, Panel.of(planned))
    return benchmark_folds(request, rows, horizon=1, week_ticks=mondays).folds


def test_a_fold_knows_the_last_forecast_that_was_made_by_its_tick(tmp_path: Path):
    on_tick, after = forecasts(days_before=4, plus=0.5), forecasts(days_before=4 - 1e-4, plus=1e6)
    found = look_up(tmp_path, pd.concat([after, on_tick, forecasts(days_before=5)]))
    np.testing.assert_array_equal(
        found.y_hat[:, 0], [*np.arange(112, 120), *np.arange(212, 220)] + 0.5 * np.ones(16)
    )
    assert found.is_forecast.all()
    newest = look_up(
        tmp_path, pd.concat([on_tick, forecasts(days_before=2, plus=7.0)]), latest=True
    )
    np.testing.assert_array_equal(newest.y_hat[:, 0], [118 + 7.0, 218 + 7.0])


def test_a_benchmark_with_gaps_or_too_few_weeks_does_not_compete(tmp_path: Path):
    rows, weeks = forecasts(days_before=5), sorted(SERIES["ds"].unique())
    gap = rows[~((rows["unique_id"] == "a") & (rows["ds"] == weeks[15]))]
    of_a, of_b = np.split(look_up(tmp_path, gap).errors, 2)
    reason = f"no forecast of the week ending {weeks[15]:%Y-%m-%d} was made in time"
    assert status_of(of_a) == ("ineligible", f"not for this series: {reason}")
    assert status_of(of_b) == ("scored", None)
    for n_weeks, status in ((4, "scored"), (3, "ineligible")):
        late = look_up(tmp_path, rows[rows["ds"] >= weeks[-n_weeks]])
        assert status_of(late.errors[:8])[0] == status
    assert set(look_up(tmp_path, rows.head(0)).errors) == {NONE_YET}
    failed = look_up(tmp_path, rows[rows["ds"] <= weeks[-1]], latest=True)
    assert not failed.is_declined.any()  # so the reason says why another one forecasts
    assert failed.errors[0].startswith("no forecast of the week ending")


def test_used_benchmarks_compete_under_their_names(tmp_path: Path):
    settings = make_settings(tmp_path, benchmark=BENCHMARK, selection={"pinned": {"a": "planner"}})
    listed = with_candidates(settings)
    assert listed.models.enabled == (*settings.models.enabled, "planner")
    assert with_candidates(listed) == listed
    assert [model.is_benchmark for model in enabled(listed)][-2:] == [False, True]
    unused = {"planner": {**BENCHMARK["planner"], "use": False}}
    plain = make_settings(tmp_path, benchmark=unused)
    assert with_candidates(plain) is plain
    for name in ("planner_log", "planner_x"):
        with pytest.raises(ModelError, match=f"There is no model '{name}'"):
            find_model(name, settings)
    with pytest.raises(ModelError, match="makes no forecasts"):
        find_model("planner", settings).make().fit(np.ones(3), season_length=52)
    with pytest.raises(ModelError, match="a name that another model has: theta"):
        find_model("naive", make_settings(tmp_path, benchmark={"theta": BENCHMARK["planner"]}))
    for name in ("override", "abs", "combination_best"):
        with pytest.raises(SettingsError, match=f"must not be `{name}`"):
            make_settings(tmp_path, benchmark={name: BENCHMARK["planner"]})


def test_a_fold_with_a_horizon_needs_each_of_its_weeks(tmp_path: Path):
    settings = make_settings(tmp_path, benchmark=BENCHMARK)
    planned = [
        replace(item, ends=item.ends[-3:]) for item in plan(SERIES, BacktestSettings(horizon=2))
    ]
    request = BacktestRequest(find_model("planner", settings), planned, Panel.of(planned))
    known = pd.concat([forecasts(days_before=5), forecasts(days_before=12, plus=0.5)])
    found = benchmark_folds(request, known, horizon=2, week_ticks=mondays).folds
    np.testing.assert_array_equal(found.y_hat[2], [118, 119.5])
    one = benchmark_folds(request, forecasts(days_before=5), horizon=2, week_ticks=mondays).folds
    assert not one.is_forecast.any()
    assert np.isnan(one.y_hat).all()
