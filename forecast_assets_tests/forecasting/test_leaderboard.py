"""The candidates over all series: means, chances and coverage, each computed by hand."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import TOO_SHORT, FoldForecast, FoldForecasts, plan, to_frame
from forecast_assets.config.settings import Settings
from forecast_assets.forecasting.leaderboard import by_horizon, leaderboard
from forecast_assets.forecasting.metrics import collect, compute
from forecast_assets_tests.builders import make_series, make_settings, walk

N, WINDOWS = 70, 30


def said(series: pd.DataFrame, settings: Settings, **errors: "list[float]") -> pd.DataFrame:
    """Predictions of made-up models: each keyword a model, its errors by weeks ahead."""
    planned, horizon = plan(series, settings.backtest), settings.backtest.horizon
    frames = []
    for model, wrong in errors.items():
        folds = [
            FoldForecast(one.y[end : end + horizon] + np.array(wrong), 0.1)
            for one in planned
            for end in one.ends
        ]
        frames.append(
            to_frame(model, planned, FoldForecasts.of(folds, horizon=horizon), horizon=horizon)
        )
    return pd.concat(frames, ignore_index=True)


def test_errors_are_told_by_weeks_ahead(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS, "horizon": 2})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    evidence = collect(said(series, settings, m=[1.0, -3.0]), series, settings)
    of_m = by_horizon(evidence, compute(evidence, settings)).set_index(["model", "h"]).loc["m"]
    planned = plan(series, settings.backtest)
    scale = np.mean([1 / np.abs(np.diff(one.y[: one.ends[0]])).mean() for one in planned])
    assert list(of_m["n_series"]) == [2, 2]
    assert list(of_m["mase"]) == pytest.approx([scale, 3 * scale])
    assert list(of_m["bias"]) == pytest.approx([scale, -3 * scale])


def test_the_least_error_over_all_series_comes_first(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2), flat=[5.0] * N)
    evidence = collect(said(series, settings, poor=[4.0], good=[1.0]), series, settings)
    scores = compute(evidence, settings)
    found = leaderboard(evidence, scores, metric="mase", overlap=1).set_index("model")
    assert found.index[0] == "good"
    assert found.index[-1] == "poor"
    assert found.loc["good", "n_series"] == 3
    mase = scores.by_series["mase"][list(evidence.models).index("good")]
    assert np.isnan(mase).sum() == 1  # the flat one has no scale
    assert found.loc["good", "mase"] == pytest.approx(np.nanmean(mase))
    assert found.loc["good", "may_be_best"]
    assert not found.loc["poor", "may_be_best"]


def test_coverage_over_all_is_that_of_every_value_with_its_error(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(**{name: walk(N, seed=i) for i, name in enumerate("abcdef")})
    naive = pd.concat(
        [
            frame.assign(y_hat=frame["y_hat"] - np.diff(values)[-WINDOWS:])
            for (_, frame), (_, values) in zip(
                said(series, settings, m=[0.0]).groupby("unique_id"),
                series.groupby("unique_id")["y"],
                strict=True,
            )
        ],
        ignore_index=True,
    )
    evidence = collect(naive, series, settings)
    scores = compute(evidence, settings)
    row = leaderboard(evidence, scores, metric="mase", overlap=1).set_index("model").loc["m"]
    inside, n = scores.n_inside["80"][0, :, 0], scores.n_intervals["80"][0, :, 0]
    assert row["coverage_80"] == pytest.approx(inside.sum() / n.sum())
    assert row["coverage_80"] == pytest.approx(0.8, abs=3 * row["coverage_80_error"])
    shares = inside[n > 0] / n[n > 0]
    assert row["coverage_80_error"] == pytest.approx(shares.std() / math.sqrt(len(shares)))


def test_who_failed_somewhere_is_not_in_the_set_of_the_best(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    predictions = said(series, settings, good=[1.0], odd=[0.5])
    fails = (predictions["model"] == "odd") & (predictions["unique_id"] == "b")
    predictions["y_hat"] = predictions["y_hat"].mask(fails)
    predictions["error"] = predictions["error"].mask(fails, "ValueError: no")
    evidence = collect(predictions, series, settings)
    found = leaderboard(evidence, compute(evidence, settings), metric="mase", overlap=1).set_index(
        "model"
    )
    assert found.loc["odd", "n_series"] == 1
    assert math.isnan(found.loc["odd", "mase"])  # its mean would be of the series it did well on
    assert found.index[-1] == "odd"
    assert not found.loc["odd", "may_be_best"]
    assert not found.loc[
        "good", "may_be_best"
    ]  # those with the odd one are better by as much every week
    assert found.loc["combination_best_subset", "may_be_best"]


def test_who_is_on_few_series_is_not_compared_on_them(tmp_path: Path):
    """A short series on which most cannot be does not keep them from a mean over the others."""
    settings = make_settings(tmp_path, backtest={"n_windows": WINDOWS})
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2), short=walk(6, seed=3))
    predictions = said(series, settings, good=[1.0], poor=[2.0], plain=[3.0])
    is_out = (predictions["unique_id"] == "short") & (predictions["model"] != "plain")
    predictions["y_hat"] = predictions["y_hat"].mask(is_out)
    predictions["error"] = predictions["error"].mask(is_out, f"{TOO_SHORT}it needs 30")
    evidence = collect(predictions, series, settings)
    scores = compute(evidence, settings)
    found = leaderboard(evidence, scores, metric="mase", overlap=1).set_index("model")
    assert found["mase"].notna().all()
    mase = scores.by_series["mase"][list(evidence.models).index("plain")]
    assert found.loc["plain", "mase"] == pytest.approx(mase[:2].mean())
    assert found.loc["plain", "n_series"] == 3
