"""Models: their forecasts, compared with the libraries and with a second, plainer way.

The libraries are imported by the tests, because collecting them would take seconds.
"""

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from forecast_assets.backtesting.fitting import FitConfig, run_unit
from forecast_assets.backtesting.folds import ALL_SERIES, NOT_FOR, FitUnit, split_series
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import BacktestSettings, Settings
from forecast_assets.models import (
    MODELS,
    Forecaster,
    GlobalForecaster,
    ModelSpec,
    NotForThisSeries,
    find_model,
    make,
    min_train_size,
)
from forecast_assets.models.base import Values, fourier
from forecast_assets.models.boosted_levels import iso_week
from forecast_assets.models.by_statsforecast import FromStatsforecast
from forecast_assets.models.by_statsmodels import FromStatsmodels
from forecast_assets.models.machine_learning import PENALTIES
from forecast_assets_tests.builders import make_global, make_series, seasonal_walk

LOCAL = [name for name, model in MODELS.items() if not model.is_global]
WITH_YEAR = [
    "seasonal_naive",
    "harmonic_arima",
    "sarimax",
    "unobserved_components",
    "mstl_ets",
    "mstl_arima",
    "tbats",
    "ridge",
]
UPDATABLE = [name for name in LOCAL if MODELS[name].is_updatable]
# One model of TBATS in place of the best of eight, which takes two seconds.
ONE_TBATS = {"use_boxcox": False, "use_trend": False, "use_arma_errors": False}


def model_of(name: str) -> ModelSpec:
    """Return the built-in model, but tbats without its search."""
    return replace(MODELS[name], params=ONE_TBATS) if name == "tbats" else MODELS[name]


def demand(n: int, *, seed: int) -> Values:
    """Whole units, none of them in most weeks."""
    return np.random.default_rng(seed).poisson(0.4, size=n).astype(np.float64)


def fit(name: str, y: Values, *, season_length: int = 12) -> Any:
    """Fit a model to one series."""
    model = model_of(name)
    return model.fit(make_global(y) if model.is_global else y, season_length=season_length)  # type: ignore[arg-type]


def forecast(name: str, y: Values, *, h: int = 3, season_length: int = 12) -> Values:
    """Fit a model to one series and forecast: shape [h]."""
    return np.ravel(fit(name, y, season_length=season_length).predict(h))


def waves(n: int) -> Values:
    """Return a year of twelve weeks at a level of 200, twenty up and twenty down."""
    return 200 + 20 * np.sin(2 * np.pi * np.arange(n) / 12)


