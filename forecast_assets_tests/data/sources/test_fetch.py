"""Fetching: the demo, the upsert of an incremental source, and dates in texts of the settings."""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.config.loader import parse
from forecast_assets.data.sources.fetch import display_name, fetch, upsert
from forecast_assets.data.sources.request import FetchRequest, expand_as_of
from forecast_assets_tests.builders import AS_OF

Key = tuple[str, int]


def test_the_demo_is_six_weekly_series_without_gaps() -> None:
    settings = parse({}, root=Path("/root"), var=Path("/var"), origin="a test")
    raw = fetch(FetchRequest(settings, AS_OF))
    assert raw.groupby("unique_id").size().tolist() == [523] * 6
    assert raw["y"].notna().all()
    assert {name: str(dtype) for name, dtype in raw.dtypes.items()} == {
        "unique_id": "object",
        "ds": "datetime64[ns]",
        "y": "float64",
        "problem": "object",
        "given": "object",
        "published": "object",
        "file": "object",
        "note": "object",
    }
    assert display_name(settings) == "the demo data"


def raw(rows: list[tuple[str, int, float]]) -> pd.DataFrame:
    """Return the table raw_data of rows: a series, a day of January 2026, a value."""
    unique_id, days, y = zip(*rows, strict=True) if rows else ((), (), ())
    return pd.DataFrame(
        {
            "unique_id": pd.Series(unique_id, dtype=object),
            "ds": pd.to_datetime([f"2026-01-{day:02}" for day in days]).astype("datetime64[ns]"),
            "y": pd.Series(y, dtype="float64"),
        }
    )


def tables() -> st.SearchStrategy[dict[Key, float]]:
    """Rows with unique keys, of which two tables are likely to share some."""
    key = st.tuples(st.sampled_from(["a", "b", "a'; DROP TABLE x;--"]), st.integers(1, 5))
    return st.dictionaries(key, st.floats(allow_nan=False), max_size=8)


@hypothesis_settings(max_examples=30)
@given(previous=tables(), new=tables())
def test_an_upsert_is_the_update_of_a_dict(previous: dict[Key, float], new: dict[Key, float]):
    kept = {key: y for key, y in previous.items() if key not in new}
    expected, before, after = (
        raw([(*key, y) for key, y in rows.items()]) for rows in (kept | new, previous, new)
    )
    pd.testing.assert_frame_equal(upsert(before, after), expected)


def test_all_new_rows_of_a_key_replace_all_previous_ones():
    previous = raw([("a", 2, 1), ("b", 2, 5), ("a", 2, 2), ("a", 9, 3)])
    new = raw([("a", 2, 7), ("a", 2, 8), ("a", 2, 9)])
    expected = raw([("b", 2, 5), ("a", 9, 3), ("a", 2, 7), ("a", 2, 8), ("a", 2, 9)])
    pd.testing.assert_frame_equal(upsert(previous, new), expected)
    pd.testing.assert_frame_equal(upsert(expected, new), expected)


def test_previous_bad_rows_are_dropped():
    previous = raw([("a", 2, 1), ("b", 2, 5)]).assign(problem=[None, "`y` holds no number"])
    new = raw([("c", 2, 7)]).assign(problem=None)
    assert upsert(previous, new)["unique_id"].tolist() == ["a", "c"]


TIME = datetime(2026, 1, 5, 7, 30)  # noqa: DTZ001 - in the source's own time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no date", "no date"),
        ("{as_of}", "2026-01-05"),
        ("a/{as_of:%Y/%m}/{as_of:%d}.csv", "a/2026/01/05.csv"),
        ("{as_of:W%V %H:%M}", "W02 07:30"),
        ("{as_of:}", "2026-01-05"),
        ("{other} {} {{as_of}} {as_off} {as_of!r}", "{other} {} {2026-01-05} {as_off} {as_of!r}"),
        ('{"day": "{as_of}"}', '{"day": "2026-01-05"}'),
    ],
)
def test_only_as_of_is_replaced(text: str, expected: str) -> None:
    assert expand_as_of(text, TIME) == expected
