"""A contract refuses frames that break it, arranges the others and digests their content."""

import struct
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.errors import DataError
from forecast_assets.storage.contract import Column, Kind, TableContract, cast, digest

REPEATABLE = settings(derandomize=True, deadline=None, max_examples=20, database=None)
KINDS: dict[str, Kind] = {
    "at": "timestamp",
    "day": "date",
    "is_on": "bool",
    "n": "int",
    "name": "string",
    "time": "datetime",
    "x": "float",
}
TABLE = TableContract(
    "things",
    key=("name", "day"),
    columns=(
        Column("name", "string", "Which thing."),
        Column("day", "date", "When."),
        Column("x", "float", "How much.", nullable=True),
        Column("n", "int", "How many."),
        Column("is_on", "bool", "Whether."),
        Column("time", "datetime", "The wall clock."),
        Column("at", "timestamp", "When it ran.", volatile=True),
    ),
    rules=(("n is at least 0", lambda frame: frame["n"] >= 0),),
)


def things(**changed: list[object]) -> pd.DataFrame:
    """Return two rows in key order that keep the contract, with a null in the second."""
    columns: dict[str, object] = {
        "name": ["a", "b"],
        "day": pd.to_datetime(["2026-01-02", "2026-01-02"]),
        "x": [1.5, None],
        "n": [1, 2],
        "is_on": [True, False],
        "time": pd.to_datetime(["2026-01-02 10:00", "2026-01-02 11:00"]),
        "at": pd.to_datetime(["2026-01-03", "2026-01-03"], utc=True),
    }
    return pd.DataFrame({**columns, **changed})


def test_a_frame_that_keeps_the_contract_comes_back_in_its_order():
    frame = things()
    checked = TABLE.check(frame.iloc[::-1, ::-1].set_index(pd.Index([7, 7])))
    assert list(checked.columns) == TABLE.names
    assert checked["name"].tolist() == ["a", "b"]
    assert list(checked.index) == [0, 1]
    assert {name: str(dtype) for name, dtype in checked.dtypes.items()} == {
        "name": "object",
        "day": "datetime64[ns]",
        "x": "float64",
        "n": "int64",
        "is_on": "bool",
        "time": "datetime64[ns]",
        "at": "datetime64[ns, UTC]",
    }


def test_a_frame_is_not_changed_by_its_check():
    frame = things(name=["b", np.nan])
    before = frame.copy()
    with pytest.raises(DataError):
        TABLE.check(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_checking_twice_changes_nothing():
    once = TABLE.check(things())
    pd.testing.assert_frame_equal(TABLE.check(once), once)


def test_an_empty_table_keeps_its_contract():
    empty = TABLE.empty()
    assert len(TABLE.check(empty)) == 0
    assert TABLE.data_version(empty) == TABLE.data_version(TABLE.check(empty))


def test_rows_without_a_key_are_ordered_by_every_column():
    table = TableContract("log", key=(), columns=TABLE.columns)
    assert table.check(pd.concat([things(), things()]))["name"].tolist() == ["a", "a", "b", "b"]


def test_missing_unknown_and_repeated_columns_are_named():
    frame = things().drop(columns=["x", "n"]).assign(z=1)
    with pytest.raises(
        DataError,
        match=r"The table `things` breaks its contract: its columns differ \(missing: x, n;"
        r" unknown: z; duplicated: none\)\. It was not written; earlier versions are unchanged\."
        r" Correct the rows or the code that made them, and run again\.",
    ):
        TABLE.check(frame)
    with pytest.raises(DataError, match=r"missing: none; unknown: none; duplicated: x\)"):
        TABLE.check(pd.concat([things(), things()[["x"]]], axis=1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": ["a", None]}, r"`name` is null in 1 of 2 rows \(None / 2026-01-02\)"),
        (
            {"name": ["a", "a"]},
            r"the key \(name, day\) is not unique in 2 of 2 rows \(a / 2026-01-02, a / 2026-",
        ),
        ({"n": [0, -1]}, r'the rule "n is at least 0" is broken in 1 of 2 rows \(b / 2026-01-02\)'),
        ({"name": ["a", "a"], "n": [-1, 1]}, r'is not unique in 2 of 2 rows .*; the rule "n is'),
    ],
    ids=["null", "duplicate key", "rule", "two problems"],
)
def test_rows_that_break_the_contract_are_named(changed: dict[str, list[object]], message: str):
    with pytest.raises(DataError, match=message):
        TABLE.check(things(**changed))


def test_only_the_first_few_rows_are_named():
    many = pd.concat([things(n=[-1, -1], name=[f"{i}", f"{i}b"]) for i in range(4)])
    with pytest.raises(DataError, match=r"in 8 of 8 rows \(.* and 3 more\)"):
        TABLE.check(many)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("x", ["1.5", "much"]),
        ("n", [1.5, 2.0]),
        ("n", [1, None]),
        ("n", ["1", "2"]),
        ("n", [10**30, 1]),
        ("is_on", [True, None]),
        ("is_on", ["yes", "no"]),
        ("is_on", [1, 2]),
        ("name", ["a", 1]),
        ("name", [1, 2]),
        ("name", [b"a", b"b"]),
        ("day", [20260102, 20260102]),
        ("day", ["soon", "later"]),
        ("day", list(pd.to_datetime(["2026-01-02 10:00", "2026-01-02 00:00"]))),
        ("day", list(pd.to_datetime(["2026-01-02", "2026-01-02"], utc=True))),
        ("time", [1.0, 2.0]),
        ("time", list(pd.to_datetime(["2026-01-02", "2026-01-02"], utc=True))),
        ("at", [1, 2]),
        ("at", ["soon", "later"]),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(column: str, values: list[object]):
    with pytest.raises(DataError, match=f"breaks its contract: `{column}` is not {KINDS[column]}:"):
        TABLE.check(things(**{column: values}))


def test_dates_and_texts_of_times_are_converted():
    checked = TABLE.check(things(day=[date(2026, 1, 2)] * 2, at=["2026-01-02T05:00+02:00"] * 2))
    assert checked["day"].eq(pd.Timestamp("2026-01-02")).all()
    assert checked["at"].eq(pd.Timestamp("2026-01-02T03:00Z")).all()


def test_times_are_kept_in_whole_microseconds():
    times = pd.Series(pd.to_datetime(["2026-01-02 10:00:00.123456789"]))
    assert cast(times, "datetime")[0] == pd.Timestamp("2026-01-02 10:00:00.123456")
    assert cast(times, "timestamp")[0] == pd.Timestamp("2026-01-02 10:00:00.123456Z")


def test_volatile_columns_do_not_count_in_the_data_version():
    first = TABLE.check(things())
    later = TABLE.check(things(at=list(pd.to_datetime(["2026-02-03", "2026-02-03"], utc=True))))
    assert TABLE.data_version(first) == TABLE.data_version(later)
    assert digest(first, KINDS) != digest(later, KINDS)


def test_the_digest_of_a_known_frame_never_changes():
    """Guard the stored data versions: with another digest every week would be computed again."""
    assert digest(TABLE.check(things()), KINDS) == "2a4530fde48b2abb2f9416d2374bbd36"
    assert TABLE.data_version(TABLE.check(things())) == "bae7ca12a2bb9127e3bb12d7da26385f"


def test_the_memory_layout_does_not_count():
    frame = TABLE.check(things())
    other = frame.astype(
        {"day": "datetime64[s]", "time": "datetime64[us]", "n": "int32", "name": "string"}
    )
    assert digest(other, KINDS) == digest(frame, KINDS)


@pytest.mark.parametrize(
    ("kind", "values", "others"),
    [
        ("float", [1.0], [np.nextafter(1.0, 2.0)]),
        ("string", [None], [""]),
        ("string", [None], ["nan"]),
        ("string", ["ab", "c"], ["a", "bc"]),
    ],
    ids=["smallest float change", "null or empty", "null or its name", "texts run together"],
)
def test_different_values_have_different_digests(
    kind: Kind, values: list[object], others: list[object]
):
    assert digest(pd.DataFrame({"x": values}), {"x": kind}) != digest(
        pd.DataFrame({"x": others}), {"x": kind}
    )


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x7FF8000000000000, np.nan),
        (0xFFF8000000000000, np.nan),
        (0x7FF8000000000123, np.nan),
        (0x8000000000000000, 0.0),
    ],
    ids=["nan", "negative nan", "nan with a payload", "minus zero"],
)
def test_equal_floats_of_other_bits_have_the_same_digest(bits: int, value: float):
    frame = pd.DataFrame({"x": np.frombuffer(struct.pack("<Q", bits), dtype="<f8")})
    assert digest(frame, {"x": "float"}) == digest(pd.DataFrame({"x": [value]}), {"x": "float"})


