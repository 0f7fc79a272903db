"""Asset checks: what a person should know of a table that keeps its contract."""

import dagster as dg
import pandas as pd

from forecast_assets.defs.refusal import RETRIES
from forecast_assets.errors import listed
from forecast_assets.selection import CHAMPION
from forecast_assets.settings import Settings


@dg.asset_check(
    asset="series",
    description="Every series has two weeks or more.",
    retry_policy=RETRIES,
)
def series_can_be_backtested(series: pd.DataFrame) -> dg.AssetCheckResult:
    """Warn of series with a single week: no model can be judged on them."""
    sizes = series.groupby("unique_id").size()
    short = list(sizes.index[sizes == 1])
    return _warning(
        short,
        good=f"All {len(sizes)} series have two weeks or more.",
        bad=f"{len(short)} of {len(sizes)} series have a single week: {listed(short)}. No model can"
        f" be judged on one value, so they get the naive forecast, without an interval. Wait for"
        f" more weeks, or leave them out of the source.",
    )


@dg.asset_check(
    asset="metrics",
    description="Every model forecast every fold it was asked for.",
    retry_policy=RETRIES,
)
def no_model_failed(metrics: pd.DataFrame) -> dg.AssetCheckResult:
    """Warn of models that failed on a series: they do not compete there."""
    failed = metrics[metrics["status"] == "failed"]
    named = [f"{row.model} on {row.unique_id} ({row.reason})" for row in failed.itertuples()]
    return _warning(
        named,
        good="Every model forecast every fold that it was asked for.",
        bad=f"{len(named)} times a model failed on a series: {listed(named)}. There it does not"
        f" compete; the week is forecast by the others. Mend the model, or take it out of"
        f" `enabled` in forecast.toml.",
    )


@dg.asset_check(
    asset="next_week_forecast",
    description="Every series has a forecast, made by the model that was chosen for it.",
    retry_policy=RETRIES,
)
def champions_forecast(
    next_week_forecast: pd.DataFrame, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Warn of series that another model than the champion had to forecast."""
    others = next_week_forecast[next_week_forecast["rung"] != CHAMPION]
    named = [f"{row.unique_id} by {row.model} ({row.rung})" for row in others.itertuples()]
    return _warning(
        named,
        good="Every series was forecast by the model chosen for it.",
        bad=f"{len(named)} forecasts are not by a champion: {listed(named)}. Either the chosen"
        f" model failed on the newest week, or {settings.selection.metric} ranks no model there."
        f" The page of best_model tells which.",
    )


CHECKS = (series_can_be_backtested, no_model_failed, champions_forecast)


def _warning(found: list[str], *, good: str, bad: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=bad if found else good,
        metadata={"n_problems": len(found)},
    )
