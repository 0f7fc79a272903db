"""The report's page as its readers open it: a file in Chromium, at any width, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from forecast_assets.reporting.render import render
from forecast_assets_tests.browser import CHROMIUM_ARGS
from forecast_assets_tests.builders import make_ragged, make_series, walk
from forecast_assets_tests.report_builders import make_choice, make_week, many_series

WIDTHS = (360, 800, 1400)
N_LONG = 10_000
ODD = {
    "<script>alert(1)</script>": (0, walk(60, seed=1)),
    "x" * 200: (0, [1e7 * y for y in walk(60, seed=2)]),
    "ended \u202eearly/ملف": (0, walk(40, seed=3)),
    "short & \"quoted\" 'name'": (58, [1.0, 2.0]),
    "us_petroleum_stocks_of_all_kinds": (0, [-y for y in walk(60, seed=5)]),
}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A Chromium for all pages of this module."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a few odd series, of several weeks ahead and of ten thousand series."""
    folder = tmp_path_factory.mktemp("reports")
    odd = make_ragged(**ODD)
    ids = list(ODD)
    weeks = {
        "short": make_week(
            odd,
            n_due=20,
            half=1.0,
            units={"us_*": "thousand barrels a day", "*": "pieces"},
            problems=[f"{ids[0]} is behind. {'Wait for more weeks. ' * 10}"],
            best_model=make_choice(ids, previous_model="theta", switched=True),
        ),
        "ahead": make_week(make_series(sales=walk(60, seed=1)), horizon=12, levels=[50, 80, 95]),
        "long": make_week(many_series(N_LONG, n_weeks=4), n_due=2),
    }
    for name, week in weeks.items():
        (folder / f"{name}.html").write_text(render(week)["report.html"], encoding="utf-8")
    return {name: folder / f"{name}.html" for name in weeks}


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of, and what it asked of others."""
    return []


@pytest.fixture
def opened(
    browser: Browser, complaints: list[str], request: pytest.FixtureRequest
) -> Iterator[Page]:
    """A fresh page, 1400 pixels wide and light unless the test says otherwise."""
    width, scheme = getattr(request, "param", (1400, "light"))
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda asked: complaints.append(asked.url))
    yield page
    context.close()


def show(page: Page, file: Path, complaints: list[str]) -> None:
    """Open a file; the file is all that may be asked for."""
    page.goto(file.as_uri())
    assert complaints == [file.as_uri()]


@pytest.mark.parametrize("name", ["short", "ahead", "long"])
@pytest.mark.parametrize(
    "opened",
    [(width, scheme) for width in WIDTHS for scheme in ("light", "dark")],
    indirect=True,
    ids=lambda one: f"{one[0]}-{one[1]}",
)
def test_a_page_asks_nothing_fits_and_can_be_read_by_all(
    opened: Page, files: dict[str, Path], complaints: list[str], name: str
):
    show(opened, files[name], complaints)
    widths = opened.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()


def test_colours_follow_the_scheme(opened: Page, files: dict[str, Path], complaints: list[str]):
    show(opened, files["short"], complaints)
    seen = []
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        seen.append(
            opened.evaluate(
                "[getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector('figure .past')).stroke]"
            )
        )
    (light, line), (dark, line_in_dark) = seen
    assert light == "rgb(255, 255, 255)"
    assert max(int(part) for part in dark[4:-1].split(",")) < 40
    assert line != line_in_dark


def test_names_are_shown_as_they_are(opened: Page, files: dict[str, Path], complaints: list[str]):
    show(opened, files["short"], complaints)
    for name in ODD:
        expect(opened.locator("figcaption bdi").filter(has_text=name)).to_have_count(1)


def test_all_series_are_searched_sorted_and_paged(
    opened: Page, files: dict[str, Path], complaints: list[str]
):
    show(opened, files["long"], complaints)
    rows, count = opened.locator("#everything tbody tr"), opened.locator("#count")
    expect(count).to_have_text("1 to 50 of 10,000 series")
    expect(rows.first).to_contain_text("s0000")
    opened.get_by_role("button", name="Next", exact=True).click()
    expect(count).to_have_text("51 to 100 of 10,000 series")
    opened.get_by_label("Search").fill("S123")
    expect(count).to_have_text("1 to 10 of 10 series")
    expect(rows).to_have_count(10)
    expect(opened.get_by_role("button", name="Next", exact=True)).to_be_disabled()
    opened.get_by_role("button", name="Surprise").click()
    shown = [float(text) for text in rows.locator("td:nth-child(6)").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert len(set(shown)) > 1
    opened.get_by_role("button", name="Surprise").click()
    expect(opened.get_by_role("columnheader", name="Surprise ↑")).to_have_attribute(
        "aria-sort", "ascending"
    )
    assert rows.locator("td:nth-child(6)").all_inner_texts() == [
        f"{one:.1f}" for one in sorted(shown)
    ]
    opened.get_by_label("Search").fill("nowhere")
    expect(count).to_have_text("0 series")
    assert len(complaints) == 1


def test_the_table_of_all_says_what_the_table_above_says(
    opened: Page, files: dict[str, Path], complaints: list[str]
):
    show(opened, files["long"], complaints)
    first = opened.locator("section tbody tr").first
    name = first.locator("th bdi").inner_text()
    opened.get_by_label("Search").fill(name)
    row = opened.locator("#everything tbody tr").first
    above = first.locator("td").all_inner_texts()
    below = row.locator("td").all_inner_texts()
    assert below[0] == above[0].split()[0]
    assert below[1:3] == [above[1], above[3]]
    assert below[3] == above[4].split("\n")[-1]
    assert below[4] == above[6]


def test_without_javascript_the_most_surprising_and_the_way_on_are_there(
    browser: Browser, files: dict[str, Path]
):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["long"].as_uri())
    expect(page.get_by_text("This table needs JavaScript")).to_be_visible()
    expect(page.locator("#everything")).to_be_hidden()
    expect(page.locator("figure")).to_have_count(20)
    context.close()


def test_it_prints_on_a_few_pages(opened: Page, files: dict[str, Path], complaints: list[str]):
    show(opened, files["ahead"], complaints)
    pdf = opened.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 1 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 4
