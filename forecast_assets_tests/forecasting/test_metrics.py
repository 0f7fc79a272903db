"""Scores: each with a second, simpler implementation, its sign, and which candidates compete."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import TOO_SHORT, latest_folds
from forecast_assets.config.settings import Settings
from forecast_assets.errors import DataError
from forecast_assets.forecasting.ensembles import COMBINATIONS
from forecast_assets.forecasting.fallback import latest_weights
from forecast_assets.forecasting.forecast import interval_half_widths
from forecast_assets.forecasting.intervals import half_widths, weighted_interval_score
from forecast_assets.forecasting.leaderboard import by_horizon, pooled_statistics
from forecast_assets.forecasting.metrics import collect, compute, to_frame
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_series, make_settings, walk, with_gaps
from forecast_assets_tests.report_builders import make_predictions
from forecast_assets_tests.worker_builders import run_backtest

N, WINDOWS = 70, 30
ERRORS = np.random.default_rng(2).normal(0.4, 1, WINDOWS)
NOISY = make_series(a=[float(i % 2) for i in range(N)])  # as noisy in every week


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return by(tmp_path)


@pytest.fixture
def series() -> pd.DataFrame:
    return make_series(a=walk(N, seed=1))


def by(tmp_path: Path, metric: str = "mase") -> Settings:
    """Return settings of 30 folds and a selection metric."""
    return make_settings(tmp_path, backtest={"n_windows": WINDOWS}, selection={"metric": metric})


def score(predictions: pd.DataFrame, series: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the scores of predictions, which keep their contract."""
    results = collect(predictions, series, settings)
    scores = to_frame(results, compute(results, settings))
    table_contracts(settings.forecast.levels)["metrics"].check(scores)
    return scores


def score_errors(series: pd.DataFrame, settings: Settings, **errors: list[float]) -> pd.DataFrame:
    """Return the scores of models with these errors on the series a, by model."""
    scores = score(make_predictions(series, settings, **errors), series, settings)
    return scores[scores["unique_id"] == "a"].set_index("model")


def plain_scores(y: list[float], errors: list[float]) -> dict[str, float]:
    """Compute every loss with a loop and its textbook formula; errors are forecast minus actual."""
    training, actual = y[: -len(errors)], y[-len(errors) :]
    steps = [abs(b - a) for a, b in itertools.pairwise(training)]
    pairs, n = list(zip(errors, actual, strict=True)), len(errors)
    mae = sum(abs(e) for e in errors) / n
    mse = sum(e * e for e in errors) / n
    return {
        "mae": mae,
        "rmse": math.sqrt(mse),
        "mape": sum(abs(e / a) for e, a in pairs) / n,
        "smape": sum(abs(e) / (abs(a + e) + abs(a)) for e, a in pairs) / n,
        "mase": mae / (sum(steps) / len(steps)),
        "rmsse": math.sqrt(mse / (sum(s * s for s in steps) / len(steps))),
        "bias": sum(errors) / n,
    }


def test_every_loss_agrees_with_its_plain_definition(settings: Settings, series: pd.DataFrame):
    row = score_errors(series, settings, m=list(ERRORS)).loc["m"]
    for loss, value in plain_scores(walk(N, seed=1), list(ERRORS)).items():
        assert row[loss] == pytest.approx(value), loss


def test_a_worse_model_has_a_greater_loss(settings: Settings, series: pd.DataFrame):
    """The bias is positive where forecasts are too high."""
    scores = score_errors(series, settings, good=[-1], bad=[3])
    losses = ["mae", "rmse", "mape", "smape", "mase", "rmsse", "wis", "bias"]
    assert (scores.loc["good", losses] < scores.loc["bad", losses]).all()
    assert scores.loc[["good", "bad"], "bias"].to_list() == pytest.approx([-1, 3])


def test_mape_is_null_on_a_series_with_a_zero(settings: Settings):
    series = make_series(a=[*walk(N - 1, seed=1), 0.0], b=walk(N, seed=2))
    scores = score(make_predictions(series, settings, m=[1.0]), series, settings)
    assert scores.loc[scores["model"] == "m", "mape"].isna().to_list() == [True, False]


