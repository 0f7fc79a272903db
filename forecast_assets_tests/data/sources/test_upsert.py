"""New rows among those fetched before: which stay, which give way, in which order."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.data.sources.fetch import upserted

Key = tuple[str, int]


def raw(rows: list[tuple[str, int, float]]) -> pd.DataFrame:
    """raw_data of rows: a series, a day of January 2026, a value."""
    unique_id, days, y = zip(*rows, strict=True) if rows else ((), (), ())
    return pd.DataFrame(
        {
            "unique_id": pd.Series(unique_id, dtype=object),
            "ds": pd.to_datetime([f"2026-01-{day:02}" for day in days]).astype("datetime64[ns]"),
            "y": pd.Series(y, dtype="float64"),
        }
    )


def tables(*, longest: int = 8) -> st.SearchStrategy[dict[Key, float]]:
    """Rows with unique keys, some of which are likely to come in two tables."""
    key = st.tuples(st.sampled_from(["a", "b", "a'; DROP TABLE x;--"]), st.integers(1, 5))
    return st.dictionaries(key, st.floats(allow_nan=False), max_size=longest)


@given(before=tables(), new=tables())
def test_it_is_as_a_dict_would_have_it(before: dict[Key, float], new: dict[Key, float]):
    stays = {key: y for key, y in before.items() if key not in new}
    expected = raw([(*key, y) for key, y in {**stays, **new}.items()])
    found = upserted(
        raw([(*key, y) for key, y in before.items()]), raw([(*key, y) for key, y in new.items()])
    )
    pd.testing.assert_frame_equal(found, expected)


def test_all_earlier_rows_of_a_key_give_way_to_all_new_ones():
    before = raw([("a", 2, 1), ("b", 2, 5), ("a", 2, 2), ("a", 9, 3)])
    new = raw([("a", 2, 7), ("a", 2, 8), ("a", 2, 9)])
    expected = raw([("b", 2, 5), ("a", 9, 3), ("a", 2, 7), ("a", 2, 8), ("a", 2, 9)])
    pd.testing.assert_frame_equal(upserted(before, new), expected)


def test_rows_that_were_set_aside_go_for_they_may_have_been_mended():
    before = raw([("a", 2, 1), ("b", 2, 5)]).assign(problem=[None, "`y` holds no number"])
    new = raw([("c", 2, 7)]).assign(problem=None)
    assert upserted(before, new)["unique_id"].tolist() == ["a", "c"]


def test_the_same_rows_again_change_nothing_but_the_order():
    before = raw([("a", 2, 1), ("b", 2, 5), ("a", 9, 3)])
    once = upserted(before, before.tail(1))
    pd.testing.assert_frame_equal(upserted(once, before.tail(1)), once)
    pd.testing.assert_frame_equal(once, before)


@pytest.mark.parametrize("before_is", ["object", "category", "string"])
@pytest.mark.parametrize("new_is", ["object", "category"])
def test_ids_may_be_kept_as_categories(before_is: str, new_is: str):
    before, new = raw([("a", 2, 1), ("b", 2, 5)]), raw([("c", 2, 6), ("a", 2, 7)])
    before["unique_id"] = before["unique_id"].astype(before_is)
    new["unique_id"] = new["unique_id"].astype(new_is)
    found = upserted(before, new)
    expected = raw([("b", 2, 5), ("c", 2, 6), ("a", 2, 7)])
    assert found.astype({"unique_id": object}).to_numpy().tolist() == expected.to_numpy().tolist()
    are_both = before_is == new_is == "category"
    assert isinstance(found["unique_id"].dtype, pd.CategoricalDtype) == are_both
