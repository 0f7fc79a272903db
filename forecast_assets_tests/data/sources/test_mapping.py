"""Mapping: the columns of a source as text ids, wall-clock times and numbers, and bad rows."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.errors import DataError, ForecastAssetsError, SourceError
from forecast_assets.storage.tables import table_contracts

COLUMNS = {"unique_id": "unique_id", "ds": "ds", "y": "y"}
VIENNA = ZoneInfo("Europe/Vienna")


def rows(**changed: Any) -> pd.DataFrame:
    """Two valid rows of one series as text, with other columns replaced or added."""
    valid = {"unique_id": ["a", "a"], "ds": ["2026-01-02", "2026-01-09"], "y": ["1", "2"]}
    return pd.DataFrame({**valid, **changed})


def map_rows(
    frame: pd.DataFrame, columns: Mapping[str, str] = COLUMNS, **options: Any
) -> pd.DataFrame:
    """Map the frame to raw_data, under the name `the file`."""
    return as_raw_data(frame, columns=columns, origin="the file", **options)


ABSENT = (
    r"the file has no column value; it has unique_id, ds, y\. Nothing was published\. Name the"
    r" columns that hold unique_id, ds and y in \[source\] of forecast\.toml\."
)
REPEATED = (
    r"the file has several columns named y, so it is not clear which one to read\. Nothing was"
    r" published\. Give each column its own name\."
)
OUTSIDE = "outside the years 1678 to 2261"
MISSING = f"a date that stands for a missing one, {OUTSIDE}"
EMPTY = r"the file has no rows\. Nothing was published\. Check what writes the source\."


@pytest.mark.parametrize(
    ("frame", "y", "message"),
    [
        (rows(), "value", ABSENT),
        (pd.concat([rows(), rows()[["y"]]], axis=1), "y", REPEATED),
        (rows().head(0), "y", EMPTY),
    ],
)
def test_a_frame_without_its_columns_or_rows_is_refused(
    frame: pd.DataFrame, y: str, message: str
) -> None:
    with pytest.raises((SourceError, DataError), match=f"^{message}$"):
        map_rows(frame, {**COLUMNS, "y": y})


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("y", ["1", "much"], "hold no number: row 2: 'much'"),
        ("y", ["1,5", "2.5"], "hold no number: row 1: '1,5'"),
        ("y", [[1], "2"], "hold no number: row 1: [1]"),
        ("y", pd.Series([10**400, 1], dtype=object), "hold no number: row 1: 1000"),
        ("y", [1j, 2.0], "hold no number: row 1: 1j"),
        ("y", pd.to_datetime(["2026-01-02", None]), "hold no number: row 1: Timestamp("),
        ("y", pd.to_timedelta(["1D", None]), "hold no number: row 1: Timedelta("),
        ("y", ["1", "inf"], "hold an infinite number: row 2: 'inf'"),
        ("ds", ["2026-01-02", None], "hold no time: row 2: None"),
        ("ds", pd.to_datetime(["2026-01-02", None]), "hold no time: row 2: NaT"),
        ("ds", ["02/03/2020", "2026-01-02"], "hold no ISO 8601 time (such as 2026-11-20): row 1:"),
        ("ds", ["9999-12-31", "2026-01-02"], f"hold {MISSING}: row 1: '9999-12-31'"),
        ("ds", ["0001-01-01T00:00:00", "2026-01-02"], f"hold {MISSING}: row 1: '0001-01-01T00"),
        ("ds", ["99991231", "2026-01-02"], f"hold {MISSING}: row 1: '99991231'"),
        ("ds", ["1066-10-14", "2026-01-02"], f"hold a time {OUTSIDE}: row 1: '1066-10-14'"),
        ("ds", ["9999-W10", "2026-01-02"], f"hold a time {OUTSIDE}: row 1: '9999-W10'"),
        ("ds", ["2025-10", "2025-11"], "hold a month, which has no week (a time is such as 2026"),
        ("ds", ["2025-09-29/2025-10-05"] * 2, "hold an interval, not one time (such as 2026-11-20"),
        ("ds", ["2025-W01/2025-W02"] * 2, "hold an interval, not one time (such as 2026-11-20): r"),
        ("ds", ["2025-09-29/P1W"] * 2, "hold an interval, not one time (such as 2026-11-20): row"),
        ("ds", ["1999.5", "2026"], "hold no ISO 8601 time (such as 2026-11-20): row 1: '1999.5'"),
        ("ds", [20260102, 20260109], "hold a bare number for a time: row 1: 20260102, row 2:"),
        (
            "ds",
            pd.Series(["9999-12-31", "2026-01-02"], dtype="datetime64[s]"),
            f"hold {MISSING}: row 1: Timestamp('9999-12-31",
        ),
        ("unique_id", ["a", None], "hold no series (the id is missing): row 2: None"),
        ("unique_id", ["a", " "], "hold no name for a series: row 2: ' '"),
        ("unique_id", [b"a", "a"], "hold no name for a series: row 1: b'a'"),
        ("unique_id", [{"a": 1}, "a"], "hold no name for a series: row 1: {'a': 1}"),
        ("unique_id", ["\ud800", "a"], r"hold no name for a series: row 1: '\ud800'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_row(
    column: str, values: Any, message: str
) -> None:
    frame = rows(**{column: values}).set_index(pd.Index(["x", "x"]))
    with pytest.raises(
        DataError,
        match=rf"^\d of 2 rows of the file, column `{column}`, {re.escape(message)}.*\. Nothing was"
        r" published\. Correct the source, map another column in \[source\] of forecast\.toml, or"
        r" (set `source\.on_bad_rows = \"quarantine\"` there to go on without such rows|convert it"
        r" in a function \(`kind = \"python\"`\))\.$",
    ):
        map_rows(frame)


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-02T00:00:00Z", "2026-01-09T00:00:00"],
        ["2026-01-02T00:00:00+01:00", "2026-01-09T00:00:00+02:00"],
        ["2026-01-02T00:00:00+01", "2026-01-09T00:00:00+02"],
        ["2026-01-02 00:00-0500", "2026-01-09"],
        [datetime(2026, 1, 2, tzinfo=UTC), pd.Timestamp("2026-01-09")],
    ],
)
def test_times_with_different_offsets_are_refused_without_a_time_zone(times: list[object]) -> None:
    with pytest.raises(
        DataError,
        match=r"The times in the file have 2 different UTC offsets: \S+ in 1 rows, \S+ in 1 rows\."
        r" The week of a row is ambiguous, so nothing was published\. Set `source\.timezone` to the"
        r" time zone of the source, such as \"Europe/Vienna\", or write all times in one\.",
    ):
        map_rows(rows(ds=pd.Series(times, dtype=object)))


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-02T23:30:00+05:00", "2026-01-09T23:30:00+05:00"],
        ["2026-01-02 23:30Z", "2026-01-09 23:30Z"],
        list(pd.to_datetime(["2026-01-02 23:30", "2026-01-09 23:30"]).tz_localize("Asia/Tokyo")),
        pd.Series(["2026-01-02 23:30", "2026-01-09 23:30"], dtype="datetime64[ms]"),
    ],
)
def test_times_with_one_offset_keep_their_wall_clock(times: Any) -> None:
    raw = map_rows(rows(ds=times))
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02 23:30", "2026-01-09 23:30"]))
    assert str(raw["ds"].dtype) == "datetime64[ns]"


def test_dates_are_taken_as_they_are() -> None:
    raw = map_rows(rows(ds=[date(2026, 1, 2), date(2026, 1, 9)]))
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02", "2026-01-09"]))


def test_points_between_day_month_and_year_are_certain() -> None:
    raw = map_rows(rows(ds=["05.01.2026", " 9.1.2026 18:30"]))
    assert raw["ds"].tolist() == [pd.Timestamp("2026-01-05"), pd.Timestamp("2026-01-09 18:30")]
    for text in ("30.02.2026", "01.13.2026", "05.01.26", "05/01/2026", "05.01.2026x"):
        with pytest.raises(DataError, match=r"1 of 2 rows .* hold no ISO 8601 time"):
            map_rows(rows(ds=["2026-01-02", text]))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1.0, 10.0], ["1", "10"]),
        ([1.0, None], ["1", None]),
        (np.array([1, 2], dtype="float32"), ["1", "2"]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (pd.Series([2**53 + 1, None], dtype=object), [str(2**53 + 1), None]),
        ([1.5, 2.0], ["1.5", "2"]),
        (["1.0", "01"], ["1.0", "01"]),
        ([1e300, float("inf")], [str(int(1e300)), "inf"]),
        ([True, 1], ["True", "1"]),
    ],
)
def test_a_whole_number_is_an_id_without_decimals(ids: Any, expected: list[str | None]) -> None:
    raw = map_rows(rows(unique_id=ids), quarantine=True)
    assert [None if pd.isna(value) else value for value in raw["unique_id"]] == expected


STORES = {"unique_id": ["store", "dept"], "ds": "ds", "y": "y"}


def test_several_columns_are_joined_to_one_id() -> None:
    frame = rows(store=[1.0, None], dept=["a", "b"]).drop(columns="unique_id")
    raw = map_rows(pd.concat([frame, frame.assign(store=2.0)]), STORES, quarantine=True)
    assert raw["unique_id"].fillna("").tolist() == ["1/a", "", "2/a", "2/b"]
    assert raw["problem"][1] == "`store, dept` holds no series (the id is missing)"
    assert json.loads(raw["given"][1]) == {"store": None, "dept": "b", "ds": "2026-01-09", "y": "2"}
    third = {**STORES, "unique_id": ["store", "dept", "unique_id"]}
    joined = map_rows(rows(store=["x", "x"], dept=pd.Categorical(["a", "b"])), third)
    assert joined["unique_id"].tolist() == ["x/a/a", "x/b/a"]
    with pytest.raises(
        DataError, match=r"column `store, dept`, hold no series .*: row 2: \(nan, 'b'\)"
    ):
        map_rows(frame, STORES)


def test_ids_that_would_be_one_series_once_joined_are_refused() -> None:
    frame = rows(store=["a/b", "a"], dept=["c", "b/c"])
    with pytest.raises(
        DataError, match=r"2 ids of the file are the same .* joined by /: a/b/c\. Di"
    ):
        map_rows(frame, STORES)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2026-03-28T23:30:00+01:00", "2026-03-30T00:30:00+02:00"], ["28 23:30", "30 00:30"]),
        (["2026-03-28T23:30:00Z", "2026-03-29T23:30:00Z"], ["29 00:30", "30 01:30"]),
        (["2026-03-28 23:30", "2026-03-29T23:30:00Z"], ["28 23:30", "30 01:30"]),
        (["2026-03-28", "2026-03-30"], ["28 00:00", "30 00:00"]),
        (
            pd.to_datetime(["2026-03-28 23:30", "2026-03-29 23:30"]).tz_localize("UTC"),
            ["29 00:30", "30 01:30"],
        ),
        ([date(2026, 3, 28), date(2026, 3, 30)], ["28 00:00", "30 00:00"]),
        (["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"], ["25 02:30", "25 02:30"]),
    ],
)
def test_times_become_the_wall_clock_of_the_time_zone(times: Any, expected: list[str]) -> None:
    """The clock goes forward on 29 March, from +01:00 to +02:00, and back on 25 October."""
    raw = map_rows(rows(ds=times), zone=VIENNA)
    assert raw["ds"].dt.strftime("%d %H:%M").tolist() == expected


@pytest.mark.parametrize(
    ("text", "frequency", "expected"),
    [
        ("2025-W01", "W-SUN", "2025-01-05"),
        ("2025W01", "W-SUN", "2025-01-05"),
        ("2025-W1", "W-FRI", "2025-01-03"),
        ("2025-W01", "W-THU", "2025-01-02"),
        ("2025-W01", "W-WED", "2025-01-08"),  # which has four of its days
        ("2025-W01", "W-MON", "2025-01-06"),
        ("2026-W53", "W-SUN", "2027-01-03"),
        ("2025-W01-1", "W-FRI", "2024-12-30"),
        ("2025W01-1", "W-FRI", "2024-12-30"),
        ("2025W017T06:30", "W-FRI", "2025-01-05 06:30"),
        ("2025-005", "W-FRI", "2025-01-05"),
        ("2024-366 23:00", "W-FRI", "2024-12-31 23:00"),
        ("2025278", "W-FRI", "2025-10-05"),
        ("2025/10/05", "W-FRI", "2025-10-05"),
        ("2025/1/5 06:30", "W-FRI", "2025-01-05 06:30"),
        (" 2025-01-05 ", "W-FRI", "2025-01-05"),
        ("\t2025-W02\n", "W-SUN", "2025-01-12"),
    ],
)
def test_iso_weeks_and_days_are_read_with_blanks_around(
    text: str, frequency: str, expected: str
) -> None:
    raw = map_rows(rows(ds=[text, "2024-12-01"]), frequency=frequency)
    assert raw["ds"].tolist() == [pd.Timestamp(expected), pd.Timestamp("2024-12-01")]


@pytest.mark.parametrize(
    "text",
    [
        "2025-W54",
        "2025-W53",
        "2025-W00",
        "2025-W01-8",
        "2025-366",
        "2025-000",
        "2025366",
        "2025/13/01",
    ],
)
def test_a_week_or_day_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=rf"hold no ISO 8601 time .*: row 1: '{text}'"):
        map_rows(rows(ds=[text, "2024-12-01"]))


NEW_YORK = ZoneInfo("America/New_York")
MIDNIGHTS = ["2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"]


@pytest.mark.parametrize(
    "times",
    [
        MIDNIGHTS,
        [MIDNIGHTS[0], "2026-03-09 00:00:00+00:00"],
        pd.to_datetime(MIDNIGHTS),
        pd.Series([datetime(2026, 3, day, tzinfo=UTC) for day in (2, 9)], dtype=object),
    ],
)
def test_times_that_are_all_midnight_in_utc_are_dates(times: Any) -> None:
    days = list(pd.to_datetime(["2026-03-02", "2026-03-09"]))
    raw = map_rows(rows(ds=times), zone=NEW_YORK)
    assert raw["ds"].tolist() == days
    assert json.loads(raw["given"][0])["ds"].startswith("2026-03-02")
    assert raw["problem"].isna().all()
    assert raw["given"].notna().tolist() == [True, False]
    for zone in (None, ZoneInfo("UTC")):  # nothing to decide
        raw = map_rows(rows(ds=list(times)[:1] * 2), zone=zone)
        assert (raw["ds"].tolist(), raw["given"].notna().any()) == (days[:1] * 2, False)


@pytest.mark.parametrize(
    "times",
    [
        [MIDNIGHTS[0], "2026-03-09T05:00:00Z"],
        [MIDNIGHTS[0]] * 2,
        ["2026-03-01T19:00:00-05:00", "2026-03-08T20:00:00-04:00"],
        ["2026-03-02T05:00:00Z", "2026-03-09T05:00:00Z"],
    ],
)
def test_other_times_in_utc_are_converted(times: list[str]) -> None:
    raw = map_rows(rows(ds=times), zone=NEW_YORK)
    assert raw["ds"].tolist() == [
        pd.Timestamp(time).tz_convert(NEW_YORK).tz_localize(None) for time in times
    ]
    assert raw["given"].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("y", "much", "`y` holds no number"),
        ("y", "inf", "`y` holds an infinite number"),
        ("ds", None, "`ds` holds no time"),
        ("ds", "9999-12-31", f"`ds` holds {MISSING}"),
        ("ds", "02/03/2020", "`ds` holds no ISO 8601 time (such as 2026-11-20)"),
        ("unique_id", None, "`unique_id` holds no series (the id is missing)"),
        ("unique_id", " ", "`unique_id` holds no name for a series"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_problem_and_the_original_row(
    column: str, value: Any, problem: str
) -> None:
    bad = rows(**{column: [value, "b"]}).head(1)
    raw = map_rows(pd.concat([rows(), bad]).assign(z="?"), quarantine=True)
    assert raw["problem"].tolist() == [None, None, problem]
    original = {"unique_id": "a", "ds": "2026-01-02", "y": "1", column: value}
    assert json.loads(raw["given"][2]) == original
    assert pd.isna(raw[column][2])
    assert raw.drop(columns=[column, "published", "file", "note"]).loc[2].notna().all()
    pd.testing.assert_frame_equal(raw.head(2), map_rows(rows()))


def test_a_row_with_several_problems_lists_them_all() -> None:
    bad = pd.DataFrame({"unique_id": ["a", b"x"], "ds": ["2026-01-02", "?"], "y": ["1", "?"]})
    raw = map_rows(bad, quarantine=True)
    assert raw["problem"][1] == (
        "`unique_id` holds no name for a series; `ds` holds no ISO 8601 time (such as 2026-11-20);"
        " `y` holds no number"
    )
    assert json.loads(raw["given"][1]) == {"unique_id": "b'x'", "ds": "?", "y": "?"}


def test_a_bad_time_does_not_count_as_another_offset() -> None:
    raw = map_rows(rows(ds=["2026-01-02T00:00Z", "?"]), quarantine=True)
    assert raw["problem"].notna().tolist() == [False, True]


def test_quarantine_refuses_a_source_with_only_bad_rows() -> None:
    """The first few of them are named."""
    with pytest.raises(DataError, match=r"^8 of 8 rows .* hold no number: .* row 5: 'x' and 3 mo"):
        map_rows(pd.concat([rows(y="x")] * 4), quarantine=True)


def odd_values() -> st.SearchStrategy[object]:
    """Values that no source should hold, and some valid ones."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text("1aé. -:T", max_size=5),
        st.binary(max_size=3),
        st.dates(),
        st.datetimes(timezones=st.none() | st.timezones()),
        st.timedeltas(),
        st.lists(st.integers(), max_size=2),
        st.sampled_from(["2026-01-02", "2026-01-02T00:00+01", "02/03/2020", "1", "inf", "NA", ""]),
    )


