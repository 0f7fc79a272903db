"""Sources: what each kind reads, and in which words it refuses what it cannot."""

import gzip
import json
import lzma
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.fetch import display_name
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import DataError, ForecastAssetsError, SourceError
from forecast_assets.storage.tables import table_contracts

REPEATABLE = hypothesis_settings(derandomize=True, deadline=None, max_examples=80, database=None)
CSV = "unique_id,ds,y\n007,2026-01-02,1.5\n007,2026-01-09,\nNA,2026-01-02,2\n"
RAW = ["unique_id", "ds", "y", "problem", "given"]
COLUMNS = {"unique_id": "unique_id", "ds": "ds", "y": "y"}


def settings_of(root: Path, path: str, **columns: str) -> Settings:
    """Settings of a file source below `root`, with these columns mapped."""
    source = {"kind": "file", "path": path, **columns}
    return parse({"source": source}, root=root, var=root / "var", origin="a test")


def fetch(settings: Settings) -> pd.DataFrame:
    """What the source of these settings gives."""
    return sources.fetch(FetchRequest(settings, datetime(2027, 1, 1, tzinfo=UTC)))


def read(folder: Path, name: str, content: str | bytes, **columns: str) -> pd.DataFrame:
    """What a file source makes of one file with this name and content."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return fetch(settings_of(folder, name, **columns))


def rows(**changed: Any) -> pd.DataFrame:
    """Two sound rows of one series as text, but for the columns given."""
    sound = {"unique_id": ["a", "a"], "ds": ["2026-01-02", "2026-01-09"], "y": ["1", "2"]}
    return pd.DataFrame({**sound, **changed})


def mapped(frame: pd.DataFrame, columns: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """The frame as raw_data, said to come from `the file`."""
    return as_raw_data(frame, columns=columns, origin="the file")


def test_the_demo_is_six_weekly_series_without_a_gap() -> None:
    raw = fetch(parse({}, root=Path("/root"), var=Path("/var"), origin="a test"))
    assert raw["unique_id"].nunique() == 6
    assert raw.groupby("unique_id").size().tolist() == [523] * 6
    assert raw["y"].notna().all()
    assert {name: str(dtype) for name, dtype in raw.dtypes.items()} == {
        "unique_id": "object",
        "ds": "datetime64[ns]",
        "y": "float64",
        "problem": "object",
        "given": "object",
    }


def test_a_source_is_described_by_its_kind_or_its_path(tmp_path: Path) -> None:
    demo = parse({}, root=tmp_path, var=tmp_path, origin="a test")
    assert display_name(demo) == "the demo data"
    assert display_name(settings_of(tmp_path, "a.csv")) == str(tmp_path / "a.csv")


def test_text_stays_as_published(tmp_path: Path) -> None:
    """An id of 007 keeps its zeros, one of NA is no missing value, a missing y stays missing."""
    raw = read(tmp_path, "a.csv", CSV)
    assert raw["unique_id"].tolist() == ["007", "007", "NA"]
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02", "2026-01-09", "2026-01-02"]))
    assert raw["y"].fillna(-1).tolist() == [1.5, -1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("A.CSV", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv.xz", lzma.compress(CSV.encode())),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("commas.csv", CSV.replace("\n", ",\n").encode()),
        ("a[1].csv", CSV.encode()),
        ("a.json", json.dumps([{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}]).encode()),
        ("a.jsonl", b'{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}\n'),
        ("a.ndjson", b'{"unique_id": "007", "ds": "2026-01-02", "y": 1.5}\n'),
    ],
)
def test_every_known_ending_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    first = read(tmp_path, name, content).iloc[0][:3]
    assert first.tolist() == ["007", pd.Timestamp("2026-01-02"), 1.5]


@pytest.mark.parametrize("index", ["unique_id", "ds", ["unique_id", "ds"]])
def test_an_index_that_pandas_wrote_is_a_column(tmp_path: Path, index: str | list[str]) -> None:
    rows(y=[1.0, 2.0]).set_index(index).to_parquet(tmp_path / "a.parquet")
    raw = fetch(settings_of(tmp_path, "a.parquet"))
    pd.testing.assert_frame_equal(raw, mapped(rows()))


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    raw = read(tmp_path, "a.csv", "v,t,i,x\n1,2026-01-02,a,?\n", unique_id="i", ds="t", y="v")
    assert raw[["unique_id", "ds", "y"]].to_numpy().tolist() == [
        ["a", pd.Timestamp("2026-01-02"), 1.0]
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("empty.json", b""),
        ("empty.parquet", b""),
        ("longer.csv", b"unique_id,ds,y\na,2026-01-02,1,2\n"),
        ("quote.csv", b'unique_id,ds,y\n"a,2026-01-02,1\n'),
        ("latin.csv", "unique_id,ds,y\né,2026-01-02,1\n".encode("latin-1")),
        ("cut.json", b'[{"unique_id": "a"'),
        ("scalar.json", b"3"),
        ("corrupt.parquet", b"PAR1 and then something else PAR1"),
        ("no.csv.gz", b"unique_id,ds,y\n"),
        ("cut.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-12]),
        ("corrupt.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:10] + b"\xff" * 60),
        ("no.csv.bz2", b"unique_id,ds,y\n"),
        ("no.csv.xz", b"unique_id,ds,y and more than a header"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(
        SourceError,
        match=rf"{re.escape(name)} is not what its ending says, or it is empty: [\s\S]+\. No row of"
        r" it was used\. Look at the file; write it again where it was cut off\.",
    ):
        read(tmp_path, name, content)


def test_a_parquet_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(SourceError, match=r"cut\.parquet is not what its ending says"):
        read(tmp_path, "cut.parquet", whole[:-20])


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "unique_id,ds,y\n"), ("a.json", "[]"), ("a.jsonl", "")]
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(
        SourceError,
        match=r"a\.\w+ holds no rows\. A week without data cannot be forecast, so nothing was"
        r" published\. Look at what writes the file\.",
    ):
        read(tmp_path, name, content)


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        SourceError,
        match=r"the file has no column value; it has unique_id, ds, y\. Without it no series can be"
        r" made, and nothing was published\. Say which columns hold unique_id, ds and y in"
        r" \[source\] of forecast\.toml\.",
    ):
        mapped(rows(), {**COLUMNS, "y": "value"})


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(
        SourceError,
        match=r"the file has more than one column y\. Which one is meant would be a guess, so"
        r" nothing was published\. Give the columns names of their own\.",
    ):
        mapped(pd.concat([rows(), rows()[["y"]]], axis=1))


def test_no_series_at_all_is_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"the file holds no series at all: 0 rows\. Nothing was published\. Look at what"
        r" fills the source\.",
    ):
        mapped(rows().head(0))


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("y", ["1", "much"], "hold no number: row 2: 'much'"),
        ("y", ["1,5", "2"], "hold no number: row 1: '1,5'"),
        ("y", ["=1+1", "2"], "hold no number: row 1: '=1+1'"),
        ("y", [[1], "2"], "hold no number: row 1: [1]"),
        ("y", pd.Series([10**400, 1], dtype=object), "hold no number: row 1: 1000"),
        ("y", [1j, 2.0], "hold no number: row 1: 1j"),
        ("y", pd.to_datetime(["2026-01-02", None]), "hold no number: row 1: Timestamp("),
        ("y", pd.to_timedelta(["1D", None]), "hold no number: row 1: Timedelta("),
        ("y", ["1", "inf"], "hold an infinite number: row 2: 'inf'"),
        ("y", [float("-inf"), 1.0], "hold an infinite number: row 1: -inf"),
        ("ds", ["2026-01-02", None], "hold no time: row 2: None"),
        ("ds", pd.to_datetime(["2026-01-02", None]), "hold no time: row 2: NaT"),
        ("ds", ["02/03/2020", "2026-01-02"], "hold no ISO 8601 time (such as 2026-11-20): row 1:"),
        ("ds", ["9999-12-31", "2026-01-02"], "hold no ISO 8601 time (such as 2026-11-20): row 1:"),
        ("ds", ["now", "2026-01-02"], "hold no ISO 8601 time (such as 2026-11-20): row 1: 'now'"),
        ("ds", ["1999.5", "2026"], "hold no ISO 8601 time (such as 2026-11-20): row 1: '1999.5'"),
        ("y", [Decimal("sNaN"), Decimal(1)], "hold no number: row 1: Decimal('sNaN')"),
        ("ds", [20260102, 20260109], "hold a bare number for a time: row 1: 20260102, row 2:"),
        (
            "ds",
            pd.Series(["9999-12-31", "2026-01-02"], dtype="datetime64[s]"),
            "hold a time outside the years 1678 to 2261: row 1: Timestamp('9999-12-31",
        ),
        ("unique_id", ["a", None], "hold no series (the id is missing): row 2: None"),
        ("unique_id", ["a", " "], "hold no name for a series: row 2: ' '"),
        ("unique_id", [b"a", "a"], "hold no name for a series: row 1: b'a'"),
        ("unique_id", [{"a": 1}, "a"], "hold no name for a series: row 1: {'a': 1}"),
        ("unique_id", ["\ud800", "a"], r"hold no name for a series: row 1: '\ud800'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_row(
    column: str, values: Any, said: str
) -> None:
    frame = rows(**{column: values}).set_index(pd.Index(["x", "x"]))
    with pytest.raises(
        DataError,
        match=rf"^\d of 2 rows of the file, column `{column}`, {re.escape(said)}.*\. Nothing was"
        r" published, and earlier versions stand\. Mend the source, map another column in"
        r" \[source\] of forecast\.toml, or set `source\.on_bad_rows = \"quarantine\"` there to"
        r" go on without such rows\.$",
    ):
        mapped(frame)


def test_only_the_first_few_rows_are_named() -> None:
    with pytest.raises(DataError, match=r"^8 of 8 rows .* row 5: 'x' and 3 more\. Nothing"):
        mapped(pd.concat([rows(y="x")] * 4))


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
def test_times_of_several_zones_are_refused(times: list[object]) -> None:
    with pytest.raises(
        DataError,
        match=r"The times in the file are of 2 time zones: \S+ in 1 rows, \S+ in 1 rows\. Which"
        r" week a row belongs to would be a guess, so nothing was published\. Name the source's own"
        r" zone in `source\.timezone`, such as \"Europe/Vienna\", or write all times in one\.",
    ):
        mapped(rows(ds=pd.Series(times, dtype=object)))


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-02T23:30:00+05:00", "2026-01-09T23:30:00+05:00"],
        ["2026-01-02 23:30Z", "2026-01-09 23:30Z"],
        list(pd.to_datetime(["2026-01-02 23:30", "2026-01-09 23:30"]).tz_localize("Asia/Tokyo")),
        pd.Series(["2026-01-02 23:30", "2026-01-09 23:30"], dtype="datetime64[ms]"),
    ],
)
def test_times_of_one_zone_keep_their_wall_clock(times: Any) -> None:
    raw = mapped(rows(ds=times))
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02 23:30", "2026-01-09 23:30"]))
    assert str(raw["ds"].dtype) == "datetime64[ns]"


def test_dates_and_whole_number_ids_are_taken_as_they_are() -> None:
    raw = mapped(rows(unique_id=[7, 8], ds=[date(2026, 1, 2), date(2026, 1, 9)]))
    assert raw["unique_id"].tolist() == ["7", "8"]
    assert raw["ds"].tolist() == list(pd.to_datetime(["2026-01-02", "2026-01-09"]))


def test_rows_that_come_twice_are_left_for_the_series_to_judge() -> None:
    assert len(mapped(pd.concat([rows(), rows()]))) == 4


VIENNA = ZoneInfo("Europe/Vienna")


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
    ],
)
def test_times_become_the_wall_clock_s_of_the_source_s_zone(
    times: Any, expected: list[str]
) -> None:
    """The clock goes forward on 29 March: from +01:00 to +02:00."""
    raw = as_raw_data(rows(ds=times), columns=COLUMNS, origin="the file", zone=VIENNA)
    assert raw["ds"].tolist() == [pd.Timestamp(f"2026-03-{day}") for day in expected]


def test_the_hour_that_comes_twice_is_two_rows() -> None:
    twice = ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    raw = as_raw_data(rows(ds=twice), columns=COLUMNS, origin="the file", zone=VIENNA)
    assert raw["ds"].tolist() == [pd.Timestamp("2026-10-25 02:30")] * 2


def set_aside(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as raw_data, bad rows kept aside."""
    return as_raw_data(frame, columns=COLUMNS, origin="the file", is_kept_aside=True)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("y", "much", "`y` holds no number"),
        ("y", "inf", "`y` holds an infinite number"),
        ("ds", None, "`ds` holds no time"),
        ("ds", "02/03/2020", "`ds` holds no ISO 8601 time (such as 2026-11-20)"),
        ("unique_id", None, "`unique_id` holds no series (the id is missing)"),
        ("unique_id", " ", "`unique_id` holds no name for a series"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_as_it_came(
    column: str, value: Any, problem: str
) -> None:
    raw = set_aside(pd.concat([rows(), rows(**{column: [value, "b"]}).head(1)]))
    assert raw["problem"].tolist() == [None, None, problem]
    came = {"unique_id": "a", "ds": "2026-01-02", "y": "1", column: value}
    assert json.loads(raw["given"][2]) == came
    assert pd.isna(raw[column][2])
    assert raw.drop(columns=column).loc[2].notna().all()
    pd.testing.assert_frame_equal(raw.head(2), mapped(rows()))


def test_a_row_with_several_faults_tells_them_all() -> None:
    bad = pd.DataFrame({"unique_id": ["a", b"x"], "ds": ["2026-01-02", "?"], "y": ["1", "?"]})
    raw = set_aside(bad)
    assert raw["problem"][1] == (
        "`unique_id` holds no name for a series; `ds` holds no ISO 8601 time (such as 2026-11-20);"
        " `y` holds no number"
    )
    assert json.loads(raw["given"][1]) == {"unique_id": "b'x'", "ds": "?", "y": "?"}


def test_a_bad_time_beside_times_of_one_offset_is_set_aside() -> None:
    raw = set_aside(rows(ds=["2026-01-02T00:00Z", "?"]))
    assert raw["problem"].notna().tolist() == [False, True]


def test_nothing_is_set_aside_where_no_row_is_sound() -> None:
    with pytest.raises(DataError, match=r"2 of 2 rows of the file, column `y`, hold no number"):
        set_aside(rows(y="?"))


def test_bad_rows_of_a_file_are_set_aside_where_that_is_asked_for(tmp_path: Path) -> None:
    raw = read(tmp_path, "a.csv", CSV + "a,2026-01-02,?\n", on_bad_rows="quarantine")
    assert raw["problem"].tolist() == [None] * 3 + ["`y` holds no number"]
    assert table_contracts((80,))["raw_data"].check(raw)["given"].notna().sum() == 1


def odd_values() -> st.SearchStrategy[object]:
    """What no one should publish, and now and then what one should."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.text(max_size=5),
        st.binary(max_size=3),
        st.dates(),
        st.datetimes(timezones=st.none() | st.timezones()),
        st.timedeltas(),
        st.lists(st.integers(), max_size=2),
        st.sampled_from(["2026-01-02", "2026-01-02T00:00+01", "02/03/2020", "1", "inf", "NA", ""]),
    )


@REPEATABLE
@given(
    columns=st.lists(st.sampled_from(["unique_id", "ds", "y", "z"]), max_size=5),
    data=st.data(),
)
def test_an_odd_frame_is_mapped_or_refused_on_purpose(
    columns: list[str], data: st.DataObject
) -> None:
    n_rows = data.draw(st.integers(0, 3))
    one_kind = st.lists(odd_values(), min_size=n_rows, max_size=n_rows)
    columns = [*columns, "unique_id", "ds", "y"] if data.draw(st.booleans()) else columns
    made = [pd.Series(data.draw(one_kind), dtype=object, name=name) for name in columns]
    made = [one.infer_objects() if data.draw(st.booleans()) else one for one in made]
    frame = pd.concat(made, axis=1) if made else pd.DataFrame()
    try:
        raw = as_raw_data(
            frame,
            columns=COLUMNS,
            origin="the file",
            zone=data.draw(st.sampled_from([None, VIENNA])),
            is_kept_aside=data.draw(st.booleans()),
        )
    except ForecastAssetsError:
        return
    sound = raw[raw["problem"].isna()]
    assert len(raw) == n_rows
    assert sound[["unique_id", "ds"]].notna().all().all()
    assert sound["given"].isna().all()
    assert not np.isinf(raw["y"]).any()
    assert list(table_contracts((80,))["raw_data"].check(raw).columns) == RAW


@REPEATABLE
@given(columns=st.permutations(["unique_id", "ds", "y", "z"]), text=st.text(min_size=1, max_size=3))
def test_odd_columns_beside_the_mapped_ones_do_not_matter(columns: list[str], text: str) -> None:
    pd.testing.assert_frame_equal(mapped(rows(z=text)[columns]), mapped(rows()))


@REPEATABLE
@given(values=st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=9))
def test_a_number_means_the_same_as_text_and_as_a_float(values: list[Decimal]) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": "2026-01-02", "y": values})
    assert mapped(frame.assign(y=[str(y) for y in values]))["y"].tolist() == list(
        map(float, values)
    )
