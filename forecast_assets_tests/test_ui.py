"""The UI as its users see it: `dagster dev` as `make ui` starts it, driven by headless Chromium.

One week is launched with the job's button and looked at page by page. Set FORECAST_SCREENSHOTS to a
folder to see every page of every asset, full size and narrow.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from forecast_assets.config.settings import ROOT
from forecast_assets.defs.checks import DATA_CHECKS, OTHER_CHECKS, specs_of
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.browser import CHROMIUM_ARGS
from forecast_assets_tests.dagster_runs import running

AUTOMATION = ("every_week", "alarms", "missed_week", "stale_assets")
SERIES = (
    "mn_midgrade_gasoline_price",
    "us_crude_production",
    "us_gasoline_supplied",
    "us_petroleum_imports",
    "us_petroleum_stocks",
    "us_refinery_utilization",
)
MODELS = ("naive", "seasonal_naive", "drift", "window_average", "auto_ets")
# Fewer models and windows than forecast.toml has: the pages are the same, and sooner there.
SHORTER = {
    r"(?ms)^enabled = \[.*?^\]": f"enabled = {list(MODELS)}",
    r"(?m)^n_windows = \d+$": "n_windows = 8",
}
# Measured on two busy cores: 37 s until `dagster dev` answers, 28 s from the click to the run's
# start, 2 to 7 s for a page, 2 to 10 s to stop.
START_SECONDS, RUN_SECONDS, PAGE_SECONDS, STOP_SECONDS = 300, 400, 90, 20

FULL: ViewportSize = {"width": 1600, "height": 1000}
NARROW: ViewportSize = {"width": 800, "height": 1000}
SCREENSHOTS = os.environ.get("FORECAST_SCREENSHOTS")
# Without screenshots one asset stands for all: their pages differ in data alone.
ASSETS_TO_OPEN = ASSETS if SCREENSHOTS else ("next_week_forecast",)
TakeScreenshot = Callable[[str], None]


@pytest.fixture(scope="module")
def address(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the UI of a folder of its own. Nothing is started without Chromium."""
    assert chromium
    folder = tmp_path_factory.mktemp("ui")
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    settings = (ROOT / "forecast.toml").read_text()
    for pattern, text in SHORTER.items():
        settings, n = re.subn(pattern, text, settings)
        assert n == 1, pattern
    (folder / "forecast.toml").write_text(settings)
    environ = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "FORECAST_VAR": str(folder / "var"),
        "FORECAST_CONFIG": str(folder / "forecast.toml"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    port, log = _free_port(), folder / "dagster_dev.log"
    command = ("dagster", "dev", "--host", "127.0.0.1", "--port", str(port))
    command += ("--workspace", "workspace.yaml")
    with running(*command, environ=environ, log=log, stop_seconds=STOP_SECONDS) as process:
        _wait_for_webserver(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page(chromium: str, address: str) -> Iterator[Page]:
    """A page of a new Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS))
        try:
            page = browser.new_page(base_url=address, viewport=FULL)
            page.set_default_timeout(PAGE_SECONDS * 1000)
            expect.set_options(timeout=PAGE_SECONDS * 1000)
            yield page
        finally:
            browser.close()


@pytest.fixture(scope="module")
def shot(page: Page) -> TakeScreenshot:
    """A function that saves two screenshots of the page, full size and narrow, if asked for."""

    def take(name: str) -> None:
        if SCREENSHOTS:
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png")
            page.set_viewport_size(NARROW)
            page.screenshot(path=folder / f"{name}_narrow.png")
            page.set_viewport_size(FULL)

    return take


@pytest.fixture(scope="module")
def launched(page: Page, shot: TakeScreenshot) -> str:
    """The address of a weekly run, launched with the job's button for all models."""
    page.goto("/locations/forecast_assets/jobs/weekly_forecast")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    expect(dialog).to_contain_text(f"{len(MODELS)} partitions selected")
    shot("launch")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()
    page.goto("/locations/forecast_assets/jobs/weekly_forecast/runs")
    run = page.locator("a[href*='/runs/']").filter(has_text=re.compile(r"^[0-9a-f]{8}$")).first
    run.wait_for()
    return str(run.get_attribute("href"))


@pytest.fixture(scope="module")
def finished(page: Page, launched: str) -> str:
    """The same run, after it has ended."""
    page.goto(launched)
    ended = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    ended.wait_for(timeout=RUN_SECONDS * 1000)
    return launched


@pytest.mark.usefixtures("launched")
def test_the_graph_shows_every_asset(page: Page, shot: TakeScreenshot):
    page.goto("/asset-groups")
    page.get_by_role("button", name="Materialize all").click(trial=True)
    expect(page.get_by_text("backtest", exact=True).last).to_be_visible()
    page.keyboard.press("Alt+e")  # opens every group
    for asset in ASSETS:
        expect(page.get_by_text(_in_the_graph(asset))).to_be_visible()
    shot("graph")


@pytest.mark.usefixtures("launched")
def test_the_schedule_and_the_sensors_are_on(page: Page, shot: TakeScreenshot):
    page.goto("/automation")
    for name in AUTOMATION:
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    switches = page.locator("label[class*=formatSwitch] input")
    expect(switches).to_have_count(len(AUTOMATION))
    for switch in switches.all():
        expect(switch).to_be_checked()
    expect(page.get_by_text("only on Monday")).to_be_visible()
    shot("automation")


def test_the_button_of_the_job_starts_one_run_with_a_step_per_model(
    page: Page, shot: TakeScreenshot, finished: str
):
    page.goto(finished)
    expect(page.get_by_text(re.compile("^(Success|Failure)$")).first).to_have_text("Success")
    expect(page.get_by_text(f"{len(ASSETS)} assets")).to_be_visible()
    expect(page.get_by_text(f"{len(DATA_CHECKS) + len(OTHER_CHECKS)} checks")).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()
    page.get_by_text(re.compile(r"^Succeeded \(\d+\)$")).click()
    for model in MODELS:
        step = page.get_by_text(f"backtest_predictions.backtest[{model}]", exact=True)
        expect(step.last).to_be_attached()
    shot("run")


@pytest.mark.usefixtures("finished")
def test_every_model_is_a_partition(page: Page, shot: TakeScreenshot):
    page.goto("/assets/backtest_predictions?view=partitions")
    expect(page.get_by_text(f"Materialized ({len(MODELS)})")).to_be_visible()
    for model in MODELS:
        expect(page.get_by_text(model, exact=True).first).to_be_visible()
    page.get_by_text(MODELS[-1], exact=True).first.click()
    expect(_row(page, "n_failed")).to_contain_text("0")
    shot("partitions")


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("asset", ASSETS_TO_OPEN)
def test_the_checks_of_an_asset_pass(page: Page, shot: TakeScreenshot, asset: str):
    page.goto(f"/assets/{asset}?view=checks")
    for check in specs_of(asset):
        # A name that is cut in the list has a hidden copy that measures its width.
        expect(page.get_by_text(check.name).filter(visible=True).first).to_be_visible()
        expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    shot(f"checks_of_{asset}")


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("asset", ASSETS_TO_OPEN)
def test_the_page_of_an_asset_shows_its_metadata(page: Page, shot: TakeScreenshot, asset: str):
    page.goto(f"/assets/{asset}")
    if asset == "next_week_forecast":
        for name in SERIES:
            expect(_row(page, "rows").get_by_text(name, exact=True)).to_be_visible()
        shot(asset)
        _row(page, "forecast_plot").get_by_text("[Show Markdown]").click()
        image = page.get_by_role("dialog").locator("img")
        expect(image).to_have_attribute("src", re.compile("^data:image/svg"))
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("image => image.naturalWidth") > 0
        shot("forecast_plot")
        return
    if asset != "backtest_predictions":  # its metadata are on the pages of its partitions
        expect(_row(page, "as_of")).to_be_visible()
    shot(asset)


@pytest.mark.usefixtures("finished")
def test_the_report_can_be_read_in_the_ui(page: Page, shot: TakeScreenshot):
    page.goto("/assets/weekly_report")
    _row(page, "report_text").get_by_text("[Show Markdown]").click()
    report = page.get_by_role("dialog")
    for name in SERIES:
        expect(report).to_contain_text(name)
    shot("report")


def _row(page: Page, key: str) -> Locator:
    """Return the row of a table of metadata with this key."""
    cell = page.locator("td").filter(has_text=re.compile(f"^{key}$"))
    return page.locator("tr").filter(has=cell).last


def _in_the_graph(asset: str) -> re.Pattern[str]:
    """Return an asset's name as the graph may show it: whole, or cut in the middle."""
    return re.compile(f"^({asset}|{asset[:4]}.*….*{asset[-6:]})$")


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _wait_for_webserver(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return when the webserver answers; fail with the end of its log if it does not."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):  # noqa: S310  # ours
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    end_of_log = log.read_text(errors="replace")[-3000:]
    pytest.fail(
        f"`dagster dev` does not answer on {address} after {START_SECONDS} s:\n{end_of_log}"
    )
