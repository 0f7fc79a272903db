"""A contract refuses frames that break it, arranges the others and digests their content."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecast_assets.errors import DataError
from forecast_assets.storage.contract import Column, Kind, TableContract, cast, digest

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
        ({"is_on": [True, None]}, r"`is_on` is null in 1 of 2 rows \(b / 2026-01-02\)"),
        (
            {"name": ["a", "a"]},
            r"the key \(name, day\) is not unique in 2 of 2 rows \(a / 2026-01-02, a / 2026-",
        ),
        ({"n": [0, -1]}, r'the rule "n is at least 0" is broken in 1 of 2 rows \(b / 2026-01-02\)'),
        ({"name": ["a", "a"], "n": [-1, 1]}, r'is not unique in 2 of 2 rows .*; the rule "n is'),
    ],
    ids=["null", "null bool", "duplicate key", "rule", "two problems"],
)
def test_rows_that_break_the_contract_are_named(changed: dict[str, list[object]], message: str):
    with pytest.raises(DataError, match=message):
        TABLE.check(things(**changed))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("x", ["1.5", "much"]),
        ("n", [1.5, 2.0]),
        ("n", [1, None]),
        ("n", ["1", "2"]),
        ("n", [10**30, 1]),
        ("is_on", ["yes", None]),
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
)
def test_values_that_look_alike_have_different_digests(
    kind: Kind, values: list[object], others: list[object]
):
    digests = {digest(pd.DataFrame({"x": each}), {"x": kind}) for each in (values, others)}
    assert len(digests) == 2


def test_equal_floats_of_other_bits_have_the_same_digest():
    bits = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000123, 0x8000000000000000]
    frame = pd.DataFrame({"x": np.array(bits, dtype="<u8").view("<f8")})
    plain = pd.DataFrame({"x": [np.nan, np.nan, np.nan, 0.0]})
    assert digest(frame, {"x": "float"}) == digest(plain, {"x": "float"})


def test_the_order_of_columns_does_not_count_but_any_changed_value_and_row_does():
    frame = TABLE.check(things())
    assert digest(frame[sorted(frame)], KINDS) == digest(frame, KINDS)
    changes = {
        "name": ["a", "b!"],
        "day": pd.to_datetime(["2026-01-02", "2026-01-03"]),
        "x": [None, 1.5],
        "n": [1, 3],
        "is_on": [True, True],
        "time": frame["time"] + pd.Timedelta(microseconds=1),
        "at": frame["at"] + pd.Timedelta(microseconds=1),
    }
    others = [frame, frame.head(1), pd.concat([frame, frame.tail(1)])]
    others += [TABLE.arrange(frame.assign(**{name: new})) for name, new in changes.items()]
    assert len({digest(other, KINDS) for other in others}) == 3 + len(KINDS)
