"""Define the tables of the week: a contract for each asset, for findings and for withdrawals.

`contract` checks them; the assets in `defs` fill them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.storage.contract import Column, Kind, TableContract
from forecast_assets.storage.table_rules import (
    FORECAST_RULE,
    PROBLEM_RULE,
    STATUS_RULE,
    WEEK_RULE,
    forecast_within_intervals,
)

# Why a model forecasts a series, in the order in which they are tried: the column `rung`.
CHAMPION, RUNNER_UP, COMBINATION, NAIVE = "champion", "runner-up", "combination", "naive"
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
WRITTEN_BY = {DATA_FINDINGS: "series", HELD_FORECAST: FORECAST}
# And a command this one.
WITHDRAWALS = "withdrawals"
TABLES = (*ASSETS, *WRITTEN_BY, WITHDRAWALS)


def _nullable(
    name: str, description: str, kind: Kind = "float", *, volatile: bool = False
) -> Column:
    return Column(name, kind, description, nullable=True, volatile=volatile)


def _optional(name: str, description: str, kind: Kind = "float") -> Column:
    return Column(name, kind, description, nullable=True, optional=True)


UNIQUE_ID = Column("unique_id", "string", "Name of the series.")
DS = Column("ds", "date", "Last day of the week.")
H = Column("h", "int", "Weeks after the cutoff, from 1.")
CUTOFF = Column("cutoff", "date", "Last week of data that the model used, inclusive.")
MODEL = Column("model", "string", "Registered name of the model.")
MEMBERS = _nullable("members", "Models that a combination consists of.", "string")
RUNG = Column("rung", "string", "Why this model: champion, runner-up, combination or naive.")
_WHY = "Why no higher rung forecasts the series, or why its forecast is implausible."
REASON = _nullable("reason", _WHY, "string", volatile=True)
_LAST = (
    _optional("last_published", "Newest value as published, where the models saw a corrected one."),
    _optional("last_corrected", "The same value as corrected for its usual revision."),
)
BACKTEST_MAE = _nullable(
    "backtest_mae", "Mean absolute error in the backtest at this horizon, in the series' unit."
)
Y_HAT = Column("y_hat", "float", "Forecast, in the series' unit.")
SKILL = _nullable("skill_vs_naive", "1 - MAE / MAE of the naive model; above 0: better.")
P_VALUE = _nullable("p_vs_naive", "p-value of the gain over the naive model.")
MADE_AT = Column("made_at", "timestamp", "Start of the run that made the forecast.", volatile=True)
AS_OF = Column("as_of", "timestamp", "Time as of which the run was made.", volatile=True)


def interval_columns(levels: Sequence[float]) -> list[str]:
    """Return the interval columns of the levels: lo_80, hi_80, lo_95, hi_95."""
    return [f"{side}_{column_suffix(level)}" for level in levels for side in ("lo", "hi")]


def table_contracts(levels: Sequence[float]) -> Mapping[str, TableContract]:
    """Return the contract of every table; `levels` (percent) name the interval columns."""
    contracts = (
        _RAW_DATA,
        _SERIES,
        _BACKTEST_PREDICTIONS,
        _metrics(levels),
        _BEST_MODEL,
        forecast := _next_week_forecast(levels),
        _forecast_accuracy(levels),
        _WEEKLY_REPORT,
        _DATA_FINDINGS,
        replace(forecast, name=HELD_FORECAST),
        _WITHDRAWALS,
    )
    return {table.name: table for table in contracts}


def target_week(forecast: pd.DataFrame) -> date:
    """Return the first week of the forecast; a series that ended earlier does not count."""
    week: date = forecast.loc[forecast["h"] == 1, "ds"].max().date()
    return week


def _intervals(levels: Sequence[float]) -> list[Column]:
    return [
        _nullable(
            f"{side}_{column_suffix(level)}",
            f"{end} end of the {level:g} % prediction interval, in the series' unit;"
            " null if the backtest has too few errors to estimate it.",
        )
        for level in levels
        for side, end in (("lo", "Lower"), ("hi", "Upper"))
    ]


_RAW_DATA = TableContract(
    "raw_data",
    key=(),
    columns=(
        replace(UNIQUE_ID, nullable=True),
        _nullable("ds", "Time of the row, in the source's time zone.", "datetime"),
        _nullable("y", "Value as published, in the series' unit."),
        _nullable("problem", "Why the row was quarantined; null if valid.", "string"),
        _nullable("given", "A quarantined row as it was received (JSON).", "string"),
        _optional("published", "When the row was published, if the source says so.", "timestamp"),
        _nullable("file", "File that the row is in, of several.", "string", volatile=True),
        _nullable("note", "How else the row could be read.", "string", volatile=True),
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
    ),
)

_DATA_FINDINGS = TableContract(
    DATA_FINDINGS,
    key=(),
    columns=(
        Column("kind", "string", "The kind of finding: a key of `[data_quality]`."),
        _nullable("unique_id", "A series that it is about; null in the total's row.", "string"),
        _nullable("ds", "The first week, or day, concerned.", "date"),
        Column("n", "int", "How many values, weeks, rows or series it is about."),
        Column("message", "string", "What was found."),
        Column("policy", "string", "What was done about it: publish, warn or hold."),
    ),
)

_WITHDRAWALS = TableContract(
    WITHDRAWALS,
    key=("as_of", "at"),
    columns=(
        Column("as_of", "timestamp", "Time as of which the withdrawn forecast was made."),
        Column("reason", "string", "Why it was withdrawn."),
        Column("by", "string", "User who withdrew it."),
        Column("at", "timestamp", "When it was withdrawn."),
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
        _nullable("error", "Why there is no forecast; null if there is one.", "string"),
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
        _nullable("score", "Selection metric of the model; its MAE if the metric is not defined."),
        _nullable("runner_up", "Model with the next best score.", "string"),
        _nullable("margin", "Score of the runner-up minus the score of the model."),
        SKILL,
        P_VALUE,
        Column("n_may_be_best", "int", "Candidates not significantly worse than the best (90 %)."),
        _nullable("previous_model", "Model that the previous run chose.", "string"),
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
            _nullable("mae", "Mean absolute error, in the series' unit."),
            _nullable("rmse", "Root mean squared error, in the series' unit."),
            _nullable("mape", "Mean absolute percentage error, a fraction; null if a value is 0."),
            _nullable("smape", "Symmetric mean absolute percentage error, a fraction from 0 to 1."),
            _nullable("mase", "MAE / MAE of the naive forecast before the first cutoff; 1: equal."),
            _nullable("rmsse", "RMSE / RMSE of the naive forecast before the first cutoff."),
            _nullable("bias", "Mean of forecast - value, in the series' unit; above 0: too high."),
            *(
                _nullable(
                    f"coverage_{column_suffix(level)}",
                    f"Share of values inside the {level:g} % interval, estimated without them.",
                )
                for level in levels
            ),
            _nullable("wis", "Weighted interval score, in the series' unit."),
            SKILL,
            P_VALUE,
            _nullable("standard_error", "Standard error of the selection metric over the folds."),
            Column("may_be_best", "bool", "Not significantly worse than the best (90 %)."),
            Column("fit_seconds", "float", "Seconds of computation, all folds.", volatile=True),
            _optional(
                "vintage_share",
                "Share of the folds whose model saw the values as they were known then; null if"
                " none did.",
            ),
            Column("status", "string", "scored, failed, ineligible or too_few (see `reason`)."),
            _nullable("reason", "Why the model is not scored.", "string"),
        ),
        rules=(STATUS_RULE,),
    )


def _next_week_forecast(levels: Sequence[float]) -> TableContract:
    forecast = (UNIQUE_ID, H, DS, Y_HAT, *_intervals(levels), BACKTEST_MAE)
    return TableContract(
        "next_week_forecast",
        key=("unique_id", "h"),
        columns=(*forecast, MODEL, MEMBERS, RUNG, REASON, *_LAST, CUTOFF, MADE_AT, AS_OF),
        rules=(WEEK_RULE, ("y_hat lies within its intervals", forecast_within_intervals)),
    )


def _forecast_accuracy(levels: Sequence[float]) -> TableContract:
    forecast = (UNIQUE_ID, DS, H, CUTOFF, MODEL, Y_HAT, *_intervals(levels), BACKTEST_MAE)
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
            _optional("y_at_cutoff", "Value at the cutoff when the forecast was made."),
            *(
                _nullable(
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
