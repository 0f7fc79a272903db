"""The column of publication times: how it is read, checked and kept."""

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from forecast_assets.config.settings import Settings
from forecast_assets.data.sources.fetch import fetch, upsert
from forecast_assets.data.sources.mapping import as_raw_data
from forecast_assets.data.sources.request import FetchRequest, source_fingerprint
from forecast_assets.errors import DataError, SourceError
from forecast_assets_tests.builders import AS_OF, make_settings

VIENNA = ZoneInfo("Europe/Vienna")
COLUMNS = {"unique_id": "unique_id", "ds": "ds", "y": "y"}


def map_rows(*published: Any, **options: Any) -> pd.DataFrame:
    """Map rows of the week that ends on 2026-01-02, published at these times."""
    rows = pd.DataFrame({"unique_id": "a", "ds": "2026-01-02", "y": 1, "at": published})
    return as_raw_data(rows, columns=COLUMNS, published="at", origin="the file", **options)


def utc(text: str) -> pd.Timestamp:
    """Return a time in UTC."""
    return pd.Timestamp(text, tz="UTC")


def test_times_are_read_in_the_local_zone_unless_they_have_an_offset():
    raw = map_rows("2026-01-04", "2026-01-04 08:30", "2026-01-05T08:30Z", local_zone=VIENNA)
    assert raw["published"].tolist() == [
        utc("2026-01-03 23:00"), utc("2026-01-04 07:30"), utc("2026-01-05 08:30"),
    ]  # fmt: skip
    assert raw["problem"].isna().all()
    assert map_rows(pd.Timestamp("2026-01-04"))["published"].tolist() == [utc("2026-01-04")]


@pytest.mark.parametrize(
    ("published", "problem"),
    [
        (None, "column `at`, hold no time: row 2: None"),
        ("soon", r"column `at`, hold no ISO 8601 time \(such as 2026-11-20\): row 2: 'soon'"),
        ("2026-01-01 23:59", "column `ds, at`, hold a publication before the day that it is about"),
    ],
)
def test_a_row_without_a_time_or_published_before_its_day_is_bad(
    published: str | None, problem: str
):
    with pytest.raises(DataError, match=f"1 of 2 rows of the file, {problem}"):
        map_rows("2026-01-02", published)
    raw = map_rows("2026-01-02", published, quarantine=True)
    assert raw["problem"].notna().tolist() == [False, True]
    assert json.loads(raw["given"][1])["at"] == published


def test_a_source_without_the_column_is_refused():
    rows = pd.DataFrame({"unique_id": ["a"], "ds": ["2026-01-02"], "y": [1]})
    with pytest.raises(SourceError, match="the file has no column at; it has unique_id, ds, y"):
        as_raw_data(rows, columns=COLUMNS, published="at", origin="the file")


def settings_of(tmp_path: Path, text: str) -> Settings:
    """Make settings of a csv file with the column `at`."""
    path = tmp_path / "rows.csv"
    path.write_text(f"unique_id,ds,y,at\n{text}")
    return make_settings(tmp_path, source={"kind": "file", "path": str(path), "published": "at"})


def test_all_publications_of_a_week_are_kept_and_are_no_repeated_rows(tmp_path: Path):
    settings = settings_of(tmp_path, "a,2025-12-26,1,2025-12-27\na,2025-12-26,2,2026-01-03\n")
    assert fetch(FetchRequest(settings, AS_OF))["y"].tolist() == [1, 2]


def test_rows_of_one_time_published_at_once_stay_ambiguous(tmp_path: Path):
    """A till's column tells them apart. A publication before that does not count any more."""
    rows = [f"a,2025-{m:02}-26,{n},2026-01-01" for m in range(6, 13) for n in (1, 2)]
    rows.insert(0, "a,2025-06-26,1,2025-07-01")
    settings = settings_of(tmp_path, "".join(f"{row}\n" for row in rows))
    text = (tmp_path / "rows.csv").read_text().splitlines()
    tills = ["till", *("north" if n % 2 else "south" for n in range(len(rows)))]
    lines = [f"{line},{till}" for line, till in zip(text, tills, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="The column `till` tells them apart"):
        fetch(FetchRequest(settings, AS_OF))


def test_new_rows_replace_those_published_at_the_same_time():
    before = map_rows("2026-01-04", "2026-01-05")
    new = map_rows("2026-01-05", "2026-01-06").assign(y=2.0)
    rows = upsert(before, new)
    assert [(at.day, y) for at, y in zip(rows["published"], rows["y"], strict=True)] == [
        (4, 1.0), (5, 2.0), (6, 2.0),
    ]  # fmt: skip


def test_the_setting_changes_the_fingerprint_of_its_source_alone(tmp_path: Path):
    with_it = settings_of(tmp_path, "a,2025-12-26,1,2025-12-27\n")
    source = with_it.source.model_copy(update={"published": None})
    assert source_fingerprint(with_it) != source_fingerprint(
        with_it.model_copy(update={"source": source})
    )
