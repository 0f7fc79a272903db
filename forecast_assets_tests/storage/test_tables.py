"""The eight tables: their columns and keys, and the rows that their rules refuse."""

import pandas as pd
import pytest

from forecast_assets.config.settings import column_suffix
from forecast_assets.errors import DataError
from forecast_assets.storage.tables import ASSETS, TABLES, interval_columns, table_contracts

WEEK = pd.Timestamp("2026-01-09")


def fold(**changed: object) -> pd.DataFrame:
    """Return one row of backtest_predictions that keeps every rule."""
    row = {
        "model": "naive",
        "unique_id": "a",
        "cutoff": WEEK - pd.Timedelta(weeks=2),
        "h": 2,
        "ds": WEEK,
        "y_hat": 1.0,
        "fit_seconds": 0.1,
        "error": None,
    }
    return pd.DataFrame([{**row, **changed}])


def next_week(**changed: object) -> pd.DataFrame:
    """Return one row of next_week_forecast with intervals nested around the forecast."""
    row = {
        "unique_id": "a",
        "h": 1,
        "ds": WEEK,
        "y_hat": 10.0,
        "lo_80": 8.0,
        "hi_80": 12.0,
        "lo_95": 7.0,
        "hi_95": 13.0,
        "backtest_mae": 1.0,
        "model": "naive",
        "members": None,
        "rung": "champion",
        "cutoff": WEEK - pd.Timedelta(weeks=1),
        "made_at": pd.Timestamp("2026-01-05T00:00Z"),
        "as_of": pd.Timestamp("2026-01-05T00:00Z"),
    }
    return pd.DataFrame([{**row, **changed}])


def scores(**changed: object) -> pd.DataFrame:
    """Return one row of metrics without scores."""
    table = table_contracts((80, 95))["metrics"]
    row = dict.fromkeys(table.names) | {
        "unique_id": "a",
        "model": "naive",
        "n_folds": 0,
        "may_be_best": False,
        "fit_seconds": 0.0,
        "status": "scored",
    }
    return pd.DataFrame([{**row, **changed}])


def test_there_is_a_table_for_each_asset_and_one_for_findings():
    assert tuple(table_contracts((80, 95))) == TABLES == (*ASSETS, "data_findings")
    assert [table.name for table in table_contracts((80, 95)).values()] == list(TABLES)


def test_the_columns_that_others_rely_on_are_there():
    """Pin the names: a change here is a change for every reader of the tables."""
    names = {name: table.names for name, table in table_contracts((80, 95)).items()}
    intervals = ["lo_80", "hi_80", "lo_95", "hi_95"]
    assert names == {
        "raw_data": ["unique_id", "ds", "y", "problem", "given"],
        "series": ["unique_id", "ds", "y", "coverage"],
        "data_findings": ["kind", "unique_id", "ds", "n", "message", "policy"],
        "backtest_predictions": [
            *("model", "unique_id", "cutoff", "h", "ds", "y_hat", "fit_seconds", "error"),
        ],
        "metrics": [
            *("unique_id", "model", "n_folds", "mae", "rmse", "mape", "smape", "mase", "rmsse"),
            *("bias", "coverage_80", "coverage_95", "wis", "skill_vs_naive", "p_vs_naive"),
            *("standard_error", "may_be_best", "fit_seconds", "status", "reason"),
        ],
        "best_model": [
            *("unique_id", "model", "rung", "policy", "score", "runner_up", "margin"),
            *("skill_vs_naive", "p_vs_naive", "n_may_be_best"),
            *("previous_model", "switched", "reason"),
        ],
        "next_week_forecast": [
            *("unique_id", "h", "ds", "y_hat", *intervals, "backtest_mae", "model", "members"),
            *("rung", "cutoff", "made_at", "as_of"),
        ],
        "forecast_accuracy": [
            *("unique_id", "ds", "h", "cutoff", "model", "y_hat", *intervals, "backtest_mae", "y"),
            *("y_first", "error", "error_first", "abs_error", "naive_abs_error", "in_80", "in_95"),
            "made_at",
        ],
        "weekly_report": ["file", "sha256", "n_bytes"],
    }


