"""The series end to end: which values lie where, and which are known on a day."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.backtesting.folds import Panel, split_series
from forecast_assets_tests.builders import FIRST_WEEK, make_ragged

WEEKS = pd.date_range(FIRST_WEEK, periods=40, freq="W-FRI")
RAGGED = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=5)


def make_frame(begun: list[tuple[int, int]]) -> pd.DataFrame:
    """Series of so many weeks after so many weeks; no value comes twice."""
    spans = {f"s{i}": (weeks, range(100 * i, 100 * i + n)) for i, (weeks, n) in enumerate(begun)}
    return make_ragged(**spans)


def make_panel(*begun: tuple[int, int]) -> Panel:
    return Panel.of(split_series(make_frame(list(begun))))


def test_a_series_is_found_again_in_the_panel():
    panel = make_panel((0, 3), (2, 1), (1, 2))
    assert [list(panel.series(i)) for i in range(3)] == [[0, 1, 2], [100], [200, 201]]


def test_no_series_make_an_empty_panel():
    panel = Panel.of([])
    assert len(panel.y) == 0
    assert len(panel.sizes_at(np.datetime64("2024-01-05"))) == 0


def test_a_day_is_the_one_that_the_last_value_is_of():
    panel = make_panel((0, 3), (2, 4))
    assert panel.day(0, 1) == np.datetime64("2024-01-05")
    assert panel.day(1, 4) == np.datetime64("2024-02-09")


@pytest.mark.parametrize(
    ("day", "sizes"),
    [
        ("2023-12-29", [0, 0]),  # before all
        ("2024-01-04", [0, 0]),  # the day before the first week ends
        ("2024-01-05", [1, 0]),
        ("2024-01-18", [2, 0]),
        ("2024-01-19", [3, 1]),
        ("2024-01-26", [3, 2]),  # one series has ended
        ("2030-01-04", [3, 4]),
    ],
)
def test_on_a_day_a_series_has_the_weeks_that_have_ended(day: str, sizes: list[int]):
    assert list(make_panel((0, 3), (2, 4)).sizes_at(np.datetime64(day))) == sizes


@given(begun=RAGGED, after=st.integers(-1, 20), weeks=st.integers(0, 20))
def test_a_frame_holds_the_weeks_between_two_days_of_every_series(
    begun: list[tuple[int, int]], after: int, weeks: int
):
    """The plain way: number the series of the table, and pick the rows by their day."""
    table = make_frame(begun)
    panel = Panel.of(split_series(table))
    first, last = [
        WEEKS[0] + pd.Timedelta(weeks=number) for number in (after, after + weeks)
    ]  # the first is left out
    sizes = [panel.sizes_at(np.datetime64(day, "D")) for day in (first, last)]
    is_between = (table["ds"] > first) & (table["ds"] <= last)
    expected = table.drop(columns="coverage")[is_between].reset_index(drop=True)
    expected["unique_id"] = expected["unique_id"].str[1:].astype("int64")
    pd.testing.assert_frame_equal(panel.frame(*sizes), expected)


def test_the_digest_covers_the_values_where_they_lie_and_their_weeks():
    every = [
        make_panel((0, 3), (0, 3)),
        make_panel((0, 2), (0, 3)),
        make_panel((0, 3)),
        make_panel((0, 3), (1, 3)),
        make_panel((1, 3), (0, 3)),
    ]
    assert len({panel.digest for panel in every}) == len(every)
    otherwise_cut = Panel(every[0].y, np.array([0, 2, 6]), every[0].first)
    assert otherwise_cut.digest != every[0].digest
    assert make_panel((0, 3), (0, 3)).digest == every[0].digest


def test_a_panel_that_travelled_is_the_same():
    panel = make_panel((0, 3), (2, 4))
    travelled = pickle.loads(pickle.dumps(panel))  # noqa: S301 - our own
    assert travelled.digest == panel.digest
    assert list(travelled.series(1)) == list(panel.series(1))
