"""The report as its readers open it: a file in Chromium, at any width, light and dark."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from forecast_assets.reporting.render import render
from forecast_assets.reporting.site import ReportedWeek, build_site
from forecast_assets_tests.browser import CHROMIUM_ARGS
from forecast_assets_tests.builders import AS_OF, make_ragged, walk
from forecast_assets_tests.report_builders import make_best_model, make_report, many_series

WIDTHS = (1400, 800, 360)
NAMES = {
    "<script>alert(1)</script>": (0, walk(60, seed=1)),
    "x" * 200: (0, [1e7 * y for y in walk(60, seed=2)]),
    "ended \u202eearly/ملف": (0, walk(40, seed=3)),
    "short & \"quoted\" 'name'": (58, [1.0, 2.0]),
    "us_petroleum_stocks_of_all_kinds": (0, [-y for y in walk(60, seed=5)]),
}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Return a Chromium for all pages of this module."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return the pages of unusual series, twelve weeks ahead, and of 200 series."""
    folder, ids = tmp_path_factory.mktemp("reports"), list(NAMES)
    reports = {
        "short": make_report(
            make_ragged(**NAMES),
            horizon=12,
            levels=[50, 80, 95],
            n_weeks=20,
            half=1.0,
            units={"us_*": "thousand barrels a day", "*": "pieces"},
            problems=[f"{ids[0]} is behind. {'Wait for more weeks. ' * 10}"],
            best_model=make_best_model(ids, previous_model="theta", switched=True),
        ),
        "long": make_report(many_series(200, n_weeks=4), n_weeks=2),
    }
    for name, report in reports.items():
        week = ReportedWeek(date(2026, 1, 9), AS_OF, f"{name}/report.html")
        gone = replace(week, week=date(2026, 1, 2), note="withdrawn by ann: it was wrong")
        texts = {f"{name}/{file}": text for file, text in render(report, site="../").items()}
        for file, text in (texts | build_site(report, [gone, week])).items():
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    week, site = folder / "short/short", folder / "short"
    return {
        "short": week / "report.html",
        "details": week / "details.html",
        "index": site / "index.html",
        "series": site / "series.html",
        "long": folder / "long/long/report.html",
    }


@pytest.fixture(scope="module")
def pages(browser: Browser, files: Mapping[str, Path]) -> Iterator[Mapping[str, Page]]:
    """Open each page; whatever one writes, raises, opens or requests elsewhere fails the test."""
    context = browser.new_context(reduced_motion="reduce")
    pages = {name: context.new_page() for name in files}
    events: list[str] = []
    requests: set[str] = set()
    for name, page in pages.items():
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("dialog", lambda dialog: events.append(dialog.message))
        page.on("request", lambda request: requests.add(request.url))
        page.goto(files[name].as_uri())
    yield pages
    context.close()
    assert events == []
    site = files["index"].parent.as_uri()
    own = {file.as_uri() for file in files.values()}
    own |= {f"{site}/series/{name}.js" for name in ("index", "0")}
    assert {request.partition("#")[0] for request in requests} == own


@pytest.mark.parametrize("name", ["short", "details", "index", "series", "long"])
def test_a_page_fits_every_width_and_is_accessible(pages: Mapping[str, Page], name: str):
    page, colours = pages[name], set()
    if name == "series":
        page.goto(f"{page.url.partition('#')[0]}#us_petroleum_stocks_of_all_kinds")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]
    # Colours do not depend on the width, and only its table tells the long page from the short.
    part = {"include": [["#all-rows"]]} if name == "long" else None
    if part:
        page.get_by_label("Search").fill("s0123")  # one row is like the others
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        results = Axe().run(page, context=part)
        assert results.violations_count == 0, results.generate_report()
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    if part:
        page.get_by_label("Search").fill("")
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})


def test_a_series_is_found_from_the_index_and_shows_its_past(pages: Mapping[str, Page]):
    page = pages["index"]
    page.get_by_label("Search").fill("petroleum")
    page.get_by_role("link", name="us_petroleum_stocks_of_all_kinds").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("us_petroleum_stocks_of_all_kinds")
    expect(page.locator("#expected")).to_contain_text("thousand barrels a day is expected for the")
    chart = page.locator("#chart svg")
    n_outside = chart.locator(".outside").count()
    assert n_outside + chart.locator(".inside").count() == 20
    expect(chart.locator(".band")).to_have_count(3)
    expect(page.locator("#past-rows tr")).to_have_count(13)
    page.get_by_role("button", name="Show all 20 weeks").click()
    expect(page.locator("#past-rows tr .off")).to_have_count(n_outside)
    page.get_by_role("link", name="All weeks and series").click()
    expect(page.get_by_text("Withdrawn by ann: it was wrong")).to_be_visible()


def test_a_series_that_does_not_exist_is_named(pages: Mapping[str, Page]):
    page = pages["series"]
    for address, text in (
        ("nowhere", "nowhere is not in the newest forecast."),
        ("%E0", "%E0 is not"),
    ):
        page.goto(f"{page.url.partition('#')[0]}#{address}")
        expect(page.get_by_role("status")).to_contain_text(text)
    expect(page.locator("#page")).to_be_hidden()


def test_hostile_names_are_shown_as_text(pages: Mapping[str, Page]):
    for name in NAMES:
        caption = pages["short"].locator("figcaption bdi").filter(has_text=name)
        expect(caption).to_have_count(1)


def test_the_page_prints_on_a_few_sheets(pages: Mapping[str, Page]):
    pdf = pages["short"].pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 1 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 8


def test_all_series_can_be_searched_sorted_and_paged(pages: Mapping[str, Page]):
    page = pages["long"]
    rows, count = page.locator("#all-rows tbody tr"), page.locator("#count")
    expect(count).to_have_text("1 to 50 of 200 series")
    page.get_by_role("button", name="Series").click()
    expect(rows.first).to_contain_text("s0000")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(count).to_have_text("51 to 100 of 200 series")
    page.get_by_label("Search").fill("S001")
    expect(count).to_have_text("1 to 10 of 10 series")
    expect(rows).to_have_count(10)
    expect(page.locator("#next-page")).to_be_hidden()
    values = rows.locator("td:nth-child(3)")
    for direction in ("descending", "ascending"):
        page.get_by_role("button", name="Next week").click()
        shown = [float(text) for text in values.all_inner_texts()]
        assert shown == sorted(shown, reverse=direction == "descending")
        expect(page.locator(f"#all-rows [aria-sort={direction}]")).to_contain_text("Next week")
    assert len(set(shown)) > 1
    page.get_by_label("Search").fill("nowhere")
    expect(count).to_have_text("0 series")
    first = page.locator("section tbody tr").first
    page.get_by_label("Search").fill(first.locator("th bdi").inner_text())
    above, below = first.locator("td").all_inner_texts(), rows.first.locator("td").all_inner_texts()
    assert below[:3] == [above[0], above[1].split()[0], above[2]]
    assert below[4] == above[5]


def test_without_javascript_the_series_that_need_attention_are_shown(
    browser: Browser, files: Mapping[str, Path]
):
    page = browser.new_page(java_script_enabled=False)
    page.goto(files["long"].as_uri())
    expect(page.get_by_text("This table needs JavaScript")).to_be_visible()
    expect(page.locator("#all-rows")).to_be_hidden()
    expect(page.locator("figure")).to_have_count(20)
    page.close()