def copy_of(model: Any) -> Any:
    """Return the model as the fold cache returns it."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - dumped here


# Every model
@pytest.mark.parametrize("name", MODELS)
def test_a_model_forecasts_the_same_twice_and_does_not_change_its_input(name: str):
    y = seasonal_walk(40, seed=1, season_length=12)
    kept = y.copy()
    assert isinstance(make(name), GlobalForecaster if MODELS[name].is_global else Forecaster)
    series = make_global(y) if MODELS[name].is_global else y
    fitted = model_of(name).fit(series, season_length=12)  # type: ignore[arg-type]
    short, long = (fitted.predict(h).reshape(-1) for h in (1, 3))
    assert (short.shape, long.shape, long.dtype) == ((1,), (3,), np.float64)
    assert np.isfinite(long).all()
    assert short == pytest.approx(long[:1])
    assert np.abs(long - y[-12:].mean()).max() < 40  # twice the year's height
    assert np.asarray(series if y is series else series["y"]).tobytes() == kept.tobytes()
    assert forecast(name, y).tobytes() == long.tobytes()


@pytest.mark.parametrize(
    ("name", "season_length"),
    [(name, n) for name in MODELS for n in (1, 2, 12) if n == 12 or name in WITH_YEAR],
)
def test_a_model_runs_from_its_min_train_size_on(name: str, season_length: int):
    model = model_of(name)
    needed = min_train_size(model.make(), season_length=season_length)
    y = seasonal_walk(needed, seed=3, season_length=season_length)
    panel = Panel.of(split_series(make_series(a=y)))
    anchor = int(panel.day(0, needed).astype(int)) if model.is_global else needed
    unit = FitUnit(ALL_SERIES if model.is_global else 0, anchor, ((0, needed - 1), (0, needed)))
    result = run_unit(FitConfig(model, 2, season_length), unit, panel, lambda: None)
    too_short, enough = result.folds
    assert too_short.error == f"too short: it needs {needed} values and has {needed - 1}"
    if name.startswith("mstl") and season_length == 1:
        assert enough.error == f"{NOT_FOR}a season of one week leaves no year to remove"
    else:
        assert (enough.error, result.n_fits) == (None, 1)


@pytest.mark.parametrize("level", [0.0, 7.0])
@pytest.mark.parametrize("name", [name for name in LOCAL if name != "tbats"])
@pytest.mark.filterwarnings("ignore:xreg not required")  # of AutoARIMA, which ignores it
def test_a_constant_series_is_continued_or_declined(name: str, level: float):
    y = np.full(14, level)
    if name in ("croston", "tsb"):
        with pytest.raises(NotForThisSeries) if level == 0 else nullcontext():
            forecast(name, y, season_length=4)
    else:
        assert forecast(name, y, season_length=4) == pytest.approx([level] * 3, abs=1e-6)


@pytest.mark.parametrize("name", WITH_YEAR)
def test_a_seasonal_model_forecasts_the_year_from_its_min_train_size_on(name: str):
    n = min_train_size(make(name), season_length=12)
    y = waves(n) + np.random.default_rng(0).normal(scale=0.5, size=n)
    assert forecast(name, y, h=12) == pytest.approx(waves(n + 12)[n:], abs=3)


# The closed forms, written down as one expression
FORMULAS: dict[str, Callable[[Values, int], list[float]]] = {
    "naive": lambda y, h: [y[-1]] * h,
    "seasonal_naive": lambda y, h: [y[week % 12 - 12] for week in range(h)],
    "drift": lambda y, h: [
        y[-1] + (y[-1] - y[0]) * week / (len(y) - 1) for week in range(1, h + 1)
    ],
    "window_average": lambda y, h: [sum(y[-4:]) / 4] * h,
}


@pytest.mark.parametrize("h", [1, 30])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_closed_form_agrees_with_its_formula(name: str, h: int):
    y = seasonal_walk(41, seed=5)
    assert forecast(name, y, h=h) == pytest.approx(FORMULAS[name](y, h), rel=1e-12)


# The libraries, called directly
@pytest.mark.parametrize(
    ("name", "direct"),
    [
        ("ses", lambda library: library.SimpleExponentialSmoothingOptimized()),
        ("holt", lambda library: library.AutoETS(season_length=1, model="AAN", damped=False)),
        ("damped_holt", lambda library: library.AutoETS(season_length=1, model="AAN", damped=True)),
        ("auto_ets", lambda library: library.AutoETS(season_length=1)),
        ("auto_ces", lambda library: library.AutoCES(season_length=1, model="N")),
        ("theta", lambda library: library.Theta(season_length=1)),
        ("optimized_theta", lambda library: library.OptimizedTheta(season_length=1)),
        ("auto_arima", lambda library: library.AutoARIMA(season_length=1)),
        ("croston", lambda library: library.CrostonOptimized()),
        ("tsb", lambda library: library.TSB(alpha_d=0.2, alpha_p=0.2)),
        ("tbats", lambda library: library.AutoTBATS(season_length=[12], **ONE_TBATS)),
        (
            "mstl_ets",
            lambda library: library.MSTL(12, library.AutoETS(season_length=1, model="ZZN")),
        ),
        ("mstl_arima", lambda library: library.MSTL(12, library.AutoARIMA(season_length=1))),
    ],
)
def test_an_adapter_gives_the_forecast_of_statsforecast(name: str, direct: Callable[[Any], Any]):
    from statsforecast import models as library

    is_demand = name in ("croston", "tsb")
    y = demand(60, seed=6) if is_demand else seasonal_walk(40, seed=6, season_length=12)
    assert forecast(name, y, h=4) == pytest.approx(
        direct(library).forecast(y=y, h=4)["mean"], rel=1e-9
    )


def plain_year(weeks: range, season_length: int, n_pairs: int) -> NDArray[np.float64]:
    """Sines, then cosines, of the first harmonics."""
    turns = [2 * np.pi * week / season_length for week in weeks]
    pairs = range(1, n_pairs + 1)
    return np.array(
        [[np.sin(k * turn) for k in pairs] + [np.cos(k * turn) for k in pairs] for turn in turns]
    )


def test_fourier_terms_end_below_half_the_season():
    y_hat = fourier(5, 9, season_length=12, n_pairs=2)
    assert y_hat == pytest.approx(plain_year(range(5, 9), 12, 2))
    assert fourier(0, 3, season_length=4, n_pairs=2).shape == (3, 2)
    assert fourier(0, 3, season_length=2, n_pairs=2).shape == (3, 0)


def test_harmonic_arima_is_auto_arima_with_fourier_regressors():
    from statsforecast import models as library

    y, new = seasonal_walk(40, seed=7, season_length=12), np.linspace(200, 260, 5)
    direct = library.AutoARIMA(season_length=1).fit(y, X=plain_year(range(40), 12, 2))
    model = fit("harmonic_arima", y)
    expected = direct.predict(3, X=plain_year(range(40, 43), 12, 2))["mean"]
    assert model.predict(3) == pytest.approx(expected, rel=1e-9)
    years = {"X": plain_year(range(45), 12, 2), "X_future": plain_year(range(45, 48), 12, 2)}
    expected = direct.forward(np.r_[y, new], 3, **years)["mean"]
    assert model.update(new).predict(3) == pytest.approx(expected, rel=1e-9)


def test_state_space_models_are_those_of_statsmodels():
    from statsmodels.tsa.statespace.sarimax import SARIMAX
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    y = seasonal_walk(60, seed=7, season_length=12)
    direct = SARIMAX(y, order=(1, 1, 1), exog=plain_year(range(60), 12, 2)).fit(disp=0, maxiter=500)
    expected = direct.forecast(3, exog=plain_year(range(60, 63), 12, 2))
    assert forecast("sarimax", y) == pytest.approx(expected, abs=0.2)
    parts = {"level": "local linear trend", "freq_seasonal": [{"period": 12, "harmonics": 2}]}
    expected = UnobservedComponents(y, **parts).fit(disp=0, maxiter=500).forecast(3)
    assert forecast("unobserved_components", y) == pytest.approx(expected, abs=0.2)


def test_any_model_of_a_library_needs_no_class_of_its_own():
    from statsforecast import models as library
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    y = seasonal_walk(60, seed=8)
    expected = library.AutoTheta(season_length=1).forecast(y=y, h=2)["mean"]
    theta = FromStatsforecast("AutoTheta", season_length=1).fit(y, season_length=52)
    assert theta.predict(2) == pytest.approx(expected)
    level = FromStatsmodels("statespace.structural:UnobservedComponents", level="local level")
    direct = UnobservedComponents(y, level="local level").fit(disp=0)
    assert level.fit(y, season_length=52).predict(2) == pytest.approx(direct.forecast(2), rel=1e-3)


# A second implementation of our own models
def test_ridge_agrees_with_normal_equations_and_errors_left_out_one_by_one():
    y = seasonal_walk(80, seed=11, season_length=12)
    change = np.diff(y)
    scale, lags = np.std(change), [*range(1, 9), 12]
    known = list(change / scale)

    def row(week: int) -> list[float]:
        year = plain_year(range(week, week + 1), 12, 3)[0]
        return [*[known[week - lag] for lag in lags], *year]

    x, target = np.array([row(week) for week in range(12, 79)]), np.array(known[12:])

    def solved(x: Values, target: Values, penalty: float) -> tuple[Values, float]:
        away = x - x.mean(axis=0)
        square = away.T @ away + penalty * np.eye(x.shape[1])
        weights: Values = np.linalg.solve(square, away.T @ target)
        return weights, float(target.mean() - x.mean(axis=0) @ weights)

    def left_out(penalty: float) -> float:
        errors = []
        for i in range(len(x)):
            weights, constant = solved(np.delete(x, i, 0), np.delete(target, i), penalty)
            errors.append((x[i] @ weights + constant - target[i]) ** 2)
        return float(np.mean(errors))

    weights, constant = solved(x, target, min(PENALTIES, key=left_out))
    expected = [y[-1]]
    for week in range(79, 82):
        known.append(float(row(week) @ weights + constant))
        expected.append(expected[-1] + scale * known[-1])
    assert forecast("ridge", y) == pytest.approx(expected[1:])


def plain_trees(series: pd.DataFrame, h: int, season_length: int) -> list[list[float]]:
    """Boosted trees on features that are written down row by row."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    lags = sorted({1, 2, 3, 4, 8, 13, 26, season_length})
    ys = [list(one["y"]) for _, one in series.groupby("unique_id")]
    days = [list(one["ds"]) for _, one in series.groupby("unique_id")]
    changes = [list(np.diff(y)) for y in ys]
    means, spreads = [np.mean(one) for one in changes], [np.std(one) for one in changes]
    known = [
        [(value - mean) / spread for value in one]
        for one, mean, spread in zip(changes, means, spreads, strict=True)
    ]

    def features(i: int, week: int, day: pd.Timestamp) -> list[float]:
        past = known[i][:week]
        return [
            np.log1p(np.mean(np.abs(ys[i]))),
            *[past[-lag] if lag <= len(past) else np.nan for lag in lags],
            np.mean(past[-4:]) if len(past) >= 4 else np.nan,
            np.mean(past[-13:]) if len(past) >= 4 else np.nan,
            np.std(past[-13:], ddof=1) if len(past) >= 4 else np.nan,
            day.isocalendar()[1],
        ]

    places = [(i, week) for i, one in enumerate(known) for week in range(len(one))]
    x = [features(i, week, days[i][week + 1]) for i, week in places]
    trees = HistGradientBoostingRegressor(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=15, early_stopping=False, random_state=0
    ).fit(np.array(x), np.array([known[i][week] for i, week in places]))
    y_hat = []
    for i, y in enumerate(ys):
        ahead = [y[-1]]
        for step in range(1, h + 1):
            day = days[i][-1] + pd.Timedelta(weeks=step)
            known[i].append(float(trees.predict([features(i, len(known[i]), day)])[0]))
            ahead.append(ahead[-1] + known[i][-1] * spreads[i] + means[i])
        y_hat.append(ahead[1:])
    return y_hat


