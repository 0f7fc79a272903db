"""The tables: their columns and keys, and the rows that their rules refuse."""

import re

import pytest

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.errors import DataError
from forecast_assets.storage.contract import digest
from forecast_assets.storage.table_rules import STATUSES
from forecast_assets.storage.tables import ASSETS, TABLES, interval_columns, table_contracts
from forecast_assets_tests.store_builders import make_forecast, make_predictions, make_scores

CONTRACTS = table_contracts((80, 95))
INTERVALS = interval_columns((80, 95))
# Rows that keep every rule.
ROWS = {
    "backtest_predictions": make_predictions("naive", 1.0),
    "next_week_forecast": make_forecast(y_hat=10.0, lo_80=8.0, hi_80=12.0, lo_95=7.0, hi_95=13.0),
    "metrics": make_scores(),
}


def test_there_is_a_table_for_each_asset_and_for_what_runs_and_commands_record():
    others = ("data_findings", "held_forecast", "benchmark_forecasts", "regressors")
    others = (*others, "withdrawals", "overrides", "deliveries")
    assert tuple(CONTRACTS) == TABLES == (*ASSETS, *others)
    assert [table.name for table in CONTRACTS.values()] == list(TABLES)


def test_the_columns_that_others_rely_on_are_there():
    """Pin the names: a change here is a change for every reader of the tables."""
    assert {name: " ".join(table.names) for name, table in CONTRACTS.items()} == {
        "raw_data": "unique_id ds y problem given published file note",
        "series": "unique_id ds y coverage is_filled parent is_sum",
        "data_findings": "kind unique_id ds n message policy",
        "withdrawals": "as_of reason by at",
        "overrides": "unique_id ds value lower upper reason by at",
        "deliveries": "delivery asset version as_of n_rows n_changed run_id at",
        "benchmark_forecasts": "benchmark unique_id ds made_on y_hat",
        "backtest_predictions": "model unique_id cutoff h ds y_hat fit_seconds error",
        "metrics": "unique_id model n_folds n_real mae rmse mape smape mase rmsse bias coverage_80"
        " coverage_95 wis skill_vs_naive p_vs_naive standard_error may_be_best errors_behind"
        " panel_error fit_seconds vintage_share status reason",
        "best_model": "unique_id model rung policy score runner_up margin skill_vs_naive p_vs_naive"
        " n_may_be_best previous_model switched reason",
        "next_week_forecast": "unique_id h ds y_hat lo_80 hi_80 lo_95 hi_95 backtest_mae model"
        " members weights rung reason parent y_hat_base reconciliation override override_low"
        " override_high override_by override_reason override_at last_published last_corrected"
        " moved_from moved_by_code moved_by_model moved_by_data moved_by_totals moved_not_split"
        " cutoff made_at as_of",
        "held_forecast": "unique_id h ds y_hat lo_80 hi_80 lo_95 hi_95 backtest_mae model"
        " members weights rung reason parent y_hat_base reconciliation override override_low"
        " override_high override_by override_reason override_at last_published last_corrected"
        " moved_from moved_by_code moved_by_model moved_by_data moved_by_totals moved_not_split"
        " cutoff made_at as_of",
        "forecast_accuracy": "unique_id ds h cutoff model y_hat lo_80 hi_80 lo_95 hi_95"
        " backtest_mae y y_first error error_first abs_error naive_abs_error"
        " y_at_cutoff override override_low override_high override_by override_reason override_at"
        " override_error override_error_first in_80 in_95 made_at",
        "weekly_report": "file sha256 n_bytes",
        "regressors": "regressor unique_id ds known_at value",
    }


