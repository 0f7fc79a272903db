"""The command `deliver`, and what `check` and `withdraw` say about deliveries."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from forecast_assets_tests.cli_runner import SMALL, configure, invoke, output_of, records
from forecast_assets_tests.delivery.delivery_builders import write_forecast
from forecast_assets_tests.store_builders import make_commit, make_forecast, make_store

DELIVER = """
[deliver.erp]
kind = "sql"
url = "sqlite:///erp.db"
table = "forecasts"
[deliver.sheet]
kind = "file"
path = "sheet.csv"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a store with two versions, and settings that deliver them."""
    configure(tmp_path, monkeypatch, SMALL + DELIVER)
    store = make_store(tmp_path)
    write_forecast(store, 1.0)
    write_forecast(store, 2.0, n_weeks=1)
    return tmp_path


def test_the_newest_version_is_delivered_or_any_other(folder: Path):
    assert re.fullmatch(
        r"Version 1 of next_week_forecast: 1 rows are in \S+/sheet\.csv, 1 of them new or .*\.\n",
        output_of("deliver", "sheet"),
    )
    (row,) = records("deliver", "sheet", "--version", "0")
    assert (row["delivery"], row["version"], row["n_rows"]) == ("sheet", 0, 1)
    assert list(pd.read_csv(folder / "sheet.csv")["y_hat"]) == [1.0]
    shown = records("show", "deliveries")
    assert [(row["delivery"], row["version"]) for row in shown] == [("sheet", 1), ("sheet", 0)]


def test_what_cannot_be_delivered_is_named(folder: Path):
    assert (
        "Nothing was delivered, so there is nothing to show." in invoke("show", "deliveries").output
    )
    unknown = output_of("deliver", "planner", exit_code=2)
    assert "There is no delivery 'planner' in forecast.toml; there is erp, sheet. Noth" in unknown
    assert "No version of next_week_forecast matches version 7" in output_of(
        "deliver", "erp", "--version", "7", exit_code=2
    )
    (folder / "sheet.csv").write_text("of,somebody\n")
    assert "was written by another program" in output_of("deliver", "sheet", exit_code=1)
    future = datetime.now(UTC) + timedelta(days=9)
    commit = make_commit("next_week_forecast", as_of=future)
    version = make_store(folder).write(make_forecast(as_of=future), commit).version
    said = output_of("deliver", "erp", "--version", str(version), exit_code=2)
    assert "is from the future of the clock and does not count as published, so erp did" in said


def test_a_destination_that_does_not_answer_does_not_keep_a_week_from_being_withdrawn(folder: Path):
    output_of("deliver", "erp")
    (folder / "erp.db").write_bytes(b"no database" * 1000)
    said = output_of("withdraw", "--as-of", "2026-01-12", "--reason", "wrong", exit_code=1)
    assert "The forecast is withdrawn, but erp may still have it. The delivery erp was refu" in said
    assert "to do so now: `forecast-assets deliver erp`" in said
    assert [
        row["withdrawn_at"] is not None for row in records("history", "next_week_forecast")
    ] == [
        False,
        True,
    ]


def test_a_missing_environment_variable_does_not_keep_a_week_from_being_withdrawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    output_of("deliver", "sheet")
    settings = SMALL + DELIVER.replace("sqlite:///erp.db", "env:ERP_OF_NOBODY")
    configure(folder, monkeypatch, settings)
    said = output_of("withdraw", "--as-of", "2026-01-12", "--reason", "wrong", exit_code=1)
    assert "Withdrawn: next_week_forecast 1, as of 2026-01-12T" in said
    assert "Taken back: sheet." in said
    assert "but erp may still have it. The settings contain `env:ERP_OF_NOBODY`" in said


def test_the_check_tries_every_destination_and_writes_nothing(folder: Path):
    (folder / "sheet.csv").write_text("of,somebody\n")
    lines = {row["name"]: row for row in records("check", exit_code=1)}
    assert lines["deliver_erp"]["is_well"] is True
    assert "erp.db does not exist yet" in lines["deliver_erp"]["value"]
    assert lines["deliver_sheet"]["is_well"] is False
    assert not (folder / "erp.db").exists()


def test_show_prints_csv_without_formulas(folder: Path):
    rows = make_forecast(week="2026-01-16").assign(unique_id="=1+1\n")
    make_store(folder).write(rows, make_commit("next_week_forecast", run_id="hostile"))
    lines = output_of("show", "next_week_forecast", "--csv", "--run", "hostile").splitlines()
    assert lines[0].startswith("unique_id,h,")
    assert lines[1].startswith("'=1+1 ,1,")