def test_the_scale_of_mase_is_the_training_part_alone(settings: Settings):
    calm, wild = walk(N - WINDOWS, seed=1), [1000.0 * (-1) ** i for i in range(WINDOWS)]
    row = score_errors(make_series(a=[*calm, *wild]), settings, m=[1.0]).loc["m"]
    assert row["mase"] == pytest.approx(1 / np.abs(np.diff(calm)).mean())
    flat = make_series(a=[5.0] * (N - WINDOWS) + walk(WINDOWS, seed=1))
    row = score_errors(flat, settings, m=[1.0]).loc["m"]
    assert math.isnan(row["mase"])
    assert (row["mae"], row["status"]) == (pytest.approx(1.0), "scored")


def test_coverage_is_measured_on_folds_that_the_interval_did_not_see(settings: Settings):
    """Errors that grow every week are never covered by an interval from past errors."""
    growing = [float(i) for i in range(1, WINDOWS + 1)]
    scores = score_errors(NOISY, settings, m=growing, steady=[2.0])
    assert list(scores.loc["m", ["coverage_80", "coverage_95"]]) == [0.0, 0.0]
    assert scores.loc["steady", "coverage_80"] == 1.0


def test_skill_is_the_share_of_the_naive_error_that_is_saved(
    settings: Settings, series: pd.DataFrame
):
    naive = np.abs(np.diff(walk(N, seed=1)))[-WINDOWS:].mean()
    row = score_errors(series, settings, m=[naive / 4]).loc["m"]
    assert row["skill_vs_naive"] == pytest.approx(0.75)


def test_a_model_that_declines_its_worst_week_is_not_scored(
    settings: Settings, series: pd.DataFrame
):
    """Without the week of error 50 its mean error would be the lowest of all."""
    honest = [1.0] * (WINDOWS - 1) + [50.0]
    declining = [*honest[:-1], math.nan]
    scores = score_errors(series, settings, steady=[1.5], honest=honest, declining=declining)
    row = scores.loc["declining"]
    assert row["status"] == "failed"
    assert row["reason"] == f"1 of {WINDOWS} forecasts: ValueError: no"
    assert row[["mae", "mase", "wis", "skill_vs_naive"]].isna().all()
    assert scores.loc["honest", "status"] == "scored"


def test_a_series_too_short_for_a_model_makes_it_ineligible_not_failed(
    settings: Settings, series: pd.DataFrame
):
    predictions = make_predictions(series, settings, m=[math.nan, 1.0])
    is_short = predictions["error"].notna()
    text = f"{TOO_SHORT}it needs 52 values and has 41"
    predictions["error"] = predictions["error"].mask(is_short, text)
    row = score(predictions, series, settings).iloc[0]
    assert row["status"] == "ineligible"
    assert "needs 52 values" in row["reason"]


def too_short(predictions: pd.DataFrame, model: str, *, n: int) -> pd.DataFrame:
    """Let the series be too short for a model at its first n folds."""
    first = predictions.index[predictions["model"] == model][:n]
    text = f"{TOO_SHORT}it needs 52 values and has 41"
    return predictions.assign(
        y_hat=predictions["y_hat"].mask(predictions.index.isin(first)),
        error=predictions["error"].mask(predictions.index.isin(first), text),
    )


@pytest.mark.parametrize("metric", ["mase", "rmsse"])
def test_a_model_is_scored_on_the_folds_since_the_series_was_long_enough(
    tmp_path: Path, series: pd.DataFrame, metric: str
):
    """Its score is its ratio to naive on them, times the score of naive on all folds."""
    n, settings = WINDOWS // 2, by(tmp_path, metric)
    predictions = make_predictions(series, settings, late=[9.0] * n + [1.0] * n, whole=[2.0])
    row = (
        score(too_short(predictions, "late", n=n), series, settings).set_index("model").loc["late"]
    )
    naive = np.abs(np.diff(walk(N, seed=1)))[-WINDOWS:]
    assert row["status"] == "scored"
    assert row["mae"] == pytest.approx(naive.mean() / naive[n:].mean())
    assert row["rmse"] == pytest.approx(np.sqrt((naive**2).mean() / (naive[n:] ** 2).mean()))
    assert row["bias"] == pytest.approx(1.0)
    assert row["skill_vs_naive"] == pytest.approx(1 - 1 / naive[n:].mean())
    assert np.isfinite(row[["p_vs_naive", "standard_error"]].astype(float)).all()


