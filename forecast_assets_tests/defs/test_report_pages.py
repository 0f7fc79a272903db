"""The pages of the site in real runs: rebuilt from the store, and never a reason to fail a week."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from forecast_assets.config.settings import Settings
from forecast_assets.defs.build import build_store
from forecast_assets.reporting.stored_weeks import rebuild_site
from forecast_assets.storage.audit import verify
from forecast_assets.storage.report_files import derived_files
from forecast_assets.storage.tables import TABLES
from forecast_assets.storage.withdrawals import Withdrawal, forecasts_as_of, withdraw
from forecast_assets_tests.dagster_runs import materialize

WEEK_OF_PUBLISHED = datetime(2024, 12, 2, tzinfo=UTC)


def pages_of(settings: Settings) -> dict[str, str]:
    return {path.name: path.read_text() for path in derived_files(settings.var)}


def report_again(
    settings: Settings, instance: dg.DagsterInstance, **tags: str
) -> dg.AssetCheckEvaluation:
    """Report the published week again; return the evaluation of pages_written."""
    result = materialize(settings, instance, "weekly_report", **tags)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    return checks["pages_written"]


def problems_of(settings: Settings) -> list[str]:
    audits = verify(build_store(settings), TABLES)
    return [audit.problem for audit in audits if audit.problem]


def test_the_site_is_rebuilt_from_the_store_and_marks_what_does_not_count(
    published: Settings, instance: dg.DagsterInstance
):
    store = build_store(published)
    assert report_again(published, instance).passed
    pages = pages_of(published)
    assert sorted(pages) == ["0.js", "index.html", "index.js", "series.html"]
    assert pages["index.html"].count("Replaced by a later report") == 1
    for path in derived_files(published.var):
        path.unlink()
    rebuild_site(store, published, now=datetime.now(UTC))
    assert pages_of(published) == pages
    assert problems_of(published) == []  # no version records the pages of the site

    # A past week's run leaves the newest week in place.
    assert report_again(published, instance, **{"forecast_assets/as_of": "2024-12-03"}).passed
    assert pages_of(published)["0.js"] == pages["0.js"]

    row = Withdrawal(WEEK_OF_PUBLISHED, reason="It was <wrong>", by="ann", at=datetime.now(UTC))
    withdraw(store, forecasts_as_of(store, WEEK_OF_PUBLISHED), row)
    rebuild_site(store, published, now=datetime.now(UTC))
    index = pages_of(published)["index.html"]
    assert "No forecast is published now." in index
    assert index.count(": It was &lt;wrong&gt;") == 3


def test_a_page_that_was_edited_is_named_and_the_week_published(
    published: Settings, instance: dg.DagsterInstance
):
    (page,) = (published.var / "reports").glob("2024-*/report.html")
    page.write_text(page.read_text().replace("</h1>", "!</h1>"))
    later = datetime.now(UTC).timestamp() + 60
    os.utime(page, (later, later))
    check = report_again(published, instance)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    name = f"{page.parent.name}/report.html"
    assert f"1 page was edited after the report was written: reports/{name}." in str(
        check.description
    )
    assert f"edited after it was written: reports/{name}" in pages_of(published)["index.html"]
    (problem,) = problems_of(published)
    assert problem.endswith("report.html differs from its record")
    shutil.rmtree(page.parent)
    assert report_again(published, instance).passed


def test_a_folder_that_cannot_be_written_is_named_and_the_week_published(
    published: Settings, instance: dg.DagsterInstance
):
    reports: Path = published.var / "reports"
    shutil.rmtree(reports)
    reports.write_text("a file in its place")
    check = report_again(published, instance)
    assert not check.passed
    assert "The forecast is published all the same. Could not write the files of reports/" in str(
        check.description
    )
    store = build_store(published)
    assert store.read(store.history("weekly_report")[-1:]).empty
    # The index alone cannot be written.
    reports.unlink()
    (reports / "index.html").mkdir(parents=True)
    check = report_again(published, instance)
    assert "`forecast-assets site` then writes the index of all weeks." in str(check.description)
    assert len(store.read(store.history("weekly_report")[-1:])) == 3
