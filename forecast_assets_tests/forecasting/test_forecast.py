"""Next week's forecast: the model, the rung and the intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.dask_pool import DaskPool
from forecast_assets.config.settings import BacktestSettings, ForecastPolicy, Settings
from forecast_assets.forecasting.fallback import Attempt
from forecast_assets.forecasting.forecast import WeekForecast, forecast, select_attempts
from forecast_assets.forecasting.intervals import quantiles
from forecast_assets.forecasting.panel_errors import POOL_POINTS, WEEKLY_DECAY, ErrorPool
from forecast_assets.forecasting.volatility import recent_volatility
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import (
    AS_OF,
    make_ragged,
    make_series,
    make_settings,
    walk,
    with_gaps,
)
from forecast_assets_tests.worker_builders import make_executor


def forecast_of(
    series: pd.DataFrame,
    settings: Settings,
    *choices: tuple[str, str | None],
    dask_pool: DaskPool | None = None,
) -> pd.DataFrame:
    """Return the forecasts that are published of each series by its (model, runner-up)."""
    frame = week_of(series, settings, *choices, dask_pool=dask_pool).published
    return table_contracts(settings.forecast.levels)["next_week_forecast"].check(frame)


def week_of(
    series: pd.DataFrame,
    settings: Settings,
    *choices: tuple[str, str | None],
    dask_pool: DaskPool | None = None,
) -> WeekForecast:
    """Forecast each series by its (model, runner-up) after a real backtest."""
    compute = make_executor(settings, dask_pool)
    asked = compute.requests(series, settings.models.enabled)
    predictions = pd.concat(run.predictions(settings) for run in compute.run_all(asked))
    best = pd.DataFrame(
        [
            {"unique_id": unique_id, "model": model, "runner_up": runner_up}
            for unique_id, (model, runner_up) in zip(
                series["unique_id"].unique(), choices, strict=True
            )
        ]
    ).assign(rung="champion", reason="chosen")
    return forecast(
        best, series, predictions, settings, executor=compute, as_of=AS_OF, made_at=AS_OF
    )


def drift_of(y: list[float]) -> float:
    """Return the forecast of drift: the last value plus the mean change."""
    return y[-1] + (y[-1] - y[0]) / (len(y) - 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, models={"enabled": ["naive", "drift"]})


def test_the_week_after_the_last_one_is_forecast_by_the_chosen_model(settings: Settings):
    y = walk(60, seed=1)
    row = forecast_of(make_series(a=y), settings, ("naive", None)).iloc[0]
    assert (row["model"], row["rung"], row["h"], row["y_hat"]) == ("naive", "champion", 1, y[-1])
    assert row["ds"] == row["cutoff"] + pd.Timedelta(weeks=1)
    assert row["cutoff"] == make_series(a=y)["ds"].max()


def test_intervals_are_drawn_from_the_models_own_backtest_errors(settings: Settings):
    """The 29 errors of naive are the last 29 changes, each divided by the volatility then."""
    y = np.array(walk(59, seed=1))
    row = forecast_of(make_series(a=list(y)), settings, ("naive", None)).iloc[0]
    scores = np.abs(np.diff(y[-30:])) / next(recent_volatility([y]))[-30:-1, 0]
    weights = WEEKLY_DECAY ** np.arange(29, 0, -1.0)
    nothing = ErrorPool(np.zeros((1, POOL_POINTS)), np.zeros(1), np.zeros(1))
    for level, end in ((80, "hi_80"), (95, "lo_95")):
        radius = (
            quantiles(scores[None], weights[None], [level], nothing)[0, 0, 0]
            * next(recent_volatility([y]))[-1, 0]
        )
        np.testing.assert_allclose(abs(row[end] - row["y_hat"]), radius)
    assert row["backtest_mae"] == pytest.approx(np.abs(np.diff(y[-30:])).mean())


def test_quantiles_are_the_ends_of_intervals(tmp_path: Path):
    quantiles = [0.025, 0.1, 0.25, 0.5, 0.9]
    settings = make_settings(
        tmp_path, models={"enabled": ["naive"]}, forecast={"quantiles": quantiles}
    )
    series = make_series(a=walk(80, seed=1))
    row = week_of(series, settings, ("naive", None)).published.iloc[0]
    ends = ["lo_95", "lo_80", "y_hat", "hi_80"]
    assert list(row[["q0.025", "q0.1", "q0.5", "q0.9"]]) == list(row[ends])
    assert row["q0.1"] < row["q0.25"] < row["y_hat"]
    contract = table_contracts(settings.forecast.levels, quantiles)["next_week_forecast"]
    contract.check(row.to_frame().T.infer_objects())


def test_a_level_that_too_few_errors_can_hold_has_no_interval(settings: Settings):
    row = forecast_of(make_series(a=walk(12, seed=1)), settings, ("naive", None)).iloc[0]
    assert np.isfinite(row["lo_80"])
    assert np.isnan(row["lo_95"])


@pytest.mark.usefixtures("user_models")
def test_a_model_that_fails_on_the_newest_week_gives_way_to_the_next_by_name(
    tmp_path: Path, dask_pool: DaskPool
):
    """The models fail on series of 60 weeks; no fold of the backtest has as many."""
    broken = {"factory": "user_models:Misbehaving", "params": {"way": "raises", "since": 60}}
    models = {"enabled": ["naive", "drift", "odd", "even"], "odd": broken, "even": broken}
    settings = make_settings(tmp_path, models=models, backtest={"n_windows": 8})
    y = {name: walk(59 if name == "b" else 60, seed=i) for i, name in enumerate("abcde")}
    choices = [("odd", "drift"), ("odd", "drift"), ("odd", None), ("odd", "even")]
    choices.append(("combination_mean", None))
    frame = forecast_of(make_series(**y), settings, *choices, dask_pool=dask_pool)
    assert list(zip(frame["model"], frame["rung"], strict=True)) == [
        ("drift", "runner-up"),
        ("odd", "champion"),
        ("combination_median", "combination"),
        ("combination_median", "combination"),
        ("combination_mean", "champion"),
    ]
    assert frame["members"].isna().tolist() == [True, True, False, False, False]
    assert set(frame["members"].iloc[2:]) == {"naive, drift"}  # all were among the best
    survivors = [(y[name][-1] + drift_of(y[name])) / 2 for name in "cde"]
    assert frame["y_hat"].to_list()[2:] == pytest.approx(survivors)
    assert frame["reason"].to_list() == [
        "odd failed: RuntimeError: no licence",
        None,
        "odd failed: RuntimeError: no licence",
        "odd failed: RuntimeError: no licence; even failed: RuntimeError: no licence",
        None,
    ]


@pytest.mark.usefixtures("user_models")
@pytest.mark.parametrize("policy", ["fallback", "hold", "publish"])
def test_an_implausible_forecast_gives_way_to_the_next_holds_the_week_or_is_published(
    tmp_path: Path, dask_pool: DaskPool, policy: str
):
    """The forecasts are fifty times the last value, from 60 weeks on."""
    broken = {"factory": "user_models:Misbehaving", "params": {"way": "fiftyfold", "since": 60}}
    settings = make_settings(
        tmp_path,
        models={"enabled": ["naive", "drift", "odd", "even"], "odd": broken, "even": broken},
        backtest={"n_windows": 8},
        data_quality={"implausible_forecast": policy},
    )
    y = {name: walk(59 if name == "d" else 60, seed=i) for i, name in enumerate("abcd")}
    choices = [("odd", "drift"), ("odd", "even"), ("combination_mean", None), ("odd", None)]
    week = week_of(make_series(**y), settings, *choices, dask_pool=dask_pool)
    rows = week.rows.set_index("unique_id")
    assert rows.loc["d", ["model", "rung", "reason"]].to_list() == ["odd", "champion", None]
    assert (week.is_held, week.missing) == (policy == "hold", [])
    assert list(week.implausible) == (["a", "b"] if policy == "hold" else [])
    if policy == "fallback":
        assert rows["model"].to_list()[:2] == ["drift", "combination_median"]
        assert rows["rung"].to_list()[:3] == ["runner-up", "combination", "champion"]
        assert rows["members"].to_list()[:3] == [None, "naive, drift", "naive, drift"]
        begin = f"odd forecast {50 * y['b'][-1]:,.5g}, above 1"
        assert rows.loc["b", "reason"].startswith(begin)
        assert "; even forecast " in rows.loc["b", "reason"]
        assert "; even forecast " in rows.loc["c", "reason"]  # members that are left out
    else:
        assert set(rows["rung"]) == {"champion"}
        assert rows.loc["a", "y_hat"] == 50 * y["a"][-1]
        assert rows["reason"].to_list()[0].startswith("implausible: odd forecast ")


@pytest.mark.parametrize(("n_series", "is_held"), [(3, True), (20, True), (21, False)])
def test_a_series_without_a_plausible_forecast_is_left_out_and_one_in_twenty_hold_the_week(
    settings: Settings, n_series: int, *, is_held: bool
):
    """After a newest value of a thousand times the others every candidate is far off."""
    y = {f"s{i:02}": walk(60, seed=i) for i in range(n_series)}
    y["s01"][-1] *= 1000
    week = week_of(make_series(**y), settings, *[("combination_mean", "drift")] * n_series)
    assert (list(week.implausible), week.missing, week.is_held) == (["s01"], [], is_held)
    assert set(week.rows["unique_id"]) - set(week.published["unique_id"]) == {"s01"}
    (row,) = week.rows[week.rows["unique_id"] == "s01"].to_dict("records")
    assert (row["model"], row["rung"]) == ("combination_mean", "champion")
    assert row["reason"].startswith("implausible: combination_mean forecast ")


def test_a_negative_forecast_of_counts_is_raised_to_the_minimum_or_replaced(tmp_path: Path):
    falling = [*np.repeat([12.0, 9, 6, 3], 8), 0.0]
    outcomes = []
    for forecast_settings in ({}, {"minimum": 0}):
        models = {"enabled": ["naive", "drift"]}
        settings = make_settings(tmp_path, models=models, forecast=forecast_settings)
        frame = forecast_of(make_series(a=falling), settings, ("drift", None))
        outcomes.append(frame.loc[0, ["y_hat", "model", "reason"]].to_list())
    y_hat, model, reason = outcomes[0]
    assert (y_hat, model) == (0.0, "combination_median")  # of naive alone
    assert reason.startswith("drift forecast -0.375, below 0, the lowest plausible value 1 week")
    assert outcomes[1] == [0.0, "drift", None]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("fallback", ["good", "good", "good", "odd", None]),
        ("hold", ["good", "good", "odd", "odd", None]),
        ("publish", ["good", "good", "odd", "odd", None]),
    ],
)
def test_the_plausible_attempt_is_used_or_else_the_first(
    policy: ForecastPolicy, expected: list[str | None]
):
    failed = Attempt("failed", "champion", np.array([np.nan]), (), "failed: RuntimeError")
    odd = Attempt("odd", "runner-up", np.array([9.0]), (), "forecast 9")
    last, good = odd._replace(model="last"), Attempt("good", "naive", np.array([1.0]), (), None)
    tried = [[good], [failed, good], [odd, good], [failed, odd, last], [failed, failed]]
    used = select_attempts(tried, policy)
    assert [made and made.model for made in used] == expected
    few = select_attempts([*[[good]] * 60, [odd, good]], policy)[-1]
    assert few is not None
    assert few.model == ("odd" if policy == "publish" else "good")


@pytest.mark.usefixtures("user_models")
def test_a_global_model_sees_the_series_that_it_does_not_forecast_too(
    tmp_path: Path, dask_pool: DaskPool
):
    """Its forecast is a million times the rows that it sees, up to the same week."""
    models = {"enabled": ["naive", "drift", "odd"], "odd": {"factory": "user_models:Pooled"}}
    settings = make_settings(
        tmp_path,
        models=models,
        backtest={"n_windows": 4},
        data_quality={"implausible_forecast": "publish"},
    )
    series = make_ragged(a=(0, [1.0] * 20), b=(0, [2.0] * 30), c=(9, [3.0] * 21))
    frame = forecast_of(
        series, settings, ("odd", None), ("drift", None), ("odd", None), dask_pool=dask_pool
    )
    assert list(frame["model"]) == ["odd", "drift", "odd"]
    assert list(frame["y_hat"]) == [1 + 1e6 * (20 + 20 + 11), 2, 3 + 1e6 * (20 + 30 + 21)]


def test_a_series_of_one_week_gets_naive_without_an_interval(settings: Settings):
    """An ensemble has no members there."""
    series, choices = make_series(a=[5.0], b=walk(60, seed=1)), ("combination_mean", "drift")
    row = forecast_of(series, settings, *[(model, None) for model in choices]).iloc[0]
    assert (row["model"], row["rung"], row["y_hat"]) == ("naive", "naive", 5.0)
    assert row[["lo_80", "hi_80", "lo_95", "hi_95"]].isna().all()


def test_a_series_with_too_few_real_weeks_has_no_interval(settings: Settings):
    """Readings of every second week; two weeks ahead they can be scored."""
    y, choice = walk(101, seed=1), [("naive", None), ("naive", None)]
    series = with_gaps(make_series(a=y, b=walk(60, seed=2)), {"a": range(1, 100, 2)})
    first, other = forecast_of(series, settings, *choice).itertuples()
    assert first.y_hat == y[-1]
    assert np.isnan([first.lo_80, first.hi_95, first.backtest_mae]).all()
    assert other.lo_80 < other.y_hat < other.hi_80
    two = settings.model_copy(update={"backtest": BacktestSettings(horizon=2)})
    frame = forecast_of(series, two, *choice).set_index(["unique_id", "h"])
    assert np.isnan(frame.loc[("a", 1), "backtest_mae"])
    changes = np.abs(np.diff(y[::2]))
    assert frame.loc[("a", 2), "backtest_mae"] == pytest.approx(changes[-25:].mean())
    assert frame.loc[("a", 2), "lo_80"] < y[-1] < frame.loc[("a", 2), "hi_80"]


def test_an_old_spike_does_not_widen_intervals(settings: Settings):
    rng = np.random.default_rng(3)
    calm = {f"calm{i}": rng.normal(100, 10, 156) for i in range(3)}
    weeks = np.arange(156)
    spiked = {f"spike{i}": np.where(weeks == 145, 1100, y) for i, y in enumerate(calm.values())}
    frame = forecast_of(make_series(**calm, **spiked), settings, *[("naive", None)] * 6)
    width = (frame["hi_80"] - frame["lo_80"]).groupby(frame["unique_id"].str[:4]).mean()
    assert 0.8 < width["spik"] / width["calm"] < 1.5


def test_an_ensemble_pools_the_forecasts_of_its_members(settings: Settings):
    y = walk(60, seed=1)
    row = forecast_of(make_series(a=y), settings, ("combination_mean", "drift")).iloc[0]
    assert (row["model"], row["rung"]) == ("combination_mean", "champion")
    assert row["y_hat"] == pytest.approx((y[-1] + drift_of(y)) / 2)
    assert row["lo_80"] < row["y_hat"] < row["hi_80"]


def test_weights_of_the_newest_week_come_from_every_fold(settings: Settings):
    y = walk(60, seed=1)
    row = forecast_of(make_series(a=y), settings, ("combination_inverse_error", None)).iloc[0]
    ends = np.arange(30, 60)
    naive = np.abs(np.diff(y)[ends - 1]).mean()
    slope = (np.array(y)[ends - 1] - y[0]) / (ends - 1)
    drift = np.abs(np.array(y)[ends] - np.array(y)[ends - 1] - slope).mean()
    share = (1 / drift) / (1 / drift + 1 / naive)
    assert row["y_hat"] == pytest.approx(y[-1] + share * (y[-1] - y[0]) / 59)


def test_no_forecast_lies_below_the_minimum(tmp_path: Path):
    settings = make_settings(
        tmp_path, models={"enabled": ["naive", "drift"]}, forecast={"minimum": 0}
    )
    y = [*np.abs(np.array(walk(60, seed=1)) - 99), 3.0, 0.5]
    falling = list(np.linspace(50, 0.1, 62))
    frame = forecast_of(make_series(a=y, b=falling), settings, ("naive", None), ("drift", None))
    assert (frame[["y_hat", "lo_80", "lo_95"]] >= 0).all(axis=None)
    assert (frame["lo_95"] == 0).any()
    assert list(frame["y_hat"]) == [0.5, 0.0]


def test_levels_name_columns_that_never_cross_and_widen_with_the_weeks_ahead(tmp_path: Path):
    levels = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97.5]
    settings = make_settings(
        tmp_path,
        models={"enabled": ["naive"]},
        forecast={"levels": levels},
        backtest={"horizon": 4},
    )
    frame = forecast_of(make_series(a=walk(300, seed=1)), settings, ("naive", None))
    assert list(frame["h"]) == [1, 2, 3, 4]
    ends = [f"lo_{level}" for level in reversed(levels)] + ["y_hat"]
    rows = frame[ends + [f"hi_{level}" for level in levels]]
    known = rows.iloc[0].dropna().to_list()
    assert known == sorted(known)
    assert len(known) >= 19
    widths = (frame["hi_80"] - frame["y_hat"]).to_list()
    assert widths[3] > widths[0]