def test_what_a_model_fails_or_lacks_besides_still_excludes_it(
    settings: Settings, series: pd.DataFrame
):
    n = WINDOWS // 2
    errors = {"failing": [1.0] * (WINDOWS - 1) + [math.nan], "younger": [1.0], "late": [1.0]}
    predictions = make_predictions(series, settings, **errors)
    for name, n_short in (("failing", n), ("younger", n + 1), ("late", n)):
        predictions = too_short(predictions, name, n=n_short)
    rows = score(predictions, series, settings).set_index("model")
    assert list(rows.loc[list(errors), "status"]) == ["failed", "ineligible", "scored"]
    assert rows.loc["failing", "reason"] == f"1 of {n} forecasts: ValueError: no"
    reason = f"too short for most folds: it needs 52 values and has them at {n - 1} of {WINDOWS}"
    assert rows.loc["younger", "reason"] == reason


def test_a_series_of_one_week_is_ineligible_for_every_model(settings: Settings):
    series = make_series(a=walk(N, seed=1), lone=[3.0])
    scores = score(make_predictions(series, settings, m=[1.0], k=[2.0]), series, settings)
    lone = scores[scores["unique_id"] == "lone"]
    assert len(lone) == 2 + len(COMBINATIONS)
    assert set(lone["status"]) == {"ineligible"}
    assert set(lone["n_folds"]) == {0}


def test_where_no_series_has_a_fold_the_models_of_the_settings_are_ineligible(tmp_path: Path):
    settings, series = make_settings(tmp_path, models={"enabled": ["naive"]}), make_series(a=[3.0])
    none = make_predictions(make_series(a=[1.0, 2.0]), settings, naive=[0.0]).head(0)
    scores = score(none, series, settings)
    assert list(scores["model"]) == ["naive", *COMBINATIONS]
    assert set(scores["status"]) == {"ineligible"}


def test_a_backtest_on_other_folds_is_refused_by_name(
    settings: Settings, tmp_path: Path, series: pd.DataFrame
):
    fewer = make_settings(tmp_path, backtest={"n_windows": 4})
    parts = make_predictions(series, settings, m=[1.0]), make_predictions(series, fewer, theta=[1])
    with pytest.raises(DataError, match=r"theta has 4 rows .* --partition theta"):
        score(pd.concat(parts), series, settings)
    with pytest.raises(DataError, match=r"naive has 0 rows"):
        score(parts[0].head(0), series, settings)


# The standard error
@pytest.mark.parametrize("metric", ["mae", "mase", "mape", "smape", "rmse", "rmsse"])
def test_the_standard_error_is_the_spread_over_the_root_of_n(
    tmp_path: Path, metric: str, series: pd.DataFrame
):
    """That of a root is half that of its square, divided by the root."""
    row = score_errors(series, by(tmp_path, metric), m=list(ERRORS)).loc["m"]
    y = np.array(walk(N, seed=1))
    actual, e, steps = y[-WINDOWS:], np.abs(ERRORS), np.diff(y[:-WINDOWS])
    rmse, root_scale = math.sqrt((ERRORS**2).mean()), math.sqrt((steps**2).mean())
    terms = {
        "mae": e,
        "mase": e / np.abs(steps).mean(),
        "mape": e / actual,
        "smape": e / (np.abs(actual + ERRORS) + actual),
        "rmse": ERRORS**2 / (2 * rmse),
        "rmsse": ERRORS**2 / (2 * rmse) / root_scale,
    }[metric]
    assert row["standard_error"] == pytest.approx(terms.std() / math.sqrt(WINDOWS))


def test_one_fold_has_a_score_and_no_standard_error(tmp_path: Path, series: pd.DataFrame):
    settings = make_settings(tmp_path, backtest={"n_windows": 1})
    row = score_errors(series, settings, m=[2.0]).loc["m"]
    assert row["mae"] == pytest.approx(2.0)
    assert math.isnan(row["standard_error"])


