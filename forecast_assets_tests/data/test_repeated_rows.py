"""Rows that make the value of a week ambiguous: each cause, and a remedy that works."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.data.sources.fetch import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import to_weeks
from forecast_assets.errors import DataError
from forecast_assets_tests.builders import make_settings

AS_OF = datetime(2026, 11, 27, tzinfo=UTC)
SUNDAYS = pd.date_range("2026-01-04", periods=40, freq="W-SUN")


def walmart(days: pd.DatetimeIndex = SUNDAYS) -> pd.DataFrame:
    """Two stores with three departments each; other columns differ too, and tell nothing apart."""
    rows = [
        (
            store,
            dept,
            day,
            100 * store + nth + i / 10,
            day.month > 10,
            7.5 * store + i,
            i * 60 + nth,
        )
        for store in (1, 2)
        for nth, dept in enumerate(("bread", "fish", "tea"))
        for i, day in enumerate(days)
    ]
    names = ["Store", "Dept", "Date", "Weekly_Sales", "IsHoliday", "Temperature", "row"]
    return pd.DataFrame(rows, columns=names)


def read(folder: Path, rows: pd.DataFrame, series: dict[str, Any], **source: Any) -> pd.DataFrame:
    """Write rows to a file, fetch it and make weeks, with these keys of [series] and [source]."""
    rows.to_csv(folder / "a.csv", index=False)
    columns = {"unique_id": "Store", "ds": "Date", "y": "Weekly_Sales"}
    settings = make_settings(
        folder,
        source={"kind": "file", "path": "*.csv", **columns, **source},
        series={"frequency": "W-SUN", **series},
    )
    raw = fetch(FetchRequest(settings, AS_OF))
    return to_weeks(raw, settings, as_of=AS_OF).frame


JOINED = {"unique_id": ["Store", "Dept"]}


@pytest.mark.parametrize("aggregate", ["error", "last"])
def test_the_column_that_tells_rows_apart_is_named(tmp_path: Path, aggregate: str):
    message = (
        r"^240 of 240 rows have the series and the time of another row: 1 / 2026-01-04, 1 /"
        r" 2026-01-11, .* and 235 more\. The column `Dept` tells them apart, so with"
        rf' `series\.aggregate = "{aggregate}"` the value of a week is ambiguous\. Nothing was'
        r' published\. Set `source\.unique_id` to \["Store", "Dept"\] to forecast each of them, or'
        r' `series\.aggregate` to "sum" to forecast their sum\.$'
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, walmart(), {"aggregate": aggregate})
    joined = read(tmp_path, walmart(), {"aggregate": aggregate}, **JOINED)
    names = [f"{store}/{dept}" for store in (1, 2) for dept in ("bread", "fish", "tea")]
    assert joined["unique_id"].unique().tolist() == names
    summed = read(tmp_path, walmart(), {"aggregate": "sum"})
    assert summed["y"].sum() == pytest.approx(joined["y"].sum())


def test_a_source_that_is_finer_than_a_week_too_is_told_both(tmp_path: Path):
    daily = walmart(pd.date_range("2026-01-04", periods=70))
    with pytest.raises(DataError, match=r'\["Store", "Dept"\] and `series.aggregate` to "sum", "m'):
        read(tmp_path, daily, {})
    assert read(tmp_path, daily, {"aggregate": "mean"}, **JOINED)["unique_id"].nunique() == 6


def test_several_columns_are_named_if_one_is_not_enough(tmp_path: Path):
    rows = pd.concat([walmart().assign(Size="S"), walmart().assign(Size="L")], ignore_index=True)
    with pytest.raises(
        DataError, match=r"The columns `Dept`, `Size` tell .* \[\"Store\", \"Dept\", \"S"
    ):
        read(tmp_path, rows, {})
    assert (
        read(tmp_path, rows, {}, unique_id=["Store", "Dept", "Size"])["unique_id"].nunique() == 12
    )


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_rows_that_are_added_up_need_no_other_column(tmp_path: Path, aggregate: str):
    assert read(tmp_path, walmart(), {"aggregate": aggregate})["unique_id"].nunique() == 2


def test_no_column_is_named_for_copies_and_measurements(tmp_path: Path):
    one = walmart()[lambda rows: rows["Dept"] == "tea"]
    copies = pd.concat([one, one.assign(Temperature=1e3, row=range(80))])
    message = (
        r"^80 weeks have more than one row \(160 rows\): 1 / 2026-01-04, .*\. The source repeats"
        r" the same \(unique_id, ds\), so the value of the week is ambiguous\. Nothing was"
        r" published\. Correct the source, or set `series.aggregate` to sum, mean or last in"
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, copies, {})
    assert (
        read(tmp_path, copies, {"aggregate": "last"})["y"].tolist() == one["Weekly_Sales"].tolist()
    )


def test_rows_of_a_week_that_is_not_over_are_not_refused_yet(tmp_path: Path):
    late = walmart().assign(Date=lambda rows: rows["Date"].dt.strftime("%Y-%m-%d"))
    late = late[(late["Dept"] == "tea") | (late["Date"] == late["Date"].max())]
    late["Date"] = late["Date"].replace(late["Date"].max(), "2026-11-29")
    assert read(tmp_path, late, {})["unique_id"].nunique() == 2


def stray(rows: pd.DataFrame) -> pd.DataFrame:
    """Move one row of each store from a Sunday to the Monday after it."""
    day = rows["Date"].where(rows["Date"] != SUNDAYS[20], SUNDAYS[20] + pd.Timedelta(days=1))
    return rows.assign(Date=day)


ONE_DEPT = walmart()[lambda rows: rows["Dept"] == "tea"]
REPAIRS: list[tuple[pd.DataFrame, str, dict[str, Any], Callable[[pd.DataFrame], pd.DataFrame]]] = [
    (
        stray(ONE_DEPT),
        (r"^2 weeks have more than one row \(4 rows\): 1 / 2026-05-31, 2 / 2026-05-31\. 2 rows are"
        r" on another weekday than all others of their series: 1 / Monday, 2026-05-25, 2 / Monday,"
        r" 2026-05-25, so the value of the week is ambiguous\. Nothing was published\. Correct"
        r' their dates, or set `series\.aggregate` to "last"'),
        {"aggregate": "last"},
        lambda _: ONE_DEPT,
    ),
    (
        walmart(pd.date_range("2026-01-04", periods=70))[lambda rows: rows["Dept"] == "tea"],
        (r"The source is finer than a week, so the value of the week is ambiguous\. Nothing was"
        r" published\. Correct the source, or set `series\.aggregate` to sum, mean or last"),
        {"aggregate": "sum"},
        lambda rows: rows[rows["Date"].dt.weekday == 6],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "message", "series", "correct"), REPAIRS)
def test_the_cause_and_a_remedy_that_works(
    tmp_path: Path,
    rows: pd.DataFrame,
    message: str,
    series: dict[str, Any],
    correct: Callable[[pd.DataFrame], pd.DataFrame],
):
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows, {})
    assert read(tmp_path, rows, series)["unique_id"].nunique() == 2
    assert read(tmp_path, correct(rows), {})["unique_id"].nunique() == 2


def test_rows_of_two_files_are_the_cause(tmp_path: Path):
    ONE_DEPT[ONE_DEPT["Date"] >= SUNDAYS[38]].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(
        DataError,
        match=r"4 weeks .*The files a\.csv, b\.csv have the same \(unique_id, ds\), .* Set"
        r' `source\.overlap` to "once" if their values are equal, to "latest_file" if they are not',
    ):
        read(tmp_path, ONE_DEPT, {})
    for how in ("once", "latest_file"):
        assert len(read(tmp_path, ONE_DEPT, {}, overlap=how)) == 80
    assert len(read(tmp_path, ONE_DEPT, {"aggregate": "sum"})) == 80


@pytest.mark.parametrize(
    ("name", "old", "new", "n_corrected"),
    [
        ("Updated", "2026-11-01", "2026-11-20", 2),
        ("Updated", "2026-11-01T06:00:00", "2026-11-20T06:00:00", 80),
        ("Version", "1", "2", 2),
    ],
)
def test_a_version_is_no_part_of_an_id(
    tmp_path: Path, name: str, old: str, new: str, n_corrected: int
):
    """Later rows correct earlier ones, which stay in the source."""
    corrected = ONE_DEPT.sample(n_corrected, random_state=1).sort_index()
    corrected = corrected.assign(Weekly_Sales=1.0, **{name: new})
    rows = pd.concat([ONE_DEPT.assign(**{name: old}), corrected])
    message = (
        rf"^{2 * n_corrected} of {len(rows)} rows have the series and the time of another row: .*\."
        rf" The column `{name}` tells them apart at {n_corrected} of 80 times of these series, as a"
        r" version does and not a part of an id, so with `series\.aggregate = \"error\"` the value"
        r" of a week is ambiguous\. Nothing was published\. Remove the old rows, or set"
        r' `series\.aggregate` to "last" if the last row in the source is the right one, or to'
        r' "sum" if they add up\.$'
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, rows, {})
    newest = rows.drop_duplicates(["Store", "Date"], keep="last")
    expected = newest.sort_values(["Store", "Date"])["Weekly_Sales"].tolist()
    assert read(tmp_path, newest, {})["y"].tolist() == expected
    assert read(tmp_path, rows, {"aggregate": "last"})["y"].tolist() == expected


def test_a_part_of_an_id_may_begin_late(tmp_path: Path):
    rows = walmart()[lambda rows: (rows["Dept"] == "tea") | (rows["Date"] >= SUNDAYS[30])]
    with pytest.raises(DataError, match=r'unique_id` to \["Store", "Dept"\]'):
        read(tmp_path, rows, {})
    assert read(tmp_path, rows, {}, **JOINED)["unique_id"].nunique() == 6
