"""Define the tables of the week: a contract for each asset and for findings.

`contract` checks them; the assets in `defs` fill them. `command_tables` has those of commands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.storage.benchmark_tables import (
    BENCHMARK_FORECASTS,
    Benchmarks,
    benchmark_forecasts,
    benchmark_scores,
)
from forecast_assets.storage.columns import (
    AS_OF,
    BACKTEST_MAE,
    CUTOFF,
    DS,
    IN_HIERARCHY,
    LAST,
    MADE_AT,
    MADE_BY,
    MODEL,
    MOVED,
    OVERRIDE,
    OVERRIDE_SCORES,
    P_VALUE,
    RUNG,
    SKILL,
    UNIQUE_ID,
    Y_HAT,
    H,
    interval_ends,
    nullable,
    optional,
    quantile_ends,
)
from forecast_assets.storage.command_tables import COMMAND_TABLES
from forecast_assets.storage.contract import Column, TableContract
from forecast_assets.storage.regressor_table import REGRESSORS, REGRESSORS_TABLE
from forecast_assets.storage.table_rules import (
    FORECAST_RULE,
    PROBLEM_RULE,
    STATUS_RULE,
    WEEK_RULE,
    forecast_within_intervals,
)

# Why a model forecasts a series, in the order in which they are tried: the column `rung`.
CHAMPION, RUNNER_UP, COMBINATION, NAIVE = "champion", "runner-up", "combination", "naive"
# In place of the champion, where the settings name the model; both are the model that was chosen.
PINNED = "pinned"
CHOSEN = (CHAMPION, PINNED)
# How the column `reason` of a forecast begins that is far outside what its series does.
IMPLAUSIBLE = "implausible: "

ASSETS = (
    "raw_data",
    "series",
    "backtest_predictions",
    "metrics",
    "best_model",
    "next_week_forecast",
    "forecast_accuracy",
    "weekly_report",
)
FORECAST = "next_week_forecast"
# Tables that are no assets. Steps write these before they may hold back data or a forecast.
DATA_FINDINGS, HELD_FORECAST = "data_findings", "held_forecast"
WRITTEN_BY = {
    DATA_FINDINGS: "series",
    HELD_FORECAST: FORECAST,
}
TABLES = (
    *(*ASSETS, *WRITTEN_BY, BENCHMARK_FORECASTS, REGRESSORS),
    *(table.name for table in COMMAND_TABLES),
)


def interval_columns(levels: Sequence[float]) -> list[str]:
    """Return the interval columns of the levels: lo_80, hi_80, lo_95, hi_95."""
    return [f"{side}_{column_suffix(level)}" for level in levels for side in ("lo", "hi")]


def table_contracts(
    levels: Sequence[float],
    quantiles: Sequence[float] = (),
    benchmarks: Benchmarks = MappingProxyType({}),
) -> Mapping[str, TableContract]:
    """Return the contract of every table; `levels` (percent) name the interval columns."""
    contracts = (
        _RAW_DATA,
        _SERIES,
        _BACKTEST_PREDICTIONS,
        _metrics(levels),
        _BEST_MODEL,
        forecast := _next_week_forecast(levels, quantiles),
        _forecast_accuracy(levels, benchmarks),
        _WEEKLY_REPORT,
        _DATA_FINDINGS,
        replace(forecast, name=HELD_FORECAST),
        benchmark_forecasts(benchmarks),
        REGRESSORS_TABLE,
        *COMMAND_TABLES,
    )
    return {table.name: table for table in contracts}


def target_week(forecast: pd.DataFrame) -> date:
    """Return the first week of the forecast; a series that ended earlier does not count."""
    week: date = forecast.loc[forecast["h"] == 1, "ds"].max().date()
    return week


_RAW_DATA = TableContract(
    "raw_data",
    key=(),
    columns=(
        replace(UNIQUE_ID, nullable=True),
        nullable("ds", "Time of the row, in the source's time zone.", "datetime"),
        nullable("y", "Value as published, in the series' unit."),
        nullable("problem", "Why the row was quarantined; null if valid.", "string"),
        nullable("given", "A quarantined row as it was received (JSON).", "string"),
        optional("published", "When the row was published, if the source says so.", "timestamp"),
        nullable("file", "File that the row is in, of several.", "string", volatile=True),
        nullable("note", "How else the row could be read.", "string", volatile=True),
    ),
    rules=(PROBLEM_RULE,),
)

_SERIES = TableContract(
    "series",
    key=("unique_id", "ds"),
    columns=(
        UNIQUE_ID,
        DS,
        Column("y", "float", "Value of the week, in the series' unit."),
        Column("coverage", "float", "Days with data, as a share of a usual week's; 0 if filled."),
        Column("is_filled", "bool", "Whether the value was made up, so that none is scored on it."),
        *IN_HIERARCHY,
    ),
)

_DATA_FINDINGS = TableContract(
    DATA_FINDINGS,
    key=(),
    columns=(
        Column("kind", "string", "The kind of finding: a key of `[data_quality]`."),
        nullable("unique_id", "A series that it is about; null in the total's row.", "string"),
        nullable("ds", "The first week, or day, concerned.", "date"),
        Column("n", "int", "How many values, weeks, rows or series it is about."),
        Column("message", "string", "What was found."),
        Column("policy", "string", "What was done about it: publish, warn or hold."),
    ),
)

_BACKTEST_PREDICTIONS = TableContract(
    "backtest_predictions",
    key=("model", "unique_id", "cutoff", "h"),
    partition_by="model",
    columns=(
        MODEL,
        UNIQUE_ID,
        CUTOFF,
        H,
        DS,
        replace(Y_HAT, nullable=True),
        Column("fit_seconds", "float", "Seconds that the fold took to compute.", volatile=True),
        nullable("error", "Why there is no forecast; null if there is one.", "string"),
    ),
    rules=(WEEK_RULE, FORECAST_RULE),
)

_BEST_MODEL = TableContract(
    "best_model",
    key=("unique_id",),
    columns=(
        UNIQUE_ID,
        MODEL,
        RUNG,
        Column("policy", "string", "Selection rule that was applied."),
        nullable("score", "Selection metric of the model; its MAE if the metric is not defined."),
        nullable("runner_up", "Model with the next best score.", "string"),
        nullable("margin", "Score of the runner-up minus the score of the model."),
        SKILL,
        P_VALUE,
        Column("n_may_be_best", "int", "Candidates not significantly worse than the best (90 %)."),
        nullable("previous_model", "Model that the previous run chose.", "string"),
        Column("switched", "bool", "Whether the choice differs from the previous run."),
        Column("reason", "string", "Why the model was chosen, in one sentence."),
    ),
)

_WEEKLY_REPORT = TableContract(
    "weekly_report",
    key=("file",),
    columns=(
        Column("file", "string", "Path of the file, below FORECAST_VAR."),
        Column("sha256", "string", "SHA-256 of the file."),
        Column("n_bytes", "int", "Size of the file, in bytes."),
    ),
)


def _metrics(levels: Sequence[float]) -> TableContract:
    return TableContract(
        "metrics",
        key=("unique_id", "model"),
        columns=(
            UNIQUE_ID,
            MODEL,
            Column("n_folds", "int", "Number of backtest folds."),
            Column("n_real", "int", "Number of weeks, not filled, that the scores rest on."),
            nullable("mae", "Mean absolute error, in the series' unit."),
            nullable("rmse", "Root mean squared error, in the series' unit."),
            nullable("mape", "Mean absolute percentage error, a fraction; null if a value is 0."),
            nullable("smape", "Symmetric mean absolute percentage error, a fraction from 0 to 1."),
            nullable("mase", "MAE / MAE of the naive forecast before the first cutoff; 1: equal."),
            nullable("rmsse", "RMSE / RMSE of the naive forecast before the first cutoff."),
            nullable("bias", "Mean of forecast - value, in the series' unit; above 0: too high."),
            *(
                nullable(
                    f"coverage_{column_suffix(level)}",
                    f"Share of values inside the {level:g} % interval, estimated without them.",
                )
                for level in levels
            ),
            nullable("wis", "Weighted interval score, in the series' unit."),
            SKILL,
            P_VALUE,
            nullable("standard_error", "Standard error of the selection metric over the folds."),
            Column("may_be_best", "bool", "Not significantly worse than the best (90 %)."),
            nullable(
                "errors_behind", "Standard errors by which an ensemble is behind the best of them."
            ),
            nullable(
                "panel_error",
                "Standard error over weeks of the mean error of all series, as a share of it.",
            ),
            Column("fit_seconds", "float", "Seconds of computation, all folds.", volatile=True),
            optional(
                "vintage_share",
                "Share of the folds whose model saw the values as they were known then; null if"
                " none did.",
            ),
            Column("status", "string", "scored, failed, ineligible or too_few (see `reason`)."),
            nullable("reason", "Why the model is not scored.", "string"),
        ),
        rules=(STATUS_RULE,),
    )


def _next_week_forecast(levels: Sequence[float], quantiles: Sequence[float]) -> TableContract:
    ends = (*interval_ends(levels), *quantile_ends(quantiles))
    forecast = (UNIQUE_ID, H, DS, Y_HAT, *ends, BACKTEST_MAE)
    return TableContract(
        "next_week_forecast",
        key=("unique_id", "h"),
        columns=(*forecast, *MADE_BY, *OVERRIDE, *LAST, *MOVED, CUTOFF, MADE_AT, AS_OF),
        rules=(WEEK_RULE, ("y_hat lies within its intervals", forecast_within_intervals)),
    )


def _forecast_accuracy(levels: Sequence[float], benchmarks: Benchmarks) -> TableContract:
    forecast = (UNIQUE_ID, DS, H, CUTOFF, MODEL, Y_HAT, *interval_ends(levels), BACKTEST_MAE)
    return TableContract(
        "forecast_accuracy",
        key=("unique_id", "ds", "h", "cutoff"),
        columns=(
            *forecast,
            Column("y", "float", "Value of the week as known now, in the series' unit."),
            Column("y_first", "float", "Value as first published, in the series' unit."),
            Column("error", "float", "Forecast - value, in the series' unit."),
            Column("error_first", "float", "Forecast - value as first published."),
            Column("abs_error", "float", "Absolute error, in the series' unit."),
            Column("naive_abs_error", "float", "Absolute error of the naive forecast."),
            optional("y_at_cutoff", "Value at the cutoff when the forecast was made."),
            *OVERRIDE_SCORES,
            *benchmark_scores(benchmarks),
            *(
                nullable(
                    f"in_{column_suffix(level)}",
                    f"Whether the value lies in the {level:g} % interval; null if there was none.",
                    "bool",
                )
                for level in levels
            ),
            MADE_AT,
        ),
        rules=(WEEK_RULE,),
    )
