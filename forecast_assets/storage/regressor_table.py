"""Define the table of regressors: an asset where the settings have `[regressors.NAME]`."""

from forecast_assets.storage.columns import DS, nullable
from forecast_assets.storage.contract import Column, TableContract

REGRESSORS = "regressors"

REGRESSORS_TABLE = TableContract(
    REGRESSORS,
    key=("regressor", "unique_id", "ds", "known_at"),
    columns=(
        Column("regressor", "string", "Table of the settings and its column: promo.discount."),
        Column("unique_id", "string", "Series that the value is of; * for all series."),
        DS,
        Column("known_at", "timestamp", "Time from which the value was known."),
        nullable("value", "Value of the week; null if it was withdrawn."),
    ),
)
