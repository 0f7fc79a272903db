"""Define the columns that several tables share, and those of prediction intervals."""

from collections.abc import Sequence

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.storage.contract import Column, Kind


def nullable(
    name: str, description: str, kind: Kind = "float", *, volatile: bool = False
) -> Column:
    """Define a column that may be null."""
    return Column(name, kind, description, nullable=True, volatile=volatile)


def optional(
    name: str, description: str, kind: Kind = "float", *, volatile: bool = False
) -> Column:
    """Define a column that frames without it may leave out."""
    return Column(name, kind, description, nullable=True, volatile=volatile, optional=True)


UNIQUE_ID = Column("unique_id", "string", "Name of the series.")
DS = Column("ds", "date", "Last day of the week.")
H = Column("h", "int", "Weeks after the cutoff, from 1.")
CUTOFF = Column("cutoff", "date", "Last week of data that the model used, inclusive.")
MODEL = Column("model", "string", "Registered name of the model.")
MEMBERS = nullable("members", "Models that a combination consists of.", "string")
RUNG = Column(
    "rung", "string", "Why this model: champion, pinned, runner-up, combination or naive."
)
WHY = "Why no higher rung forecasts the series, or why its forecast is implausible."
REASON = nullable("reason", WHY, "string", volatile=True)
PARENT = optional("parent", "Series that this one is a part of.", "string")
IN_HIERARCHY = (
    PARENT,
    optional("is_sum", "Whether the series is computed as the sum of its children.", "bool"),
)
RECONCILED = (
    PARENT,
    optional("y_hat_base", "Forecast of the model, before it was changed to add up."),
    optional("reconciliation", "How it was changed: bottom_up or min_trace.", "string"),
)
WEIGHTS = optional(
    "weights", "Weights of the members in their order; null: equal.", "string", volatile=True
)
MADE_BY = (MODEL, MEMBERS, WEIGHTS, RUNG, REASON, *RECONCILED)
LAST = (
    optional("last_published", "Newest value as published, where the models saw a corrected one."),
    optional("last_corrected", "The same value as corrected for its usual revision."),
)
# Why next week's forecast differs from the one that the previous run made for its next week; the
# parts sum to the difference. They depend on the previous run, so they are volatile.
MOVED = (
    optional("moved_from", "What the previous run forecast for its next week.", volatile=True),
    optional("moved_by_code", "Change by other code, libraries or settings.", volatile=True),
    optional("moved_by_model", "Change by another model or other weights.", volatile=True),
    optional("moved_by_data", "Change by the new week and by revisions.", volatile=True),
    optional("moved_by_totals", "Change by making totals add up.", volatile=True),
    optional("moved_not_split", "Change that is not split into the others.", volatile=True),
)
OVERRIDE = (
    optional("override", "Value that a person expects, in the series' unit."),
    optional("override_low", "Lowest value that the person expects."),
    optional("override_high", "Highest value that the person expects."),
    optional("override_by", "User who gave the override.", "string"),
    optional("override_reason", "Why the person expects it.", "string"),
    optional("override_at", "When the override was given.", "timestamp"),
)
OVERRIDE_SCORES = (
    *OVERRIDE,
    optional("override_error", "The person's value - value, in the series' unit."),
    optional("override_error_first", "The person's value - value as first published."),
)
BACKTEST_MAE = nullable(
    "backtest_mae", "Mean absolute error in the backtest at this horizon, in the series' unit."
)
Y_HAT = Column("y_hat", "float", "Forecast, in the series' unit.")
SKILL = nullable("skill_vs_naive", "1 - MAE / MAE of the naive model; above 0: better.")
P_VALUE = nullable("p_vs_naive", "p-value of the gain over the naive model.")
MADE_AT = Column("made_at", "timestamp", "Start of the run that made the forecast.", volatile=True)
AS_OF = Column("as_of", "timestamp", "Time as of which the run was made.", volatile=True)


def interval_ends(levels: Sequence[float]) -> list[Column]:
    """Define the columns lo_* and hi_* of the levels (percent)."""
    return [
        nullable(
            f"{side}_{column_suffix(level)}",
            f"{end} end of the {level:g} % prediction interval, in the series' unit;"
            " null if the backtest has too few errors to estimate it.",
        )
        for level in levels
        for side, end in (("lo", "Lower"), ("hi", "Upper"))
    ]


def quantile_ends(quantiles: Sequence[float]) -> list[Column]:
    """Define the columns q* of the quantiles (0 to 1)."""
    return [
        nullable(
            f"q{column_suffix(quantile)}",
            f"Quantile {quantile:g} of the week's value, in the series' unit;"
            " null if the backtest has too few errors to estimate it.",
        )
        for quantile in quantiles
    ]