def test_the_keys_and_partitions_that_others_rely_on_are_there():
    assert {name: " ".join(table.key) for name, table in CONTRACTS.items()} == {
        "raw_data": "",
        "series": "unique_id ds",
        "data_findings": "",
        "withdrawals": "as_of at",
        "overrides": "unique_id ds at",
        "deliveries": "delivery at",
        "benchmark_forecasts": "benchmark unique_id ds made_on",
        "backtest_predictions": "model unique_id cutoff h",
        "metrics": "unique_id model",
        "best_model": "unique_id",
        "next_week_forecast": "unique_id h",
        "held_forecast": "unique_id h",
        "forecast_accuracy": "unique_id ds h cutoff",
        "weekly_report": "file",
        "regressors": "regressor unique_id ds known_at",
    }
    partitions = {name: table.partition_by for name, table in CONTRACTS.items()}
    assert {name: by for name, by in partitions.items() if by} == {"backtest_predictions": "model"}


def test_only_what_differs_between_equal_runs_is_volatile():
    volatile = {c.name for t in CONTRACTS.values() for c in t.columns if c.volatile}
    expected = {"fit_seconds", "made_at", "as_of", "file", "note"}
    # They depend on the forecast before, as do an error that is quoted and weights that learn.
    moved = {f"moved_{part}" for part in ("from", "by_code", "by_model", "by_data", "by_totals")}
    assert volatile == expected | moved | {"moved_not_split", "weights", "reason"}


def test_columns_that_came_later_count_only_where_they_hold_a_value():
    optional = {c.name: t for t in CONTRACTS.values() for c in t.columns if c.optional}
    assert set(optional) == {
        "published", "vintage_share", "last_published", "last_corrected", "y_at_cutoff",
        "override", "override_low", "override_high", "override_by", "override_reason",
        "override_at", "override_error", "override_error_first", "parent", "is_sum", "y_hat_base",
        "reconciliation", "weights", "moved_from", "moved_by_code", "moved_by_model",
        "moved_by_data", "moved_by_totals", "moved_not_split",
    }  # fmt: skip
    table, row = CONTRACTS["next_week_forecast"], ROWS["next_week_forecast"]
    empty = table.arrange(row.assign(last_published=None, last_corrected=None))
    before = digest(empty, {c.name: c.kind for c in table.columns if not c.volatile | c.optional})
    assert table.data_version(empty) == before
    assert table.data_version(table.arrange(row.assign(last_published=1.0))) != before


@pytest.mark.parametrize("name", TABLES)
def test_a_contract_is_consistent(name: str):
    table = CONTRACTS[name]
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


@pytest.mark.parametrize(
    ("name", "changed", "broken"),
    [
        ("backtest_predictions", {}, None),
        ("backtest_predictions", {"y_hat": None, "error": "it did not converge"}, None),
        ("backtest_predictions", {"error": "why"}, "either y_hat or error is set"),
        ("backtest_predictions", {"y_hat": None}, "either y_hat or error is set"),
        ("backtest_predictions", {"h": 3}, "ds = cutoff + h weeks"),
        ("next_week_forecast", {}, None),
        ("next_week_forecast", dict.fromkeys(INTERVALS), None),
        ("next_week_forecast", {"h": 2}, "ds = cutoff + h weeks"),
        ("next_week_forecast", {"y_hat": 12.5}, "y_hat lies within its intervals"),
        ("next_week_forecast", {"y_hat": 7.5}, "y_hat lies within its intervals"),
        ("next_week_forecast", {"lo_95": 11.0}, "y_hat lies within its intervals"),
        *(("metrics", {"status": status}, None) for status in STATUSES),
        ("metrics", {"status": "skipped"}, "status is one of scored, failed, ineligible, too_few"),
    ],
    ids=str,
)
def test_rows_that_break_a_rule_are_refused_and_others_accepted(
    name: str, changed: dict[str, object], broken: str | None
):
    rows = ROWS[name].assign(**changed)
    if broken is None:
        assert len(CONTRACTS[name].check(rows)) == 1
        return
    message = re.escape(f'the rule "{broken}" is broken in 1 of 1 rows')
    with pytest.raises(DataError, match=message):
        CONTRACTS[name].check(rows)
