"""What `history`, `show`, `diff` and `verify` print for people and for programs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_assets.data.quality.finding import Finding, SeriesRow, to_frame
from forecast_assets_tests.builders import AS_OF, make_raw
from forecast_assets_tests.cli_runner import output_of, records
from forecast_assets_tests.store_builders import (
    BACKTEST,
    data_files,
    make_commit,
    make_forecast,
    make_scores,
    make_store,
    write_predictions,
    write_series,
)


# history
def test_history_lists_every_version_oldest_first(folder: Path):
    store = make_store(folder)
    series = write_series(store, 1, 2, run_id="run-number-one")
    write_predictions(store, "naive", 1, inputs=[series])
    write_predictions(store, "drift", 1, inputs=[series])
    (row,) = records("history", "series")
    assert row["as_of"] == "2026-01-05T00:00:00+00:00"
    assert (row["version"], row["run_id"], row["n_rows"]) == (0, "run-number-one", 2)
    assert [r["partition"] for r in records("history", BACKTEST)] == ["naive", "drift"]
    assert [r["version"] for r in records("history", BACKTEST, "--partition", "drift")] == [1]
    header, _, line = output_of("history", "series").splitlines()
    assert header.split()[:2] == ["version", "as_of"]
    assert line.split()[:3] == ["0", "2026-01-05", "00:00"]
    assert "run-numb " in line
    assert "series 0" in output_of("history", BACKTEST)


def test_an_asset_without_versions_has_an_empty_history(folder: Path):
    assert records("history", "series") == []
    assert output_of("history", "series") == "No rows.\n"
    assert not (folder / "store").exists()


def test_a_long_history_shows_its_newest_versions(folder: Path):
    store = make_store(folder)
    for y in range(52):
        write_series(store, y)
    lines = output_of("history", "series").splitlines()
    assert [lines[i].split()[0] for i in (2, -2)] == ["2", "51"]
    assert lines[-1] == "… after 2 older versions; --json prints them all."
    assert [row["version"] for row in records("history", "series", "--limit", "2")] == [50, 51]
    lines = output_of("history", "series", "--limit", "1").splitlines()
    assert lines[2].startswith("     51  ")
    assert lines[3:] == ["… after 51 older versions; --json prints them all."]
    assert len(records("history", "series")) == 52


# show
def test_show_prints_the_newest_version_or_the_selected_one(folder: Path):
    store = make_store(folder)
    write_series(store, 1, run_id="one")
    write_series(store, 1, 2.5, run_id="two", as_of=AS_OF.replace(month=2))
    value = {"unique_id": "a", "ds": "2024-01-05", "y": 1.0, "coverage": 1.0, "is_filled": False}
    first = [{**value, "parent": None, "is_sum": None}]
    assert len(records("show", "series")) == 2
    assert records("show", "series", "--version", "0") == first
    assert records("show", "series", "--run", "one") == first
    assert records("show", "series", "--as-of", "2026-01-31") == first
    assert output_of("show", "series", "--version", "0").splitlines() == [
        "unique_id  ds          y  coverage  is_filled",
        "---------------------------------------------",
        "a          2024-01-05  1         1  False",
    ]


def test_a_time_without_a_zone_is_in_utc(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write_series(make_store(folder), 1)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert records("show", "series", "--as-of", "2026-01-05")
    assert records("show", "series", "--as-of", "2026-01-05T13:00+13:00")
    assert "as of 2026-01-04T23:59:00+00:00" in output_of(
        "show", "series", "--as-of", "2026-01-04T23:59", exit_code=2
    )


def test_missing_numbers_are_null_in_json_and_a_dash_in_a_table(folder: Path):
    scores = make_scores().assign(mae=np.nan, mape=np.inf, rmse=-np.inf)
    both = pd.concat([scores, make_scores().assign(unique_id="b")])
    make_store(folder).write(both, make_commit("metrics"))
    row, _ = records("show", "metrics")
    assert (row["mae"], row["mape"], row["rmse"], row["reason"]) == (None, None, None, None)
    assert (row["n_folds"], row["mase"]) == (3, 1.0)
    assert "–" in output_of("show", "metrics")


def test_a_table_leaves_out_columns_that_are_empty_in_every_row(folder: Path):
    rows = make_forecast(week="2026-11-27").assign(override=None, override_by=None)
    make_store(folder).write(rows, make_commit("next_week_forecast"))
    header = output_of("show", "next_week_forecast").splitlines()[0].split()
    assert {"y_hat", "model"} <= {*header}
    assert "override" not in header
    (row,) = records("show", "next_week_forecast")
    assert row["override"] is None
    assert "override" in output_of("show", "next_week_forecast", "--csv").splitlines()[0].split(",")


def test_a_table_is_limited_to_50_rows_or_to_the_limit(folder: Path):
    write_series(make_store(folder), *range(60))
    assert output_of("show", "series").endswith("… and 10 more rows; --json prints them all.\n")
    assert len(records("show", "series")) == 60
    assert [row["y"] for row in records("show", "series", "--limit", "2")] == [0.0, 1.0]
    assert "… and 5 more rows; --json" in output_of("show", "series", "--limit", "55")


def test_show_lists_the_findings_that_hold_the_data_first(folder: Path):
    rows = (SeriesRow("a", None, 1, ""),)
    findings = [Finding("late", 1, (), "", rows, "warn"), Finding("flat", 1, (), "", rows, "hold")]
    make_store(folder).write(to_frame(findings), make_commit("data_findings"))
    shown = [(r["kind"], r["unique_id"]) for r in records("show", "data_findings")]
    assert shown == [("flat", None), ("flat", "a"), ("late", None), ("late", "a")]


def test_show_prints_csv(folder: Path):
    ds = pd.to_datetime(["2024-01-05T06:30", "2024-01-06T00:00"])
    rows = pd.DataFrame({"unique_id": 'a "b", c', "ds": ds, "y": [1.5, np.nan]})
    make_store(folder).write(make_raw(rows), make_commit("raw_data"))
    assert output_of("show", "raw_data", "--csv").splitlines() == [
        "unique_id,ds,y,problem,given,published,file,note",
        '"a ""b"", c",2024-01-05T06:30:00,1.5,,,,,',
        '"a ""b"", c",2024-01-06,,,,,,',
    ]
    assert len(output_of("show", "raw_data", "--csv", "--limit", "1").splitlines()) == 2
    assert [r["ds"] for r in records("show", "raw_data")] == ["2024-01-05T06:30:00", "2024-01-06"]


# diff
def test_diff_prints_the_differences(folder: Path):
    store = make_store(folder)
    write_series(store, 1, 2, 3)
    write_series(store, 1, 2.5)
    write_series(store, 1, 2.5)
    key = {"unique_id": "a", "ds": "2024-01-19"}
    gone, changed = records("diff", "series", "0", "1")
    assert gone == {**key, "change": "removed", "column": None, "old": None, "new": None}
    assert (changed["change"], changed["column"]) == ("changed", "y")
    assert (changed["ds"], changed["old"], changed["new"]) == ("2024-01-12", 2.0, 2.5)
    assert "removed" in output_of("diff", "series", "0", "1")
    assert output_of("diff", "series", "1", "2") == "Versions 1 and 2 of series are equal.\n"
    assert records("diff", "series", "1", "2") == []


def test_diff_of_one_partition_ignores_the_others(folder: Path):
    store = make_store(folder)
    for y in (1, 2):
        for model in ("naive", "drift"):
            write_predictions(store, model, y)
    (row,) = records("diff", BACKTEST, "1", "3", "--partition", "drift")
    assert (row["model"], row["column"], row["old"], row["new"]) == ("drift", "y_hat", 1.0, 2.0)
    assert len(records("diff", BACKTEST, "1", "3")) == 2


# verify
def test_verify_names_damaged_versions_and_exits_with_1(folder: Path):
    store = make_store(folder)
    for y in range(3):
        write_series(store, y)
    assert output_of("verify") == "3 versions are readable and match their records.\n"
    data_files(store, "series")[1].unlink()
    text = output_of("verify", exit_code=1)
    assert "1 of 3 versions are missing or damaged. Only a backup can restore" in text
    assert "cannot be read: Could not read version 1 of series" in text
    rows = records("verify", exit_code=1)
    assert [r["version"] for r in rows if r["problem"]] == [1]
