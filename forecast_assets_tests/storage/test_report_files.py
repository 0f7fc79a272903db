"""Derived pages replace each other; pages of a week that were edited are found."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from forecast_assets.errors import StoreError
from forecast_assets.storage.report_files import derived_files, edited_files, write_derived
from forecast_assets_tests.store_builders import make_commit, make_store

NAME = "2026-01-09_0123abcd"
FOLDER = f"reports/{NAME}"


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_derived_pages_are_replaced_and_those_of_a_week_are_not(tmp_path: Path):
    store = make_store(tmp_path)
    store.write_report_files(FOLDER, {"report.html": "<p>"})
    write_derived(store, {"series/0.js": "0", "series/1.js": "1", "index.html": "old"})
    write_derived(store, {"series/0.js": "0", "index.html": "new"})
    reports = tmp_path / "reports"
    assert names_below(reports) == [
        "2026-01-09_0123abcd/report.html",
        "index.html",
        "series/0.js",
    ]
    assert (reports / "index.html").read_text() == "new"
    assert derived_files(tmp_path) == [reports / "index.html", reports / "series/0.js"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "reports").write_text("a file in its place")
    with pytest.raises(StoreError, match=r"Could not write the files of reports in the folder .*"):
        write_derived(make_store(tmp_path), {"index.html": ""})


def test_files_that_were_edited_after_they_were_recorded_are_found(tmp_path: Path):
    store = make_store(tmp_path)
    rows = store.write_report_files(FOLDER, {"report.html": "<p>", "details.html": "<p>"})
    report = store.write(rows, make_commit("weekly_report", run_id="0123abcd-ef"))
    assert edited_files(store, report, NAME) == []
    assert report.written_at is not None
    later = (report.written_at + timedelta(minutes=1)).timestamp()
    for path in (tmp_path / FOLDER).iterdir():
        os.utime(path, (later, later))
    assert edited_files(store, report, NAME) == []  # a copy of the folder is no edit
    (tmp_path / FOLDER / "report.html").write_text("<p>better numbers")
    os.utime(tmp_path / FOLDER / "report.html", (later, later))
    assert edited_files(store, report, NAME) == [f"{FOLDER}/report.html"]
