"""Scores: each with a second, simpler implementation, its sign, and who competes."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import TOO_SHORT, FoldForecast, FoldForecasts, plan, to_frame
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.intervals import half_widths, weighted_interval_score
from forecast_assets.forecasting.metrics import collect, compute
from forecast_assets.forecasting.metrics import to_frame as metrics_frame
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_series, make_settings, walk

N, WINDOWS = 70, 30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": WINDOWS})


def predict(series: pd.DataFrame, settings: Settings, **errors: list[float]) -> pd.DataFrame:
    """Return predictions of invented models: each keyword gives a model's errors, fold by fold.

    NaN marks a fold on which the model failed.
    """
    planned = plan(series, settings.backtest)
    blocks = []
    for model, wrong in errors.items():
        after = [folds.y[end] for folds in planned for end in folds.ends]
        folds = [
            FoldForecast(None, 0.5, "ValueError: no")
            if math.isnan(error)
            else FoldForecast(np.array([y + error]), 0.5)
            for y, error in zip(after, np.resize(wrong, len(after)), strict=True)
        ]
        blocks.append(to_frame(model, planned, FoldForecasts.of(folds, horizon=1), horizon=1))
    return pd.concat(blocks, ignore_index=True)


def score(predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the scores of predictions."""
    results = collect(predictions, series, settings)
    return metrics_frame(results, compute(results, settings), series, settings)


def one_row(frame: pd.DataFrame, model: str, unique_id: str = "a") -> pd.Series:
    """Return the scores of one model on one series."""
    result = frame[(frame["model"] == model) & (frame["unique_id"] == unique_id)]
    assert len(result) == 1
    return result.iloc[0]


def plain_scores(y: list[float], errors: list[float]) -> dict[str, float]:
    """Compute every loss with a loop and its textbook formula; errors are forecast minus actual."""
    training, actual = y[: -len(errors)], y[-len(errors) :]
    steps = [abs(b - a) for a, b in itertools.pairwise(training)]
    n = len(errors)
    mae = sum(abs(e) for e in errors) / n
    mse = sum(e * e for e in errors) / n
    return {
        "mae": mae,
        "rmse": math.sqrt(mse),
        "mape": sum(abs(e / a) for e, a in zip(errors, actual, strict=True)) / n,
        "smape": sum(abs(e) / (abs(a + e) + abs(a)) for e, a in zip(errors, actual, strict=True))
        / n,
        "mase": mae / (sum(steps) / len(steps)),
        "rmsse": math.sqrt(mse / (sum(s * s for s in steps) / len(steps))),
        "bias": sum(errors) / n,
    }


@pytest.mark.parametrize("loss", ["mae", "rmse", "mape", "smape", "mase", "rmsse", "bias"])
def test_every_loss_agrees_with_its_plain_definition(settings: Settings, loss: str):
    y = walk(N, seed=1)
    errors = list(np.random.default_rng(2).normal(0.4, 1, WINDOWS))
    series = make_series(a=y)
    result = one_row(score(predict(series, settings, m=errors), series, settings), "m")
    assert result[loss] == pytest.approx(plain_scores(y, errors)[loss])


@pytest.mark.parametrize("loss", ["mae", "rmse", "mape", "smape", "mase", "rmsse", "wis"])
def test_a_worse_model_has_a_greater_loss(settings: Settings, loss: str):
    series = make_series(a=walk(N, seed=1))
    scores = score(predict(series, settings, good=[1, -1], bad=[3, -3]), series, settings)
    assert one_row(scores, "good")[loss] < one_row(scores, "bad")[loss]


def test_bias_is_positive_where_forecasts_are_too_high(settings: Settings):
    series = make_series(a=walk(N, seed=1))
    scores = score(predict(series, settings, high=[2.0], low=[-2.0]), series, settings)
    assert one_row(scores, "high")["bias"] == pytest.approx(2.0)
    assert one_row(scores, "low")["bias"] == pytest.approx(-2.0)


def test_mape_is_null_on_a_series_with_a_zero(settings: Settings):
    series = make_series(a=[*walk(N - 1, seed=1), 0.0], b=walk(N, seed=2))
    scores = score(predict(series, settings, m=[1.0]), series, settings)
    assert math.isnan(one_row(scores, "m", "a")["mape"])
    assert one_row(scores, "m", "b")["mape"] > 0


