"""Which newest week is complete, by the rows of all series; usual days; and long gaps."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from forecast_assets.data.completeness import (
    NewestWeek,
    compute_coverage,
    coverage_of_all,
    find_newest_week,
    precede_long_gap,
)

Ints = NDArray[np.int64]
N_WEEKS = 60  # of a source, of which the newest is judged
DUE = 7 * N_WEEKS - 1  # its last day


def days_of(rows: NDArray[np.bool_]) -> Ints:
    """Return the day of each row, from day 0 on; `rows` [items, days] has an item's rows."""
    return np.nonzero(rows)[1]


def source(n_items: int, share: float, *, seed: int, n_after: int = 0) -> NDArray[np.bool_]:
    """Make a source that has a row on a share of its item-days, up to `n_after` days after DUE."""
    rng = np.random.default_rng(seed)
    return rng.random((n_items, DUE + 1 + n_after)) < share


def judge(
    rows: NDArray[np.bool_], n_early: int = 0, *, today: int = DUE + 1, has_empty_weeks: bool = True
) -> NewestWeek:
    """Judge the source if its rows end some days before the last day of the newest week."""
    seen = rows[:, : DUE + 1 - n_early] if n_early else rows
    return find_newest_week(days_of(seen), today=today, due=DUE, has_empty_weeks=has_empty_weeks)


