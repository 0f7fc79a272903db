"""Running weeks from the command line, and every example of a help page on what they wrote."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import Result

from forecast_assets.cli import COMMANDS, main
from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.notification_servers import webhook


@dataclass(frozen=True)
class Weeks:
    """The folder of two runs, what the first printed, and the result of the second with --json."""

    folder: Path
    printed: str
    result: Result


EARLIER = ["--as-of", "2026-01-05", "--accept", "--json"]


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    """Run one week as of now, and as of an earlier time with --accept and --json.

    A channel reads the series `a`.
    """
    folder = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as monkeypatch, webhook() as hook:
        rule = f'[[notify.rules]]\nurls = ["{hook.url}"]\nseries = ["a"]\n'
        configure(folder, monkeypatch, SMALL + rule)
        yield Weeks(folder, output_of("run"), invoke("run", *EARLIER))


def test_a_run_prints_its_progress_the_forecast_and_the_whole_report(weeks: Weeks):
    assert "backtest_predictions.backtest[drift]" in weeks.printed
    assert "2024-10-11" in weeks.printed  # the week after the source's last
    (line,) = [line for line in weeks.printed.splitlines() if line.startswith("The report:")]
    report = Path(line.split()[-1])
    assert report.is_file()
    assert list(report.parent.glob("*/report.html"))  # that of the channel lies below
    assert {row["name"]: row["value"] for row in records("status")}["report"] == str(report)


def test_a_run_prints_its_forecast_as_json_and_its_progress_to_stderr(weeks: Weeks):
    rows = json.loads(weeks.result.stdout)
    forecasts = [(row["unique_id"], row["ds"]) for row in rows]
    assert forecasts == [("a", "2024-10-11"), ("b", "2024-10-11")]
    assert rows == records("show", "next_week_forecast", "--version", "1")
    assert "backtest_predictions.backtest[drift]" in weeks.result.stderr
    assert "Nothing is held back, so --accept has no effect." in weeks.result.stderr


@pytest.mark.usefixtures("weeks")
def test_a_week_that_ran_twice_has_two_versions_of_every_table():
    forecasts = records("history", "next_week_forecast")
    assert [row["version"] for row in forecasts] == [0, 1]
    assert forecasts[0]["data_version"] == forecasts[1]["data_version"]
    assert forecasts[1]["as_of"] == "2026-01-05T00:00:00+00:00"
    assert records("diff", "next_week_forecast", "0", "1") == []
    assert records("show", "best_model") == records("show", "best_model", "--version", "0")
    assert output_of("verify").startswith("20 versions are readable")


def test_the_rules_are_compared_on_the_newest_backtest(weeks: Weeks):
    """In a store without metrics there is nothing to compare."""
    rows = {row["rule"]: row for row in records("compare-rules")}
    assert {"naive", "evidence", "combination_median"} <= set(rows)
    assert rows["naive"]["to_naive"] == 1.0
    assert sum(bool(row["chosen_now"]) for row in rows.values()) == 1
    assert "has no version of metrics" in output_of(
        "compare-rules", "--store", str(weeks.folder / "nothing"), exit_code=2
    )


@pytest.mark.usefixtures("weeks")
def test_status_shows_the_forecast_with_the_latest_as_of():
    rows = {row["name"]: row for row in records("status")}
    forecast = records("history", "next_week_forecast")[0]
    assert rows["week"]["value"] == "2024-10-11"
    assert rows["n_series"]["value"] == 2
    assert rows["series"]["value"]["n_rows"] == 80
    assert rows["next_week_forecast"]["value"]["version"] == forecast["version"]
    assert rows["backtest_predictions"]["value"]["partitions"] == 2
    assert [name for name, row in rows.items() if row["is_well"] is False] == []
    text = output_of("status")
    assert "ok  models failed      none\n" in text
    assert f"    run id             {forecast['run_id'][:8]}\n" in text


def test_held_data_fail_the_run_until_they_are_accepted(
    weeks: Weeks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(weeks.folder, tmp_path, dirs_exist_ok=True)
    configure(tmp_path, monkeypatch, SMALL)
    rows = (tmp_path / "source.csv").read_text().splitlines()
    (tmp_path / "source.csv").write_text("\n".join(row for row in rows if row[:2] != "b,"))
    (tmp_path / "outbox/queue.sqlite").write_bytes(b"no database" * 1000)
    held = invoke("run", "--json")
    assert (held.exit_code, json.loads(held.stdout)) == (1, [])
    assert "vanished_series" in held.stderr
    assert "The notifications of this run were not sent. The notification queue" in held.stderr
    assert "`forecast-assets run --accept`" in held.stderr
    assert "The run failed; see the errors above. Earlier versions are unch" in held.stderr
    assert len(records("history", "series")) == 2
    shutil.rmtree(tmp_path / "store/next_week_forecast")  # as if this were the first fetch
    assert output_of("status").startswith("NO  data  held back: vanished series (1), as of 20")
    published = output_of("run", "--accept")
    assert "made again: the data (vanished series (1)) held back as of 20" in published
    assert "The report:" in published
    accepted = "vanished series (1), held back and then accepted"
    assert f"The data:       {accepted}; more: forecast-assets show data_f" in published
    assert f"data               {accepted}\n" in output_of("status")
    report = published.partition("The report:")[2].split()[0].replace(".html", ".md")
    text = Path(report).read_text()
    assert f"- The data are unusual: {accepted}." in text
    assert "missing: b. It held the data back, and was accepted." in text
    (line,) = [row for row in records("status") if row["name"] == "data"]
    assert line == {"name": "data", "value": {"vanished_series": 1}, "is_well": False}


def test_a_held_forecast_is_shown_compared_and_accepted(
    weeks: Weeks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(weeks.folder, tmp_path, dirs_exist_ok=True)
    configure(tmp_path, monkeypatch, f'{SMALL}rescaled = "publish"\nunusual = "publish"\n')
    assert "No forecast was ever held back" in output_of("show", "held_forecast", exit_code=2)
    *rows, last = (tmp_path / "source.csv").read_text().splitlines()
    for factor in (1000, 2000):  # the newest value of the series b
        name, day, y = last.split(",")
        wrong = f"{name},{day},{factor * float(y)}"
        (tmp_path / "source.csv").write_text("\n".join([*rows, wrong]))
        assert "- b: combination_inverse_error forecast" in output_of("run", exit_code=1)
    held = records("show", "held_forecast")
    assert [row["unique_id"] for row in held] == ["a", "b"]
    assert held[1]["reason"].startswith("implausible: combination_inverse_error forecast ")
    changed = records("diff", "held_forecast", "0", "1")
    assert "b" in {row["unique_id"] for row in changed}
    line, table = [row for row in records("status") if row["name"] == "held_forecast"]
    assert (line["is_well"], table["value"]["n_rows"]) == (False, 2)
    published = output_of("run", "--accept")
    assert "made again: the forecast (1 series without a plausible one (b)) held" in published
    assert "The forecast:   b: implausible: combination_inverse_error forecast " in published
    newest = records("show", "next_week_forecast")
    assert [row["y_hat"] for row in newest] == [row["y_hat"] for row in held]


# Examples that other tests run.
RUNS = ["run", "run --as-of 2026-01-05 --json", "run --accept"]
WITHDRAWALS = [
    "withdraw --as-of 2026-11-23 --reason 'The file was of last year'",
    "show withdrawals",
]
OVERRIDES = [
    "override store_01 --week 2026-12-25 --value 1200 --reason 'New branch next door'",
    "override store_01 --week 2026-12-25 --withdraw --reason 'It opens in January'",
    "show overrides",
]
DELIVERIES = ["deliver erp", "deliver erp --version 12"]  # test_deliver runs others
EXPLANATIONS = [  # test_explain runs others
    "explain us_gasoline_supplied",
    "explain store_01 --ahead 4 --as-of 2026-11-23",
    "explain store_01 --version 12 --json",
]
REPLAYS = [
    "replay --from 2025-01-01 --to 2025-12-31",
    "replay --from 2024-01-01 --to 2025-12-31 --every 4w --store var/replay-4w",
]


@pytest.mark.parametrize("command", [*COMMANDS, main], ids=lambda command: command.name)
@pytest.mark.usefixtures("weeks")
def test_the_examples_of_a_help_page_work(command: click.Command):
    page = output_of("--help") if command is main else output_of(command.name or "", "--help")
    examples = [
        re.sub(r" >.*", "", line.strip()).removeprefix("forecast-assets ")
        for line in page.partition("  Examples:\n")[2].partition("\n\n")[0].splitlines()
    ]
    assert 2 <= len(examples) <= 4
    assert command.name != "run" or examples == RUNS
    for example in examples:
        if example not in RUNS + WITHDRAWALS + OVERRIDES + REPLAYS + DELIVERIES + EXPLANATIONS:
            # No daemon runs here, as the health check reports.
            is_failing = example.startswith("healthcheck") and "--no-daemon" not in example
            output_of(*shlex.split(example), exit_code=int(is_failing))
