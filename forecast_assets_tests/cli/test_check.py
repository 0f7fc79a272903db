"""`config` prints every setting with its origin; `check` tries what a run needs."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.config.loader import load
from forecast_assets_tests.builders import make_raw, make_series, walk
from forecast_assets_tests.cli_runner import SMALL, output_of, records
from forecast_assets_tests.store_builders import make_commit, make_store, write_series


# config
def settings_dump() -> dict[str, Any]:
    return load().model_dump(mode="json")


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(v) for key, v in value.items() if v is not None}
    return value


MORE = """
[models.mine]
factory = "our.models:Mine"
params = { depth = 3, "odd key" = [true, 0.5] }
[selection]
metric = "mase"
[notify]
urls = ["env:OPS", "mailto://me:hidden@host"]
[[notify.rules]]
urls = ["env:BOSS"]
series = ["søn*"]
[benchmark.planner]
kind = "file"
path = "planner.csv"
made_on = "created"
quantiles = { "0.1" = "p10", "0.9" = "p90" }
"""


def test_config_prints_the_settings_as_toml_without_secrets(folder: Path):
    (folder / "forecast.toml").write_text(SMALL + MORE)
    printed = output_of("config")
    assert tomllib.loads(printed) == without_nulls(settings_dump())
    assert "mailto://***" in printed
    assert "hidden" not in printed


def test_config_prints_a_json_record_for_each_setting(folder: Path):
    (folder / "forecast.toml").write_text(SMALL + MORE)
    _, _, *rows = records("config")
    nested: dict[str, Any] = {}
    for row in rows:
        *tables, name = row["name"].split(".")
        table = nested
        for key in tables:
            table = table.setdefault(key, {})
        table[name] = row["value"]
    assert nested == settings_dump()


def test_config_names_the_origin_of_each_value(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "forecast.toml").write_text(SMALL + MORE)
    origins = {row["name"]: row["from"] for row in records("config")}
    assert origins["models.enabled"] == origins["source.path"] == "forecast.toml"
    assert origins["selection.metric"] == "forecast.toml"  # even though it equals the default
    assert origins["source.y"] == origins["selection.policy"] == "default"
    assert origins["models.mine.factory"] == "forecast.toml"
    assert origins["models.mine.refit_every"] == "default"
    assert origins["notify.urls"] == "forecast.toml, environment OPS"
    assert origins["notify.rules"] == "forecast.toml, environment BOSS"
    assert origins["FORECAST_CONFIG"] == "environment FORECAST_CONFIG"
    monkeypatch.delenv("FORECAST_VAR")
    (var,) = [row for row in records("config") if row["name"] == "FORECAST_VAR"]
    assert var == {"name": "FORECAST_VAR", "value": str(folder / "var"), "from": "default"}
    text = output_of("config")
    assert text.startswith(f"# settings file: {folder / 'forecast.toml'} (environment FORECAST_CO")
    assert 'metric = "mase"                               # forecast.toml\n' in text
    assert "# refit_every is not set                      # default\n" in text


# check
def checked(exit_code: int) -> dict[str, tuple[Any, bool]]:
    rows = records("check", exit_code=exit_code)
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: (row["value"], row["is_well"]) for row in rows}


def test_check_prints_what_a_run_would_find_and_writes_nothing(folder: Path):
    before = sorted(folder.rglob("*"))
    lines = [line for line in output_of("check").splitlines() if "  late  " not in line]
    nothing_done = (
        "left out are 0 rows of unfinished weeks and 0 rows of incomplete weeks or before a long"
        " gap; 0 weeks have no value and are filled"
    )
    assert lines == [
        f"ok  settings  {folder / 'forecast.toml'}",
        f"ok  source    80 rows from {folder / 'source.csv'}",
        f"ok  series    2 series up to 2024-10-04; {nothing_done}",
        "ok  new week  The first version: 2 series, weeks ending 2024-01-05 to 2024-10-04.",
        "ok  schedule  0 0 * * MON (UTC)",
        "ok  models    2 can be created",
        f"ok  store     {folder / 'store'}",
        "ok  notices   no channel",
    ]
    assert checked(0)["series"] == (
        {
            "n_series": 2,
            "last_week": "2024-10-04",
            "n_unfinished": 0,
            "n_left_out": 0,
            "n_filled": 0,
        },
        True,
    )
    assert sorted(folder.rglob("*")) == before


def test_check_counts_filled_weeks_and_rows_of_unfinished_weeks(folder: Path):
    rows = (folder / "source.csv").read_text().splitlines()
    rows[5:7] = ["a,2100-01-01,1"]  # two weeks are missing, and one has not begun
    (folder / "source.csv").write_text("\n".join(rows))
    counts, _ = checked(0)["series"]
    assert (counts["n_unfinished"], counts["n_filled"]) == (1, 2)


def test_check_counts_rows_of_incomplete_weeks_and_before_a_long_gap(folder: Path):
    """Two daily series begin in the middle of a week."""
    days = pd.date_range("2024-01-03", "2024-10-04")
    rows = [f"{name},{day.date()},1" for name in ("a", "b") for day in days]
    text = "\n".join(["unique_id,ds,y", *rows])
    (folder / "source.csv").write_text(text)
    summed = SMALL.replace("[series]", '[series]\naggregate = "sum"')
    (folder / "forecast.toml").write_text(summed)
    counts, _ = checked(0)["series"]
    assert (counts["n_unfinished"], counts["n_left_out"]) == (0, 6)
    (folder / "source.csv").write_text(f"{text}\na,2000-01-03,0\n")
    lines = checked(0)
    assert lines["series"][0]["n_left_out"] == 7
    assert lines["long_gap"] == ({"policy": "warn", "n": 1, "series": ["a"]}, None)
    assert lines["placeholder_dates"][0]["series"] == ["a"]


def test_check_continues_after_a_failure(folder: Path):
    (folder / "source.csv").unlink()
    text = SMALL.replace('"drift"', '"drifft", "mine"') + '[models.mine]\nfactory = "no.such:One"\n'
    (folder / "forecast.toml").write_text(text + '[schedule]\ncron = "61 0 * * *"\n')
    (folder / "store").write_text("a file instead of a folder")
    text = output_of("check", exit_code=1)
    marks = [line.split()[:2] for line in text.splitlines()]
    names = ("settings", "source", "schedule", "models", "models", "store", "notices")
    assert marks == [["ok" if name in ("settings", "notices") else "NO", name] for name in names]
    assert "`source.path` matches no file" in text
    assert "There is no model 'drifft'" in text
    assert "The class of the model mine cannot be imported from no.such:One" in text
    assert "Could not read the history of" in text
    assert text.split("schedule  ")[1].startswith(cron := "`schedule.cron` is '61 0 * * *', which")
    assert f"Error: {cron}" in output_of("healthcheck", exit_code=2)


def test_check_names_rows_that_cannot_become_weeks(folder: Path):
    (folder / "source.csv").write_text("unique_id,ds,y\na,2024-01-05,1\na,2024-01-05,2\n")
    text, is_well = checked(1)["series"]
    assert text.startswith("1 week has more than one row (2 rows): a / 2024-01-05.")
    assert not is_well


def test_check_names_a_channel_that_cannot_be_used(folder: Path):
    text = SMALL + '[notify]\nurls = ["json://host", "nosuch://me:hidden@host", "env:NO_SUCH"]\n'
    (folder / "forecast.toml").write_text(text)
    text = [line for line in output_of("check", exit_code=1).splitlines() if "notices" in line]
    assert len(text) == 2
    assert "hidden" not in text[0]
    assert "the environment has no NO_SUCH" in text[1]


def test_check_stops_at_settings_that_cannot_be_used(folder: Path):
    (folder / "forecast.toml").write_text("[source]\nknd = 1\n")
    (line,) = output_of("check", exit_code=1).splitlines()
    assert line.startswith(f"NO  settings  1 setting in {folder / 'forecast.toml'} cannot be used")


def test_check_finds_a_store_that_cannot_be_written(folder: Path):
    store = make_store(folder)
    write_series(store, 1)
    text = SMALL + f'[store]\nuri = "{folder / "store"}"\n'
    (folder / "forecast.toml").write_text(text)
    assert checked(0)["store"] == (str(folder / "store"), True)
    (folder / "a file").write_text("")
    (folder / "forecast.toml").write_text(SMALL + f'[store]\nuri = "{folder / "a file" / "x"}"\n')
    text, is_well = checked(1)["store"]
    assert "a file" in text
    assert not is_well


def test_check_shows_what_a_run_would_hold(folder: Path):
    store = make_store(folder)
    series = make_series(gone=walk(40, seed=1))
    raw = store.write(make_raw(series), make_commit("raw_data"))
    store.write(series, make_commit("series", inputs=[raw]))
    (folder / "forecast.toml").write_text(SMALL + f'[store]\nuri = "{folder / "store"}"\n')
    lines = checked(1)
    assert lines["vanished_series"] == ({"policy": "hold", "n": 1, "series": ["gone"]}, False)
    assert lines["new_series"][1] is True
    printed = output_of("check", exit_code=1)
    assert "A run would hold these data: 1 of 1 series of the previous version are" in printed
    assert len(store.history("series")) == 1
