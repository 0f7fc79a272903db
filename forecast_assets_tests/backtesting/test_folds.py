"""The plan of a backtest, its folds as columns and as a table, and all series in one panel."""

import functools
import itertools
import pickle
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.backtesting.folds import (
    FoldForecast,
    FoldForecasts,
    SeriesFolds,
    is_declined,
    latest_folds,
    plan,
    split_series,
    to_frame,
)
from forecast_assets.backtesting.panel import Panel
from forecast_assets.config.settings import BacktestSettings
from forecast_assets.data.weekly import to_weeks
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import (
    FIRST_WEEK,
    make_ragged,
    make_raw,
    make_series,
    make_settings,
    walk,
    with_gaps,
)


def ends(n: int, **backtest: int) -> list[int]:
    """Return the number of values that each fold of a series of n weeks sees."""
    (series,) = plan(make_series(a=walk(n, seed=1)), BacktestSettings(**backtest))
    return [int(end) for end in series.ends]


# The plan
@pytest.mark.parametrize(
    ("n", "backtest", "expected"),
    [
        (100, {"n_windows": 3}, [97, 98, 99]),
        (100, {"n_windows": 3, "horizon": 4}, [94, 95, 96]),
        (100, {"n_windows": 3, "step": 5}, [89, 94, 99]),
        (20, {"n_windows": 52}, list(range(11, 20))),  # the first fit sees half of the weeks
        (1, {"n_windows": 52}, []),
        (2, {"n_windows": 52}, [1]),
        (4, {"n_windows": 52}, [3]),
        (5, {"n_windows": 52}, [3, 4]),
    ],
)
def test_cutoffs_are_the_last_weeks_that_leave_a_horizon(
    n: int, backtest: dict[str, int], expected: list[int]
):
    assert ends(n, **backtest) == expected


@settings(max_examples=25)
@given(
    n=st.integers(1, 200),
    horizon=st.integers(1, 8),
    n_windows=st.integers(1, 60),
    step=st.integers(1, 6),
)
def test_every_fold_sees_values_and_is_followed_by_a_horizon(
    n: int, horizon: int, n_windows: int, step: int
):
    planned = ends(n, horizon=horizon, n_windows=n_windows, step=step)
    assert len(planned) <= n_windows
    assert all(1 <= end <= n - horizon for end in planned)
    assert all(b - a == step for a, b in itertools.pairwise(planned))
    assert bool(planned) == (n > horizon)


@pytest.mark.parametrize(
    ("filled", "backtest", "expected"),
    [
        ([50], {"n_windows": 3}, [97, 98, 99]),
        ([97], {"n_windows": 3}, [95, 96, 99]),  # neither from nor to the filled week
        ([97], {"n_windows": 3, "horizon": 2}, [95, 96, 97]),  # from 97 to the week after it
        ([97, 98], {"n_windows": 3, "horizon": 2}, [94, 95, 96]),
        (range(1, 99, 2), {"n_windows": 3, "horizon": 2}, [93, 95, 97]),  # every second week
        (range(1, 99, 2), {"n_windows": 52}, [99]),
        ([*range(1, 97), 98], {"n_windows": 52}, []),
    ],
)
def test_filled_weeks_are_neither_cutoffs_nor_the_only_targets_and_earlier_folds_replace_theirs(
    filled: Sequence[int], backtest: dict[str, int], expected: list[int]
):
    series = with_gaps(make_series(a=walk(100, seed=1)), {"a": filled})
    (planned,) = plan(series, BacktestSettings(**backtest))
    assert list(planned.ends) == expected
    horizon = backtest.get("horizon", 1)
    targets = {end + h for end in expected for h in range(horizon)}
    assert planned.n_real_targets(horizon) == len(targets - {*filled})


@settings(max_examples=25)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=18),
    missing=st.sampled_from(["interpolate", "ffill"]),
    horizon=st.integers(1, 3),
)
def test_every_fold_sees_what_would_have_been_filled_at_its_cutoff(
    gaps: list[tuple[int, int]], missing: str, horizon: int
):
    """That is the aggregation of the rows up to the cutoff; a global model sees all series so."""
    names, tables = ("a", "b", "c"), {"series": {"missing": missing, "max_gap": 20}}
    weekly = make_settings(Path("/"), **tables)
    series = make_series(**{name: walk(14, seed=i) for i, name in enumerate(names)})
    of_series = {name: [week for i, week in gaps if names[i] == name] for name in names}
    series = with_gaps(series, of_series, missing=missing)
    rows = make_raw(series[~series["is_filled"]])

    @functools.cache
    def weeks_at(cutoff: np.datetime64) -> pd.DataFrame:
        monday = cutoff.astype("datetime64[us]").astype(datetime) + timedelta(days=3)
        known = rows[rows["ds"] <= cutoff]
        return to_weeks(known, weekly, as_of=monday.replace(tzinfo=UTC)).frame

    planned = plan(series, BacktestSettings(horizon=horizon))
    panel, none = Panel.of(planned), np.zeros(3, dtype=np.int64)
    for i, item in enumerate(planned):
        for end in item.ends:
            weeks = weeks_at(item.ds[end - 1])
            own = weeks.loc[weeks["unique_id"] == item.unique_id, "y"]
            np.testing.assert_array_equal(own, item.y[:end])
            seen = panel.frame(none, panel.sizes_at(panel.day(i, end)))
            np.testing.assert_array_equal(seen["y"], weeks["y"])


def test_the_plan_of_a_series_does_not_depend_on_the_others():
    both = make_series(a=walk(9, seed=2), b=walk(60, seed=1))
    _, of_b = plan(both, BacktestSettings())
    assert list(of_b.ends) == ends(60)
    assert [list(series.ends) for series in latest_folds(both)] == [[9], [60]]