@pytest.mark.parametrize("metric", ["wis", "smape"])
def test_one_failure_takes_no_standard_error_from_the_others(tmp_path: Path, metric: str):
    settings = by(tmp_path, metric)
    zeros = [0.0] * 3 + walk(N - 6, seed=1) + [0.0] * 3
    series = make_series(a=zeros, b=walk(N, seed=2))
    predictions = make_predictions(series, settings, m=[0.0, 1.0], k=[2.0, -1.0], bad=[math.nan])
    scores = score(predictions, series, settings)
    assert (scores.loc[scores["status"] == "scored", "standard_error"] > 0).all()
    assert scores.loc[scores["model"] == "bad", "standard_error"].isna().all()


# Combinations
def test_combinations_compete_with_the_models(settings: Settings, series: pd.DataFrame):
    """Two models have opposite errors: their mean has none. A model that failed is in none."""
    errors = {"high": [1.5], "low": [-1.5], "bad": [99.0] * (WINDOWS - 1) + [math.nan]}
    scores = score_errors(series, settings, **errors)
    assert list(scores.index) == [*errors, *COMBINATIONS]
    assert scores.loc["combination_mean", "mae"] == pytest.approx(0.0, abs=1e-12)
    assert set(scores.loc[[*COMBINATIONS], "status"]) == {"scored"}
    assert set(scores.loc[[*COMBINATIONS], "fit_seconds"]) == {0}


def test_where_every_model_failed_so_does_every_combination(settings: Settings):
    series = make_series(a=walk(N, seed=1), b=walk(N, seed=2))
    errors = [math.nan] * WINDOWS + [1.0] * WINDOWS
    row = score_errors(series, settings, m=errors).loc["combination_median"]
    assert (row["status"], row["reason"]) == ("ineligible", "no model forecast every fold")