def test_the_scale_of_mase_is_the_training_part_alone(settings: Settings):
    calm, wild = walk(N - WINDOWS, seed=1), [1000.0 * (-1) ** i for i in range(WINDOWS)]
    series = make_series(a=[*calm, *wild])
    scores = score(predict(series, settings, m=[1.0]), series, settings)
    assert one_row(scores, "m")["mase"] == pytest.approx(1 / np.abs(np.diff(calm)).mean())


def test_mase_is_null_where_the_training_part_is_constant(settings: Settings):
    series = make_series(a=[5.0] * (N - WINDOWS) + walk(WINDOWS, seed=1))
    result = one_row(score(predict(series, settings, m=[1.0]), series, settings), "m")
    assert math.isnan(result["mase"])
    assert result["mae"] == pytest.approx(1.0)
    assert result["status"] == "scored"


def test_coverage_is_measured_on_folds_that_the_interval_did_not_see(settings: Settings):
    """Errors grow every week, so an interval from past errors never covers the next value."""
    series = make_series(a=[float(i % 2) for i in range(N)])  # as noisy in every week
    growing = list(np.arange(1.0, WINDOWS + 1))
    result = one_row(score(predict(series, settings, m=growing), series, settings), "m")
    assert result["coverage_80"] == 0.0
    assert result["coverage_95"] == 0.0


def test_coverage_is_one_where_errors_never_change(settings: Settings):
    series = make_series(a=[float(i % 2) for i in range(N)])
    result = one_row(score(predict(series, settings, m=[2.0]), series, settings), "m")
    assert result["coverage_80"] == 1.0


def test_levels_name_the_coverage_columns(tmp_path: Path):
    settings = make_settings(tmp_path, forecast={"levels": [50, 97.5]})
    series = make_series(a=walk(N, seed=1))
    scores = score(predict(series, settings, m=[2.0]), series, settings)
    contract = table_contracts(settings.forecast.levels)["metrics"]
    assert {"coverage_50", "coverage_97.5"} <= set(contract.check(scores).columns)


def test_skill_is_the_share_of_the_naive_error_that_is_saved(settings: Settings):
    y = walk(N, seed=1)
    series = make_series(a=y)
    naive = np.abs(np.diff(y))[-WINDOWS:].mean()
    result = one_row(score(predict(series, settings, m=[naive / 4]), series, settings), "m")
    assert result["skill_vs_naive"] == pytest.approx(0.75)


def test_a_model_that_declines_its_worst_week_is_not_scored(settings: Settings):
    """Without the week of error 50 its mean error would be the lowest of all."""
    series = make_series(a=walk(N, seed=1))
    steady, honest = [1.5], [1.0] * (WINDOWS - 1) + [50.0]
    declining = [*honest[:-1], math.nan]
    predictions = predict(series, settings, steady=steady, honest=honest, declining=declining)
    scores = score(predictions, series, settings)
    result = one_row(scores, "declining")
    assert result["status"] == "failed"
    assert result["reason"] == f"1 of {WINDOWS} forecasts: ValueError: no"
    assert result[["mae", "mase", "wis", "skill_vs_naive"]].isna().all()
    assert one_row(scores, "honest")["status"] == "scored"


def test_a_series_too_short_for_a_model_makes_it_ineligible_not_failed(settings: Settings):
    series = make_series(a=walk(N, seed=1))
    predictions = predict(series, settings, m=[math.nan, 1.0])
    predictions["error"] = predictions["error"].mask(
        predictions["error"].notna(), f"{TOO_SHORT}it needs 52 values and has 41"
    )
    result = one_row(score(predictions, series, settings), "m")
    assert result["status"] == "ineligible"
    assert "needs 52 values" in result["reason"]


def test_a_series_of_one_week_is_ineligible_for_every_model(settings: Settings):
    series = make_series(a=walk(N, seed=1), lone=[3.0])
    scores = score(predict(series, settings, m=[1.0], k=[2.0]), series, settings)
    assert one_row(scores, "m", "lone")["status"] == "ineligible"
    assert one_row(scores, "k", "lone")["n_folds"] == 0
    table_contracts(settings.forecast.levels)["metrics"].check(scores)


def test_a_backtest_on_other_folds_is_refused_by_name(settings: Settings, tmp_path: Path):
    series = make_series(a=walk(N, seed=1))
    fewer = make_settings(tmp_path, backtest={"n_windows": 4})
    both = pd.concat([predict(series, settings, m=[1.0]), predict(series, fewer, theta=[1.0])])
    with pytest.raises(DataError, match=r"theta has 4 rows .* --partition theta"):
        score(both, series, settings)