def test_boosted_trees_agree_with_features_written_down_row_by_row():
    series = make_global(seasonal_walk(90, seed=12), seasonal_walk(60, seed=13) * 10, late=[0, 3])
    y_hat = make("boosted_trees").fit(series, season_length=52).predict(3)
    assert y_hat == pytest.approx(np.array(plain_trees(series, 3, 52)), rel=1e-3)


# Updates
@pytest.mark.parametrize("name", UPDATABLE)
def test_an_update_is_close_to_a_new_fit(name: str):
    y = seasonal_walk(53, seed=20, season_length=12)
    fitted = fit(name, y[:40].copy())
    kept, new = copy_of(fitted), y[40:].copy()
    y_hat = fitted.update(new).predict(3)
    assert y_hat == pytest.approx(forecast(name, y), abs=12)  # two deviations
    assert new.tobytes() == y[40:].tobytes()
    in_two = copy_of(copy_of(kept).update(y[40:45].copy())).update(y[45:].copy())
    assert in_two.predict(3).tobytes() == y_hat.tobytes()


@pytest.mark.parametrize("name", [name for name in WITH_YEAR if name in UPDATABLE])
def test_an_update_moves_on_in_the_year(name: str):
    y = waves(53) + np.random.default_rng(0).normal(scale=0.5, size=53)
    assert fit(name, y[:48]).update(y[48:]).predict(12) == pytest.approx(waves(65)[53:], abs=3)


