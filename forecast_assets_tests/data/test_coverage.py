"""Coverage: how much of a week is there, of what is usual, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from forecast_assets.data.weekly import covered


def coverage_of(*n_days: Sequence[int], of_all: Sequence[int] | None = None) -> list[list[float]]:
    """Each series' coverage, rounded, from its days a week, beginning in week 0."""
    sizes = [len(one) for one in n_days]
    shares = covered(
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate([np.array(one) for one in n_days]),
        np.array(of_all or [7] * max(sizes)),
    )
    parts = np.split(shares, np.cumsum(sizes)[:-1])
    return [part.round(2).tolist() for part in parts]


@pytest.mark.parametrize(
    ("n_days", "expected"),
    [
        ([7, 7, 7, 7, 3], [1, 1, 1, 1, 0.43]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        ([3, 7, 7, 7, 7], [1] * 5),  # a tenth of four weeks is none of them: the least is usual
        ([4], [1]),
        ([7, 7, 7, 2], [1] * 4),  # of three weeks nothing can be called usual
    ],
)
def test_a_week_is_held_against_the_usual_one(n_days: list[int], expected: list[float]) -> None:
    assert coverage_of(n_days) == [expected]


def test_a_few_short_weeks_a_year_change_nothing_in_what_is_usual() -> None:
    (shares,) = coverage_of([5] * 20 + [4, 3] + [5] * 20 + [2])
    assert shares[20:22] == [0.8, 0.6]
    assert shares[-1] == 0.4
    assert set(shares[:20] + shares[22:-1]) == {1}


def test_a_series_that_does_not_sell_every_day_is_whole_with_its_fewest_days() -> None:
    assert coverage_of([2, 1, 3, 1, 2, 1, 1, 4, 1]) == [[1] * 9]


def test_a_week_that_was_as_short_a_year_ago_is_whole() -> None:
    """A holiday, which moves by a week now and then."""
    year = [5] * 30 + [3] + [5] * 21
    for shift in (0, 1):
        (shares,) = coverage_of(year + [5] * (30 + shift) + [3])
        assert shares[-1] == 1
    (shares,) = coverage_of(year + [5] * 40 + [3])
    assert shares[-1] == 0.6


def test_what_was_usual_over_a_year_ago_does_not_count() -> None:
    (shares,) = coverage_of([7] * 60 + [5] * 53)
    assert shares[-1] == 1


def test_where_the_whole_source_ends_early_no_series_of_days_is_whole() -> None:
    """A sparse series could be whole on one day, were the source not silent since Wednesday."""
    sparse, weekly = [2, 1, 3, 1, 2, 1], [1] * 6
    shares = coverage_of(sparse, weekly, of_all=[7, 7, 7, 7, 7, 3])
    assert shares == [[1, 1, 1, 1, 1, 0.43], [1] * 6]
