"""Running a week from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.notification_servers import webhook


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a small forecast.toml that is selected; runs write below it."""
    return configure(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Result]]:
    """Run one week as of now, and as of an earlier time with --json; a channel reads series `a`."""
    folder = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as monkeypatch, webhook() as hook:
        rule = f'[[notify.rules]]\nurls = ["{hook.url}"]\nseries = ["a"]\n'
        configure(folder, monkeypatch, SMALL + rule)
        yield output_of("run"), invoke("run", "--as-of", "2026-01-05", "--json")


def test_a_run_prints_its_progress_the_forecast_and_the_whole_report(two_runs: tuple[str, Result]):
    printed, _ = two_runs
    assert "backtest_predictions.backtest[drift]" in printed
    assert "2024-10-11" in printed  # the week after the source's last
    (line,) = [line for line in printed.splitlines() if line.startswith("The report:")]
    report = Path(line.split()[-1])
    assert report.is_file()
    assert list(report.parent.glob("*/report.html"))  # that of the channel lies below
    assert {row["name"]: row["value"] for row in records("status")}["report"] == str(report)


def test_a_run_prints_its_forecast_as_json_and_its_progress_to_stderr(two_runs: tuple[str, Result]):
    _, result = two_runs
    rows = json.loads(result.stdout)
    assert [(row["unique_id"], row["ds"]) for row in rows] == [
        ("a", "2024-10-11"),
        ("b", "2024-10-11"),
    ]
    assert rows == records("show", "next_week_forecast", "--version", "1")
    assert "backtest_predictions.backtest[drift]" in result.stderr


@pytest.mark.usefixtures("two_runs")
def test_a_week_that_ran_twice_has_two_versions_of_every_table():
    forecasts = records("history", "next_week_forecast")
    assert [row["version"] for row in forecasts] == [0, 1]
    assert forecasts[0]["data_version"] == forecasts[1]["data_version"]
    assert forecasts[1]["as_of"] == "2026-01-05T00:00:00+00:00"
    assert records("diff", "next_week_forecast", "0", "1") == []
    assert records("show", "best_model") == records("show", "best_model", "--version", "0")
    assert output_of("verify").startswith("20 versions are readable")


@pytest.mark.usefixtures("two_runs")
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


def test_a_failed_run_names_the_cause_and_exits_with_1(folder: Path):
    (folder / "source.csv").unlink()
    result = invoke("run", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])
    assert "`source.path`" in result.stderr
    assert "The run failed; see the errors above. Earlier versions are unch" in result.stderr


def test_held_data_are_published_once_they_are_accepted(folder: Path):
    output_of("run")
    rows = (folder / "source.csv").read_text().splitlines()
    (folder / "source.csv").write_text("\n".join(row for row in rows if row[:2] != "b,"))
    held = output_of("run", exit_code=1)
    assert "vanished_series" in held
    assert "`forecast-assets run --accept`" in held
    assert len(records("history", "series")) == 1
    published = output_of("run", "--accept")
    assert "The report:" in published
    assert "The data:       vanished series (1); more: forecast-assets status" in published
    (line,) = [row for row in records("status") if row["name"] == "data"]
    assert line == {"name": "data", "value": {"vanished_series": 1}, "is_well": False}
