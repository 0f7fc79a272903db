"""The outlook: one row a series, and in words how last week turned out."""

import numpy as np
import pandas as pd
import pytest

from forecast_assets.reporting.number_format import NumberFormat
from forecast_assets.reporting.summary import (
    WeeklyReport,
    displayed_levels,
    format_miss,
    interval_outcome,
    model_label,
    most_surprising,
    outlook,
    scales,
)
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import make_week


def rows_of(week: WeeklyReport) -> pd.DataFrame:
    """The outlook of a week, by series."""
    rows = outlook(week.forecast, week.series, week.accuracy, levels=week.levels)
    return rows.set_index("unique_id")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([80, 95], [80, 95]),
        ([90], [90]),
        ([50, 80, 95], [80, 95]),
        (list(range(1, 100, 4)), [81, 93]),
        ([99.9], [99.9]),
    ],
)
def test_two_levels_are_told(levels: list[float], expected: list[float]):
    assert displayed_levels(levels) == expected


def test_a_row_holds_next_week_beside_last_week_and_what_was_said_of_it():
    week = make_week(make_series(a=[10.0, 11.0, 13.0, 12.0, 12.5, 12.5, 13.5]), half=2)
    row = rows_of(week).loc["a"]
    assert (row["last_y"], row["y_hat"], row["was_y_hat"]) == (13.5, 13.5, 12.5)
    assert (row["lo_80"], row["hi_80"], row["half"]) == (11.5, 15.5, 2.0)
    assert row["miss"] == -1.0
    assert row["surprise"] == 0.5
    assert row["step"] == pytest.approx(np.mean([1, 2, 1, 0.5, 0, 1]))


def test_only_the_forecast_one_week_ahead_is_held_against_last_week():
    week = make_week(make_series(a=walk(20, seed=1)), horizon=3)
    was = week.series["y"].iloc[-2]
    assert rows_of(week).loc["a", "was_y_hat"] == was


def test_without_a_published_forecast_the_surprise_is_the_move_in_usual_steps():
    week = make_week(make_series(a=[1.0, 3.0, 1.0]), n_due=0)
    moved = make_week(
        week.series, n_due=0, forecast=week.forecast.assign(y_hat=4.0, hi_80=9.0, hi_95=9.0)
    )
    row = rows_of(moved).loc["a"]
    assert np.isnan(row["miss"])
    assert row["surprise"] == 1.5


def test_without_either_there_is_no_surprise():
    row = rows_of(make_week(make_series(a=[5.0, 5.0]), n_due=0)).loc["a"]
    assert np.isnan(row["surprise"])


def test_a_published_forecast_without_an_interval_counts_as_none():
    week = make_week(make_series(a=[1.0, 3.0, 1.0]))
    bare = week.accuracy.assign(lo_80=np.nan, hi_80=np.nan)
    assert rows_of(make_week(week.series, accuracy=bare)).loc["a", "surprise"] == 0.0


def test_a_series_that_ended_is_told_by_its_own_last_week():
    rows = rows_of(make_week(make_ragged(a=(0, walk(10, seed=1)), b=(0, walk(20, seed=2)))))
    assert rows["is_newest"].to_dict() == {"a": False, "b": True}
    assert (rows["ds"] - rows["last_ds"] == pd.Timedelta(weeks=1)).all()


def test_the_most_surprising_come_first_and_those_without_a_surprise_last():
    rows = pd.DataFrame({"unique_id": list("abcd"), "surprise": [0.5, np.nan, 2.0, 0.5]})
    assert list(most_surprising(rows, 3)["unique_id"]) == ["c", "a", "d"]
    assert list(most_surprising(rows, 9)["unique_id"]) == ["c", "a", "d", "b"]


def test_a_row_is_written_by_its_interval_else_by_its_step():
    series = make_series(a=[1.0, 1.25, 1.0])
    (by_interval,) = scales(rows_of(make_week(series, half=20)).reset_index(), {"a": "tons"})
    assert by_interval == NumberFormat(0, unit="tons")
    bare = make_week(series).forecast.assign(lo_80=np.nan, hi_80=np.nan)
    (by_step,) = scales(rows_of(make_week(series, forecast=bare)).reset_index(), {})
    assert by_step == NumberFormat(2)


def last(y: float, **ends: float) -> dict[str, float]:
    return {"last_y": y, "miss": 0.0, **{f"was_{name}": end for name, end in ends.items()}}


NARROW, WIDE = {"lo_80": 9.0, "hi_80": 11.0}, {"lo_95": 8.0, "hi_95": 12.0}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (last(9.0, **NARROW, **WIDE), "inside 80 %"),
        (last(11.5, **NARROW, **WIDE), "outside 80 %, inside 95 %"),
        (last(7.0, **NARROW, **WIDE), "outside 95 %"),
        (last(7.0, lo_80=9, hi_80=11, lo_95=np.nan, hi_95=np.nan), "no interval was published"),
        ({**last(7.0, **NARROW, **WIDE), "miss": np.nan}, "no forecast was published"),
    ],
)
def test_an_outcome_names_the_narrowest_interval_that_held(row: dict[str, float], expected: str):
    assert interval_outcome(row, [80, 95]) == expected


@pytest.mark.parametrize(
    ("miss", "expected"),
    [(1.26, "1.3 too high"), (-0.3, "0.3 too low"), (0.01, "none"), (np.nan, "–")],
)
def test_a_miss_says_its_direction(miss: float, expected: str):
    assert format_miss(miss, NumberFormat(1)) == expected


def test_another_rung_than_the_first_is_named():
    assert model_label("theta", "champion") == "theta"
    assert model_label("theta", "runner-up") == "theta (runner-up)"
