"""Define the tables of the week: one contract for each asset, and one for findings.

`contract` checks them; the assets in `defs` fill them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.storage.contract import Column, TableContract

# Why a model forecasts a series, in the order in which they are tried: the column `rung`.
CHAMPION, RUNNER_UP, COMBINATION, NAIVE = "champion", "runner-up", "combination", "naive"
STATUSES = ("scored", "failed", "ineligible")

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
# A table that no asset is: written by the step of `series`, before it may hold the data back.
DATA_FINDINGS = "data_findings"
TABLES = (*ASSETS, DATA_FINDINGS)


def _float(name: str, description: str) -> Column:
    return Column(name, "float", description, nullable=True)


UNIQUE_ID = Column("unique_id", "string", "Name of the series.")
DS = Column("ds", "date", "Last day of the week.")
H = Column("h", "int", "Weeks after the cutoff, from 1.")
CUTOFF = Column("cutoff", "date", "Last week of data that the model used, inclusive.")
MODEL = Column("model", "string", "Registered name of the model.")
MEMBERS = Column("members", "string", "Models that a combination consists of.", nullable=True)
RUNG = Column("rung", "string", "Why this model: champion, runner-up, combination or naive.")
BACKTEST_MAE = _float(
    "backtest_mae", "Mean absolute error in the backtest at this horizon, in the series' unit."
)
Y_HAT = Column("y_hat", "float", "Forecast, in the series' unit.")
MADE_AT = Column("made_at", "timestamp", "Start of the run that made the forecast.", volatile=True)
AS_OF = Column("as_of", "timestamp", "Time as of which the run was made.", volatile=True)


def interval_columns(levels: Sequence[float]) -> list[str]:
    """Return the interval columns of the levels: lo_80, hi_80, lo_95, hi_95."""
    return [f"{side}_{column_suffix(level)}" for level in levels for side in ("lo", "hi")]


def table_contracts(levels: Sequence[float]) -> Mapping[str, TableContract]:
    """Return the contract of every asset; `levels` (percent) name the interval columns."""
    contracts = (
        _RAW_DATA,
        _SERIES,
        _BACKTEST_PREDICTIONS,
        _metrics(levels),
        _BEST_MODEL,
        _next_week_forecast(levels),
        _forecast_accuracy(levels),
        _WEEKLY_REPORT,
        _DATA_FINDINGS,
    )
    return MappingProxyType({table.name: table for table in contracts})


def _intervals(levels: Sequence[float]) -> tuple[Column, ...]:
    return tuple(
        _float(
            f"{side}_{column_suffix(level)}",
            f"{end} end of the {level:g} % prediction interval, in the series' unit;"
            " null if the backtest has too few errors to estimate it.",
        )
        for level in levels
        for side, end in (("lo", "Lower"), ("hi", "Upper"))
    )


def _week_follows_cutoff(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["ds"] == frame["cutoff"] + pd.to_timedelta(7 * frame["h"], unit="D")


def _either_forecast_or_error(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["y_hat"].isna() == frame["error"].notna()


def _forecast_within_intervals(frame: pd.DataFrame) -> "pd.Series[bool]":
    lows = frame.filter(regex="^lo_").max(axis=1)
    highs = frame.filter(regex="^hi_").min(axis=1)
    return ~((frame["y_hat"] < lows) | (frame["y_hat"] > highs))


def _valid_or_explained(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["problem"].notna() | (frame["unique_id"].notna() & frame["ds"].notna())


_RAW_DATA = TableContract(
    "raw_data",
    key=(),
    columns=(
        replace(UNIQUE_ID, nullable=True),
        Column("ds", "datetime", "Time of the row, in the source's time zone.", nullable=True),
        _float("y", "Value as published, in the series' unit."),
        Column("problem", "string", "Why the row was quarantined; null if valid.", nullable=True),
        Column("given", "string", "A quarantined row as it was received (JSON).", nullable=True),
    ),
    rules=(("a row has an id and a time, or a problem", _valid_or_explained),),
)

_SERIES = TableContract(
    "series",
    key=("unique_id", "ds"),
    columns=(
        UNIQUE_ID,
        DS,
        Column("y", "float", "Value of the week, in the series' unit."),
        Column(
            "coverage",
            "float",
            "Days with data as a share of the days that a week of the series usually has; 0 if the"
            " week was filled.",
        ),
    ),
)

_DATA_FINDINGS = TableContract(
    DATA_FINDINGS,
    key=(),
    columns=(
        Column("kind", "string", "The kind of finding: a key of `[data_quality]`."),
        Column(
            "unique_id",
            "string",
            "A series that it is about; null in the row that sums the finding up.",
            nullable=True,
        ),
        Column("ds", "date", "The first week, or day, concerned.", nullable=True),
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
        _float("y_hat", "Forecast, in the series' unit."),
        Column("fit_seconds", "float", "Seconds that the fold took to compute.", volatile=True),
        Column("error", "string", "Why there is no forecast; null if there is one.", nullable=True),
    ),
    rules=(
        ("ds = cutoff + h weeks", _week_follows_cutoff),
        ("either y_hat or error is set", _either_forecast_or_error),
    ),
)

_BEST_MODEL = TableContract(
    "best_model",
    key=("unique_id",),
    columns=(
        UNIQUE_ID,
        MODEL,
        RUNG,
        Column("policy", "string", "Selection rule that was applied."),
        _float("score", "Selection metric of the model; its MAE if the metric is not defined."),
        Column("runner_up", "string", "Model with the next best score.", nullable=True),
        _float("margin", "Score of the runner-up minus the score of the model."),
        _float("skill_vs_naive", "1 - MAE / MAE of the naive model."),
        _float("p_vs_naive", "p-value of the gain over the naive model."),
        Column("n_may_be_best", "int", "Candidates not significantly worse than the best (90 %)."),
        Column("previous_model", "string", "Model that the previous run chose.", nullable=True),
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


def _has_known_status(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["status"].isin(STATUSES)


def _metrics(levels: Sequence[float]) -> TableContract:
    return TableContract(
        "metrics",
        key=("unique_id", "model"),
        columns=(
            UNIQUE_ID,
            MODEL,
            Column("n_folds", "int", "Number of backtest folds."),
            _float("mae", "Mean absolute error, in the series' unit."),
            _float("rmse", "Root mean squared error, in the series' unit."),
            _float("mape", "Mean absolute percentage error, a fraction; null if a value is 0."),
            _float("smape", "Symmetric mean absolute percentage error, a fraction from 0 to 1."),
            _float(
                "mase", "MAE / MAE of the naive forecast before the first cutoff; 1: equally good."
            ),
            _float("rmsse", "RMSE / RMSE of the naive forecast before the first cutoff."),
            _float("bias", "Mean of forecast - value, in the series' unit; above 0: too high."),
            *(
                _float(
                    f"coverage_{column_suffix(level)}",
                    f"Share of values inside the {level:g} % interval, which was estimated without"
                    f" them.",
                )
                for level in levels
            ),
            _float("wis", "Weighted interval score, in the series' unit."),
            _float("skill_vs_naive", "1 - MAE / MAE of the naive model; above 0: better."),
            _float("p_vs_naive", "p-value of the gain over the naive model."),
            _float("standard_error", "Standard error of the selection metric over the folds."),
            Column("may_be_best", "bool", "Not significantly worse than the best (90 %)."),
            Column("fit_seconds", "float", "Seconds of computation, all folds.", volatile=True),
            Column("status", "string", "scored, failed, or ineligible (the series is too short)."),
            Column("reason", "string", "Why the model is not scored.", nullable=True),
        ),
        rules=((f"status is one of {', '.join(STATUSES)}", _has_known_status),),
    )


def _next_week_forecast(levels: Sequence[float]) -> TableContract:
    return TableContract(
        "next_week_forecast",
        key=("unique_id", "h"),
        columns=(
            UNIQUE_ID,
            H,
            DS,
            Y_HAT,
            *_intervals(levels),
            BACKTEST_MAE,
            MODEL,
            MEMBERS,
            RUNG,
            CUTOFF,
            MADE_AT,
            AS_OF,
        ),
        rules=(
            ("ds = cutoff + h weeks", _week_follows_cutoff),
            ("y_hat lies within its intervals", _forecast_within_intervals),
        ),
    )


def _forecast_accuracy(levels: Sequence[float]) -> TableContract:
    return TableContract(
        "forecast_accuracy",
        key=("unique_id", "ds", "h", "cutoff"),
        columns=(
            UNIQUE_ID,
            DS,
            H,
            CUTOFF,
            MODEL,
            Y_HAT,
            *_intervals(levels),
            BACKTEST_MAE,
            Column("y", "float", "Value of the week as known now, in the series' unit."),
            Column("y_first", "float", "Value as first published, in the series' unit."),
            Column("error", "float", "Forecast - value, in the series' unit."),
            Column("error_first", "float", "Forecast - value as first published."),
            Column("abs_error", "float", "Absolute error, in the series' unit."),
            Column("naive_abs_error", "float", "Absolute error of the naive forecast."),
            *(
                Column(
                    f"in_{column_suffix(level)}",
                    "bool",
                    f"Whether the value lies in the {level:g} % interval; false if there was none.",
                )
                for level in levels
            ),
            MADE_AT,
        ),
        rules=(("ds = cutoff + h weeks", _week_follows_cutoff),),
    )


def target_week(forecast: pd.DataFrame) -> date:
    """Return the first week of the forecast; a series that ended earlier does not count."""
    week: date = forecast.loc[forecast["h"] == 1, "ds"].max().date()
    return week
