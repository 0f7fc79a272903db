"""Stand for the forecasts of a `[benchmark.NAME]` among the models: they are read, not made."""

from typing import NoReturn

from forecast_assets.errors import ModelError


class Benchmark:
    """The entry of a benchmark in the list of models; the backtest looks its forecasts up."""

    def fit(self, *_: object, **__: object) -> NoReturn:
        """Raise ModelError: which forecast counts depends on the series and the tick."""
        raise ModelError(
            "A benchmark makes no forecasts, so it did not run. The forecasts are in the table"
            " `benchmark_forecasts`."
        )

    predict = fit
