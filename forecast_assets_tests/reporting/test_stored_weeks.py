"""Reports are listed from the store; one without a record of its tables is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from forecast_assets.errors import StoreError
from forecast_assets.reporting.stored_weeks import rebuild_site, reported_weeks
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.store_builders import WEEK, make_commit, make_store


def test_reports_are_listed_with_the_reason_why_one_does_not_count(tmp_path: Path):
    store = make_store(tmp_path)
    for n, as_of in enumerate([AS_OF, AS_OF + WEEK, AS_OF + 9 * WEEK]):
        files = {"report.html": f"<p>{n}"}
        rows = store.write_report_files(f"reports/2026-01-0{n + 1}_0000000{n}", files)
        commit = make_commit("weekly_report", run_id=f"0000000{n}-abc", as_of=as_of)
        store.write(rows, commit)
    store.write(rows, make_commit("weekly_report", run_id="no folder"))
    weeks = reported_weeks(store, now=AS_OF + WEEK + timedelta(hours=1))
    assert [(str(week.week), week.is_valid) for week in weeks] == [
        ("2026-01-01", True),
        ("2026-01-02", True),
        ("2026-01-03", False),
    ]
    assert weeks[-1].note == "does not count: it is as of a future time"
    assert weeks[0].file == "2026-01-01_00000000/report.html"


def test_a_report_without_a_record_of_its_tables_is_refused(tmp_path: Path):
    store = make_store(tmp_path)
    store.write(store.tables["weekly_report"].empty(), make_commit("weekly_report"))
    message = r"Version 0 of weekly_report does not record which next_week_forecast, series, .* Run"
    with pytest.raises(StoreError, match=message):
        rebuild_site(store, make_settings(tmp_path), now=AS_OF)
    assert not (tmp_path / "reports").exists()
