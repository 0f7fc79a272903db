"""The UI as its users see it: `dagster dev` as `make ui` starts it, driven by headless Chromium.

The pages show a week that the command line has published. Another week is launched with the job's
button before any page is looked at, because the daemon begins it up to half a minute later.
"""

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from forecast_assets.defs.checks import specs_of
from forecast_assets.storage.tables import ASSETS
from forecast_assets_tests.browser import CHROMIUM_ARGS
from forecast_assets_tests.cli_runner import configure, output_of
from forecast_assets_tests.dagster_runs import running
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.notification_servers import refusing_port

pytestmark = pytest.mark.usefixtures("launched")

AUTOMATION = ("every_week", "alarms", "missed_week", "stale_assets")
SERIES, MODELS = ("a", "b"), ("naive", "drift")  # of the small forecast.toml of `cli_runner`
# Measured on two busy cores: 37 s until `dagster dev` answers, 28 s from the click to the run's
# start, 2 to 7 s for a page.
START_SECONDS, RUN_SECONDS, PAGE_SECONDS = 300, 400, 90


@pytest.fixture(scope="module")
def home(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the folder of a Dagster instance with a published week, if there is Chromium."""
    assert chromium
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = configure(tmp_path_factory.mktemp("ui"), monkeypatch)
        output_of("run")
        yield folder / "dagster"


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """Yield the address of the UI of this instance."""
    port, log = str(refusing_port()), home / "dagster_dev.log"
    address = f"http://127.0.0.1:{port}"
    command = ("dagster", "dev", "--host", "127.0.0.1", "--port", port)
    command += ("--workspace", "workspace.yaml")
    with running(*command, environ={**os.environ, "DAGSTER_HOME": str(home)}, log=log) as process:
        comes_true(lambda: process.poll() is not None or _answers(address), within=START_SECONDS)
        assert _answers(address), log.read_text(errors="replace")[-3000:]
        yield address


@pytest.fixture(scope="module")
def page(chromium: str, address: str) -> Iterator[Page]:
    """Yield a page of a new Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS))
        try:
            page = browser.new_page(base_url=address, viewport={"width": 1600, "height": 1000})
            page.set_default_timeout(PAGE_SECONDS * 1000)
            expect.set_options(timeout=PAGE_SECONDS * 1000)
            yield page
        finally:
            browser.close()


@pytest.fixture(scope="module")
def launched(page: Page) -> None:
    """Launch the week with the job's button for all models."""
    page.goto("/locations/forecast_assets/jobs/weekly_forecast")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="All", exact=True).click()
    expect(dialog).to_contain_text(f"{len(MODELS)} partitions")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(page.get_by_text("Created backfill")).to_be_visible()


def test_the_graph_shows_every_asset(page: Page):
    page.goto("/asset-groups")
    page.get_by_role("button", name="Materialize all").click(trial=True)
    expect(page.get_by_text("backtest", exact=True).last).to_be_visible()
    page.keyboard.press("Alt+e")  # opens every group
    for asset in ASSETS:
        # A long name is cut in the middle.
        name = re.compile(f"^({asset}|{asset[:4]}.*….*{asset[-6:]})$")
        expect(page.get_by_text(name)).to_be_visible()


def test_the_schedule_and_the_sensors_are_on(page: Page):
    page.goto("/automation")
    for name in AUTOMATION:
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    switches = page.locator("label[class*=formatSwitch] input")
    expect(switches).to_have_count(len(AUTOMATION))
    for switch in switches.all():
        expect(switch).to_be_checked()
    expect(page.get_by_text("only on Monday")).to_be_visible()


def test_the_page_of_an_asset_shows_its_rows_and_its_plot(page: Page):
    page.goto("/assets/next_week_forecast")
    for name in SERIES:
        expect(_row(page, "rows").get_by_text(name, exact=True)).to_be_visible()
    _row(page, "forecast_plot").get_by_text("[Show Markdown]").click()
    image = page.get_by_role("dialog").locator("img")
    expect(image).to_have_attribute("src", re.compile("^data:image/svg"))
    expect(image).to_have_js_property("complete", value=True)
    assert image.evaluate("image => image.naturalWidth") > 0


def test_the_report_can_be_read_in_the_ui(page: Page):
    page.goto("/assets/weekly_report")
    _row(page, "report_text").get_by_text("[Show Markdown]").click()
    report = page.get_by_role("dialog")
    for name in SERIES:
        expect(report.get_by_text(name, exact=True).first).to_be_visible()


def test_the_button_of_the_job_starts_one_run_with_a_step_per_model(page: Page, home: Path):
    page.goto("about:blank")  # Chromium need not draw the progress of the run
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def backfill_runs() -> list[dg.DagsterRun]:
            return [run for run in instance.get_runs() if "dagster/backfill" in run.tags]

        assert comes_true(
            lambda: any(run.is_finished for run in backfill_runs()), within=RUN_SECONDS
        )
        (run,) = backfill_runs()
    page.goto(f"/runs/{run.run_id}")
    status = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    expect(status).to_have_text("Success")
    expect(page.get_by_text(f"{len(ASSETS)} assets")).to_be_visible()
    n_checks = sum(len(specs_of(asset)) for asset in ASSETS)
    expect(page.get_by_text(f"{n_checks} checks")).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()
    page.get_by_text(re.compile(r"^Succeeded \(\d+\)$")).click()
    for model in MODELS:
        step = page.get_by_text(f"backtest_predictions.backtest[{model}]", exact=True)
        expect(step.last).to_be_attached()


def test_every_model_is_a_partition(page: Page):
    page.goto("/assets/backtest_predictions?view=partitions")
    expect(page.get_by_text(f"Materialized ({len(MODELS)})")).to_be_visible()
    for model in MODELS:
        expect(page.get_by_text(model, exact=True).first).to_be_visible()
    page.get_by_text(MODELS[-1], exact=True).first.click()
    expect(_row(page, "n_failed")).to_contain_text("0")


def test_the_checks_of_an_asset_pass(page: Page):
    page.goto("/assets/next_week_forecast?view=checks")
    for check in specs_of("next_week_forecast"):
        # A name that is cut in the list has a hidden copy that measures its width.
        expect(page.get_by_text(check.name).filter(visible=True).first).to_be_visible()
        expect(page.get_by_text("Passed", exact=True).first).to_be_visible()


def _row(page: Page, key: str) -> Locator:
    """Return the row of a table of metadata with this key."""
    cell = page.locator("td").filter(has_text=re.compile(f"^{key}$"))
    return page.locator("tr").filter(has=cell).last


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/server_info", timeout=5):  # noqa: S310 - ours
            return True
    except OSError:
        return False
