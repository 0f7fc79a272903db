"""The eight tables of the week, by name.

What a contract is and how it is checked: `schema`. Who fills the tables: `defs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

import pandas as pd

from forecast_assets.config.settings import column_suffix
from forecast_assets.storage.contract import Column, TableContract

CHAMPION, RUNNER_UP, COMBINATION, NAIVE = "champion", "runner-up", "combination", "naive"


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

UNIQUE_ID = Column("unique_id", "string", "Which series.")
DS = Column("ds", "date", "The day that the week ends.")
H = Column("h", "int", "Weeks ahead of the cutoff, from 1.")
CUTOFF = Column("cutoff", "date", "The last week that the model saw, inclusive.")
MODEL = Column("model", "string", "The model, by its registered name.")
MEMBERS = Column("members", "string", "Of whom a combination is made.", nullable=True)
RUNG = Column(
    "rung", "string", "Why this model forecasts: champion, runner-up, combination or naive."
)
BACKTEST_MAE = Column(
    "backtest_mae",
    "float",
    "The model's mean absolute error in the backtest, this many weeks ahead, in the series' unit.",
    nullable=True,
)
Y_HAT = Column("y_hat", "float", "The forecast, in the series' unit.")
MADE_AT = Column("made_at", "timestamp", "When the run that forecast began.", volatile=True)
AS_OF = Column("as_of", "timestamp", "The moment that the run stands for.", volatile=True)


def interval_columns(levels: Sequence[float]) -> list[str]:
    """lo_80, hi_80, lo_95, hi_95: the interval columns, level by level."""
    return [f"{side}_{column_suffix(level)}" for level in levels for side in ("lo", "hi")]


def table_contracts(levels: Sequence[float]) -> Mapping[str, TableContract]:
    """Every table's contract by its asset's name; `levels` (percent) name the interval columns."""
    contracts = (
        _RAW_DATA,
        _SERIES,
        _BACKTEST_PREDICTIONS,
        _metrics(levels),
        _BEST_MODEL,
        _next_week_forecast(levels),
        _forecast_accuracy(levels),
        _WEEKLY_REPORT,
    )
    return MappingProxyType({table.name: table for table in contracts})


def _intervals(levels: Sequence[float]) -> tuple[Column, ...]:
    return tuple(
        Column(
            f"{side}_{column_suffix(level)}",
            "float",
            f"{end} end of the {level:g} % prediction interval, in the series' unit;"
            " null where the backtest had no errors to draw it from.",
            nullable=True,
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


def _sound_or_said_why(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["problem"].notna() | (frame["unique_id"].notna() & frame["ds"].notna())


_RAW_DATA = TableContract(
    "raw_data",
    key=(),
    columns=(
        replace(UNIQUE_ID, nullable=True),
        Column(
            "ds",
            "datetime",
            "The time that the row is for, in the source's own time zone.",
            nullable=True,
        ),
        Column("y", "float", "The value as published, in the series' unit.", nullable=True),
        Column("problem", "string", "Why the row was set aside; null where sound.", nullable=True),
        Column("given", "string", "A row set aside, as it came (JSON).", nullable=True),
    ),
    rules=(("a row has an id and a time, or is set aside", _sound_or_said_why),),
)

_SERIES = TableContract(
    "series",
    key=("unique_id", "ds"),
    columns=(
        UNIQUE_ID,
        DS,
        Column("y", "float", "The week's value, in the series' unit."),
        Column(
            "coverage",
            "float",
            "Of the days that the source usually has in a week of the series, the share that it"
            " had; 0 where the week was filled.",
        ),
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
        Column("y_hat", "float", "The forecast, in the series' unit.", nullable=True),
        Column("fit_seconds", "float", "Seconds that the fold took when computed.", volatile=True),
        Column("error", "string", "Why there is no forecast; null where there is.", nullable=True),
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
        Column("policy", "string", "The rule of choice in force."),
        Column(
            "score", "float", "The metric of the model; its MAE where it has none.", nullable=True
        ),
        Column("runner_up", "string", "The least score beside the model's.", nullable=True),
        Column("margin", "float", "The runner-up's score less the model's.", nullable=True),
        Column("skill_vs_naive", "float", "1 less its MAE over naive's.", nullable=True),
        Column("p_vs_naive", "float", "Chance of such a gain on naive by luck.", nullable=True),
        Column("n_may_be_best", "int", "Candidates that are not told from the best with 90 %."),
        Column("previous_model", "string", "The choice of the run before.", nullable=True),
        Column("switched", "bool", "Whether the choice differs from the run before."),
        Column("reason", "string", "The choice in one sentence."),
    ),
)

_WEEKLY_REPORT = TableContract(
    "weekly_report",
    key=("file",),
    columns=(
        Column("file", "string", "Where the file lies, below the folder of all that runs write."),
        Column("sha256", "string", "The SHA-256 of the file's bytes."),
        Column("n_bytes", "int", "The file's length."),
    ),
)

_STATUSES = ("scored", "failed", "ineligible")


def _known_status(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["status"].isin(_STATUSES)


def _metrics(levels: Sequence[float]) -> TableContract:
    def measure(name: str, description: str) -> Column:
        return Column(name, "float", description, nullable=True)

    return TableContract(
        "metrics",
        key=("unique_id", "model"),
        columns=(
            UNIQUE_ID,
            MODEL,
            Column("n_folds", "int", "Folds that the model was asked for."),
            measure("mae", "Mean absolute error, in the series' unit."),
            measure("rmse", "Root mean squared error, in the series' unit."),
            measure("mape", "Mean absolute error over the value, a fraction; null at zeros."),
            measure("smape", "Symmetric mean absolute percentage error, a fraction of 0 to 1."),
            measure("mase", "MAE over the naive error before the first cutoff; 1 = as naive."),
            measure("rmsse", "RMSE over the naive RMSE before the first cutoff."),
            measure("bias", "Mean of forecast less value, in the series' unit; above 0: too high."),
            *(
                measure(
                    f"coverage_{column_suffix(level)}",
                    f"Share of values in the {level:g} %"
                    " interval, on folds whose interval did not see them.",
                )
                for level in levels
            ),
            measure("wis", "Weighted interval score, in the series' unit."),
            measure("skill_vs_naive", "1 less MAE over the naive model's; above 0: better."),
            measure("p_vs_naive", "Chance of such a gain on naive if there were none."),
            measure("standard_error", "Of the metric that the settings choose by, over folds."),
            Column("may_be_best", "bool", "Not told from the best, with 90 % confidence."),
            Column("fit_seconds", "float", "Seconds of fits, all folds.", volatile=True),
            Column("status", "string", "scored, failed, or ineligible (the series is too short)."),
            Column("reason", "string", "Why it is not scored.", nullable=True),
        ),
        rules=((f"status is one of {', '.join(_STATUSES)}", _known_status),),
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
            Column("y", "float", "The week's value as known now, in the series' unit."),
            Column("y_first", "float", "The week's value as first known, in the series' unit."),
            Column("error", "float", "Forecast less value, in the series' unit."),
            Column("error_first", "float", "Forecast less value as first known."),
            Column("abs_error", "float", "The error's size, in the series' unit."),
            Column("naive_abs_error", "float", "The size of the error had we said: as last week."),
            *(
                Column(
                    f"in_{column_suffix(level)}",
                    "bool",
                    f"Whether the value lay in the"
                    f" {level:g} % interval; false where there was none.",
                )
                for level in levels
            ),
            MADE_AT,
        ),
        rules=(("ds = cutoff + h weeks", _week_follows_cutoff),),
    )


def target_week(forecast: pd.DataFrame) -> date:
    """The week that a forecast is for; of a series that has ended it is an earlier one."""
    newest: date = forecast.loc[forecast["h"] == 1, "ds"].max().date()
    return newest