# The global model
def many() -> list[Values]:
    """Five series at scales a thousandfold apart; the third has only eight weeks."""
    lengths = (150, 120, 8, 140, 60)
    return [seasonal_walk(n, seed=20 + i) * 10.0 ** (i - 1) for i, n in enumerate(lengths)]


def test_each_row_of_a_global_forecast_is_its_series_however_short_or_constant():
    """A single value has no change: only that row is no number, and the backtest asks for none."""
    ys = [*many(), np.array([50.0]), np.array([5.0, 6.0]), np.full(60, 7.0), np.zeros(60)]
    series = make_global(*ys, late=[0, 30, 0, 2, 9, 0, 0, 0, 0])
    y_hat = make("boosted_trees").fit(series, season_length=52).predict(3)
    assert np.isnan(y_hat).any(axis=1).tolist() == [i == 5 for i in range(9)]
    assert y_hat[:5, 0] / [y[-1] for y in ys[:5]] == pytest.approx(np.ones(5), abs=0.1)
    assert y_hat[7:, 0] == pytest.approx([7.0, 0.0], abs=0.1)


@pytest.mark.parametrize("longest", [8, 10, 28, 54])
def test_series_shorter_than_the_longest_lag_are_fitted(longest: int):
    ys = [seasonal_walk(n, seed=n) for n in (8, longest)]
    y_hat = make("boosted_trees").fit(make_global(*ys), season_length=52).predict(2)
    assert np.isfinite(y_hat).all()


