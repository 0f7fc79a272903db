"""Running a week from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.notification_servers import webhook
from forecast_assets_tests.store_builders import BACKTEST


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small forecast.toml that is in force; runs write below it."""
    return configure(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What two runs of one week print; their folder stays in force."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(tmp_path_factory.mktemp("weeks"), monkeypatch)
        yield [output_of("run"), output_of("run", "--as-of", "2026-01-05")]


def test_a_run_prints_the_forecast_and_where_the_report_is(two_runs: list[str]):
    for printed in two_runs:
        assert "backtest_predictions.backtest[drift]" in printed
        assert "2024-10-11" in printed  # the week after the source's last
        (line,) = [line for line in printed.splitlines() if line.startswith("The report:")]
        assert Path(line.split()[-1]).is_file()


@pytest.mark.usefixtures("two_runs")
def test_a_week_that_ran_twice_has_two_versions_of_every_table():
    forecasts = records("history", "next_week_forecast")
    assert [r["version"] for r in forecasts] == [0, 1]
    assert forecasts[0]["data_version"] == forecasts[1]["data_version"]
    assert forecasts[1]["as_of"] == "2026-01-05T00:00:00+00:00"
    assert len(records("history", BACKTEST)) == 4
    assert records("diff", "next_week_forecast", "0", "1") == []
    assert len(records("verify")) == 18
    assert output_of("verify").startswith("Sound: 18 versions")


@pytest.mark.usefixtures("two_runs")
def test_the_newest_of_two_runs_is_that_of_the_later_as_of():
    newest, first = records("show", "best_model"), records("show", "best_model", "--version", "0")
    assert newest == first


@pytest.mark.usefixtures("two_runs")
def test_status_tells_how_the_newest_forecast_stands():
    rows = {row["name"]: row for row in records("status")}
    forecast = records("history", "next_week_forecast")[0]  # the other is of an older moment
    assert rows["week"]["value"] == "2024-10-11"
    assert rows["n_series"]["value"] == 2
    assert rows["series"]["value"]["n_rows"] == 80
    assert rows["next_week_forecast"]["value"]["version"] == forecast["version"]
    assert rows["backtest_predictions"]["value"]["partitions"] == 2
    assert [name for name, row in rows.items() if row["is_well"] is False] == []
    told = output_of("status")
    assert "ok  models failed      none\n" in told
    assert f"    run id             {forecast['run_id'][:8]}\n" in told


def test_a_run_gives_programs_its_forecast(folder: Path):
    result = invoke("run", "--as-of", "2026-01-05", "--json")
    rows = json.loads(result.stdout)
    assert [(row["unique_id"], row["ds"]) for row in rows] == [
        ("a", "2024-10-11"),
        ("b", "2024-10-11"),
    ]
    assert rows == records("show", "next_week_forecast")
    assert "backtest_predictions.backtest[drift]" in result.stderr
    (folder / "source.csv").unlink()
    assert records("run", exit_code=1) == []


def test_the_report_is_not_that_of_a_reader_of_some_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with webhook() as hook:
        rule = f'[[notify.rules]]\nurls = ["{hook.url}"]\nseries = ["a"]\n'
        configure(tmp_path, monkeypatch, SMALL + rule)
        told = output_of("run")
    (part,) = tmp_path.glob("reports/*/*/report.html")
    whole = part.parents[1] / part.name
    assert f"\nThe report:     {whole}\n" in told
    assert {row["name"]: row["value"] for row in records("status")}["report"] == str(whole)


def test_a_run_that_fails_says_so_with_1(folder: Path):
    (folder / "source.csv").unlink()
    output = output_of("run", exit_code=1)
    assert "No file answers to `source.path`" in output
    assert "The week failed; what failed is above. Earlier versions stand." in output


def test_data_that_are_held_back_are_published_once_they_are_accepted(folder: Path):
    output_of("run")
    rows = (folder / "source.csv").read_text().splitlines()
    (folder / "source.csv").write_text("\n".join(row for row in rows if row[:2] != "b,"))
    held = output_of("run", exit_code=1)
    assert "series failed: The data are held back" in held
    assert "- vanished_series: 1 of 2 series of the previous version are gone: b." in held
    assert "`forecast-assets run --accept`" in held
    assert len(records("history", "series")) == 1
    published = output_of("run", "--accept")
    assert "The report:" in published
    assert "The data:       vanished series (1); more: forecast-assets status" in published
    (line,) = [row for row in records("status") if row["name"] == "data"]
    assert line == {"name": "data", "value": {"vanished_series": 1}, "is_well": False}
    output_of("run")
    (line,) = [row for row in records("status") if row["name"] == "data"]
    assert line == {"name": "data", "value": {"unchanged": 1}, "is_well": True}
