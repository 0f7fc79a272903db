"""Models: their forecasts, compared with the libraries and with a second, plainer way."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from statsforecast import models as library
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.statespace.structural import UnobservedComponents

from forecast_assets.backtesting.fitting import FitConfig, run_unit
from forecast_assets.backtesting.folds import ALL_SERIES, NOT_FOR, FitUnit, Panel
from forecast_assets.models import (
    MODELS,
    ClosedForm,
    Forecaster,
    GlobalForecaster,
    NotForThisSeries,
    find_model,
    make,
    min_train_size,
)
from forecast_assets.models.base import Values, fourier
from forecast_assets.models.by_statsforecast import FromStatsforecast
from forecast_assets.models.by_statsmodels import FromStatsmodels
from forecast_assets.models.machine_learning import PENALTIES

CLOSED_FORMS = ["naive", "seasonal_naive", "drift", "window_average"]
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
QUICK = [name for name in LOCAL if name != "tbats"]  # it takes ten seconds to see a constant
UPDATABLE = [name for name in LOCAL if MODELS[name].is_updatable]
LAST_DAY = "2026-01-02"  # a Friday


def weekly(n: int, *, seed: int, season_length: int = 52) -> Values:
    """Weeks like a shop's: a level that wanders, a year, noise; far above zero."""
    rng = np.random.default_rng(seed)
    year = 20 * np.sin(2 * np.pi * np.arange(n) / season_length)
    return 200 + np.cumsum(rng.normal(size=n)) + year + rng.normal(scale=3, size=n)


def demand(n: int, *, seed: int) -> Values:
    """Whole units, none of them in most weeks."""
    return np.random.default_rng(seed).poisson(0.4, size=n).astype(np.float64)