def test_an_update_of_a_global_model_takes_new_weeks_and_new_series():
    series = make_global(*many())
    first_new = pd.Timestamp("2025-12-01")  # five weeks before the end; the third has three before
    is_known = (series["ds"] < first_new) & (series["unique_id"] != 1)
    known, new = (series[rows].reset_index(drop=True) for rows in (is_known, ~is_known))
    fitted = make("boosted_trees").fit(known, season_length=52)
    assert fitted.predict(2).shape == (4, 2)
    kept = copy_of(fitted)
    y_hat = fitted.update(new).predict(2)
    refitted = make("boosted_trees").fit(series, season_length=52).predict(2)
    assert y_hat / refitted == pytest.approx(np.ones((5, 2)), abs=0.05)
    assert copy_of(kept).update(new).predict(2).tobytes() == y_hat.tobytes()


# Declined and failed fits
@pytest.mark.parametrize("name", ["croston", "tsb"])
@pytest.mark.parametrize("y", [np.zeros(20), np.array([1.0, 0.0, -1.0, 2.0] * 5)])
def test_a_model_of_demand_declines_series_without_demand(name: str, y: Values):
    message = "it needs values of zero or more, and one above zero"
    with pytest.raises(NotForThisSeries, match=message):
        make(name).fit(y, season_length=52)


def test_a_fit_that_does_not_converge_is_an_error():
    hasty = replace(find_model("sarimax"), params={"most_iterations": 1}).make()
    with pytest.raises(Warning, match="no optimum in 1 iterations, nor by Powell"):
        hasty.fit(seasonal_walk(60, seed=1), season_length=12)


# Pooled growth
def growing(own: float, others: float, *, seed: int) -> pd.DataFrame:
    """Return 30 series of 80 weeks whose log growth depends on their own and the mean growth."""
    rng = np.random.default_rng(seed)
    growth = np.zeros((30, 80))
    for week in range(1, 80):
        before = growth[:, week - 1]
        growth[:, week] = own * before + others * before.mean() + rng.normal(0, 0.05, 30)
    return make_global(*np.expm1(6 + np.cumsum(growth, axis=1)))


def test_pooled_growth_finds_what_all_series_have_in_common():
    """The forecast of the last week is nearly the one by the true weights."""
    series = growing(0.5, 0.4, seed=1)
    logs = np.log1p(series["y"].to_numpy().reshape(30, 80))
    last = np.diff(logs[:, -2:])[:, 0]
    expected = logs[:, -1] + 0.5 * last + 0.4 * last.mean()
    y_hat = make("pooled_growth").fit(series, season_length=52).predict(1)[:, 0]
    error = np.log1p(y_hat) - expected
    assert np.sqrt((error**2).mean()) < 0.35 * np.sqrt(((logs[:, -1] - expected) ** 2).mean())


