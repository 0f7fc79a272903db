"""The command line as a whole: help, completion, terminals, pipes, signals and refusals."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from forecast_assets.cli import COMMANDS, main
from forecast_assets.storage.tables import TABLES
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.cli_runner import COMMAND, SMALL, invoke, output_of, run_process
from forecast_assets_tests.store_builders import (
    BACKTEST,
    make_commit,
    make_store,
    write_predictions,
    write_series,
)

pytestmark = pytest.mark.usefixtures("folder")


# Help
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_help_page_ends_with_the_exit_codes_that_it_has(command: click.Command):
    page = " ".join(output_of(command.name or "", "--help").split())
    assert re.search(r" Exit codes: 0 success; (1 .*; )?2 usage or configuration error\.$", page)
    can_fail = {"run", "check", "verify", "healthcheck", "notify", "withdraw", "deliver", "site"}
    assert ("; 1 " in page) == (command.name in can_fail)


def test_the_commands_are_listed_with_whole_sentences():
    lines = output_of("--help").partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == [command.name for command in COMMANDS]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_help_imports_no_heavy_library():
    heavy = ("dagster", "pandas", "numpy", "pydantic", "deltalake", "statsforecast", "scipy")
    assert imported_by("show", "--help").isdisjoint(heavy)


def test_status_imports_neither_dagster_nor_a_library_of_models(folder: Path):
    write_series(make_store(folder), 1)
    assert imported_by("status").isdisjoint(("dagster", "statsforecast", "sklearn", "matplotlib"))


def imported_by(*args: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        "from forecast_assets.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, check=True)
    return set(json.loads(done.stderr))


# Completion
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["s"], ["status", "show", "site"]),
        (["show", "--a"], ["--as-of"]),
        (["history", ""], list(TABLES)),
        (["verify", "series", "me"], ["metrics"]),
        (["show", BACKTEST, "--partition", ""], ["naive", "drift"]),
        (["show", BACKTEST, "--partition", "d"], ["drift"]),
    ],
)
def test_tab_offers_names_that_exist(words: list[str], expected: list[str]):
    assert offered(*words) == expected


def test_broken_settings_offer_nothing_and_print_nothing(folder: Path):
    (folder / "forecast.toml").write_text("broken")
    assert offered("show", BACKTEST, "--partition", "") == []


def offered(*words: str) -> list[str]:
    """Return what bash offers if TAB is pressed in the last of these words."""
    environment = {
        "_FORECAST_ASSETS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["forecast-assets", *words]),
        "COMP_CWORD": str(len(words)),
    }
    printed = CliRunner().invoke(main, env=environment, catch_exceptions=False).output
    return [line.partition(",")[2] for line in printed.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_valid_in_its_shell(shell: str):
    script = output_of("completion", shell)
    assert f"_FORECAST_ASSETS_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program:
        subprocess.run([program, "-n", "/dev/stdin"], input=script, text=True, check=True)


# Pipes, terminals, signals
def test_a_closed_pipe_is_silent(folder: Path):
    rows = make_series(**{f"series_{n}": walk(500, seed=n) for n in range(20)})
    make_store(folder).write(rows, make_commit("series"))
    with subprocess.Popen(
        [*COMMAND, "show", "series", "--csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith(b"unique_id,ds,y,coverage,is_filled,")
        running.stdout.close()
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "utf-8"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
    ],
    ids=["C without UTF-8", "Latin-1"],
)
def test_every_locale_is_supported(folder: Path, environ: dict[str, str], encoding: str):
    make_store(folder).write(make_series(**{"søndag\n日": [1]}), make_commit("series"))
    done = run_process("show", "series", environ=environ)
    assert (done.returncode, done.stderr) == (0, b"")
    name = done.stdout.decode(encoding).splitlines()[2].partition("  ")[0]
    assert name == ("søndag 日" if encoding == "utf-8" else "søndag ?")


def test_no_color_turns_colours_off():
    runner = CliRunner()
    assert "\x1b[32mok\x1b[0m  settings" in runner.invoke(main, "check", color=True).stdout
    plain = runner.invoke(main, "check", color=True, env={"NO_COLOR": "1"}).stdout
    assert plain.startswith("ok  settings")


INTERRUPTED_SOURCE = """
import os, signal, time

def rows(as_of):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


def test_an_interrupt_ends_a_run_with_130_and_no_traceback(folder: Path):
    (folder / "interrupted_source.py").write_text(INTERRUPTED_SOURCE)
    source = 'kind = "python"\ncallable = "interrupted_source:rows"'
    text = SMALL.replace('kind = "file"\npath = "source.csv"', source)
    (folder / "forecast.toml").write_text(text)
    result = invoke("run")
    assert result.exit_code == 130, result.output
    assert "Traceback" not in result.output
    assert result.stderr.endswith("\nInterrupted. What was published before is unchanged.\n")
    assert output_of("history", "raw_data") == "No rows.\n"


# Refusals
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["history", "nope"], "Error: There is no asset 'nope', so it has no versions. The assets"),
        (["show", "nope"], "Error: There is no asset 'nope'"),
        (["diff", "nope", "0", "1"], "Error: There is no asset 'nope'"),
        (["verify", "nope"], "Error: There is no asset 'nope'"),
        (["history", BACKTEST, "--partition", "x"], "has no version of a partition 'x'"),
        (["show", BACKTEST, "--partition", "x"], "matches partition x, as of 20"),
        (["show", "series", "--version", "9"], "matches version 9: it has versions 0 to 0"),
        (["show", "series", "--run", "zz"], "matches run zz"),
        (["show", "series", "--as-of", "2020-01-01"], "matches as of 2020-01-01T00:00:00+00:00"),
        (["show", "series", "--as-of", "Monday"], "'Monday' is not an ISO 8601 time like 2026"),
        (["show", "series", "--as-of", "0001-01-01T00:00+10:00"], "is not an ISO 8601 time like"),
        (["show", "series", "--limit", "0"], "0 is not in the range x>=1"),
        (["show", "series", "--csv", "--json"], "exclude each other: give one of them"),
        (["show", "metrics"], "metrics has no version yet"),
        (["diff", "series", "0", "9"], "matches version 9"),
        (["run", "--as-of", "Monday"], "Error: `as_of` is 'Monday', which is not an ISO 8601 time"),
        (["prune", "--keep-weeks", "0"], "0 is not in the range x>=1"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_an_impossible_request_exits_with_2(folder: Path, args: list[str], message: str):
    store = make_store(folder)
    write_series(store, 1)
    write_predictions(store, "naive", 1)
    result = invoke(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("args", [["history", "series"], ["verify"], ["config"], ["run"]])
def test_missing_settings_exit_with_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
):
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "other.toml"))
    assert "Error: There is no settings file" in output_of(*args, exit_code=2)


def test_an_unreadable_store_exits_with_2(folder: Path):
    (folder / "store").write_text("a file instead of a folder")
    output = output_of("history", "series", exit_code=2)
    assert "Error: Could not read the history of series" in output
