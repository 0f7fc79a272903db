"""Test defs.metadata: tables that the UI shows without a click and without cutting them."""

import pandas as pd

from forecast_assets.defs.metadata import first_rows, with_intervals

LONG = "a_name_of_more_than_22_characters"


def test_a_table_has_five_columns_and_as_many_rows_as_fit():
    frame = pd.DataFrame({name: range(500) for name in "abcdef"}).assign(unique_id=LONG)
    text = str(first_rows(frame, ["unique_id", "f"]).value)
    lines = text.splitlines()
    assert lines[0] == "| series | f | a | b | c |"
    assert lines[2] == "| a_name_of_mor…aracters | 0 | 0 | 0 | 0 |"
    assert len(text) < 1000  # the UI shows more only after a click
    assert lines[-1] == f"{500 - (len(lines) - 4)} more rows"


def test_cells_are_short_and_columns_without_a_value_are_left_out():
    frame = pd.DataFrame(
        {
            "ds": [pd.Timestamp("2026-01-02")],
            "none": [None],
            "y": [1234567.891],
            "small": [0.0123456],
            "is_new": [True],
            "text": ["x|y"],
        }
    )
    head, _, row = str(first_rows(frame).value).splitlines()
    assert head == "| week | y | small | is new | text |"
    assert row == "| 2026-01-02 | 1,234,568 | 0.01235 | yes | x&#124;y |"


def test_an_interval_is_one_column():
    frame = pd.DataFrame({"lo_80": [1.0, None], "hi_80": [2.5, None]})
    assert list(with_intervals(frame, [80])["80 %"]) == ["1.000 to 2.500", None]
