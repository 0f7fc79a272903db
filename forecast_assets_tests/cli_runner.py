"""Run the command line with a small forecast.toml, in this process or in one of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forecast_assets.cli import main
from forecast_assets_tests.builders import make_series, walk, write_source

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
[data_quality]
late = "publish"
"""
COMMAND = [sys.executable, "-c", "from forecast_assets.cli import main; main()"]


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = SMALL) -> Path:
    """Write a small forecast.toml and a source and select them; runs write below the folder."""
    (folder / "forecast.toml").write_text(text)
    write_source(folder, make_series(a=walk(40, seed=1), b=walk(40, seed=2)))
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "forecast.toml"))
    monkeypatch.setenv("FORECAST_VAR", str(folder))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return folder


def invoke(*args: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, args, catch_exceptions=False)


def output_of(*args: str, exit_code: int = 0) -> str:
    """Return what a command prints to stdout and stderr."""
    result = invoke(*args)
    assert result.exit_code == exit_code, result.output
    return result.output


def records(*args: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """Return the records that a command prints with --json, after refusing NaN and Infinity."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    result = invoke(*args, "--json")
    assert result.exit_code == exit_code, result.output
    parsed = json.loads(result.stdout, parse_constant=refuse)
    assert isinstance(parsed, list)
    return parsed


def run_process(
    *args: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a process of its own with piped outputs."""
    return subprocess.run(
        [*COMMAND, *args], env={**os.environ, **(environ or {})}, capture_output=True, check=False
    )
