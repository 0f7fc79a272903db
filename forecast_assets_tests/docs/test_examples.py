"""The examples can be used as they are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forecast_assets.config.settings import ROOT
from forecast_assets_tests.cli_runner import records


def test_the_retail_example_makes_its_sales_and_passes_all_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shutil.copytree(ROOT / "examples", tmp_path / "examples")
    again = tmp_path / "again.csv"
    for args in ((), (str(again),)):
        subprocess.run([sys.executable, str(folder / "store_sales.py"), *args], check=True)
    assert (folder / "store_sales.csv").read_bytes() == again.read_bytes()
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "retail.toml"))
    monkeypatch.setenv("FORECAST_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    lines = {row["name"]: row for row in records("check")}
    assert lines["series"]["value"]["n_series"] == 9
    assert lines["calendar"]["is_well"]
    assert not [name for name, row in lines.items() if row["is_well"] is False]
