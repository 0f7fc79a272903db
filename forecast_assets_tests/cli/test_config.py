"""What `config` tells of the settings in force, and what `check` finds before a week."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from forecast_assets.config.loader import load
from forecast_assets_tests.builders import make_raw, make_series, walk
from forecast_assets_tests.cli_runner import SMALL, configure, output_of, records
from forecast_assets_tests.store_builders import make_commit, make_store, write_series

Y = walk(40, seed=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small forecast.toml that is in force; runs write below it."""
    return configure(tmp_path, monkeypatch)


# config
def in_force() -> dict[str, Any]:
    return load().model_dump(mode="json")


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(one) for k, one in value.items() if one is not None}
    return value


MUCH = """
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
"""


@pytest.mark.parametrize("more", ["", MUCH], ids=["little", "much"])
def test_config_prints_the_settings_in_force_as_toml(folder: Path, more: str):
    (folder / "forecast.toml").write_text(SMALL + more)
    assert tomllib.loads(output_of("config")) == without_nulls(in_force())


def test_config_gives_programs_a_record_a_setting(folder: Path):
    (folder / "forecast.toml").write_text(SMALL + MUCH)
    nested: dict[str, Any] = {}
    for row in records("config"):
        *tables, name = row["name"].split(".")
        if tables:
            table = nested
            for one in tables:
                table = table.setdefault(one, {})
            table[name] = row["value"]
    assert nested == in_force()


def test_config_says_where_each_value_came_from(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "forecast.toml").write_text(SMALL + MUCH)
    came = {row["name"]: row["from"] for row in records("config")}
    assert came["models.enabled"] == came["source.path"] == "forecast.toml"
    assert came["selection.metric"] == "forecast.toml"  # though it is the default's own
    assert came["source.y"] == came["selection.policy"] == "default"
    assert came["models.mine.factory"] == "forecast.toml"
    assert came["models.mine.refit_every"] == "default"
    assert came["notify.urls"] == "forecast.toml, environment OPS"
    assert came["notify.rules"] == "forecast.toml, environment BOSS"
    assert came["FORECAST_CONFIG"] == "environment FORECAST_CONFIG"
    monkeypatch.delenv("FORECAST_VAR")
    (var,) = [row for row in records("config") if row["name"] == "FORECAST_VAR"]
    assert var == {"name": "FORECAST_VAR", "value": str(folder / "var"), "from": "default"}
    told = output_of("config")
    assert told.startswith(f"# the settings: {folder / 'forecast.toml'} (environment FORECAST_CON")
    assert 'metric = "mase"                               # forecast.toml\n' in told
    assert "# refit_every is not set                      # default\n" in told


def test_config_shows_no_secret(folder: Path):
    (folder / "forecast.toml").write_text(SMALL + MUCH)
    for printed in (output_of("config"), output_of("config", "--json")):
        assert "mailto://***" in printed
        assert "hidden" not in printed


# check
def checked(exit_code: int) -> dict[str, tuple[Any, bool]]:
    rows = records("check", exit_code=exit_code)
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: (row["value"], row["is_well"]) for row in rows}


def test_check_says_what_a_week_would_find_and_leaves_nothing_behind(folder: Path):
    before = sorted(folder.rglob("*"))
    lines = [line for line in output_of("check").splitlines() if "  late  " not in line]
    nothing_done = "0 rows of unfinished weeks are left out, 0 weeks are filled"
    assert lines == [
        f"ok  settings  {folder / 'forecast.toml'}",
        f"ok  source    80 rows from {folder / 'source.csv'}",
        f"ok  series    2 series to 2024-10-04; {nothing_done}",
        "ok  new week  The first version: 2 series, weeks ending 2024-01-05 to 2024-10-04.",
        "ok  models    2 can be made",
        f"ok  store     {folder / 'store'}",
        "ok  notices   no channel",
    ]
    assert checked(0)["series"] == (
        {"n_series": 2, "last_week": "2024-10-04", "n_unfinished": 0, "n_filled": 0},
        True,
    )
    assert sorted(folder.rglob("*")) == before


def test_check_tells_of_weeks_that_are_filled_or_not_over(folder: Path):
    rows = (folder / "source.csv").read_text().splitlines()
    rows[5:7] = ["a,2100-01-01,1"]  # two weeks for one that is to come
    (folder / "source.csv").write_text("\n".join(rows))
    found, _ = checked(0)["series"]
    assert (found["n_unfinished"], found["n_filled"]) == (1, 2)


def test_check_tries_all_though_the_first_is_not_well(folder: Path):
    (folder / "source.csv").unlink()
    text = SMALL.replace('"drift"', '"drifft", "mine"') + '[models.mine]\nfactory = "no.such:One"\n'
    (folder / "forecast.toml").write_text(text)
    (folder / "store").write_text("a file where the store must be")
    told = output_of("check", exit_code=1)
    marks = [line[:12] for line in told.splitlines()]
    assert marks == [
        "ok  settings",
        "NO  source  ",
        *["NO  models  "] * 2,
        "NO  store   ",
        "ok  notices ",
    ]
    assert "No file answers to `source.path`" in told
    assert "There is no model 'drifft'" in told
    assert "The class of the model mine cannot be imported from no.such:One" in told
    assert "Could not read the history of" in told


def test_check_names_rows_that_make_no_weeks(folder: Path):
    (folder / "source.csv").write_text("unique_id,ds,y\na,2024-01-05,1\na,2024-01-05,2\n")
    text, is_well = checked(1)["series"]
    assert text.startswith("1 weeks have more than one row (2 rows): a / 2024-01-05.")
    assert not is_well


def test_check_names_a_channel_that_cannot_be_used(folder: Path):
    text = SMALL + '[notify]\nurls = ["json://host", "nosuch://me:hidden@host", "env:NO_SUCH"]\n'
    (folder / "forecast.toml").write_text(text)
    told = [line for line in output_of("check", exit_code=1).splitlines() if "notices" in line]
    assert len(told) == 2
    assert "hidden" not in told[0]
    assert "the environment has no NO_SUCH" in told[1]


def test_check_says_that_the_settings_cannot_be_used_and_nothing_else(folder: Path):
    (folder / "forecast.toml").write_text("[source]\nknd = 1\n")
    (line,) = output_of("check", exit_code=1).splitlines()
    assert line.startswith(f"NO  settings  1 setting in {folder / 'forecast.toml'} cannot be used")


def test_check_sees_a_store_that_cannot_be_written_to(folder: Path):
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


def test_check_tells_what_a_run_would_hold_back(folder: Path):
    store = make_store(folder)
    raw = store.write(make_raw(make_series(gone=Y)), make_commit("raw_data"))
    store.write(make_series(gone=Y), make_commit("series", inputs=[raw]))
    (folder / "forecast.toml").write_text(SMALL + f'[store]\nuri = "{folder / "store"}"\n')
    found = checked(1)
    assert found["vanished_series"] == ({"policy": "hold", "n": 1, "series": ["gone"]}, False)
    assert found["new_series"][1] is True
    printed = output_of("check", exit_code=1)
    assert "It would be held back: 1 of 1 series of the previous version are gone: gone." in printed
    assert len(store.history("series")) == 1
