"""Shell completion: the scripts are valid and TAB offers names that exist."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from forecast_assets.cli import main
from forecast_assets.storage.tables import TABLES
from forecast_assets_tests.cli_runner import configure, output_of


def offered(*words: str) -> list[str]:
    """Return what bash offers if TAB is pressed in the last of these words."""
    environment = {
        "_FORECAST_ASSETS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["forecast-assets", *words]),
        "COMP_CWORD": str(len(words)),
    }
    printed = CliRunner().invoke(main, env=environment, catch_exceptions=False).output
    return [line.partition(",")[2] for line in printed.splitlines() if line]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a small forecast.toml that is selected."""
    return configure(tmp_path, monkeypatch)


def test_commands_and_options_are_offered():
    assert offered("s") == ["status", "show"]
    assert offered("show", "--a") == ["--as-of"]


def test_assets_are_offered():
    assert offered("history", "") == list(TABLES)
    assert offered("verify", "series", "me") == ["metrics"]


def test_the_enabled_models_are_offered_as_partitions():
    assert offered("show", "backtest_predictions", "--partition", "") == ["naive", "drift"]
    assert offered("show", "backtest_predictions", "--partition", "d") == ["drift"]


def test_broken_settings_offer_nothing_and_print_nothing(folder: Path):
    (folder / "forecast.toml").write_text("broken")
    assert offered("show", "backtest_predictions", "--partition", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_valid_in_its_shell(shell: str):
    script = output_of("completion", shell)
    assert f"_FORECAST_ASSETS_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program:
        subprocess.run([program, "-n", "/dev/stdin"], input=script, text=True, check=True)


def test_another_shell_is_refused():
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in output_of(
        "completion", "tcsh", exit_code=2
    )
