"""The index lists all weeks, newest first, with what a reader must know; nothing is loaded."""

import json
import re
from datetime import UTC, date, datetime, timedelta

from forecast_assets.reporting.site import ReportedWeek, build_site
from forecast_assets_tests.report_builders import make_report, many_series

NOW = datetime(2026, 1, 12, tzinfo=UTC)


def make_week(day: int, *, hour: int = 0, **fields: object) -> ReportedWeek:
    """Return the report of a week of January 2026."""
    file = f"2026-01-{day:02}_{hour:08}/report.html"
    week = ReportedWeek(date(2026, 1, day), NOW + timedelta(days=day - 9, hours=hour), file)
    return ReportedWeek(**{**vars(week), **fields})


def weeks_of(page: str) -> list[list[str]]:
    """Return the texts of each row of the table of weeks."""
    body = page[page.index('<table class="cards weeks">') :]
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</tr>", body, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.split(r"</t[hd]>", row)[:-1]]
        for row in rows
    ]


def test_weeks_are_listed_newest_first_with_their_remarks():
    weeks = [
        make_week(2),
        make_week(9),
        make_week(9, hour=5),
        make_week(16, note="withdrawn by ann: it was <wrong>", edited=["a/report.html"]),
    ]
    page = build_site(make_report(), weeks)["index.html"]
    rows = weeks_of(page)
    assert [row[0] for row in rows] == ["2026-01-16", "2026-01-09", "2026-01-09", "2026-01-02"]
    assert rows[0][3] == (
        "Withdrawn by ann: it was &lt;wrong&gt;; edited after it was written: a/report.html"
    )
    assert [row[3] for row in rows[1:]] == ["", "Replaced by a later report", ""]
    assert 'class="button" href="2026-01-09_00000005/report.html"' in page


def test_a_week_that_is_over_shows_how_many_values_came_as_expected():
    report = make_report(many_series(5), n_weeks=3, half=0.7)
    over = max(report.accuracy["ds"])
    n_inside = int(report.accuracy.loc[report.accuracy["ds"] == over, "in_80"].sum())
    page = build_site(report, [make_week(9, week=over.date()), make_week(2)])["index.html"]
    assert [row[2] for row in weeks_of(page)] == ["", f"{n_inside} of 5"]


def test_the_site_needs_nothing_but_its_own_files():
    report = make_report(many_series(60, n_weeks=4), n_weeks=1)
    files = build_site(report, [make_week(9)])
    assert list(files) == [
        *("series/0.js", "series/1.js", "series/index.js", "series.html", "index.html"),
    ]
    for name in ("index.html", "series.html"):
        links = re.findall(r"(?:src|href)=\"([^\"]+)\"", files[name])
        assert {link for link in links if "://" in link or link.startswith("/")} == set()
        assert "default-src &#39;none&#39;" in files[name]
    lines = re.compile(r"^forecastAssets\.\w+ = (.+);$", re.MULTILINE)
    head, rows = lines.findall(files["series/index.js"])
    assert json.loads(head)["report"] == "2026-01-09_00000000/report.html"
    assert len(json.loads(rows)["name"]) == 60
    assert files == build_site(report, [make_week(9)])


def test_without_a_valid_week_the_index_says_that_nothing_is_published():
    files = build_site(None, [make_week(9, note="withdrawn by ann: it was wrong")])
    assert "No forecast is published now." in files["index.html"]
    assert list(files) == ["series/index.js", "series.html", "index.html"]
    assert "rows = null" in files["series/index.js"]