def test_names_and_kinds_count():
    frame = pd.DataFrame({"n": [1], "m": [1]})
    digests = {digest(frame, {"n": "int"}), digest(frame, {"m": "int"})}
    assert len(digests | {digest(frame, {"n": "float"})}) == 3


def changed_value(value: Any, kind: Kind) -> object:
    """Return another value of the same kind."""
    match kind:
        case "string":
            return f"{value}!"
        case "float":
            return 0.25 if value == 0.5 else 0.5
        case "int":
            return 7 if value == 8 else 8
        case "bool":
            return not value
        case _:
            return value + pd.Timedelta(days=1)


def panels() -> st.SearchStrategy[pd.DataFrame]:
    """Generate frames of one to five rows with a column of each kind, with nulls where allowed."""
    times = st.datetimes(pd.Timestamp("1900-01-01"), pd.Timestamp("2200-01-01"))
    rows = st.fixed_dictionaries(
        {
            "name": st.text(st.characters(exclude_categories=["Cs"])) | st.none(),
            "x": st.floats(allow_nan=False) | st.none(),
            "n": st.integers(-(2**63), 2**63 - 1),
            "is_on": st.booleans(),
            "day": st.dates(date(1900, 1, 1), date(2200, 1, 1)),
            "time": times,
            "at": times,
        }
    )
    return st.lists(rows, min_size=1, max_size=5).map(
        lambda made: pd.DataFrame(
            {name: cast(pd.Series([row[name] for row in made]), KINDS[name]) for name in KINDS}
        )
    )


@REPEATABLE
@given(frame=panels(), order=st.permutations(list(KINDS)))
def test_the_order_of_columns_does_not_count(frame: pd.DataFrame, order: list[str]):
    assert digest(frame[order], {name: KINDS[name] for name in order}) == digest(frame, KINDS)


@REPEATABLE
@given(frame=panels(), data=st.data())
def test_any_changed_value_counts(frame: pd.DataFrame, data: st.DataObject):
    row = data.draw(st.integers(0, len(frame) - 1))
    column = data.draw(st.sampled_from(sorted(KINDS)))
    values = list(frame[column])
    values[row] = changed_value(values[row], KINDS[column])
    changed = frame.assign(**{column: cast(pd.Series(values), KINDS[column])})
    assert digest(changed, KINDS) != digest(frame, KINDS)


@REPEATABLE
@given(frame=panels())
def test_an_additional_row_counts(frame: pd.DataFrame):
    longer = pd.concat([frame, frame.tail(1)], ignore_index=True)
    assert digest(longer, KINDS) != digest(frame, KINDS)