def test_pooled_growth_lets_series_differ_where_their_weeks_say_so():
    """Half of the series keep their direction, half turn back; one weight for all would be 0."""
    series = pd.concat([growing(0.6, 0.0, seed=1), growing(-0.6, 0.0, seed=2)], ignore_index=True)
    series["unique_id"] = np.repeat(np.arange(60), 80)
    logs = np.log1p(series["y"].to_numpy().reshape(60, 80))
    expected = np.diff(logs[:, -2:])[:, 0] * np.repeat([0.6, -0.6], 30)
    y_hat = make("pooled_growth").fit(series, season_length=52).predict(1)[:, 0]
    error = np.log1p(y_hat) - logs[:, -1] - expected
    assert np.sqrt((error**2).mean()) < 0.4 * np.sqrt((expected**2).mean())


def test_pooled_growth_repeats_the_growth_of_a_season_ago():
    year = np.exp(np.random.default_rng(4).normal(0, 0.3, 12))
    series = make_global(*(size * np.tile(year, 6)[: 60 + size] for size in range(1, 6)))
    y_hat = make("pooled_growth").fit(series, season_length=12).predict(12)
    expected = [size * np.roll(year, -size)[:12] for size in range(1, 6)]
    error = np.abs(np.log1p(y_hat) - np.log1p(expected)).mean()
    assert error < 0.3 * np.abs(np.diff(np.log1p(expected))).mean()


def test_pooled_growth_of_unrelated_series_is_nearly_none():
    """Series with negative values grow by differences."""
    ys = np.random.default_rng(2).normal(size=(30, 80)).cumsum(axis=1)
    y_hat = make("pooled_growth").fit(make_global(*ys), season_length=52).predict(4)
    usual = np.abs(np.diff(ys)).mean(axis=1)
    assert (np.abs(y_hat[:, -1] - ys[:, -1]) < 0.3 * usual).mean() > 0.9


def test_pooled_growth_forecasts_a_series_of_two_weeks_by_the_others():
    series = growing(0.9, 0.0, seed=3)
    short = pd.DataFrame({"unique_id": 30, "ds": series["ds"].iloc[78:80], "y": [100.0, 110.0]})
    panel = pd.concat([series, short], ignore_index=True)
    y_hat = make("pooled_growth").fit(panel, season_length=52).predict(2)[-1]
    assert 110 < y_hat[0] < y_hat[1] < 130


# Boosting on levels
def test_boosted_levels_learns_from_other_series_what_a_short_one_repeats():
    """All series double every twelfth week; the short one has not done so yet twice."""
    year, rng = np.tile([100.0] * 11 + [200.0], 6), np.random.default_rng(1)
    noise = np.exp(rng.normal(0, 0.02, (60, len(year))))
    long = {f"s{i}": (1 + i) * (year * noise[i])[: 66 + i % 5] for i in range(60)}
    panel = Panel.of(split_series(make_series(**long, t=7 * year[: 12 + 11])))
    series = panel.frame(np.zeros(61, dtype=np.int64), np.diff(panel.starts))
    y_hat = make("boosted_levels").fit(series, season_length=12).predict(1)
    assert y_hat[-1, 0] == pytest.approx(1400, rel=0.1)


def test_boosted_levels_has_trees_for_each_week_ahead_of_the_settings():
    settings = Settings(backtest=BacktestSettings(horizon=3))
    y = make_global(waves(60))
    fitted = find_model("boosted_levels", settings).fit(y, season_length=12)
    later = find_model("boosted_levels").fit(y, season_length=12)
    assert fitted.predict(3).tobytes() == later.predict(3).tobytes()
    assert find_model("boosted_levels", settings).params == {"horizon": 3}


@pytest.mark.parametrize("first", ["2008-12-26", "2015-12-27"])
def test_iso_week_is_that_of_the_calendar(first: str):
    ds = pd.date_range(first, periods=700, freq="D")
    assert iso_week(ds.to_numpy()).tolist() == ds.isocalendar().week.tolist()
