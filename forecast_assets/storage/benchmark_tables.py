"""Define the table of the forecasts that others made, and the columns of their scores."""

from collections.abc import Mapping, Sequence

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.storage.columns import DS, UNIQUE_ID, Y_HAT, nullable, optional
from forecast_assets.storage.contract import Column, TableContract

BENCHMARK_FORECASTS = "benchmark_forecasts"
# The quantiles that each benchmark forecasts, by its name.
Benchmarks = Mapping[str, Sequence[float]]


def benchmark_forecasts(benchmarks: Benchmarks) -> TableContract:
    """Return the contract of the forecasts of all benchmarks, with the quantiles of any of them."""
    quantiles = sorted({quantile for given in benchmarks.values() for quantile in given})
    return TableContract(
        BENCHMARK_FORECASTS,
        key=("benchmark", "unique_id", "ds", "made_on"),
        columns=(
            Column("benchmark", "string", "Name of the benchmark in the settings."),
            UNIQUE_ID,
            DS,
            Column("made_on", "timestamp", "When the forecast was made, as its source says."),
            Y_HAT,
            *(
                nullable(f"q{column_suffix(quantile)}", f"Quantile {quantile:g} of the value.")
                for quantile in quantiles
            ),
        ),
    )


def benchmark_scores(benchmarks: Benchmarks) -> list[Column]:
    """Return the columns of forecast_accuracy that score benchmarks; none without any."""
    if not benchmarks:
        return []
    columns = [optional("wis", "Weighted interval score of the published intervals.")]
    for name in benchmarks:
        of_name = f"of the benchmark {name}"
        columns += [
            optional(f"{name}_y_hat", f"Forecast {of_name}, in the series' unit."),
            optional(f"{name}_made_on", f"When the forecast {of_name} was made.", "timestamp"),
            optional(f"{name}_error", f"Forecast {of_name} - value, in the series' unit."),
            optional(f"{name}_error_first", f"Forecast {of_name} - value as first published."),
            optional(f"{name}_wis", f"Weighted interval score {of_name}, on its own quantiles."),
        ]
    return columns