def test_the_keys_that_others_rely_on_are_there():
    assert {name: table.key for name, table in table_contracts((80, 95)).items()} == {
        "raw_data": (),
        "series": ("unique_id", "ds"),
        "data_findings": (),
        "backtest_predictions": ("model", "unique_id", "cutoff", "h"),
        "metrics": ("unique_id", "model"),
        "best_model": ("unique_id",),
        "next_week_forecast": ("unique_id", "h"),
        "forecast_accuracy": ("unique_id", "ds", "h", "cutoff"),
        "weekly_report": ("file",),
    }


def test_only_the_backtest_is_partitioned_and_by_a_key_column():
    partitioned = {
        name: t.partition_by for name, t in table_contracts((80,)).items() if t.partition_by
    }
    assert partitioned == {"backtest_predictions": "model"}


def test_only_what_differs_between_equal_runs_is_volatile():
    volatile = {c.name for t in table_contracts((80,)).values() for c in t.columns if c.volatile}
    assert volatile == {"fit_seconds", "made_at", "as_of"}


@pytest.mark.parametrize("name", TABLES)
def test_a_contract_is_consistent(name: str):
    table = table_contracts((80, 95))[name]
    assert len(set(table.names)) == len(table.names)
    assert set(table.key) <= set(table.names)
    assert all(column.description.endswith(".") for column in table.columns)
    assert not any(column.nullable for column in table.columns if column.name in table.key)
    assert len(table.check(table.empty())) == 0


def test_levels_name_the_interval_columns():
    assert [column_suffix(level) for level in (80, 80.0, 97.5)] == ["80", "80", "97.5"]
    assert interval_columns((50, 97.5)) == ["lo_50", "hi_50", "lo_97.5", "hi_97.5"]
    contracts = table_contracts((97.5,))
    assert {"lo_97.5", "hi_97.5"} <= set(contracts["next_week_forecast"].names)
    assert {"lo_97.5", "hi_97.5", "in_97.5"} <= set(contracts["forecast_accuracy"].names)
    assert "coverage_97.5" in contracts["metrics"].names


ROWS = {"backtest_predictions": fold, "next_week_forecast": next_week, "metrics": scores}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("backtest_predictions", {}),
        ("backtest_predictions", {"y_hat": None, "error": "it did not converge"}),
        ("next_week_forecast", {}),
        ("next_week_forecast", dict.fromkeys(interval_columns((80, 95)))),
        *(("metrics", {"status": status}) for status in ("scored", "failed", "ineligible")),
    ],
    ids=str,
)
def test_valid_rows_are_accepted(name: str, changed: dict[str, object]):
    assert len(table_contracts((80, 95))[name].check(ROWS[name](**changed))) == 1


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("backtest_predictions", {"error": "why"}, "either y_hat or error is set"),
        ("backtest_predictions", {"y_hat": None}, "either y_hat or error is set"),
        ("backtest_predictions", {"h": 3}, r"ds = cutoff \+ h weeks"),
        ("next_week_forecast", {"h": 2}, r"ds = cutoff \+ h weeks"),
        ("next_week_forecast", {"y_hat": 12.5}, "y_hat lies within its intervals"),
        ("next_week_forecast", {"y_hat": 7.5}, "y_hat lies within its intervals"),
        ("next_week_forecast", {"lo_95": 11.0}, "y_hat lies within its intervals"),
        ("metrics", {"status": "skipped"}, "status is one of scored, failed, ineligible"),
    ],
    ids=str,
)
def test_rows_that_break_a_rule_are_refused(name: str, changed: dict[str, object], message: str):
    with pytest.raises(DataError, match=f'the rule "{message}" is broken in 1 of 1 rows'):
        table_contracts((80, 95))[name].check(ROWS[name](**changed))
