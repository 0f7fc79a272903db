"""Numbers that are texts: every notation that is certain, and those that are not."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.sources.numbers import MAY_BE_THOUSANDS
from forecast_assets.errors import DataError

COLUMNS = {"unique_id": "unique_id", "ds": "ds", "y": "y"}


def map_numbers(
    values: Sequence[object], *, kind: str = "category", ids: object = "a", **settings: Any
) -> pd.DataFrame:
    """Map rows with these values of y, as a file (category) or a database (object) has them."""
    y = pd.Series(values, dtype=object).astype(kind)
    rows = pd.DataFrame({"unique_id": ids, "ds": "2026-01-02", "y": y})
    return as_raw_data(rows, columns=COLUMNS, origin="the file", **settings)


def read(values: Sequence[object], *notes: str, **settings: Any) -> list[float]:
    """Return the numbers after checking what is noted about them."""
    noted: list[str] = []
    raw = map_numbers(values, note=noted.append, **settings)
    assert noted == list(notes)
    return [float(y) for y in raw["y"]]


COMMA = "numbers have a decimal comma"
AND = "{} and {} between thousands".format
POINTS, COMMAS = AND(COMMA, "`.`"), AND("numbers have a decimal point", "`,`")


@pytest.mark.parametrize("kind", ["category", "object", "string"])
@pytest.mark.parametrize(
    ("texts", "numbers", "notes"),
    [
        (["1", "2.5", "-3e2", ".5", "7."], [1, 2.5, -300, 0.5, 7], []),
        (["100,25", "99", "-1,5"], [100.25, 99, -1.5], [COMMA]),
        (["0,125", "1,250"], [0.125, 1.25], [COMMA]),
        (["1.022,50", "987"], [1022.5, 987], [POINTS]),
        (["1,022.50", "987"], [1022.5, 987], [COMMAS]),
        (["1.234.567", "1.022", "987"], [1234567, 1022, 987], [POINTS]),
        (["1,234,567", "12"], [1234567, 12], [COMMAS]),
        (["1 022,5", "3\u00a0004", "5"], [1022.5, 3004, 5], [AND(COMMA, "a blank")]),
        (["1'022.5", "3\u2019004"], [1022.5, 3004], [AND("numbers have a decimal point", "`'`")]),
        (["1,022", "12345"], [1.022, 12345], [COMMA]),
        ([" 1,5 ", "2"], [1.5, 2], [COMMA]),
        (["1.022", "12345"], [1.022, 12345], []),
        (["1.022", "1.5"], [1.022, 1.5], []),
        (["0.750", "1.022"], [0.75, 1.022], []),
    ],
)  # fmt: skip
def test_a_notation_is_read_where_only_one_is_possible(
    texts: list[str], numbers: list[float], notes: list[str], kind: str
) -> None:
    assert read(texts, *notes, kind=kind) == numbers
    assert map_numbers(texts, kind=kind)["note"].isna().all()


@pytest.mark.parametrize(
    ("texts", "settings", "numbers"),
    [
        (["1,022", "987"], {"decimal": ","}, [1.022, 987]),
        (["1,022", "987"], {"thousands": ","}, [1022, 987]),
        (["1,022", "987"], {"decimal": "."}, [1022, 987]),
        (["1.022", "987"], {"decimal": "."}, [1.022, 987]),
        (["1.022", "987"], {"thousands": "."}, [1022, 987]),
        (["1.022", "987"], {"decimal": ","}, [1022, 987]),
        (["1.022,5", "1022"], {"decimal": ",", "thousands": "."}, [1022.5, 1022]),
        (["1 022", "1,022"], {"thousands": " "}, [1022, 1.022]),
    ],
)
def test_settings_decide_what_is_ambiguous(
    texts: list[str], settings: dict[str, str], numbers: list[float]
) -> None:
    raw = map_numbers(texts, **settings)
    assert raw["y"].tolist() == numbers
    assert raw["note"].isna().all()


def test_ambiguous_commas_are_refused_with_settings_that_decide() -> None:
    texts = ["1,022", "987", "n/a", *["2,001"] * 6]
    message = (
        "7 of 9 rows of the file, column `y`, have a separator that may stand before decimals or"
        " between thousands: row 1: '1,022', row 4: '2,001', row 5: '2,001', row 6: '2,001', row 7:"
        " '2,001' and 2 more. Their values are ambiguous, so nothing was published. Set"
        " `source.decimal` or `source.thousands` to the separator, whichever it is."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(texts)
    with pytest.raises(DataError, match="may stand before decimals or between thousands"):
        read(["1,022", "1.022"])


@pytest.mark.parametrize("kind", ["category", "object"])
def test_a_point_before_three_digits_everywhere_is_noted_for_each_row(kind: str) -> None:
    raw = map_numbers(["983", "1.022", "-1.000", None, "1.022"], kind=kind)
    assert raw["y"].fillna(0).tolist() == [983, 1.022, -1, 0, 1.022]
    doubtful = [None, MAY_BE_THOUSANDS, MAY_BE_THOUSANDS, None, MAY_BE_THOUSANDS]
    assert [note if isinstance(note, str) else None for note in raw["note"]] == doubtful
    many = [str(n) for n in range(40_000)]
    assert map_numbers([*many, "1.022"], kind=kind)["note"].isna().all()
    typed = ["1610", *(f"1.{n}" for n in range(100, 130))]
    assert map_numbers(typed, kind=kind)["note"].notna().sum() == 30
    other = [str(n) for n in range(1000, 1031)]  # a series without points beside that one
    both = map_numbers([*typed, *other], kind=kind, ids=["a"] * 31 + ["b"] * 31)
    assert both.groupby("unique_id")["note"].count().tolist() == [30, 0]


def test_numbers_that_are_no_texts_are_not_doubted() -> None:
    assert map_numbers([1.022, 983, Decimal("1.022")], kind="object")["note"].isna().all()
    assert read([1.5, "2,5", None, Decimal(3)], COMMA, kind="object")[:2] == [1.5, 2.5]


def test_a_number_in_another_notation_than_the_rest_is_a_bad_row() -> None:
    with pytest.raises(DataError, match=r"hold no number: row 3: '1\.5'\. "):
        read(["100,25", "99,5", "1.5"])
    with pytest.raises(DataError, match=r"hold no number: row 1: '1\.5'"):
        read(["1.5", "1.022", "3"], thousands=".")


@hypothesis_settings(max_examples=50)
@given(
    values=st.lists(st.decimals(-(10**7), 10**7, places=2), min_size=1, max_size=9),
    thousands=st.sampled_from(["", ".", " ", "'"]),
)
def test_any_numbers_with_a_decimal_comma_are_read_as_they_were(
    values: list[Decimal], thousands: str
) -> None:
    swapped = str.maketrans({",": thousands, ".": ","})
    texts = [f"{value:,.2f}".translate(swapped) for value in values]
    assert np.array_equal(map_numbers(texts)["y"], [float(value) for value in values])
