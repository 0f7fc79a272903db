"""Define the tables that a command writes: what people decided, in the order of their decisions."""

from forecast_assets.storage.columns import DS, UNIQUE_ID, nullable
from forecast_assets.storage.contract import Column, TableContract

WITHDRAWALS, OVERRIDES = "withdrawals", "overrides"

WITHDRAWALS_TABLE = TableContract(
    WITHDRAWALS,
    key=("as_of", "at"),
    columns=(
        Column("as_of", "timestamp", "Time as of which the withdrawn forecast was made."),
        Column("reason", "string", "Why it was withdrawn."),
        Column("by", "string", "User who withdrew it."),
        Column("at", "timestamp", "When it was withdrawn."),
    ),
)

OVERRIDES_TABLE = TableContract(
    OVERRIDES,
    key=("unique_id", "ds", "at"),
    columns=(
        UNIQUE_ID,
        DS,
        nullable("value", "Value that the person expects; null: the override is withdrawn."),
        nullable("lower", "Lowest value that the person expects, if given."),
        nullable("upper", "Highest value that the person expects, if given."),
        Column("reason", "string", "Why the person expects it, or withdraws it."),
        Column("by", "string", "User who gave it."),
        Column("at", "timestamp", "When it was given; the last one of a week counts."),
    ),
)
