"""Frames made one: the same values as each had, and few bytes a row."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.data.sources.http.reader import compact, concat


def frame(values: list[Any]) -> pd.DataFrame:
    """A frame of one column of whatever."""
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def told(values: "pd.Series[Any]") -> list[str]:
    """Values with their type: 7, 7.0 and "7" are three; what is missing is None."""
    plain = [None if pd.isna(value) else value for value in values]
    return [repr(getattr(value, "item", lambda value=value: value)()) for value in plain]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["a", "b", None, "a"], "category"),
        ([1.5, 2.5], "float64"),
        ([1, 2], "int64"),
        ([1, 2.5], "object"),
        ([1, None], "object"),
        (["a", 1], "object"),
        ([True, False], "object"),
        ([{"a": 1}], "object"),
        ([10**30], "object"),
    ],
)
def test_a_column_of_one_kind_takes_few_bytes(values: list[Any], dtype: str) -> None:
    column = compact(frame(values))["x"]
    assert str(column.dtype) == dtype
    assert told(column) == told(frame(values)["x"])


@given(
    pages=st.lists(
        st.lists(
            st.none() | st.text(max_size=2) | st.integers() | st.floats(allow_nan=False), max_size=4
        ),
        min_size=1,
        max_size=4,
    )
)
def test_pages_in_a_row_hold_what_each_of_them_held(pages: list[list[Any]]) -> None:
    rows = concat([compact(frame(values)) for values in pages])
    assert told(rows["x"]) == [one for values in pages for one in told(frame(values)["x"])]


def test_texts_of_many_pages_share_their_categories() -> None:
    rows = concat([compact(frame(["a", "b"])), compact(frame([])), compact(frame(["c", "a"]))])
    assert rows["x"].cat.categories.tolist() == ["a", "b", "c"]
    assert rows["x"].tolist() == ["a", "b", "c", "a"]


def test_frames_without_rows_are_one_without_rows() -> None:
    assert concat([compact(frame([])), compact(frame([]))]).shape == (0, 1)