def test_the_frame_keeps_its_contract(settings: Settings):
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    scores = score(predict(series, settings, m=[1.0], k=[2.0, -1.0]), series, settings)
    assert len(table_contracts((80, 95))["metrics"].check(scores)) == 2 * (2 + len(COMBINATIONS))


# The standard error
@pytest.mark.parametrize("metric", ["mae", "mase", "mape", "smape"])
def test_the_standard_error_of_a_mean_is_its_spread_over_the_root_of_n(tmp_path: Path, metric: str):
    settings = make_settings(
        tmp_path, backtest={"n_windows": WINDOWS}, selection={"metric": metric}
    )
    y = walk(N, seed=1)
    errors = list(np.random.default_rng(2).normal(0.4, 1, WINDOWS))
    series = make_series(a=y)
    result = one_row(score(predict(series, settings, m=errors), series, settings), "m")
    actual, e = np.array(y[-WINDOWS:]), np.abs(errors)
    scale = np.abs(np.diff(y[:-WINDOWS])).mean()
    terms = {
        "mae": e,
        "mase": e / scale,
        "mape": e / actual,
        "smape": e / (np.abs(actual + errors) + actual),
    }[metric]
    assert result[metric] == pytest.approx(terms.mean())
    assert result["standard_error"] == pytest.approx(terms.std() / math.sqrt(WINDOWS))


@pytest.mark.parametrize("metric", ["rmse", "rmsse"])
def test_the_standard_error_of_a_root_is_half_that_of_the_square_over_the_root(
    tmp_path: Path, metric: str
):
    settings = make_settings(
        tmp_path, backtest={"n_windows": WINDOWS}, selection={"metric": metric}
    )
    y = walk(N, seed=1)
    errors = np.random.default_rng(2).normal(0.4, 1, WINDOWS)
    series = make_series(a=y)
    result = one_row(score(predict(series, settings, m=list(errors)), series, settings), "m")
    scale = 1.0 if metric == "rmse" else math.sqrt((np.diff(y[:-WINDOWS]) ** 2).mean())
    rmse = math.sqrt((errors**2).mean())
    assert result[metric] == pytest.approx(rmse / scale)
    by_hand = (errors**2).std() / math.sqrt(WINDOWS) / (2 * rmse) / scale
    assert result["standard_error"] == pytest.approx(by_hand)


def test_one_fold_has_a_score_and_no_standard_error(tmp_path: Path):
    settings = make_settings(tmp_path, backtest={"n_windows": 1})
    series = make_series(a=walk(N, seed=1))
    result = one_row(score(predict(series, settings, m=[2.0]), series, settings), "m")
    assert result["mae"] == pytest.approx(2.0)
    assert math.isnan(result["standard_error"])


# Combinations
def test_combinations_compete_beside_the_models(settings: Settings):
    """Two models have opposite errors: their mean has none."""
    series = make_series(a=walk(N, seed=1))
    scores = score(predict(series, settings, high=[1.5], low=[-1.5]), series, settings)
    assert list(scores["model"]) == ["high", "low", *COMBINATIONS]
    assert one_row(scores, "combination_mean")["mae"] == pytest.approx(0.0, abs=1e-12)
    assert (scores.loc[2:, "status"] == "scored").all()
    assert (scores.loc[2:, "fit_seconds"] == 0).all()


def test_a_model_that_failed_is_in_no_combination(settings: Settings):
    series = make_series(a=walk(N, seed=1))
    errors = [99.0] * (WINDOWS - 1) + [math.nan]
    scores = score(predict(series, settings, m=[1.0], k=[2.0], bad=errors), series, settings)
    assert one_row(scores, "combination_mean")["mae"] == pytest.approx(1.5)


def test_where_every_model_failed_so_does_every_combination(settings: Settings):
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    predictions = predict(series, settings, m=[math.nan] * WINDOWS + [1.0] * WINDOWS)
    result = one_row(score(predictions, series, settings), "combination_median")
    assert (result["status"], result["reason"]) == ("ineligible", "no model forecast every fold")