# Several series
def test_series_of_every_length_have_the_errors_that_each_would_have_alone(settings: Settings):
    lengths = {"long": 90, "also_long": 90, "short": 20, "tiny": 3, "lone": 1}
    values = {name: walk(n, seed=n + len(name)) for name, n in lengths.items()}
    everything = make_series(**values)
    predictions = make_predictions(everything, settings, m=[1.0, -0.5, 2.0], k=[0.1, 0.3, -3.0])
    together = score(predictions, everything, settings)
    # Intervals and ensembles depend on all series.
    by_intervals, is_single = (
        ["wis", "coverage_80", "coverage_95", "errors_behind", "panel_error"],
        ["m", "k"],
    )
    together = together[together["model"].isin(is_single)]
    for name in ("long", "short", "tiny"):
        own = predictions[predictions["unique_id"] == name].reset_index(drop=True)
        alone = score(own, make_series(**{name: values[name]}), settings)
        alone = alone[alone["model"].isin(is_single)].reset_index(drop=True)
        of_it = together[together["unique_id"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            *(frame.drop(columns=by_intervals) for frame in (of_it, alone))
        )


def test_the_error_of_a_panel_is_true_where_series_have_bad_weeks_together(settings: Settings):
    """Every model is a simulated history of a panel whose series share a shock in each week."""
    n_series, n_histories, rng = 12, 100, np.random.default_rng(4)
    series = make_series(**{f"s{i:02}": walk(N, seed=i) for i in range(n_series)})
    shape = (n_histories, n_series, WINDOWS)
    shocks = rng.normal(size=(n_histories, 1, WINDOWS)) + rng.normal(scale=0.35, size=shape)
    errors = {f"m{i}": list(shock.ravel()) for i, shock in enumerate(shocks)}
    scores = score(make_predictions(series, settings, **errors), series, settings)
    by_model = scores[scores["model"].isin(errors)].groupby("model")
    pooled = by_model["mase"].mean()
    reported = (by_model["panel_error"].first() * pooled).mean()
    if_independent = by_model["standard_error"].agg(lambda e: np.sqrt((e**2).sum()) / len(e)).mean()
    true = pooled.std()
    assert 0.75 < reported / true < 1.3
    assert 0.25 < if_independent / true < 0.4


def test_a_panel_is_scored_in_blocks(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    series = make_series(**{f"s{i}": walk(N, seed=i) for i in range(7)})
    predictions = make_predictions(series, settings, m=[1.0, -2.0], k=[0.5, 1.0, 2.0])
    whole = score(predictions, series, settings)
    monkeypatch.setattr("forecast_assets.forecasting.backtest_results.BLOCK_FOLDS", 2 * WINDOWS)
    pd.testing.assert_frame_equal(score(predictions, series, settings), whole)


def test_failing_elsewhere_does_not_spare_a_model_its_early_weeks(tmp_path: Path):
    """Both forecast the first series alike; one fails on the others and pools fewer errors."""
    settings = by(tmp_path, "wis")
    series = make_series(**{f"s{i}": walk(N, seed=i) for i in range(4)})
    errors = [9.0] * 10 + [1.0] * (WINDOWS - 10)
    failing = errors + [math.nan] * (3 * WINDOWS)
    predictions = make_predictions(series, settings, honest=errors, failing=failing)
    results = collect(predictions, series, settings)
    block = next(results.blocks())
    weeks, levels, volatility = np.unique(results.weeks), (80, 95), block.recent_volatility
    widths = [
        half_widths(
            block.scaled_errors(m),
            volatility,
            block.weeks,
            levels,
            results.errors_of_panel(m, weeks),
        )[:, 0]
        for m in (0, 1)
    ]
    both = np.isfinite(widths).all(axis=(0, 1))[:, 0]
    assert (
        both.sum() < np.isfinite(widths[0]).all(axis=0)[:, 0].sum()
    )  # the honest one knows more folds
    scores = score(predictions, series, settings).set_index(["unique_id", "model"])["wis"]
    for m, name in enumerate(("honest", "failing")):
        y, y_hat = block.y[0], block.y_hat[m, 0]
        bounds = block.scale.bounds(y_hat, widths[m], block.is_on_scale[0, 0], minimum=None)
        wis = weighted_interval_score(y, y_hat, *bounds, levels)[:, 0]
        assert scores["s0", name] == pytest.approx(wis[both].mean())


def test_folds_that_do_not_overlap_count_in_full(tmp_path: Path):
    """Eight folds of eight weeks, eight weeks apart: a steady gain on naive is no chance."""
    settings = make_settings(tmp_path, backtest={"n_windows": 8, "horizon": 8, "step": 8})
    errors = list(np.random.default_rng(2).normal(0, 0.1, 64))
    row = score_errors(make_series(a=walk(140, seed=1)), settings, m=errors).loc["m"]
    assert row["p_vs_naive"] < 0.01


# Filled weeks
def random_gaps(series: pd.DataFrame, share: float, *ids: str, seed: int = 3) -> pd.DataFrame:
    """Fill a share of the weeks of some series, never the first or the last."""
    rng = np.random.default_rng(seed)
    n = series["unique_id"].value_counts().min()
    return with_gaps(series, {i: 1 + np.flatnonzero(rng.random(n - 2) < share) for i in ids})


def test_scores_of_naive_are_those_of_real_weeks_that_follow_a_real_week(settings: Settings):
    series = random_gaps(make_series(a=walk(200, seed=1)), 0.3, "a")
    predictions = run_backtest("naive", series, settings).predictions(settings)
    row = score(predictions, series, settings).iloc[0]
    rows = list(zip(series["y"], series["is_filled"], strict=True))
    real = [
        (week, abs(now[0] - before[0]))
        for week, (before, now) in enumerate(itertools.pairwise(rows), start=1)
        if not before[1] and not now[1]
    ]
    scored = [change for _, change in real[-WINDOWS:]]
    first = real[-WINDOWS][0]
    training = [change for week, change in real if week < first]
    assert (row["n_folds"], row["n_real"]) == (WINDOWS, WINDOWS)
    assert row["mae"] == pytest.approx(sum(scored) / WINDOWS)
    assert row["mase"] == pytest.approx(row["mae"] / (sum(training) / len(training)))
    assert row["skill_vs_naive"] == pytest.approx(0)
    assert list(predictions["cutoff"]) == [series["ds"][week - 1] for week, _ in real[-WINDOWS:]]


@pytest.mark.parametrize(
    ("metric", "horizon"), [("mase", 1), ("wis", 3), ("smape", 1), ("rmsse", 3)]
)
def test_a_filled_value_changes_no_score_no_weight_and_no_interval(
    tmp_path: Path, metric: str, horizon: int
):
    """Beside series with gaps there is one without."""
    settings = make_settings(
        tmp_path,
        backtest={"n_windows": WINDOWS, "horizon": horizon},
        selection={"metric": metric},
    )
    complete = make_series(a=walk(180, seed=1), b=walk(180, seed=2), c=walk(180, seed=3))
    series = random_gaps(complete, 0.3, "a", "c")
    errors = np.random.default_rng(4).normal(size=(3, 97))
    predictions = make_predictions(series, settings, **dict(zip("mkn", errors, strict=True)))

    def everything(series: pd.DataFrame) -> list[object]:
        results = collect(predictions, series, settings)
        scores = compute(results, settings)
        pooled = pooled_statistics(results, scores, overlap=horizon)
        chosen, models = latest_folds(series), ["m", "combination_median", "k"]
        return [
            to_frame(results, scores),
            pooled,
            by_horizon(results, scores),
            *interval_half_widths(chosen, models, results, settings.forecast.levels),
            *(latest_weights(results, name) for name in COMBINATIONS),
        ]

    invented = np.random.default_rng(5).normal(1e6, 1e5, len(series))
    other = series.assign(y=series["y"].mask(series["is_filled"], invented))
    scores, *_ = pair = everything(series)
    assert (scores["n_folds"] == WINDOWS).all()
    assert (scores["status"] == "scored").all()
    assert scores[["mae", "wis", "coverage_80", "may_be_best"]].notna().all(axis=None)
    for left, right in zip(pair, everything(other), strict=True):
        if isinstance(left, pd.DataFrame):
            pd.testing.assert_frame_equal(left, right)
        else:
            np.testing.assert_array_equal(left, right)


def test_a_series_with_gaps_is_scored_like_others_of_its_panel(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """In one block or in several, alone or with others, it has the same scores."""
    names = [f"s{i}" for i in range(6)]
    complete = make_series(**{name: walk(200, seed=i) for i, name in enumerate(names)})
    series = random_gaps(complete, 0.2, *names[1:])
    predictions = make_predictions(series, settings, m=[1.0, -0.5, 2.0], k=[0.1, 0.3, -3.0])
    together = score(predictions, series, settings)
    monkeypatch.setattr("forecast_assets.forecasting.backtest_results.BLOCK_FOLDS", 1)
    one_by_one = score(predictions, series, settings)
    pd.testing.assert_frame_equal(together, one_by_one, rtol=1e-12)


APART = "; values are 2 weeks apart, so set `backtest.horizon` to 2"
FEW = make_series(few=walk(60, seed=1), long=walk(60, seed=2))


@pytest.mark.parametrize(
    ("gaps", "horizon", "n_real", "status"),
    [
        (range(1, 58, 2), 1, 1, "too_few"),  # every second week: one pair at the end
        (range(1, 58, 2), 2, 14, "scored"),
        (range(1, 44), 1, 15, "scored"),
        (range(1, 51), 1, 8, "scored"),
        (range(1, 52), 1, 7, "too_few"),
        (range(1, 59), 1, 0, "too_few"),
    ],
)
def test_too_few_real_weeks_are_a_status_of_their_own(
    tmp_path: Path, gaps: range, horizon: int, n_real: int, status: str
):
    settings = make_settings(tmp_path, backtest={"horizon": horizon})
    series = with_gaps(FEW, {"few": gaps})
    predictions = make_predictions(series, settings, m=[1.0, 2.0], bad=[math.nan])
    scores = score(predictions, series, settings).set_index(["unique_id", "model"])
    assert set(scores.loc["long", "status"]) == {"scored", "failed"}
    few = scores.loc["few"].drop(index="bad")
    assert set(few["status"]) == {status}
    assert set(few["n_real"]) == {n_real}
    if status == "too_few":
        weeks, remedy = ("week", APART) if gaps.step == 2 else ("weeks", "")
        reason = f"{n_real} {weeks} can be scored and 8 are needed: {len(gaps)} of 60 weeks were"
        assert set(few["reason"]) == {f"{reason} filled{remedy}"}
        assert few["mae"].isna().all()
        assert not few["may_be_best"].any()


def test_a_short_series_without_gaps_is_scored_on_what_it_has(settings: Settings):
    scores = score_errors(make_series(a=walk(4, seed=1)), settings, m=[1.0])
    assert scores.loc["m", ["status", "n_folds", "n_real"]].to_list() == ["scored", 1, 1]
