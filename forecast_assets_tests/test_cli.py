"""The command line: what it prints for people and for programs, and how it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from forecast_assets.cli import main
from forecast_assets.settings_file import load
from forecast_assets_tests.builders import AS_OF, make_series, walk, write_source
from forecast_assets_tests.stored import (
    BAKE_OFF,
    data_files,
    make_commit,
    make_scores,
    make_store,
    write_predictions,
    write_series,
)

SMALL = """
[source]
kind = "file"
path = "source.csv"
[series]
season_length = 4
[backtest]
n_windows = 5
[models]
enabled = ["naive", "drift"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small forecast.toml that is in force; runs write below it."""
    return configure(tmp_path, monkeypatch)


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "forecast.toml").write_text(SMALL)
    write_source(folder, make_series(a=walk(40, seed=1), b=walk(40, seed=2)))
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "forecast.toml"))
    monkeypatch.setenv("FORECAST_VAR", str(folder))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return folder


def call(*args: str) -> Result:
    return CliRunner().invoke(main, args, catch_exceptions=False)


def said(*args: str, exit_code: int = 0) -> str:
    result = call(*args)
    assert result.exit_code == exit_code, result.output
    return result.output


def records(*args: str, exit_code: int = 0) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    parsed = json.loads(said(*args, "--json", exit_code=exit_code), parse_constant=refuse)
    assert isinstance(parsed, list)
    return parsed


# history


def test_history_lists_every_version_oldest_first(folder: Path):
    store = make_store(folder)
    series = write_series(store, 1, 2, run_id="run-number-one")
    write_predictions(store, "naive", 1, inputs=[series])
    write_predictions(store, "drift", 1, inputs=[series])
    (row,) = records("history", "series")
    assert row["as_of"] == "2026-01-05T00:00:00+00:00"
    assert (row["version"], row["run_id"], row["n_rows"]) == (0, "run-number-one", 2)
    assert [r["partition"] for r in records("history", BAKE_OFF)] == ["naive", "drift"]
    assert [r["version"] for r in records("history", BAKE_OFF, "--partition", "drift")] == [1]
    header, _, line = said("history", "series").splitlines()
    assert header.split()[:2] == ["version", "as_of"]
    assert line.split()[:3] == ["0", "2026-01-05", "00:00"]
    assert "run-numb " in line
    assert "series 0" in said("history", BAKE_OFF)


def test_a_table_that_was_never_made_has_an_empty_history(folder: Path):
    assert records("history", "series") == []
    assert said("history", "series") == "No rows.\n"
    assert not (folder / "store").exists()


# show


def test_show_prints_the_newest_and_by_option_any_other(folder: Path):
    store = make_store(folder)
    write_series(store, 1, run_id="one")
    write_series(store, 1, 2.5, run_id="two", as_of=AS_OF.replace(month=2))
    first = [{"unique_id": "a", "ds": "2024-01-05", "y": 1.0}]
    assert len(records("show", "series")) == 2
    assert records("show", "series", "--version", "0") == first
    assert records("show", "series", "--run", "one") == first
    assert records("show", "series", "--as-of", "2026-01-31") == first
    assert said("show", "series", "--version", "0").split() == [
        *("unique_id", "ds", "y"),
        *("-----------", "----------", "---"),
        *("a", "2024-01-05", "1"),
    ]


def test_a_bare_time_is_in_utc(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write_series(make_store(folder), 1)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert records("show", "series", "--as-of", "2026-01-05")
    assert records("show", "series", "--as-of", "2026-01-05T13:00+13:00")
    assert "known on 2026-01-04T23:59:00+00:00" in said(
        "show", "series", "--as-of", "2026-01-04T23:59", exit_code=2
    )


def test_what_is_no_number_is_null_for_programs_and_a_dash_for_people(folder: Path):
    scores = make_scores().assign(mae=np.nan, mape=np.inf, rmse=-np.inf)
    make_store(folder).write(scores, make_commit("metrics"))
    (row,) = records("show", "metrics")
    assert (row["mae"], row["mape"], row["rmse"], row["reason"]) == (None, None, None, None)
    assert (row["n_folds"], row["mase"]) == (3, 1.0)
    assert "–" in said("show", "metrics")


def test_a_long_table_is_cut_for_people_alone(folder: Path):
    write_series(make_store(folder), *range(60))
    assert said("show", "series").endswith("… and 10 more rows; --json prints them all.\n")
    assert len(records("show", "series")) == 60


def test_times_are_iso_for_programs(folder: Path):
    ds = pd.to_datetime(["2024-01-05T06:30", "2024-01-06T00:00"])
    rows = pd.DataFrame({"unique_id": "a", "ds": ds, "y": 1.0})
    make_store(folder).write(rows, make_commit("raw_data"))
    assert [r["ds"] for r in records("show", "raw_data")] == ["2024-01-05T06:30:00", "2024-01-06"]


# diff


def test_diff_prints_what_changed(folder: Path):
    store = make_store(folder)
    write_series(store, 1, 2, 3)
    write_series(store, 1, 2.5)
    write_series(store, 1, 2.5)
    key = {"unique_id": "a", "ds": "2024-01-19"}
    gone, changed = records("diff", "series", "0", "1")
    assert gone == {**key, "change": "removed", "column": None, "old": None, "new": None}
    assert (changed["change"], changed["column"]) == ("changed", "y")
    assert (changed["ds"], changed["old"], changed["new"]) == ("2024-01-12", 2.0, 2.5)
    assert "removed" in said("diff", "series", "0", "1")
    assert said("diff", "series", "1", "2") == "Version 2 of series says the same as version 1.\n"
    assert records("diff", "series", "1", "2") == []


def test_diff_of_one_partition_leaves_the_others_out(folder: Path):
    store = make_store(folder)
    for y in (1, 2):
        for model in ("naive", "drift"):
            write_predictions(store, model, y)
    rows = records("diff", BAKE_OFF, "1", "3", "--partition", "drift")
    assert [(r["model"], r["column"], r["old"], r["new"]) for r in rows] == [
        ("drift", "y_hat", 1.0, 2.0)
    ]
    assert len(records("diff", BAKE_OFF, "1", "3")) == 2


# verify


def test_verify_says_sound(folder: Path):
    store = make_store(folder)
    write_series(store, 1)
    write_series(store, 2)
    assert said("verify") == "Sound: 2 versions are there, readable and as recorded.\n"
    assert [(r["version"], r["problem"]) for r in records("verify", "series")] == [
        (0, None),
        (1, None),
    ]


def test_verify_names_what_is_not_sound_and_answers_no(folder: Path):
    store = make_store(folder)
    for y in range(3):
        write_series(store, y)
    data_files(store, "series")[1].unlink()
    people = said("verify", exit_code=1)
    assert "1 of 3 versions are not sound. What they held is lost unless a back-up" in people
    assert "cannot be read: Could not read version 1 of series" in people
    rows = records("verify", exit_code=1)
    assert [r["version"] for r in rows if r["problem"]] == [1]


# config


def test_config_prints_the_settings_in_force(folder: Path):
    settings = json.loads(said("config"))
    assert settings["models"]["enabled"] == ["naive", "drift"]
    assert settings["forecast"]["levels"] == [80, 95]
    assert settings == json.loads(load().model_dump_json())
    assert load().var == folder


# Refusals


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["history", "nope"], "Error: There is no asset 'nope', so no version of it. The assets"),
        (["show", "nope"], "Error: There is no asset 'nope'"),
        (["diff", "nope", "0", "1"], "Error: There is no asset 'nope'"),
        (["verify", "nope"], "Error: There is no asset 'nope'"),
        (["history", BAKE_OFF, "--partition", "x"], "has no version of a partition 'x'"),
        (["show", BAKE_OFF, "--partition", "x"], "nothing that answers to partition x"),
        (["show", "series", "--version", "9"], "answers to version 9: it has versions 0 to 0"),
        (["show", "series", "--run", "zz"], "nothing that answers to run zz"),
        (["show", "series", "--as-of", "2020-01-01"], "known on 2020-01-01T00:00:00+00:00"),
        (["show", "series", "--as-of", "Monday"], "'Monday' is no ISO 8601 time, such as 2026"),
        (["show", "metrics"], "it has no version at all"),
        (["diff", "series", "0", "9"], "answers to version 9"),
        (["run", "--as-of", "Monday"], "Error: `as_of` is 'Monday', which is no ISO 8601 time"),
        (["show", "series", "--version", "x"], "'x' is not a valid integer"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_2(folder: Path, args: list[str], says: str):
    store = make_store(folder)
    write_series(store, 1)
    write_predictions(store, "naive", 1)
    output = said(*args, exit_code=2)
    assert says in output
    assert "Traceback" not in output


def test_missing_settings_are_refused_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "other.toml"))
    for command in (["history", "series"], ["verify"], ["config"], ["run"]):
        assert "Error: There is no settings file" in said(*command, exit_code=2)


def test_an_unreadable_store_is_refused_with_2(folder: Path):
    (folder / "store").write_text("a file where the store must be")
    assert "Error: Could not read the history of series" in said("history", "series", exit_code=2)


def test_errors_go_to_stderr_and_answers_to_stdout(folder: Path):
    write_series(make_store(folder), 1)
    result = call("show", "nope", "--json")
    assert (result.stdout, result.stderr[:6]) == ("", "Error:")
    assert call("show", "series", "--json").stderr == ""


# run


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What two runs of one week print; their folder stays in force."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        configure(tmp_path_factory.mktemp("weeks"), monkeypatch)
        yield [said("run"), said("run", "--as-of", "2026-01-05")]


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
    assert len(records("history", BAKE_OFF)) == 4
    assert records("diff", "next_week_forecast", "0", "1") == []
    assert len(records("verify")) == 18
    assert said("verify").startswith("Sound: 18 versions")


@pytest.mark.usefixtures("two_runs")
def test_the_newest_of_two_runs_is_that_of_the_later_as_of():
    newest, first = records("show", "best_model"), records("show", "best_model", "--version", "0")
    assert newest == first


def test_a_run_that_fails_says_so_with_1(folder: Path):
    (folder / "source.csv").unlink()
    output = said("run", exit_code=1)
    assert "No file answers to `source.path`" in output
    assert "The week failed; what failed is above. Earlier versions stand." in output
