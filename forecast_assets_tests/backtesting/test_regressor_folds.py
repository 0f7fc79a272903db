"""What each fold sees of the regressors: the values that its tick knew, and none of later."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.backtesting.cache import fold_keys
from forecast_assets.backtesting.fitting import FitConfig, FitResult, run_unit
from forecast_assets.backtesting.folds import FitUnit, SeriesFolds, latest_folds, plan
from forecast_assets.backtesting.panel import Panel
from forecast_assets.backtesting.regressor_folds import with_regressors
from forecast_assets.backtesting.regressor_problems import find_problems
from forecast_assets.config.settings import Settings
from forecast_assets.data.regressors import ALL_SERIES, ALWAYS
from forecast_assets.models.registry import find_model
from forecast_assets_tests.builders import FIRST_WEEK, make_series, make_settings, walk

N_WEEKS, N_WINDOWS = 60, 6
SERIES = make_series(a=walk(N_WEEKS, seed=1), b=walk(N_WEEKS, seed=2))
WEEKS = pd.date_range(FIRST_WEEK, periods=N_WEEKS + 1, freq="W-FRI")


def ticks(weeks: Sequence[date]) -> list[datetime]:
    """Return the Monday after each Friday."""
    return [datetime.combine(week, datetime.min.time(), UTC) + timedelta(days=3) for week in weeks]


def table(
    values: Sequence[float],
    *,
    weeks: Sequence[pd.Timestamp] = WEEKS,
    known_at: Sequence[datetime] | pd.Timestamp = ALWAYS,
    unique_id: str = ALL_SERIES,
) -> pd.DataFrame:
    """Make the table `regressors` of one regressor."""
    return pd.DataFrame(
        {
            "regressor": "promo.price",
            "unique_id": unique_id,
            "ds": weeks,
            "known_at": pd.to_datetime(known_at, utc=True),
            "value": np.asarray(values, dtype=float),
        }
    )


def settings_of(tmp_path: Path, **promo: object) -> Settings:
    own = {"kind": "file", "path": "promo.csv", "columns": ["price"], "known": "ahead", **promo}
    return make_settings(tmp_path, regressors={"promo": own}, backtest={"n_windows": N_WINDOWS})


def planned(settings: Settings, rows: pd.DataFrame) -> tuple[list[SeriesFolds], list[SeriesFolds]]:
    folds, latest = plan(SERIES, settings.backtest), latest_folds(SERIES)
    return with_regressors(folds, latest, settings, table=rows, week_ticks=ticks)


def forecasts(settings: Settings, rows: pd.DataFrame) -> tuple[list[bytes], list[FitResult]]:
    """Return the keys of all folds of the model ridge with regressors, and their results."""
    config = FitConfig.of(find_model("ridge_x", settings), settings)
    folds, _ = planned(settings, rows)
    panel = Panel.of(folds)
    ids = [(i, end) for i, item in enumerate(folds) for end in item.ends.tolist()]
    units = [FitUnit(i, end, ((i, end),)) for i, end in ids]
    results = [run_unit(config, unit, panel, lambda: None) for unit in units]
    return fold_keys(config, folds, panel), results


def test_a_fold_sees_the_value_that_its_tick_knew(tmp_path: Path):
    """Each value is announced five days before its week ends, and corrected four days after."""
    early, late = (WEEKS + pd.Timedelta(days=n) for n in (-5, 4))
    rows = pd.concat([table(range(61), known_at=early), table(range(100, 161), known_at=late)])
    folds, latest = planned(settings_of(tmp_path, available="at"), rows)
    for item in folds:
        for end in item.ends.tolist():
            seen = item.x.seen(end, 0, end + 1)[:, 0]
            # The week after the cutoff and the week itself were not corrected by the Monday.
            assert list(seen) == [*range(100, 100 + end - 1), end - 1, end]
    assert list(latest[0].x.seen(N_WEEKS, N_WEEKS, N_WEEKS + 1)[:, 0]) == [160]


def test_nothing_that_was_published_after_a_tick_changes_a_fold(tmp_path: Path):
    early, late = (WEEKS + pd.Timedelta(days=n) for n in (-5, 4))
    values = walk(N_WEEKS + 1, seed=3)
    rows = pd.concat([table(values, known_at=early), table(values, known_at=late)])
    settings = settings_of(tmp_path, available="at")
    keys, results = forecasts(settings, rows)
    changed = 3
    cutoff = WEEKS[plan(SERIES, settings.backtest)[0].ends[changed] - 1]
    is_later = rows["known_at"] > pd.Timestamp(ticks([cutoff.date()])[0])
    other = rows.assign(value=rows["value"].where(~is_later, rows["value"] + 50))
    new_keys, new_results = forecasts(settings, other)
    same = [old == new for old, new in zip(keys, new_keys, strict=True)]
    assert same == [*([True] * (changed + 1) + [False] * (N_WINDOWS - changed - 1))] * 2
    for is_same, old, new in zip(same, results, new_results, strict=True):
        assert (list(old.folds[0].y_hat) == list(new.folds[0].y_hat)) == is_same


def test_values_of_the_past_are_used_as_many_weeks_later_as_they_are_known(tmp_path: Path):
    """Nine days after a Friday is a Sunday: on Monday the value of the week before is known."""
    known_at = WEEKS[:-1] + pd.Timedelta(days=10)
    rows = table(range(N_WEEKS), weeks=WEEKS[:-1], known_at=known_at)
    settings = settings_of(tmp_path, known="past", available="9d")
    folds, latest = planned(settings, rows)
    assert folds[0].x.names == ["promo.price, 2 weeks before"]
    assert list(latest[0].x.seen(N_WEEKS, N_WEEKS, N_WEEKS + 1)[:, 0]) == [N_WEEKS - 2]


def test_a_model_without_regressors_keeps_its_folds(tmp_path: Path):
    settings = settings_of(tmp_path)
    config = FitConfig.of(find_model("ridge", settings), settings)
    folds = plan(SERIES, settings.backtest)
    with_x, _ = planned(settings, table(range(61)))
    before = fold_keys(config, folds, Panel.of(folds))
    assert fold_keys(config, with_x, Panel.of(with_x)) == before


def test_an_event_to_come_changes_no_fold_of_the_past(tmp_path: Path):
    """For all series or for one; an event of the past changes the folds that have seen it."""
    events = tmp_path / "events.csv"
    calendar = {"events": str(events)}
    settings = make_settings(tmp_path, calendar=calendar, backtest={"n_windows": N_WINDOWS})
    past, cutoff = WEEKS[20].date(), plan(SERIES, settings.backtest)[0].ends[3] - 1

    def keys(*lines: str) -> list[list[bytes]]:
        events.write_text("\n".join(["name,first,last,unique_id", f"fair,{past},,", *lines]))
        folds, _ = with_regressors(
            plan(SERIES, settings.backtest),
            latest_folds(SERIES),
            settings,
            table=None,
            week_ticks=ticks,
        )
        models = [find_model(name, settings) for name in ("ridge_x", "boosted_levels_x")]
        panel = Panel.of(folds)
        return [fold_keys(FitConfig.of(each, settings), folds, panel) for each in models]

    before = keys()
    assert keys("opening,2030-01-01,,") == keys("opening,2030-01-01,,a") == before
    local, pooled = (
        [old == new for old, new in zip(*of_model, strict=True)]
        for of_model in zip(before, keys(f"sale,{WEEKS[cutoff + 2].date()},,b"), strict=True)
    )
    assert local == [*[True] * N_WINDOWS, *[True] * 3, *[False] * 3]
    assert pooled == [*[True] * 3, *[False] * 3] * 2
    assert not set(before[0]) & set(keys(f"sale,{past},,")[0])


def test_a_value_of_the_past_keeps_its_lag_when_the_regressor_stops(tmp_path: Path):
    weeks = WEEKS[:-5]
    rows = table(range(len(weeks)), weeks=weeks, known_at=weeks + pd.Timedelta(days=10))
    settings = settings_of(tmp_path, known="past", available="9d")
    (problem, *_) = find_problems(*planned(settings, rows), rows, settings)
    assert "promo.price, 2 weeks before is not known for the week ahead of 2 of 2" in problem.text
    assert f"Its values end on {weeks[-1]:%Y-%m-%d}" in problem.text
    assert problem.is_blocking


@pytest.mark.parametrize("name", ["ridge_x", "pooled_growth_x"])
def test_a_series_whose_regressor_is_missing_ahead_is_declined_alone(tmp_path: Path, name: str):
    """A global model too: it forecasts the other series."""
    of_a, of_b = table(range(61), unique_id="a"), table(range(60), weeks=WEEKS[:-1], unique_id="b")
    settings = settings_of(tmp_path, fallback="without")
    _, latest = planned(settings, pd.concat([of_a, of_b], ignore_index=True))
    config, panel = FitConfig.of(find_model(name, settings), settings), Panel.of(latest)
    is_global = config.model.is_global
    days = {i: int(panel.day(i, N_WEEKS).astype(int)) if is_global else N_WEEKS for i in (0, 1)}
    folds = [
        fold
        for i, day in days.items()
        for fold in run_unit(
            config, FitUnit(-1 if is_global else i, day, ((i, N_WEEKS),)), panel, lambda: None
        ).folds
    ]
    assert [fold.is_declined for fold in folds] == [False, True]
    assert folds[0].y_hat is not None
    assert "the regressor promo.price is not known for the weeks ahead" in str(folds[1].error)


def test_a_hole_in_the_past_costs_no_forecast(tmp_path: Path):
    settings = settings_of(tmp_path)
    values = np.where(np.arange(61) == N_WEEKS - 2, np.nan, np.arange(61.0))
    _, results = forecasts(settings, table(values).dropna())
    assert [str(result.folds[0].error) for result in results if result.folds[0].is_declined] == [
        "not for this series: the regressor promo.price is not known for the weeks ahead"
    ] * 2


@pytest.mark.parametrize("fallback", [None, "without"])
def test_a_value_that_is_missing_for_the_week_ahead_is_a_problem(
    tmp_path: Path, fallback: str | None
):
    settings = settings_of(tmp_path, fallback=fallback)
    rows = table(range(60), weeks=WEEKS[:-1])
    folds, latest = planned(settings, rows)
    (problem,) = find_problems(folds, latest, rows, settings)
    assert "not known for the week ahead of 2 of 2 series: a, b" in problem.text
    assert problem.is_blocking == (fallback is None)
    unit = FitUnit(0, N_WEEKS, ((0, N_WEEKS),))
    config = FitConfig.of(find_model("ridge_x", settings), settings)
    (fold,) = run_unit(config, unit, Panel.of(latest), lambda: None).folds
    assert fold.is_declined
    assert "the regressor promo.price is not known" in str(fold.error)


def test_a_constant_regressor_and_one_that_is_absent_in_most_folds_are_reported(tmp_path: Path):
    settings = settings_of(tmp_path)
    rows = table([1.0, 1.0], weeks=WEEKS[-2:])
    problems = find_problems(*planned(settings, rows), rows, settings)
    texts = " ".join(problem.text for problem in problems)
    assert "is not known in 83% of the folds" in texts
    assert "has the same value in every week" in texts
