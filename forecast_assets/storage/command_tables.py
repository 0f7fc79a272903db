"""Define the tables that commands write: decisions of people, and what was delivered, in order."""

from forecast_assets.storage.columns import DS, UNIQUE_ID, nullable
from forecast_assets.storage.contract import Column, TableContract

WITHDRAWALS, OVERRIDES, DELIVERIES = "withdrawals", "overrides", "deliveries"

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

DELIVERIES_TABLE = TableContract(
    DELIVERIES,
    key=("delivery", "at"),
    columns=(
        Column("delivery", "string", "Name of the delivery: a table `[deliver.NAME]`."),
        Column("asset", "string", "Asset that was delivered."),
        Column("version", "int", "Its version."),
        Column("as_of", "timestamp", "Time as of which that was made."),
        Column("n_rows", "int", "Rows of the version at the destination."),
        Column("n_changed", "int", "How many of them were new there, or had other values."),
        nullable("run_id", "Run that delivered it; empty for the command.", "string"),
        Column("at", "timestamp", "When it was delivered."),
    ),
)

COMMAND_TABLES = (WITHDRAWALS_TABLE, OVERRIDES_TABLE, DELIVERIES_TABLE)
