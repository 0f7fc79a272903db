"""Test data.quality.finding."""

import numpy as np
import pytest

from forecast_assets.data.quality.comparison import WeekGrid
from forecast_assets.data.quality.finding import (
    ADVICE,
    KINDS,
    MAX_ROWS,
    SUMMARIES,
    Count,
    Finding,
    SeriesRow,
    about_series,
    about_weeks,
    from_frame,
    make_finding,
    merge,
    to_frame,
)
from forecast_assets.storage.tables import table_contracts
from forecast_assets_tests.builders import make_series

CONTRACT = table_contracts([80])["data_findings"]
GRID = WeekGrid.of(make_series(a=[1, 2], b=[3, 4, 5], c=[6]))


def about_many(n: int) -> Finding:
    """Return a finding about n series."""
    grid = WeekGrid.of(make_series(**{f"s{i:03}": [1] for i in range(n)}))
    (finding,) = about_series("vanished_series", grid, grid.starts[:-1], None, grid.newest_value)
    return finding


def test_every_kind_has_a_summary_and_advice():
    assert {form.partition("/")[0] for form in SUMMARIES} == set(ADVICE) == set(KINDS)


def test_a_finding_about_series_lists_them():
    series = np.array([True, False, True])
    (finding,) = about_series("shrunk", GRID, series, GRID.last_week, str, first="x", last="y")
    assert finding == Finding(
        "shrunk",
        2,
        ("a", "c"),
        "2 weeks of 2 series that the previous version had are missing, from the week ending x to"
        " the week ending y: a (0), c (2).",
        (SeriesRow("a", "2024-01-12", 1, "0"), SeriesRow("c", "2024-01-05", 1, "2")),
    )
    assert finding.text.endswith("c (2). " + ADVICE["shrunk"])


def test_a_finding_about_weeks_has_a_row_for_each_series():
    mask = np.array([False, False, False, True, True, True])
    (finding,) = about_weeks("gaps", GRID, mask, str)
    assert finding.rows == (
        SeriesRow("b", "2024-01-12", 2, "3"),
        SeriesRow("c", "2024-01-05", 1, "5"),
    )
    assert finding.message == (
        "3 weeks of 2 series have no value and were filled: b / 2024-01-12 (3), c / 2024-01-05 (5)."
    )


def test_there_is_no_finding_about_nothing():
    assert make_finding("unchanged", n=0) == []
    assert about_weeks("gaps", GRID, np.zeros(6, dtype=bool), str) == []


@pytest.mark.parametrize(("n", "text"), [(0, "0 weeks"), (1, "1 week"), (12_345, "12,345 weeks")])
def test_a_count_has_its_noun(n: int, text: str):
    assert f"{Count(n):week}" == text
    assert (f"{Count(n):series}", f"{Count(n)}") == (f"{n:,} series", f"{n:,}")


def test_findings_of_one_kind_are_merged():
    one = Finding("flat", 2, ("b",), "It is flat.", (SeriesRow("b", None, 2, "x"),))
    two = Finding("flat", 1, ("a", "b"), "Flat too.", (SeriesRow("a", None, 1, "y"),))
    late = Finding("late", 1, (), "It is late.")
    rows = (SeriesRow("a", None, 1, "y"), SeriesRow("b", None, 2, "x"))
    both = Finding("flat", 3, ("a", "b"), "It is flat. Flat too.", rows)
    assert merge([one, late, two]) == [late, both]


def test_findings_are_read_as_they_were_stored():
    findings = merge(
        [
            *make_finding("late", n=3, newest="x", due="y"),
            *about_weeks("gaps", GRID, np.ones(6, dtype=bool), str),
            *about_series("flat", GRID, np.array([2, 0]), None, str),
        ]
    )
    assert from_frame(CONTRACT.check(to_frame(findings))) == findings
    assert from_frame(CONTRACT.check(to_frame([]))) == []


@pytest.mark.parametrize(("n", "n_series"), [(MAX_ROWS - 2, MAX_ROWS - 2), (MAX_ROWS + 5, 0)])
def test_a_finding_about_many_series_is_stored_in_part(n: int, n_series: int):
    assert "missing: s000, s001, s002, s003, s004 and " in about_many(n).message
    frame = CONTRACT.check(to_frame([about_many(n)]))
    (finding,) = from_frame(frame)
    assert len(frame) == min(n + 1, MAX_ROWS)
    assert (finding.n, len(finding.series)) == (n, n_series)
