"""In weeks with a large holiday members of ensembles know of it, unless they were clearly worse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.folds import SeriesFolds, latest_folds, plan
from forecast_assets.backtesting.regressor_folds import with_regressors
from forecast_assets.config.settings import Settings
from forecast_assets.data.calendar import calendar_events, holiday_days
from forecast_assets.data.regressor_frame import midnight_after
from forecast_assets.forecasting.backtest_results import BacktestResults
from forecast_assets.forecasting.ensembles import add_ensembles
from forecast_assets.forecasting.twins import twins_of
from forecast_assets_tests.builders import make_series, make_settings

N_WEEKS, N_FOLDS = 104, 52
WEEKS = pd.date_range("2023-01-06", periods=N_WEEKS, freq="W-FRI")
RULE = "combination_inverse_error"


def sales(*, jump: float = 20.0) -> pd.DataFrame:
    """Return a series that changes by 1 a week, and by a jump up or down in each holiday week."""
    settings = make_settings(Path(), calendar={"country": "US"})
    events = calendar_events(settings, first=WEEKS[0].date(), last=WEEKS[-1].date())
    is_holiday = holiday_days(events, WEEKS.to_numpy().astype("datetime64[D]")) > 0
    signs = np.where(np.cumsum(is_holiday) % 2, 1, -1)
    y = 100.0 + np.arange(N_WEEKS) % 2 + np.where(is_holiday, jump * signs, 0.0)
    return make_series(a=list(y)).assign(ds=WEEKS)


def forecasts(
    series: pd.DataFrame, *, of_holidays: float, **others: float
) -> tuple[Settings, list[SeriesFolds], pd.DataFrame]:
    """Make a model with errors of 1, and one that knows the calendar with errors of 2.

    On holidays, the errors of the second are those given; others have theirs in all weeks.
    """
    calendar = {"country": "US"}
    settings = make_settings(Path(), backtest={"n_windows": N_FOLDS}, calendar=calendar)
    folds = plan(series, settings.backtest)
    folds, _ = with_regressors(
        folds, latest_folds(series), settings, table=None, week_ticks=midnight_after
    )
    cutoffs = pd.DatetimeIndex(folds[0].ds[folds[0].ends - 1])
    ds = cutoffs + pd.Timedelta(days=7)
    y = series.set_index("ds")["y"].reindex(ds).to_numpy()
    error = np.where(is_holiday(folds), of_holidays, 2.0)
    base = pd.DataFrame({"unique_id": "a", "cutoff": cutoffs, "h": 1, "ds": ds, "error": None})
    models = {"drift": y + 1, "drift_x": y - error, **{name: y + e for name, e in others.items()}}
    frames = [base.assign(model=name, y_hat=y_hat) for name, y_hat in models.items()]
    return settings, folds, pd.concat(frames, ignore_index=True).assign(fit_seconds=0.0)


def is_holiday(folds: list[SeriesFolds]) -> "np.typing.NDArray[np.bool_]":
    """Tell for each fold whether the week ahead has a holiday."""
    assert folds[0].x is not None
    return np.array([folds[0].x.seen(end, end, end + 1)[0, 0] > 0 for end in folds[0].ends])


def published(
    of_holidays: float, *, has_x: bool = True, jump: float = 20.0, **others: float
) -> tuple[pd.Series, pd.Series]:
    """Return the errors of the ensemble, and which weeks have a holiday."""
    series = sales(jump=jump)
    settings, folds, predictions = forecasts(series, of_holidays=of_holidays, **others)
    known = is_holiday(folds)
    if not has_x:
        folds = [replace(item, x=None) for item in folds]
    results = BacktestResults.from_predictions(predictions, series, settings, planned=folds)
    results = add_ensembles(results, [RULE])
    return pd.Series(results.y_hat[-1, :, 0] - results.y[:, 0]), pd.Series(known)


def test_a_model_that_knows_of_holidays_is_alone_in_their_weeks():
    errors, known = published(of_holidays=0.5)
    assert set(errors[known]) == {-0.5}
    assert (errors[~known] > -2).all()


def test_holidays_that_changed_little_before_change_no_member():
    errors, known = published(of_holidays=0.5, jump=0.0)
    assert (errors[known] > -0.5).all()


def test_the_calendar_alone_changes_no_member_where_no_model_knows_it():
    errors, known = published(of_holidays=0.5, has_x=False)
    assert (errors[known] > -0.5).all()


def test_models_that_were_clearly_worse_in_such_weeks_are_not_alone():
    errors, known = published(of_holidays=30.0)
    in_weeks = errors[known].tolist()
    assert in_weeks[:4] == pytest.approx([-30.0] * 4)
    assert all(error > -4 for error in in_weeks[4:])


def test_a_model_that_is_far_better_in_such_weeks_is_not_displaced():
    """It has no twin, and its name alone does not say that it knows the calendar."""
    errors, known = published(of_holidays=0.5, plan_x=0.1)
    in_weeks = errors[known].tolist()
    assert in_weeks[:4] == pytest.approx([-0.5] * 4)
    assert max(map(abs, in_weeks[4:])) < 0.2


def test_models_that_are_a_little_worse_in_such_weeks_are_alone_until_that_is_clear():
    errors, known = published(of_holidays=1.2)
    in_weeks = errors[known].tolist()
    assert in_weeks[:9] == pytest.approx([-1.2] * 9)
    assert all(error > -1 for error in in_weeks[9:])


def test_a_model_of_your_own_whose_name_ends_like_that_of_a_twin_is_none(tmp_path: Path):
    names = ["ridge", "ridge_x", "theta", "theta_x", "sarimax_x", "combination_mean"]
    calendar = {"country": "US"}
    assert twins_of(names, make_settings(tmp_path)) == []
    settings = make_settings(tmp_path, calendar=calendar)
    assert twins_of(names, settings) == [("ridge", "ridge_x"), ("theta", "theta_x")]
    own = {name: {"factory": "our_team.models:Theta"} for name in ("mine", "mine_x")}
    settings = make_settings(tmp_path, calendar=calendar, models=own)
    assert twins_of(["mine", "mine_x", *names], settings)[0] == ("ridge", "ridge_x")