def frame(*ys: Sequence[float] | Values, late: Sequence[int] | None = None) -> pd.DataFrame:
    """All series as a global model is given them; series i ends `late[i]` weeks before LAST_DAY."""
    ends = late or [0] * len(ys)
    parts = [
        pd.DataFrame(
            {
                "unique_id": i,
                "ds": pd.date_range(end=LAST_DAY, periods=len(y) + end, freq="7D")[: len(y)],
                "y": np.asarray(y, dtype=np.float64),
            }
        )
        for i, (y, end) in enumerate(zip(ys, ends, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def forecast(name: str, y: Values, *, h: int = 3, season_length: int = 52) -> Values:
    """Fit a model to one series and forecast: shape [h]."""
    if not MODELS[name].is_global:
        y_hat: Values = make(name).fit(y, season_length=season_length).predict(h)
        return y_hat
    first: Values = make(name).fit(frame(y), season_length=season_length).predict(h)[0]
    return first


def waves(n: int) -> Values:
    """A year of twelve weeks at a level of 200, twenty up and twenty down."""
    return 200 + 20 * np.sin(2 * np.pi * np.arange(n) / 12)


def copy_of(model: Any) -> Any:
    """The model as the fold cache returns it."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - dumped here


# Every model
@pytest.mark.parametrize("name", MODELS)
def test_a_model_forecasts_the_same_twice_and_does_not_change_its_input(name: str):
    y = weekly(130, seed=1)
    kept = y.copy()
    model = make(name)
    assert isinstance(model, GlobalForecaster if MODELS[name].is_global else Forecaster)
    given = frame(y) if MODELS[name].is_global else y
    fitted = model.fit(given, season_length=52)
    short, long = (np.asarray(fitted.predict(h)) for h in (1, 3))
    if MODELS[name].is_global:
        (short,), (long,) = short, long
        assert given.equals(frame(kept))
    assert (short.shape, long.shape, long.dtype) == ((1,), (3,), np.float64)
    assert np.isfinite(long).all()
    assert short == pytest.approx(long[:1])
    assert np.abs(long - y[-13:].mean()).max() < 40  # twice the year's height
    assert y.tobytes() == kept.tobytes()
    assert forecast(name, y).tobytes() == long.tobytes()


@pytest.mark.parametrize("season_length", [1, 2, 12])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_runs_from_its_min_train_size_on(name: str, season_length: int):
    model = find_model(name)
    needed = min_train_size(model.make(), season_length=season_length)
    y = weekly(needed, seed=3, season_length=season_length)
    panel = Panel(y, np.array([0, needed]), np.array(["2024-01-05"], dtype="datetime64[D]"))
    place = ALL_SERIES if model.is_global else 0
    anchor = int(panel.day(0, needed).astype(int)) if model.is_global else needed
    unit = FitUnit(place, anchor, ((0, needed - 1), (0, needed)))
    y_hat = run_unit(FitConfig(model, 2, season_length), unit, panel, lambda: None)
    below, there = y_hat.folds
    assert below.y_hat is None
    assert f"needs {needed} values and has {needed - 1}" in str(below.error)
    if name.startswith("mstl") and season_length == 1:
        assert there.error == f"{NOT_FOR}a season of one week leaves no year to remove"
    else:
        assert there.error is None
        assert there.y_hat is not None
        assert y_hat.n_fits == 1


@pytest.mark.parametrize("level", [0.0, 7.0])
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.filterwarnings("ignore:xreg not required")  # of AutoARIMA, which ignores it
def test_a_constant_series_is_continued_or_declined(name: str, level: float):
    try:
        y_hat = forecast(name, np.full(26, level), season_length=12)
    except NotForThisSeries:
        assert name in ("croston", "tsb")
    else:
        if name not in ("croston", "tsb"):  # they forecast a mean of demand
            assert y_hat == pytest.approx([level] * 3, abs=1e-6)


@pytest.mark.parametrize("name", WITH_YEAR)
def test_a_seasonal_model_forecasts_the_year_from_its_min_train_size_on(name: str):
    n = min_train_size(make(name), season_length=12)
    y = waves(n) + np.random.default_rng(0).normal(scale=0.5, size=n)
    y_hat = forecast(name, y, h=12, season_length=12)
    assert y_hat == pytest.approx(waves(n + 12)[n:], abs=3)


# The closed forms
def plain_naive(y: list[float], h: int) -> list[float]:
    return [y[-1] for _ in range(h)]


def plain_seasonal_naive(y: list[float], h: int) -> list[float]:
    known = list(y)
    for _ in range(h):
        known.append(known[-12])
    return known[len(y) :]


def plain_drift(y: list[float], h: int) -> list[float]:
    slope = (y[-1] - y[0]) / (len(y) - 1)
    return [y[-1] + slope * week for week in range(1, h + 1)]


def plain_window_average(y: list[float], h: int) -> list[float]:
    return [sum(y[-4:]) / 4 for _ in range(h)]


@pytest.mark.parametrize("h", [1, 3, 30])
@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("naive", plain_naive),
        ("seasonal_naive", plain_seasonal_naive),
        ("drift", plain_drift),
        ("window_average", plain_window_average),
    ],
)
def test_a_formula_agrees_with_a_loop(name: str, plain: Callable[..., list[float]], h: int):
    y = weekly(41, seed=5)
    assert forecast(name, y, h=h, season_length=12) == pytest.approx(plain(list(y), h), rel=1e-12)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_a_closed_form_gives_the_same_for_all_folds_at_once_and_for_each(name: str):
    """Bit for bit: the folds of three series end to end, none of which sees another's values."""
    sizes = (40, 61, 25)
    ys = [weekly(n, seed=n) for n in sizes]
    first = np.cumsum([0, *sizes[:-1]])
    folds = [(i, end) for i, n in enumerate(sizes) for end in range(13, n + 1)]
    starts = np.array([first[i] for i, _ in folds])
    lasts = np.array([first[i] + end - 1 for i, end in folds])
    model = make(name)
    assert isinstance(model, ClosedForm)
    y_hat = model.forecast_folds(np.concatenate(ys), starts, lasts, h=15, season_length=12)
    assert y_hat.shape == (len(folds), 15)
    alone = [forecast(name, ys[i][:end], h=15, season_length=12) for i, end in folds]
    assert y_hat.tobytes() == np.array(alone).tobytes()


def test_a_mean_of_no_values_is_refused():
    with pytest.raises(ValueError, match="window is 0, but a mean needs at least one value"):
        type(make("window_average"))(window=0)


# The libraries, called directly
@pytest.mark.parametrize(
    ("name", "direct"),
    [
        ("ses", library.SimpleExponentialSmoothingOptimized()),
        ("holt", library.AutoETS(season_length=1, model="AAN", damped=False)),
        ("damped_holt", library.AutoETS(season_length=1, model="AAN", damped=True)),
        ("auto_ets", library.AutoETS(season_length=1)),
        ("auto_ces", library.AutoCES(season_length=1, model="N")),
        ("theta", library.Theta(season_length=1)),
        ("optimized_theta", library.OptimizedTheta(season_length=1)),
        ("auto_arima", library.AutoARIMA(season_length=1)),
        ("croston", library.CrostonOptimized()),
        ("tsb", library.TSB(alpha_d=0.2, alpha_p=0.2)),
        ("tbats", library.AutoTBATS(season_length=[12])),
        (
            "mstl_ets",
            library.MSTL(12, library.AutoETS(season_length=1, model="ZZN")),
        ),
        ("mstl_arima", library.MSTL(12, library.AutoARIMA(season_length=1))),
    ],
)
def test_an_adapter_gives_the_forecast_of_statsforecast(name: str, direct: Any):
    y = demand(60, seed=6) if name in ("croston", "tsb") else weekly(60, seed=6, season_length=12)
    expected = direct.forecast(y=y, h=4)["mean"]
    assert forecast(name, y, h=4, season_length=12) == pytest.approx(expected, rel=1e-9)


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
    y = weekly(60, seed=7, season_length=12)
    direct = library.AutoARIMA(season_length=1).fit(y, X=plain_year(range(60), 12, 2))
    expected = direct.predict(3, X=plain_year(range(60, 63), 12, 2))["mean"]
    assert forecast("harmonic_arima", y, season_length=12) == pytest.approx(expected, rel=1e-9)
    new = np.linspace(200, 260, 5)
    years = {"X": plain_year(range(65), 12, 2), "X_future": plain_year(range(65, 68), 12, 2)}
    moved = make("harmonic_arima").fit(y, season_length=12).update(new).predict(3)
    assert moved == pytest.approx(direct.forward(np.r_[y, new], 3, **years)["mean"], rel=1e-9)


def test_sarimax_is_that_of_statsmodels_with_fourier_regressors():
    y = weekly(60, seed=7, season_length=12)
    direct = SARIMAX(y, order=(1, 1, 1), exog=plain_year(range(60), 12, 2)).fit(disp=0, maxiter=500)
    expected = direct.forecast(3, exog=plain_year(range(60, 63), 12, 2))
    assert forecast("sarimax", y, season_length=12) == pytest.approx(expected, abs=0.2)


def test_unobserved_components_are_those_of_statsmodels():
    y = weekly(60, seed=7, season_length=12)
    parts = {"level": "local linear trend", "freq_seasonal": [{"period": 12, "harmonics": 2}]}
    expected = UnobservedComponents(y, **parts).fit(disp=0, maxiter=500).forecast(3)
    assert forecast("unobserved_components", y, season_length=12) == pytest.approx(
        expected, abs=0.2
    )


def test_any_model_of_a_library_needs_no_class_of_its_own():
    y = weekly(60, seed=8)
    expected = library.AutoTheta(season_length=1).forecast(y=y, h=2)["mean"]
    theta = FromStatsforecast("AutoTheta", season_length=1).fit(y, season_length=52)
    assert theta.predict(2) == pytest.approx(expected)
    level = FromStatsmodels("statespace.structural:UnobservedComponents", level="local level")
    direct = UnobservedComponents(y, level="local level").fit(disp=0)
    assert level.fit(y, season_length=52).predict(2) == pytest.approx(direct.forecast(2), rel=1e-3)


# A second implementation of those that are short enough to be written down
def test_ses_is_the_weight_of_least_squares():
    y = weekly(80, seed=9)

    def smoothed(weight: float) -> tuple[float, float]:
        level, squares = y[0], 0.0
        for value in y[1:]:
            squares += (value - level) ** 2
            level += weight * (value - level)
        return squares, level

    _, expected = min(smoothed(weight) for weight in np.linspace(0.01, 0.99, 981))
    assert forecast("ses", y) == pytest.approx([expected] * 3, rel=1e-4)


def test_theta_follows_half_of_a_clear_trend():
    """The Theta method's drift is half of the slope of the regression line."""
    steps = np.diff(forecast("theta", np.arange(100.0)))
    assert steps == pytest.approx([0.5, 0.5], abs=0.05)


def test_tsb_smooths_how_much_and_how_often():
    y = demand(60, seed=10)
    bought = [value for value in y if value > 0]
    size, often = bought[0], float(y[0] > 0)
    for value in bought[1:]:
        size += 0.2 * (value - size)
    for value in y[1:]:
        often += 0.2 * ((value > 0) - often)
    assert forecast("tsb", y) == pytest.approx([size * often] * 3)


def test_ridge_agrees_with_normal_equations_and_errors_left_out_one_by_one():
    y = weekly(80, seed=11, season_length=12)
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
    assert forecast("ridge", y, season_length=12) == pytest.approx(expected[1:])


def plain_trees(series: pd.DataFrame, h: int, season_length: int) -> list[list[float]]:
    """Boosted trees on features that are written down row by row."""
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
    series = frame(weekly(90, seed=12), weekly(60, seed=13) * 10, late=[0, 3])
    y_hat = make("boosted_trees").fit(series, season_length=52).predict(3)
    assert y_hat == pytest.approx(np.array(plain_trees(series, 3, 52)), rel=1e-3)


# Updates
@pytest.mark.parametrize("name", UPDATABLE)
def test_an_update_is_close_to_a_new_fit(name: str):
    y = weekly(73, seed=14, season_length=12)
    fitted = make(name).fit(y[:60].copy(), season_length=12)
    kept, new = copy_of(fitted), y[60:].copy()
    y_hat = fitted.update(new).predict(3)
    assert y_hat == pytest.approx(forecast(name, y, season_length=12), abs=12)  # two deviations
    assert new.tobytes() == y[60:].tobytes()
    again = copy_of(copy_of(kept).update(y[60:].copy()))
    assert again.predict(3).tobytes() == y_hat.tobytes()
    in_two = copy_of(kept).update(y[60:65].copy()).update(y[65:].copy())
    assert in_two.predict(3).tobytes() == y_hat.tobytes()


@pytest.mark.parametrize("name", [name for name in WITH_YEAR if name in UPDATABLE])
def test_an_update_moves_on_in_the_year(name: str):
    y = waves(77) + np.random.default_rng(0).normal(scale=0.5, size=77)
    fitted = make(name).fit(y[:72], season_length=12)
    assert fitted.update(y[72:]).predict(12) == pytest.approx(waves(89)[77:], abs=3)


# The global model
def many() -> list[Values]:
    """Five series at scales a thousandfold apart; the third has only eight weeks."""
    lengths = (150, 120, 8, 140, 60)
    return [weekly(n, seed=20 + i) * 10.0 ** (i - 1) for i, n in enumerate(lengths)]


def test_each_row_of_a_global_forecast_is_its_series():
    """Starts and ends are ragged; each forecast lies by its series' last value."""
    ys = many()
    y_hat = make("boosted_trees").fit(frame(*ys, late=[0, 30, 0, 2, 9]), season_length=52)
    y_hat = y_hat.predict(3)
    assert y_hat.shape == (5, 3)
    assert np.isfinite(y_hat).all()
    assert y_hat[:, 0] / [y[-1] for y in ys] == pytest.approx(np.ones(5), abs=0.1)


def test_very_short_series_do_not_prevent_the_forecasts_of_others():
    """A single value has no change: only that row is no number, and the backtest asks for none."""
    ys = [np.array([50.0]), *many(), np.array([5.0, 6.0])]
    y_hat = make("boosted_trees").fit(frame(*ys), season_length=52).predict(2)
    assert np.isnan(y_hat).any(axis=1).tolist() == [True] + [False] * 6


@pytest.mark.parametrize("longest", [8, 10, 28, 54])
def test_series_shorter_than_the_longest_lag_are_fitted(longest: int):
    ys = [weekly(n, seed=n) for n in (8, longest)]
    y_hat = make("boosted_trees").fit(frame(*ys), season_length=52).predict(2)
    assert np.isfinite(y_hat).all()


def test_constant_series_do_not_prevent_the_forecasts_of_others():
    y = [np.full(60, 7.0), weekly(80, seed=3), np.zeros(60)]
    y_hat = make("boosted_trees").fit(frame(*y), season_length=52).predict(1)[:, 0]
    assert y_hat[[0, 2]] == pytest.approx([7.0, 0.0], abs=0.1)


def test_an_update_of_a_global_model_takes_new_weeks_and_new_series():
    ys = many()
    every = frame(*ys)
    first_new = pd.Timestamp("2025-12-01")  # five weeks before the end; the third has three before
    is_known = (every["ds"] < first_new) & (every["unique_id"] != 1)
    known, new = every[is_known], every[~is_known]
    fitted = make("boosted_trees").fit(known.reset_index(drop=True), season_length=52)
    assert fitted.predict(2).shape == (4, 2)
    kept = copy_of(fitted)
    y_hat = fitted.update(new.reset_index(drop=True)).predict(2)
    assert y_hat.shape == (5, 2)
    refitted = make("boosted_trees").fit(every, season_length=52).predict(2)
    assert y_hat / refitted == pytest.approx(np.ones((5, 2)), abs=0.05)
    again = copy_of(kept).update(new.reset_index(drop=True)).predict(2)
    assert again.tobytes() == y_hat.tobytes()


# Declined series
@pytest.mark.parametrize("name", ["croston", "tsb"])
@pytest.mark.parametrize("y", [np.zeros(20), np.array([1.0, 0.0, -1.0, 2.0] * 5)])
def test_a_model_of_demand_declines_series_without_demand(name: str, y: Values):
    says = "it needs values of zero or more, and one above zero"
    with pytest.raises(NotForThisSeries, match=says):
        make(name).fit(y, season_length=52)


def test_a_fit_that_does_not_converge_is_an_error():
    hasty = replace(find_model("sarimax"), params={"most_iterations": 1}).make()
    with pytest.raises(ConvergenceWarning, match="no optimum in 1 iterations, nor by Powell"):
        hasty.fit(weekly(60, seed=1), season_length=12)


def test_the_expensive_models_are_fitted_once_a_quarter():
    expensive = {name: model for name, model in MODELS.items() if model.refit_every > 1}
    assert sorted(expensive) == [
        "auto_arima",
        "boosted_trees",
        "harmonic_arima",
        "mstl_arima",
        "sarimax",
        "unobserved_components",
    ]
    assert {model.refit_every for model in expensive.values()} == {13}
    assert all(model.is_updatable for model in expensive.values())
