"""The UI as its users see it: `dagster dev` as `make ui` starts it, driven by headless Chromium.

One week is launched by its button and looked at page by page. What the numbers are is for the tests
of the modules that make them.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from forecast_assets.config.settings import ROOT
from forecast_assets.defs.checks import CHECKS as EVERY_CHECK
from forecast_assets_tests.browser import CHROMIUM_ARGS

ASSETS = (
    "raw_data",
    "series",
    "backtest_predictions",
    "metrics",
    "best_model",
    "next_week_forecast",
    "forecast_accuracy",
    "weekly_report",
)
CHECKS = {
    "series": "series_can_be_backtested",
    "metrics": "no_model_failed",
    "next_week_forecast": "champions_forecast",
    "forecast_accuracy": "live_forecasts_keep_their_promise",
    "weekly_report": "everyone_was_told",
}
SENSORS = ("alarms", "missed_week", "stale_assets")
SERIES = (
    "mn_midgrade_gasoline_price",
    "us_crude_production",
    "us_gasoline_supplied",
    "us_petroleum_imports",
    "us_petroleum_stocks",
    "us_refinery_utilization",
)
MODELS = tuple(tomllib.loads((ROOT / "forecast.toml").read_text())["models"]["enabled"])
N_WINDOWS = 8  # of the 52 that forecast.toml asks for: the pages are the same, and sooner there
START_SECONDS, RUN_SECONDS, PAGE_SECONDS, STOP_SECONDS = 120, 180, 45, 20
# Measured on two busy cores: 37 until `dagster dev` answers, 71 from the click to the last step
# (28 of them until the run has begun), 2 to 7 for a page, 2 to 10 to stop.

FULL: ViewportSize = {"width": 1600, "height": 1000}
NARROW: ViewportSize = {"width": 800, "height": 1000}
Shot = Callable[[str], None]


@pytest.fixture(scope="module")
def address(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the UI answers; everything behind it writes to a folder of its own, and is ended.

    Nothing is started where no `chromium` could look at it.
    """
    assert chromium
    folder = tmp_path_factory.mktemp("ui")
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    settings = (ROOT / "forecast.toml").read_text()
    shorter = re.sub(r"(?m)^n_windows = \d+$", f"n_windows = {N_WINDOWS}", settings)
    (folder / "forecast.toml").write_text(shorter)
    environ = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "FORECAST_VAR": str(folder / "var"),
        "FORECAST_CONFIG": str(folder / "forecast.toml"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    port = _free_port()
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workspace", "workspace.yaml"]
    with _running(command, environ, log=folder / "dagster_dev.log") as process:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}", folder / "dagster_dev.log")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page(chromium: str, address: str) -> Iterator[Page]:
    """One page of a fresh Chromium."""
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
def shot(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Shot:
    """Keep two pictures of the page, full size and narrow, where FORECAST_SCREENSHOTS says."""
    named = os.environ.get("FORECAST_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")
        if named:  # a page that is made narrow moves: only where somebody looks
            page.set_viewport_size(NARROW)
            page.screenshot(path=folder / f"{name}_narrow.png")
            page.set_viewport_size(FULL)

    return take


@pytest.fixture(scope="module")
def launched(page: Page, shot: Shot) -> str:
    """The week, launched by the job's button for all models: the address of its run."""
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
    """The same run, once it has ended."""
    page.goto(launched)
    ended = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    ended.wait_for(timeout=RUN_SECONDS * 1000)
    return launched


@pytest.mark.usefixtures("launched")
def test_the_graph_shows_every_asset(page: Page, shot: Shot):
    page.goto("/asset-groups")
    page.get_by_role("button", name="Materialize all").click(trial=True)
    expect(page.get_by_text("forecast", exact=True).last).to_be_visible()
    page.keyboard.press("Alt+e")  # opens every group
    for asset in ASSETS:
        expect(page.get_by_text(_as_in_the_graph(asset))).to_be_visible()
    shot("graph")


@pytest.mark.usefixtures("launched")
def test_the_schedule_and_the_sensors_are_on(page: Page, shot: Shot):
    page.goto("/automation")
    for name in ("every_week", *SENSORS):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    switches = page.locator("label[class*=formatSwitch] input")
    expect(switches).to_have_count(1 + len(SENSORS))
    for switch in switches.all():
        expect(switch).to_be_checked()
    expect(page.get_by_text("only on Monday")).to_be_visible()
    shot("schedule")


def test_the_button_of_the_job_runs_the_week_as_one_run_with_a_step_a_model(
    page: Page, shot: Shot, finished: str
):
    page.goto(finished)
    expect(page.get_by_text(re.compile("^(Success|Failure)$")).first).to_have_text("Success")
    expect(page.get_by_text(f"{len(ASSETS)} assets")).to_be_visible()
    expect(page.get_by_text(f"{len(EVERY_CHECK)} checks")).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS")).to_be_visible()
    page.get_by_text(re.compile(r"^Succeeded \(\d+\)$")).click()
    for model in MODELS:
        step = page.get_by_text(f"backtest_predictions.backtest[{model}]", exact=True)
        expect(step.last).to_be_attached()
    shot("run")


@pytest.mark.usefixtures("finished")
def test_every_model_is_a_partition(page: Page, shot: Shot):
    page.goto("/assets/backtest_predictions?view=partitions")
    expect(page.get_by_text(f"Materialized ({len(MODELS)})")).to_be_visible()
    for model in MODELS:
        expect(page.get_by_text(model, exact=True).first).to_be_visible()
    page.get_by_text(MODELS[-1], exact=True).first.click()
    expect(_row(page, "n_failed")).to_contain_text("0")
    shot("partitions")


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("asset", "check"), CHECKS.items())
def test_every_check_is_seen_to_pass(page: Page, shot: Shot, asset: str, check: str):
    page.goto(f"/assets/{asset}?view=checks")
    # A name that is cut in the list stands there a second time, hidden, to be measured.
    expect(page.get_by_text(check).filter(visible=True).first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    shot(f"check_{check}")


@pytest.mark.usefixtures("finished")
def test_the_forecast_is_a_table_that_names_every_series(page: Page, shot: Shot):
    page.goto("/assets/next_week_forecast")
    rows = _row(page, "rows")
    for name in SERIES:
        expect(rows.get_by_text(name, exact=True)).to_be_visible()
    rows.scroll_into_view_if_needed()
    shot("forecast")


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("asset", "key"),
    [
        ("series", "series_plot"),
        ("metrics", "score_plot"),
        ("next_week_forecast", "forecast_plot"),
    ],
)
def test_a_plot_opens_and_has_loaded(page: Page, shot: Shot, asset: str, key: str):
    page.goto(f"/assets/{asset}")
    _row(page, key).get_by_text("[Show Markdown]").click()
    image = page.get_by_role("dialog").locator("img")
    expect(image).to_have_attribute("src", re.compile("^data:image/svg"))
    expect(image).to_have_js_property("complete", value=True)
    assert image.evaluate("image => image.naturalWidth") > 0
    shot(f"plot_of_{asset}")


@pytest.mark.usefixtures("finished")
def test_the_report_can_be_read_without_leaving_the_page(page: Page, shot: Shot):
    page.goto("/assets/weekly_report")
    _row(page, "report_text").get_by_text("[Show Markdown]").click()
    report = page.get_by_role("dialog")
    for name in SERIES:
        expect(report).to_contain_text(name)
    shot("report")


def _row(page: Page, key: str) -> Locator:
    """The row of a table of metadata that has this key."""
    cell = page.locator("td").filter(has_text=re.compile(f"^{key}$"))
    return page.locator("tr").filter(has=cell).last


def _as_in_the_graph(asset: str) -> re.Pattern[str]:
    """An asset's name as the graph may write it: whole, or cut in the middle."""
    return re.compile(f"^({asset}|{asset[:4]}.*….*{asset[-6:]})$")


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def _running(
    command: list[str], environ: dict[str, str], *, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, and end the whole group afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return when the webserver answers; fail with the end of its log where it does not."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):  # noqa: S310  # ours
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)  # between two looks at the condition
    said = log.read_text(errors="replace")[-3000:]
    pytest.fail(f"`dagster dev` does not answer on {address} after {START_SECONDS} s:\n{said}")