def test_series_of_every_length_have_the_errors_that_each_would_have_alone(settings: Settings):
    lengths = {"long": 90, "also_long": 90, "short": 20, "tiny": 3, "lone": 1}
    all_of_them = {name: walk(n, seed=n + len(name)) for name, n in lengths.items()}
    every = make_series(**all_of_them)
    errors = {"m": [1.0, -0.5, 2.0], "k": [0.1, 0.3, -3.0]}
    together = score(predict(every, settings, **errors), every, settings)
    for name in ("long", "short", "tiny"):
        series = make_series(**{name: all_of_them[name]})
        mine = predict(every, settings, **errors)
        mine = mine[mine["unique_id"] == name].reset_index(drop=True)
        alone = score(mine, series, settings)
        of_it = together[together["unique_id"] == name].reset_index(drop=True)
        by_intervals = ["wis", "coverage_80", "coverage_95"]  # which all series have a say in
        pd.testing.assert_frame_equal(
            *(frame.drop(columns=by_intervals) for frame in (of_it, alone))
        )


def test_a_panel_is_scored_in_blocks(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    series = make_series(**{f"s{i}": walk(N, seed=i) for i in range(7)})
    predictions = predict(series, settings, m=[1.0, -2.0], k=[0.5, 1.0, 2.0])
    whole = score(predictions, series, settings)
    monkeypatch.setattr("forecast_assets.forecasting.backtest_results.BLOCK_FOLDS", 2 * WINDOWS)
    pd.testing.assert_frame_equal(score(predictions, series, settings), whole)


# By intervals
def by_wis(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, backtest={"n_windows": WINDOWS}, selection={"metric": "wis"})


def test_failing_elsewhere_does_not_spare_a_model_its_early_weeks(tmp_path: Path):
    """Both forecast the first series alike; one fails on the others and pools fewer errors."""
    settings = by_wis(tmp_path)
    series = make_series(**{f"s{i}": walk(N, seed=i) for i in range(4)})
    errors = [9.0] * 10 + [1.0] * (WINDOWS - 10)
    predictions = predict(series, settings, honest=errors * 4, failing=errors * 4)
    fails = (predictions["model"] == "failing") & (predictions["unique_id"] != "s0")
    predictions["y_hat"] = predictions["y_hat"].mask(fails)
    predictions["error"] = predictions["error"].mask(fails, "ValueError: no")
    results = collect(predictions, series, settings)
    block = next(results.blocks())
    weeks = np.unique(results.weeks)
    widths = [
        half_widths(
            np.abs(block.errors[m]),
            block.recent_volatility,
            block.weeks,
            settings.forecast.levels,
            results.error_pools(m, weeks),
            target_weeks=block.weeks,
            target_volatility=block.recent_volatility,
        )[:, 0, :, 0]
        for m in (0, 1)
    ]
    both = np.isfinite(widths).all(axis=(0, 1))
    assert both.sum() < np.isfinite(widths[0]).all(axis=0).sum()  # the honest one knows more folds
    for m, name in enumerate(("honest", "failing")):
        wis = weighted_interval_score(
            block.y[0, :, 0], block.y_hat[m, 0, :, 0], widths[m], settings.forecast.levels
        )
        row = one_row(score(predictions, series, settings), name, "s0")
        assert row["wis"] == pytest.approx(wis[both].mean())


@pytest.mark.parametrize("metric", ["wis", "smape"])
def test_one_failure_takes_no_standard_error_from_the_others(tmp_path: Path, metric: str):
    settings = make_settings(
        tmp_path, backtest={"n_windows": WINDOWS}, selection={"metric": metric}
    )
    zeros = [0.0] * 3 + walk(N - 6, seed=1) + [0.0] * 3
    series = make_series(a=zeros, b=walk(N, seed=2))
    predictions = predict(series, settings, m=[0.0, 1.0], k=[2.0, -1.0], bad=[math.nan])
    scores = score(predictions, series, settings)
    assert (scores.loc[scores["status"] == "scored", "standard_error"] > 0).all()
    assert scores.loc[scores["model"] == "bad", "standard_error"].isna().all()


def test_folds_that_do_not_overlap_are_taken_for_as_many(tmp_path: Path):
    """Eight folds of eight weeks, eight weeks apart: a steady gain on naive is no luck."""
    settings = make_settings(tmp_path, backtest={"n_windows": 8, "horizon": 8, "step": 8})
    series = make_series(a=walk(140, seed=1))
    planned = plan(series, settings.backtest)
    rng = np.random.default_rng(2)
    folds = [
        FoldForecast(series_folds.y[end : end + 8] + rng.normal(0, 0.1, 8), 0.1)
        for series_folds in planned
        for end in series_folds.ends
    ]
    predictions = to_frame("m", planned, FoldForecasts.of(folds, horizon=8), horizon=8)
    assert one_row(score(predictions, series, settings), "m")["p_vs_naive"] < 0.01
