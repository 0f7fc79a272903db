"""A folder with a small forecast.toml for the tests of the command line."""

from pathlib import Path

import pytest

from forecast_assets_tests.cli_runner import configure


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a small forecast.toml that is selected; runs write below it."""
    return configure(tmp_path, monkeypatch)
