"""The command line as a whole: help, errors, terminals, pipes and signals."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from forecast_assets.cli import COMMANDS, main
from forecast_assets_tests.builders import make_series, walk
from forecast_assets_tests.cli_runner import (
    COMMAND,
    configure,
    invoke,
    output_of,
    run_in_terminal,
    run_process,
)
from forecast_assets_tests.misbehaving_models import comes_true
from forecast_assets_tests.store_builders import (
    BACKTEST,
    make_commit,
    make_store,
    write_predictions,
    write_series,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a small forecast.toml that is selected; runs write below it."""
    return configure(tmp_path, monkeypatch)


# Help
def examples(command: click.Command) -> list[str]:
    """Return the examples at the end of a help page."""
    page = output_of(command.name or "", "--help") if command is not main else output_of("--help")
    listed = page.partition("  Examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in listed.splitlines()]


@pytest.mark.usefixtures("folder")
def test_every_example_of_every_help_page_works():
    """The first commands make the versions that the later ones read."""
    for command in (*COMMANDS, main):
        lines = examples(command)
        assert 2 <= len(lines) <= 4
        for example in lines:
            program, *args = shlex.split(re.sub(r" >.*", "", example))
            assert program == "forecast-assets"
            # No daemon runs here, as the health check reports.
            is_failing = args[0] == "healthcheck" and "--no-daemon" not in args
            output_of(*args, exit_code=int(is_failing))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_help_page_ends_with_the_exit_codes_that_it_has(command: click.Command):
    page = " ".join(output_of(command.name or "", "--help").split())
    assert re.search(r" Exit codes: 0 success; (1 .*; )?2 usage or configuration error\.$", page)
    can_fail = {"run", "check", "verify", "healthcheck", "notify"}
    assert ("; 1 " in page) == (command.name in can_fail)


def test_the_commands_are_listed_with_whole_sentences():
    lines = output_of("--help").partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == [command.name for command in COMMANDS]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize("args", [["show", "--help"], ["completion", "fish"]])
def test_help_imports_no_heavy_library(args: list[str]):
    heavy = ("dagster", "pandas", "numpy", "pydantic", "deltalake", "statsforecast", "scipy")
    assert loaded(*args).isdisjoint(heavy)


def test_status_imports_neither_dagster_nor_a_library_of_models(folder: Path):
    write_series(make_store(folder), 1)
    assert loaded("status").isdisjoint(("dagster", "statsforecast", "sklearn", "matplotlib"))


def loaded(*args: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        "from forecast_assets.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, check=True)
    return set(json.loads(done.stderr))


# Pipes, terminals, signals
def test_a_closed_pipe_is_silent(folder: Path):
    rows = make_series(**{f"series_{n}": walk(500, seed=n) for n in range(20)})
    make_store(folder).write(rows, make_commit("series"))
    with subprocess.Popen(
        [*COMMAND, "show", "series", "--csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"unique_id,ds,y,coverage\n"
        running.stdout.close()
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({"LANG": "C", "LC_ALL": "C"}, "utf-8"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "utf-8"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
    ],
    ids=["C", "C without UTF-8", "Latin-1"],
)
def test_every_locale_is_supported(folder: Path, environ: dict[str, str], encoding: str):
    make_store(folder).write(make_series(**{"søndag\n日": [1]}), make_commit("series"))
    done = run_process("show", "series", environ=environ)
    assert (done.returncode, done.stderr) == (0, b"")
    name = done.stdout.decode(encoding).splitlines()[2].partition("  ")[0]
    assert name == ("søndag 日" if encoding == "utf-8" else "søndag ?")


def test_a_table_fits_the_terminal(folder: Path):
    series = write_series(make_store(folder), 1)
    write_predictions(make_store(folder), "naive", 1, inputs=[series])
    printed = run_in_terminal("show", BACKTEST, columns=50)
    assert max(map(len, printed.splitlines()[:3])) <= 50
    assert "\x1b" not in printed
    assert printed.endswith("columns fit_seconds, error; --json prints them all.\n")


def test_no_color_turns_colours_off(folder: Path):
    assert folder.is_dir()
    runner = CliRunner()
    assert "\x1b[32mok\x1b[0m  settings" in runner.invoke(main, "check", color=True).stdout
    plain = runner.invoke(main, "check", color=True, env={"NO_COLOR": "1"}).stdout
    assert plain.startswith("ok  settings")


SLOW = """
[source]
kind = "demo"
[models]
enabled = ["naive", "auto_arima"]
"""


def test_an_interrupt_ends_a_run_with_130_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = configure(tmp_path, monkeypatch, SLOW)
    printed = folder / "printed"
    with printed.open("wb") as output:
        running = subprocess.Popen([*COMMAND, "run"], stdout=output, stderr=output)
        try:
            assert comes_true(lambda: "backtest[naive]" in printed.read_text(), within=60)
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=60) == 130
        finally:
            running.kill()
            running.wait()
    assert "Traceback" not in printed.read_text()
    assert printed.read_text().endswith("\nInterrupted. What was published before is unchanged.\n")
    assert "Interrupted" not in output_of("history", "series")


# Refusals
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["history", "nope"], "Error: There is no asset 'nope', so it has no versions. The assets"),
        (["show", "nope"], "Error: There is no asset 'nope'"),
        (["diff", "nope", "0", "1"], "Error: There is no asset 'nope'"),
        (["verify", "nope"], "Error: There is no asset 'nope'"),
        (["history", BACKTEST, "--partition", "x"], "has no version of a partition 'x'"),
        (
            ["show", BACKTEST, "--partition", "x"],
            "matches partition x: it has",
        ),
        (["show", "series", "--version", "9"], "matches version 9: it has versions 0 to 0"),
        (["show", "series", "--run", "zz"], "matches run zz"),
        (["show", "series", "--as-of", "2020-01-01"], "matches as of 2020-01-01T00:00:00+00:00"),
        (["show", "series", "--as-of", "Monday"], "'Monday' is not an ISO 8601 time like 2026"),
        (["show", "metrics"], "metrics has no version yet"),
        (["diff", "series", "0", "9"], "matches version 9"),
        (["run", "--as-of", "Monday"], "Error: `as_of` is 'Monday', which is not an ISO 8601 time"),
        (["show", "series", "--version", "x"], "'x' is not a valid integer"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_an_impossible_request_exits_with_2(folder: Path, args: list[str], message: str):
    store = make_store(folder)
    write_series(store, 1)
    write_predictions(store, "naive", 1)
    output = output_of(*args, exit_code=2)
    assert message in output
    assert "Traceback" not in output


def test_missing_settings_exit_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "other.toml"))
    for command in (["history", "series"], ["verify"], ["config"], ["run"]):
        assert "Error: There is no settings file" in output_of(*command, exit_code=2)


def test_an_unreadable_store_exits_with_2(folder: Path):
    (folder / "store").write_text("a file instead of a folder")
    assert "Error: Could not read the history of series" in output_of(
        "history", "series", exit_code=2
    )


def test_errors_go_to_stderr_and_results_to_stdout(folder: Path):
    write_series(make_store(folder), 1)
    result = invoke("show", "nope", "--json")
    assert (result.stdout, result.stderr[:6]) == ("", "Error:")
    assert invoke("show", "series", "--json").stderr == ""