def test_a_prefix_digest_identifies_the_values_up_to_the_cutoff():
    def digests(y: list[float], *ends: int) -> list[bytes]:
        ds = np.arange(len(y)).astype("datetime64[D]")
        real = np.zeros(len(y), dtype=bool)
        return SeriesFolds("a", ds, np.array(y), real, np.array(ends)).prefix_digests

    y = walk(9, seed=1)
    assert digests(y, 3, 5, 9) == digests(y, 3) + digests(y, 5) + digests(y, 9)
    assert digests(y, 5) == digests(y[:5], 5)
    assert len({*digests(y, *range(1, 10))}) == 9
    assert digests([*y[:4], np.nextafter(y[4], 0)], 5) != digests(y, 5)
    assert digests([0.0], 1) != digests([-0.0], 1)
    assert digests(y) == []


# Folds as columns and as a table
def test_predictions_keep_their_contract_and_their_order():
    series = make_series(a=walk(9, seed=2), b=walk(7, seed=3))
    planned = plan(series, BacktestSettings(horizon=2, n_windows=2))
    folds = [
        FoldForecast(np.array([1.0, 2.0]), 0.1),
        FoldForecast(None, 0.2, "no"),
        FoldForecast(np.array([3.0, 4.0]), 0.3),
        FoldForecast(None, 0.0, "too short: no", is_declined=True),
    ]
    columns = FoldForecasts.of(folds, horizon=2)
    assert list(columns.is_forecast) == [True, False, True, False]
    assert list(columns.is_declined) == [False, False, False, True]
    assert (len(columns), columns.failures) == (4, ["no"])
    np.testing.assert_array_equal(columns.y_hat[:2], [[1.0, 2.0], [np.nan] * 2])
    frame = to_frame("m", planned, columns, horizon=2)
    checked = table_contracts((80,))["backtest_predictions"].check(frame)
    pd.testing.assert_frame_equal(checked, frame)
    assert list(frame["h"]) == [1, 2] * 4
    errors = [None, "no", None, "too short: no"]
    assert list(frame["error"]) == [error for error in errors for _ in range(2)]
    assert list(frame["fit_seconds"][::2]) == [0.1, 0.2, 0.3, 0.0]
    first = frame.iloc[0]
    assert first["cutoff"] == series["ds"][5]
    assert first["ds"] == series["ds"][6]


def test_no_folds_make_no_rows():
    planned = plan(make_series(a=[1.0]), BacktestSettings())
    folds = FoldForecasts.of([], horizon=3)
    assert (len(folds), folds.y_hat.shape, folds.failures) == (0, (0, 3), [])
    frame = to_frame("m", planned, folds, horizon=3)
    assert len(table_contracts((80,))["backtest_predictions"].check(frame)) == 0


def test_a_stored_error_says_whether_the_model_declined():
    assert is_declined("too short: it needs 4 values and has 3")
    assert is_declined("not for this series: it goes down")
    assert not is_declined("ValueError: too short: really")
    assert not is_declined("")


# The panel
def make_frame(spans: list[tuple[int, int]]) -> pd.DataFrame:
    """Series of (weeks before their start, weeks); no value occurs twice."""
    series = {f"s{i}": (weeks, range(100 * i, 100 * i + n)) for i, (weeks, n) in enumerate(spans)}
    return make_ragged(**series)


def make_panel(*spans: tuple[int, int]) -> Panel:
    return Panel.of(split_series(make_frame(list(spans))))


def test_a_panel_has_each_series_and_the_day_of_each_value():
    panel = make_panel((0, 3), (2, 4))
    assert list(panel.training(0, 3)) == [0, 1, 2]
    assert list(panel.training(1, 4)) == [100, 101, 102, 103]
    assert panel.day(0, 1) == np.datetime64("2024-01-05")
    assert panel.day(1, 4) == np.datetime64("2024-02-09")


@settings(max_examples=25)
@given(
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=5),
    after=st.integers(-1, 20),
    weeks=st.integers(0, 20),
)
def test_a_frame_has_the_weeks_between_two_days_of_every_series(
    spans: list[tuple[int, int]], after: int, weeks: int
):
    """The plain way: number the series of the table, and filter its rows by day."""
    table = make_frame(spans)
    panel = Panel.of(split_series(table))
    first, last = [
        pd.Timestamp(FIRST_WEEK) + pd.Timedelta(weeks=week) for week in (after, after + weeks)
    ]
    sizes = [panel.sizes_at(np.datetime64(day, "D")) for day in (first, last)]
    is_between = (table["ds"] > first) & (table["ds"] <= last)
    expected = table[["unique_id", "ds", "y"]][is_between].reset_index(drop=True)
    expected["unique_id"] = expected["unique_id"].str[1:].astype("int64")
    pd.testing.assert_frame_equal(panel.frame(*sizes), expected)


def test_the_digest_of_a_panel_covers_values_lengths_and_weeks_and_survives_pickling():
    panels = [
        make_panel((0, 3), (0, 3)),
        make_panel((0, 2), (0, 3)),
        make_panel((0, 3)),
        make_panel((0, 3), (1, 3)),
        make_panel((1, 3), (0, 3)),
    ]
    panels.append(replace(panels[0], starts=np.array([0, 2, 6])))
    panels.append(replace(panels[0], is_filled=np.arange(6) == 1))
    assert len({panel.digest for panel in panels}) == len(panels)
    copy = pickle.loads(pickle.dumps(panels[0]))  # noqa: S301 - dumped here
    assert copy.digest == make_panel((0, 3), (0, 3)).digest == panels[0].digest