@pytest.mark.parametrize("n_items", [1, 3, 30, 1000])
@pytest.mark.parametrize("missing", [0.05, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("n_after", [0, 2], ids=["to Sunday", "to Friday"])
def test_a_cut_off_is_found_where_seven_rows_are_missing_and_no_whole_week_is_called_half(
    n_items: int, missing: float, n_after: int
):
    """At the Monday tick a week to Friday is followed by two days, if the source went on."""
    n_incomplete = 0
    for seed in range(1 if n_items > 100 else 10):
        rows = source(n_items, 1 - missing, seed=seed, n_after=n_after)
        n_incomplete += judge(rows, today=DUE + 1 + n_after).end != DUE
        for n_early in range(1, 7):
            newest = judge(rows, n_early)
            n_missing = n_items * (1 - missing) * (DUE - newest.last_day)
            if n_missing >= 7.75:
                assert newest.end == DUE - 7
            elif n_missing < 6.25 and rows[:, DUE - 6 : DUE + 1 - n_early].any():
                assert newest.end == DUE
                assert newest.n_usual_rows > 0
    assert n_incomplete == 0


@pytest.mark.parametrize("has_empty_weeks", [False, True])
def test_rows_on_the_last_day_or_after_show_that_the_source_went_on(*, has_empty_weeks: bool):
    rows = source(30, 0.9, seed=1, n_after=2)
    silent = rows.copy()
    silent[:, DUE - 3 :] = False
    assert judge(silent, has_empty_weeks=has_empty_weeks).end == DUE - 7
    for day in (DUE, DUE + 1, DUE + 2):
        silent[0, day] = True
        newest = judge(silent, today=day, has_empty_weeks=has_empty_weeks)
        assert (newest.end, newest.n_usual_rows) == (DUE, 0)
        # A date in the future shows nothing.
        assert judge(silent, today=day - 1, has_empty_weeks=has_empty_weeks).is_cut_off
        silent[0, day] = False


def closed(rows: NDArray[np.bool_], *weekdays: int) -> NDArray[np.bool_]:
    """Close the source on weekdays, of which 6 is the last day of the week."""
    is_open = ~np.isin(np.arange(rows.shape[1]) % 7, weekdays)
    return rows & is_open


def test_days_on_which_the_source_is_closed_are_not_missing():
    offices = closed(source(30, 0.95, seed=1), 5, 6)
    assert judge(offices) == NewestWeek(DUE, DUE - 2)
    assert judge(offices, 3).is_cut_off
    # A stock-taking on one Sunday of the year makes no Sunday usual.
    offices[:, DUE - 7 * 20] = True
    assert judge(offices) == NewestWeek(DUE, DUE - 2)


@pytest.mark.parametrize("n_weeks", [3, 20, 50])
def test_a_weekly_source_after_a_daily_one_is_not_half(n_weeks: int):
    """Each week's total is on its first day."""
    rows = source(30, 0.95, seed=1)
    is_weekly = np.arange(DUE + 1) > DUE - 7 * n_weeks
    rows[:, is_weekly & (np.arange(DUE + 1) % 7 != 0)] = False
    assert judge(rows).end == DUE
    assert (judge(rows).n_usual_rows == 0) == (n_weeks > 8)


@pytest.mark.parametrize(
    ("holiday", "a_year_ago"),
    [
        ("2026-05-31", "2025-05-31"),
        ("2026-05-31", "2025-06-01"),  # the same weekday
        ("2026-04-05", "2025-04-20"),  # Easter
        ("2026-05-24", "2025-06-08"),  # Pentecost
    ],
)
@pytest.mark.parametrize("n_early", [0, 1])
def test_a_holiday_of_a_year_ago_makes_the_same_days_usual(
    holiday: str, a_year_ago: str, n_early: int
):
    due, before = (int(np.datetime64(day, "D").astype(int)) for day in (holiday, a_year_ago))
    rows = source(30, 0.95, seed=1)
    shift = due - DUE

    def judged() -> NewestWeek:
        day = days_of(rows[:, : DUE - n_early]) + shift
        return find_newest_week(day, today=due + 1, due=due, has_empty_weeks=False)

    assert judged().is_cut_off
    rows[:, before - shift] = False
    assert judged().is_cut_off == (n_early > 0)  # a day more than the holiday


@pytest.mark.parametrize(
    ("end", "n_silent", "is_complete"),
    [("2025-12-26", 3, True), ("2025-12-26", 4, False), ("2026-01-02", 2, True)],
)
def test_the_turn_of_the_year_is_a_holiday_in_the_first_year_too(
    end: str, n_silent: int, *, is_complete: bool
):
    due = int(np.datetime64(end, "D").astype(np.int64))
    offices = closed(source(30, 0.95, seed=1), 0, 1)[:, -7 * 30 :]  # weeks to Friday
    day = days_of(offices[:, :-n_silent]) + due + 1 - 7 * 30
    newest = find_newest_week(day, today=due + 3, due=due, has_empty_weeks=False)
    assert (newest.end == due) == is_complete
    assert newest.n_usual_rows == pytest.approx(28.5 * n_silent, abs=3)


def test_holidays_within_the_year_do_not_hide_a_cut_off():
    rows = source(30, 0.8, seed=1)
    rows[:, [DUE - 30, DUE - 100, DUE - 101, DUE - 200, DUE - 7 * 26]] = False
    for n_early in range(1, 7):
        assert judge(rows, n_early).is_cut_off


def test_weeks_without_any_row_count_if_they_are_usual():
    rare = source(1, 0.1, seed=3)
    last = int(days_of(rare)[-1])
    for n_weeks in range(12):
        due = DUE + 7 * n_weeks
        newest = find_newest_week(days_of(rare), today=due + 1, due=due, has_empty_weeks=True)
        assert newest.end == due or 6 < newest.n_usual_rows < 7
        none = find_newest_week(days_of(rare), today=due + 1, due=due, has_empty_weeks=False)
        assert none.end - last < 7
    weekly = closed(source(3, 1, seed=1), *range(6))
    due = DUE + 7
    newest = find_newest_week(days_of(weekly), today=due + 1, due=due, has_empty_weeks=True)
    assert newest.end == DUE


def test_nothing_is_usual_in_the_first_weeks():
    rows = source(1000, 0.9, seed=1)[:, DUE + 1 - 28 :]
    newest = find_newest_week(days_of(rows)[:-1], today=29, due=27, has_empty_weeks=True)
    assert newest.end == 27
    cut = find_newest_week(days_of(rows[:, :25]), today=29, due=27, has_empty_weeks=True)
    assert cut == NewestWeek(27, 24)


def coverage_of(*n_days: Sequence[int], of_all: Sequence[int] | None = None) -> list[list[float]]:
    """Compute each series' coverage, rounded, from its days per week since week 0."""
    sizes = list(map(len, n_days))
    shares = compute_coverage(
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate(n_days),
        coverage_of_all(np.array(of_all or [7] * max(sizes))),
    )
    parts = np.split(shares, np.cumsum(sizes)[:-1])
    return [part.round(2).tolist() for part in parts]


YEAR = [5] * 30 + [3] + [5] * 21


@pytest.mark.parametrize(
    ("n_days", "expected"),
    [
        ([7, 7, 7, 7, 3], [1, 1, 1, 1, 0.43]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        # A tenth of four weeks is none of them, so the fewest days are usual.
        ([3, 7, 7, 7, 7], [1] * 5),
        ([4], [1]),
        # Three earlier weeks are too few for a usual number.
        ([7, 7, 7, 2], [1] * 4),
        # A series that does not sell every day is complete with its fewest days.
        ([2, 1, 3, 1, 2, 1, 1, 4, 1], [1] * 9),
        # A few short weeks a year do not change the usual number.
        ([5] * 20 + [4, 3] + [5] * 20 + [2], [1] * 20 + [0.8, 0.6] + [1] * 20 + [0.4]),
        # A week that was as short a year earlier, such as that of a holiday, is complete,
        (YEAR + [5] * 30 + [3], [1] * 30 + [0.6] + [1] * 52),
        # also if the holiday moved by a week, but not by ten.
        (YEAR + [5] * 31 + [3], [1] * 30 + [0.6] + [1] * 53),
        (YEAR + [5] * 40 + [3], [1] * 30 + [0.6] + [1] * 61 + [0.6]),
        # Weeks more than a year ago do not count.
        ([7] * 60 + [5] * 53, [1] * 113),
    ],
)
def test_coverage_is_the_share_of_the_usual_days(n_days: list[int], expected: list[float]) -> None:
    assert coverage_of(n_days) == [expected]


def test_a_sparse_daily_series_is_not_more_complete_than_the_source() -> None:
    """One day alone would be complete, but no series has rows since Wednesday."""
    sparse, weekly = [2, 1, 3, 1, 2, 1], [1] * 6
    shares = coverage_of(sparse, weekly, of_all=[7, 7, 7, 7, 7, 3])
    assert shares == [[1, 1, 1, 1, 1, 0.43], [1] * 6]


@pytest.mark.parametrize(
    ("weeks", "max_gap", "expected"),
    [
        ([0, 1, 2], 0, [False] * 3),
        ([0, 2, 3], 1, [False] * 3),
        ([0, 2, 3], 0, [True, False, False]),
        ([0, 1, 9, 10, 30, 31], 7, [True] * 4 + [False] * 2),
        ([], 0, []),
    ],
)
def test_weeks_before_the_last_long_gap_of_each_series(
    weeks: list[int], max_gap: int, expected: list[bool]
):
    other = [40, 41]
    series = np.repeat([3, 5], [len(weeks), len(other)])
    found = precede_long_gap(series, np.array(weeks + other), max_gap)
    assert found.tolist() == [*expected, False, False]
    assert precede_long_gap(series[:0], np.array(weeks[:0]), max_gap).tolist() == []