@hypothesis_settings(max_examples=50)
@given(
    columns=st.lists(st.sampled_from(["unique_id", "ds", "y", "z"]), max_size=5),
    data=st.data(),
)
def test_any_frame_is_mapped_or_refused_with_an_error_of_this_package(
    columns: list[str], data: st.DataObject
) -> None:
    n_rows = data.draw(st.integers(0, 3))
    values = st.lists(odd_values(), min_size=n_rows, max_size=n_rows)
    columns = [*columns, "unique_id", "ds", "y"] if data.draw(st.booleans()) else columns
    series = [pd.Series(data.draw(values), dtype=object, name=name) for name in columns]
    series = [each.infer_objects() if data.draw(st.booleans()) else each for each in series]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    try:
        raw = map_rows(
            frame,
            zone=data.draw(st.sampled_from([None, VIENNA])),
            quarantine=data.draw(st.booleans()),
        )
    except ForecastAssetsError:
        return
    valid = raw[raw["problem"].isna()]
    assert len(raw) == n_rows
    assert valid[["unique_id", "ds"]].notna().all().all()
    assert valid["given"].isna().all() or valid["ds"].dt.normalize().eq(valid["ds"]).all()
    assert not np.isinf(raw["y"]).any()
    assert list(table_contracts((80,))["raw_data"].check(raw).columns) == [
        *COLUMNS,
        "problem",
        "given",
        "published",
        "file",
        "note",
    ]


@hypothesis_settings(max_examples=20)
@given(values=st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=9))
def test_decimals_and_their_texts_become_the_same_floats(values: list[Decimal]) -> None:
    expected = [float(value) for value in values]
    for y in (values, [str(value) for value in values]):
        frame = pd.DataFrame({"unique_id": "a", "ds": "2026-01-02", "y": y})
        assert map_rows(frame)["y"].tolist() == expected
