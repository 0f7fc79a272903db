"""Means, significance and coverage over all series equal those computed by hand."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import plan
from forecast_assets.forecasting.leaderboard import by_horizon, leaderboard, pooled_statistics
from forecast_assets.forecasting.metrics import collect, compute, to_frame
from forecast_assets_tests.builders import make_series, make_settings, walk
from forecast_assets_tests.report_builders import make_metrics, make_predictions

N, WINDOWS = 70, 30


def test_candidates_are_compared_on_the_same_series():
    """The candidate that is scored on the easy half only must not lead for that."""
    easy = make_metrics(["a", "b"], {"naive": 1.0, "theta": 0.8, "odd": 0.5})
    hard = make_metrics(["c", "d"], {"naive": 2.0, "theta": 2.2, "odd": np.nan})
    rows = leaderboard(pd.concat([easy, hard]), metric="mase").set_index("model")
    assert list(rows.index) == ["naive", "theta", "odd"]
    assert rows["mase"].to_list() == pytest.approx([1.5, 1.5, np.nan], nan_ok=True)
    assert rows["n_compared"].to_list() == [4, 4, 4]
    assert rows["n_series"].to_dict() == {"naive": 4, "theta": 4, "odd": 2}
    assert rows["wins"].to_dict() == {"naive": 0.5, "theta": 0.0, "odd": 0.5}


def test_a_failure_on_the_hardest_series_does_not_help():
    metrics = make_metrics([f"s{i:02}" for i in range(20)], {"naive": 1.0, "theta": 0.5})
    is_failed = (metrics["unique_id"] == "s03") & (metrics["model"] == "theta")
    metrics.loc[is_failed, ["mase", "status"]] = [np.nan, "failed"]
    metrics.loc[(metrics["unique_id"] == "s03") & ~is_failed, "mase"] = 99.0
    rows = leaderboard(metrics, metric="mase").set_index("model")
    assert list(rows.index) == ["naive", "theta"]
    assert rows.loc["naive", "mase"] == pytest.approx((19 + 99) / 20)
    assert np.isnan(rows.loc["theta", "mase"])
    assert rows["wins"].to_dict() == {"naive": 0.05, "theta": 0.95}


@pytest.mark.parametrize("status", ["ineligible", "too_few"])
def test_a_series_for_which_most_are_ineligible_is_not_compared(status: str):
    metrics = make_metrics(["a", "b", "short"], {"good": 1.0, "poor": 2.0, "plain": 3.0})
    is_ineligible = (metrics["unique_id"] == "short") & (metrics["model"] != "plain")
    metrics.loc[is_ineligible, ["mase", "status"]] = [np.nan, status]
    rows = leaderboard(metrics, metric="mase").set_index("model")
    assert rows["mase"].to_dict() == {"good": 1.0, "poor": 2.0, "plain": 3.0}
    assert rows["n_series"].to_dict() == {"good": 2, "poor": 2, "plain": 3}
    assert rows["n_compared"].to_list() == [2, 2, 2]


@pytest.mark.parametrize("metric", ["mase", "wis", "rmse"])
def test_the_metric_ranks_and_ties_are_shared(metric: str):
    metrics = make_metrics(["a"], {"x": 1.0, "y": 1.0, "z": 2.0})
    others = {name: 3.0 - metrics[name] for name in ("mase", "wis", "rmse") if name != metric}
    rows = leaderboard(metrics.assign(**others), metric=metric)
    assert list(rows.columns[:2]) == ["model", metric]
    assert rows["model"].to_list() == ["x", "y", "z"]
    assert rows["wins"].to_list() == [0.5, 0.5, 0.0]


def test_series_without_a_score_do_not_count():
    undefined = make_metrics(["flat"], {"naive": 1.0}).assign(mase=np.nan)
    both = pd.concat([undefined, make_metrics(["a"], {"naive": 1.0})])
    assert leaderboard(both, metric="mase")["n_compared"].to_list() == [1]
    assert leaderboard(undefined, metric="mase")["mase"].isna().all()


def test_a_candidate_that_failed_somewhere_is_not_in_the_set_of_the_best(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    odd = [0.5] * WINDOWS + [math.nan] * WINDOWS
    predictions = make_predictions(series, settings, good=[1.0], odd=odd)
    results = collect(predictions, series, settings)
    rows = pooled_statistics(results, compute(results, settings), overlap=1).set_index("model")
    is_best = rows["may_be_best_overall"]
    # The ensembles that hold the failed model are better every week.
    assert is_best[["odd", "good"]].to_list() == [False, False]
    assert is_best["combination_best_model"]


def test_errors_are_averaged_by_weeks_ahead(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS, "horizon": 2})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    results = collect(make_predictions(series, settings, m=[1.0, -3.0]), series, settings)
    rows = by_horizon(results, compute(results, settings)).set_index(["model", "h"]).loc["m"]
    planned = plan(series, settings.backtest)
    scale = np.mean([1 / np.abs(np.diff(folds.y[: folds.ends[0]])).mean() for folds in planned])
    assert list(rows["n_series"]) == [2, 2]
    assert list(rows["mase"]) == pytest.approx([scale, 3 * scale])
    assert list(rows["bias"]) == pytest.approx([scale, -3 * scale])


def test_a_candidate_without_the_first_folds_is_compared_by_its_ratio_to_naive(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(a=walk(N, seed=1))
    predictions = make_predictions(series, settings, late=[1.0], whole=[2.0])
    first = predictions.index[predictions["model"] == "late"][:10]
    predictions.loc[first, "y_hat"] = np.nan
    predictions.loc[first, "error"] = "too short: it needs 52 values and has 41"
    results = collect(predictions, series, settings)
    scores = compute(results, settings)
    rows = by_horizon(results, scores).set_index("model")
    of_late = to_frame(results, scores).set_index("model").loc["late"]
    assert rows.loc["late", "mase"] == pytest.approx(of_late["mase"])
    assert rows.loc["late", "rmsse"] == pytest.approx(of_late["rmsse"])
    pooled = pooled_statistics(results, scores, overlap=1).set_index("model")
    assert pooled.loc[["late", "whole"], "may_be_best_overall"].to_list() == [True, False]


def test_coverage_is_the_share_of_all_values_with_its_error(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(**{name: walk(N, seed=i) for i, name in enumerate("abcdef")})
    predictions = make_predictions(series, settings, m=[0.0])
    changes = series.groupby("unique_id")["y"].apply(lambda y: np.diff(y)[-WINDOWS:])
    naive = predictions.assign(y_hat=predictions["y_hat"] - np.concatenate(list(changes)))
    results = collect(naive, series, settings)
    scores = compute(results, settings)
    row = pooled_statistics(results, scores, overlap=1).set_index("model").loc["m"]
    inside, n = (counts[0, :, 0] for counts in scores.coverage["80"])
    assert row["coverage_80"] == pytest.approx(inside.sum() / n.sum())
    assert row["coverage_80"] == pytest.approx(0.8, abs=3 * row["coverage_80_error"])
    shares = inside[n > 0] / n[n > 0]
    assert row["coverage_80_error"] == pytest.approx(shares.std() / math.sqrt(len(shares)))
