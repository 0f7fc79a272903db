"""The guides are correct: commands run, examples load, tables match the code."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from dagster._cli import cli as dagster_cli
from dagster._daemon.types import DaemonHeartbeat
from pydantic import BaseModel

from forecast_assets.cli import main
from forecast_assets.config.benchmark_settings import FileBenchmark
from forecast_assets.config.calendar_settings import RegressorColumns
from forecast_assets.config.delivery_settings import DELIVERIES
from forecast_assets.config.series_settings import ExcludedSettings
from forecast_assets.config.settings import ROOT, Event, ModelSettings, NotifyRule, Settings
from forecast_assets.config.source_settings import KINDS, FileSource
from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.weekly import to_weeks
from forecast_assets.defs.build import build_defs
from forecast_assets.defs.checks import DATA_CHECKS, OTHER_CHECKS
from forecast_assets.defs.health import DAEMONS
from forecast_assets.models import MODELS, enabled
from forecast_assets.models.registry import ENTRY_POINTS
from forecast_assets_tests.builders import make_series, make_settings, walk, write_source
from forecast_assets_tests.markdown_blocks import (
    GUIDES,
    README,
    Block,
    anchors,
    blocks,
    commands,
    links,
    read,
    rows_of,
    sections,
    settings_of,
)
from forecast_assets_tests.notification_servers import mail_server
from forecast_assets_tests.store_builders import make_store

NOT_RUN = {
    "make run": "sets up an environment: CI begins with it",
    "make test": "runs this test",
    "make ui": "runs until it is stopped; test_ui starts it",
    "make bench-accuracy": "takes 15 minutes",
    "dagster asset materialize -m forecast_assets.definitions --select backtest_predictions"
    " --partition last_year": "the same as for `theta`",
    "forecast-assets run --accept": "cli/test_run runs it",
    "forecast-assets show held_forecast": "cli/test_run runs it",
    "forecast-assets diff held_forecast 0 1": "cli/test_run runs it",
    "forecast-assets run --as-of 2026-11-02": "cli/test_run runs it as of another day",
    'forecast-assets withdraw --as-of 2026-11-23 --reason "The file was of last year"': "cli/"
    "test_withdraw runs it as of another day",
    "forecast-assets override store_01 --week 2026-12-25 --value 1200"
    ' --reason "New branch next door"': "cli/test_override runs it for another week",
    "forecast-assets replay --from 2025-01-01 --to 2025-12-31": "defs/test_replay runs other weeks",
    "forecast-assets explain SERIES": "cli/test_explain runs it on two weeks",
}
RUN = [command for command in commands() if command not in NOT_RUN]
IN_PROCESS = re.compile(r"(\w+=\S+ )?(forecast-assets|dagster) (.*)")
PROGRAMS = {"forecast-assets": main, "dagster": dagster_cli}
HANDLED = {"", "sh", "toml", "python", "csv", "ini", "yaml", "dockerfile", "sql"}
# Their examples need a server or a library: test_guides_sources and test_guides_pretrained.
ELSEWHERE = ('kind = "http"', 'kind = "sql"', "s3://", "our_team.pretrained")
MOST_LINES_OF_README = 120
LATER = datetime(2027, 1, 1, tzinfo=UTC)  # than every row in a guide
SMALL = """
[source]
kind = "file"
path = "weeks.csv"
[series]
season_length = 4
[backtest]
n_windows = 4
[models]
enabled = ["naive", "theta", "last_year", "tsb"]
[models.last_year]
factory = "our_team.models:LastYear"
[compute]
workers = 1
[notify]
urls = ["env:READERS"]
[deliver.erp]
kind = "sql"
url = "sqlite:///var/erp.db"
table = "forecasts"
[deliver.planning]
kind = "file"
path = "var/planning.xlsx"
"""
BIN = Path(sys.executable).parent
OPERATE, SETTINGS = (read(ROOT / "docs" / name) for name in ("operate.md", "settings.md"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with every file that a guide names, two short series, and a live daemon."""
    folder = tmp_path_factory.mktemp("guides")
    home = folder / "var/dagster"
    for block in blocks("python", "csv"):
        (folder / block.file).parent.mkdir(exist_ok=True)
        (folder / block.file).write_text(block.text)
    write_source(folder, make_series(a=walk(80, seed=1), b=walk(80, seed=2)), "weeks.csv")
    (folder / "forecast.toml").write_text(SMALL)
    home.mkdir(parents=True)
    for target in (folder, home):
        shutil.copy(ROOT / "dagster.yaml", target)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for name in DAEMONS:
            now = datetime.now(UTC).timestamp()
            instance.add_daemon_heartbeat(DaemonHeartbeat(now, name, "it", []))
    with mail_server() as mail, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delitem(sys.modules, "our_rows", raising=False)  # of another test
        for name, value in {
            "PWD": str(folder),
            "FORECAST_CONFIG": str(folder / "forecast.toml"),
            "FORECAST_VAR": str(folder / "var"),
            "DAGSTER_HOME": str(home),
            "READERS": mail.url("ann@example.org"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.chdir(folder)
        yield folder


def run_command(command: str) -> tuple[int, str]:
    """Return the exit code and the output of a command; Python programs run in this process."""
    first, _, rest = command.partition(" | ")
    match = IN_PROCESS.fullmatch(first)
    if match is None:
        return run_in_shell(command)
    variable, program, args = match.groups("")
    environ = dict(part.split("=") for part in os.path.expandvars(variable).split())
    # Dagster recommends its new command `dg` to those who call `dagster`.
    with warnings.catch_warnings(action="ignore", category=dg.SupersessionWarning):
        result = CliRunner().invoke(PROGRAMS[program], shlex.split(args), env=environ)
    if rest and result.exit_code == 0:
        return run_in_shell(rest, result.stdout)
    return result.exit_code, f"{result.output}{result.exception or ''}"


def run_in_shell(command: str, stdin: str = "") -> tuple[int, str]:
    shell = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(shell, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def results(folder: Path) -> Mapping[str, tuple[int, str]]:
    """Run every command in the order of the guides."""
    assert Path.cwd() == folder
    return {command: run_command(command) for command in RUN}


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs(results: Mapping[str, tuple[int, str]], command: str) -> None:
    exit_code, output = results[command]
    assert exit_code == 0, output[-3000:]


@pytest.mark.usefixtures("results")
def test_dagster_runs_every_model_a_range_of_models_and_one(folder: Path) -> None:
    """A second partitions definition in the code location would prevent the first two."""
    made: dict[str, set[str | None]] = {}
    for commit in make_store(folder / "var").history("backtest_predictions"):
        made.setdefault(commit.run_id, set()).add(commit.partition)
    every = {"naive", "theta", "last_year", "tsb"}
    assert [*made.values()] == [every, every, {"theta"}]
    weeks = [run_id for run_id, models in made.items() if models == every]
    store = make_store(folder / "var")
    rows = store.read(store.history("deliveries")[-1:])
    delivered = set(zip(rows["run_id"], rows["delivery"], strict=True))
    assert delivered >= {(run_id, name) for run_id in weeks for name in ("erp", "planning")}


def test_commands_of_make_are_in_the_makefile() -> None:
    assert set(NOT_RUN) <= set(commands())
    makefile = (ROOT / "Makefile").read_text()
    targets = [command.removeprefix("make ") for command in NOT_RUN if command[:5] == "make "]
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_every_block_has_a_tested_language() -> None:
    fences = [line for guide in GUIDES for line in read(guide).splitlines() if line[:3] == "```"]
    assert {line[3:].split(" ")[0] for line in fences} <= HANDLED


ALONE = [
    block
    for block in blocks("toml")
    if not block.file and not any(mark in block.text for mark in ELSEWHERE)
]


@pytest.mark.parametrize("block", ALONE, ids=lambda block: block.text[:30])
def test_settings_in_a_guide_can_be_used(block: Block, folder: Path) -> None:
    settings = settings_of(block, folder)
    weeks = to_weeks(fetch.fetch(FetchRequest(settings, LATER)), settings, as_of=LATER)
    assert not weeks.frame.empty
    y = np.array(walk(80, seed=3))
    models = enabled(settings) if "[models" in block.text else ()
    for model in models:
        forecaster = model.fit(y[:70], season_length=4)
        if model.is_updatable:
            forecaster = forecaster.update(y[70:])
        assert np.isfinite(forecaster.predict(2)).all()


def test_the_example_has_the_weeks_of_the_guide(folder: Path) -> None:
    (block,) = [block for block in blocks("toml") if 'missing = "zero"' in block.text]
    settings = settings_of(block, folder)
    weeks = to_weeks(fetch.fetch(FetchRequest(settings, LATER)), settings, as_of=LATER).frame
    graz, linz = (weeks[weeks["unique_id"] == name] for name in ("Graz", "Linz"))
    assert list(graz["ds"].dt.strftime("%d %B")) == ["30 October", "06 November", "13 November"]
    assert (list(graz["y"]), list(linz["y"])) == ([215, 131, 0], [77, 0, 80])


def test_the_entry_point_has_the_right_group() -> None:
    (block,) = [block for block in blocks("toml") if block.file == "pyproject.toml"]
    assert list(tomllib.loads(block.text)["project"]["entry-points"]) == [ENTRY_POINTS]


def test_services_run_programs_that_are_installed() -> None:
    units = [line for block in blocks("ini") for line in block.text.splitlines()]
    started = [line.partition("=")[2] for line in units if line.startswith("ExecStart=")]
    parsed = [yaml.safe_load(block.text) for block in blocks("yaml")]
    (compose,) = [block for block in parsed if "services" in block]
    started += [service["command"] for service in compose["services"].values()]
    started += [compose["services"]["daemon"]["healthcheck"]["test"]]
    assert len(started) == 5
    for command in started:
        program, *rest = command.split()
        assert (BIN / Path(program).name).is_file()
        assert {Path(part).name for part in rest if part.startswith("/")} <= {"workspace.yaml"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_link_leads_somewhere(guide: Path) -> None:
    for link in links(guide):
        file, _, anchor = link.partition("#")
        target = guide.parent / file if file else guide
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short_and_leads_to_every_guide() -> None:
    assert len(read(README).splitlines()) <= MOST_LINES_OF_README
    assert {f"docs/{guide.name}" for guide in GUIDES[1:]} <= set(links(README))


def test_the_tables_of_operate_match_the_code(tmp_path: Path) -> None:
    defs = build_defs(make_settings(tmp_path, schedule={"poll": "1h"}))
    automation = [*(defs.schedules or ()), *(defs.sensors or ())]
    for first, names in {
        "name": {definition.name for definition in automation},
        "check": {*DATA_CHECKS, *OTHER_CHECKS},
        "`events`": set(get_args(Event)),
    }.items():
        assert {cell.strip("`") for cell in rows_of(first, OPERATE)} == names


def test_the_table_of_models_names_every_one() -> None:
    cells = rows_of("by", read(ROOT / "docs" / "add-a-model.md")).values()
    names = [name for (cell,) in cells for name in cell.split("`")[1::2]]
    assert sorted(names) == sorted(MODELS)


TABLES: Mapping[str, tuple[type[BaseModel], ...]] = {
    "[source]": KINDS,
    "[models.NAME]": (ModelSettings,),
    "[regressors.NAME]": (RegressorColumns,),
    "[deliver.NAME]": DELIVERIES,
    "[[notify.rules]]": (NotifyRule,),
    "[[series.excluded]]": (ExcludedSettings,),
    **{
        f"[{name}]": (type(field.default),)
        for name, field in Settings.model_fields.items()
        if name not in ("source", "regressors", "benchmark", "deliver", "root", "var")
    },
}


def default_of(models: tuple[type[BaseModel], ...], key: str) -> Any:
    """Return the default of a setting as TOML writes it, or null."""
    fields = [
        field
        for model in models
        for name, field in model.model_fields.items()
        if (field.alias or name) == key
    ]
    field = fields[0]
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("table", "models"), TABLES.items())
def test_every_setting_is_listed_with_its_default(
    table: str, models: tuple[type[BaseModel], ...]
) -> None:
    section = dict(sections(SETTINGS))[f"`{table}`"]
    rows = rows_of("key", f"{section}\n")
    fields = {k: f for model in models for k, f in model.model_fields.items()}
    known = {field.alias or name for name, field in fields.items()}
    assert {key.strip("`") for key in rows} == known
    for key, (default, meaning) in rows.items():
        documented = None if default == "–" else tomllib.loads(f"x = {default.strip('`')}")["x"]
        assert documented == default_of(models, key.strip("`")), key
        assert meaning, key


def test_what_a_benchmark_has_that_a_source_has_not_is_listed() -> None:
    rows = rows_of("key", f"{dict(sections(SETTINGS))['`[benchmark.NAME]`']}\n")
    fields = {f.alias or name: f for name, f in FileBenchmark.model_fields.items()}
    source = {name: field.default for name, field in FileSource.model_fields.items()}
    own = {name for name, field in fields.items() if source.get(name, "") != field.default}
    assert own | {"kind", "ds"} == {key.strip("`") for key in rows}
    for key, (default, _) in rows.items():
        documented = None if default == "–" else tomllib.loads(f"x = {default.strip('`')}")["x"]
        assert documented == default_of((FileBenchmark,), key.strip("`")), key


def test_only_existing_tables_are_listed() -> None:
    listed = {heading.strip("`") for heading, _ in sections(SETTINGS)}
    assert listed == {*TABLES, "[benchmark.NAME]"}
