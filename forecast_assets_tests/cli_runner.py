"""Calls of the command line, in this process or as one of its own, on a small forecast.toml."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
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
    """Put a small forecast.toml in force; runs write below its folder."""
    (folder / "forecast.toml").write_text(text)
    write_source(folder, make_series(a=walk(40, seed=1), b=walk(40, seed=2)))
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "forecast.toml"))
    monkeypatch.setenv("FORECAST_VAR", str(folder))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return folder


def invoke(*args: str) -> Result:
    """What a command does."""
    return CliRunner().invoke(main, args, catch_exceptions=False)


def output_of(*args: str, exit_code: int = 0) -> str:
    """What a command prints, to either output."""
    result = invoke(*args)
    assert result.exit_code == exit_code, result.output
    return result.output


def records(*args: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """What a command prints for programs."""

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
    """What a command does as a process of its own, its outputs piped."""
    return subprocess.run(
        [*COMMAND, *args], env={**os.environ, **(environ or {})}, capture_output=True, check=False
    )


def run_in_terminal(*args: str, columns: int, environ: Mapping[str, str] | None = None) -> str:
    """What a command prints in a terminal of so many columns."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    asked = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        [*COMMAND, *args], env={**asked, **(environ or {})}, stdout=there, stderr=there
    ) as running:
        os.close(there)
        printed = bytearray()
        with os.fdopen(here, "rb", buffering=0) as terminal, suppress(OSError):  # it hung up
            while some := terminal.read(1000):
                printed += some
        assert running.wait() == 0
    return printed.decode().replace("\r\n", "\n")
