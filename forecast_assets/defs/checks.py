"""Asset checks: what a person should know of a table that keeps its contract.

An asset evaluates its own check on the frame at hand: a step of its own would read it again.
"""

from collections.abc import Iterable, Sequence

import dagster as dg
import pandas as pd

from forecast_assets.accuracy import Verdict
from forecast_assets.defs import data_checks
from forecast_assets.defs.data_checks import ABOUT, MOST_ABOUT
from forecast_assets.errors import listed
from forecast_assets.ladder import CHAMPION

CHECKS: Sequence[dg.AssetCheckSpec] = (
    dg.AssetCheckSpec(
        "series_can_be_backtested",
        asset="series",
        description="Every series is long enough to hold out a week that is forecast.",
    ),
    dg.AssetCheckSpec(
        "no_model_failed",
        asset="metrics",
        description="Every model forecast every fold it was asked for.",
    ),
    dg.AssetCheckSpec(
        "champions_forecast",
        asset="next_week_forecast",
        description="Every series has a forecast, made by the model that was chosen for it.",
    ),
    dg.AssetCheckSpec(
        "live_forecasts_keep_their_promise",
        asset="forecast_accuracy",
        description="The last year's forecasts beat naive, and their intervals held as often as"
        " they said, as far as chance lets one tell.",
    ),
    dg.AssetCheckSpec(
        "everyone_was_told",
        asset="weekly_report",
        description="The report and every alarm were taken by the channels they are for.",
    ),
    *data_checks.SPECS,
)


def specs_of(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset."""
    return [spec for spec in CHECKS if spec.asset_key.path[-1] == asset]


def series_can_be_backtested(series: pd.DataFrame, *, horizon: int) -> dg.AssetCheckResult:
    """Warn of series too short to hold out a horizon: no model can be judged on them."""
    sizes = series.groupby("unique_id").size()
    short = list(sizes.index[sizes <= horizon])
    return _warning(
        "series_can_be_backtested",
        short,
        good=f"All {len(sizes)} series have {horizon + 1} weeks or more.",
        bad=f"{len(short)} of {len(sizes)} series have no more than {horizon}"
        f" week{'s' * (horizon > 1)}: {listed(short)}. None can be held out to judge a model by, so"
        f" they get the naive forecast, without an interval. Wait for more weeks, or leave them out"
        f" of the source.",
        about=short,
    )


def no_model_failed(metrics: pd.DataFrame) -> dg.AssetCheckResult:
    """Warn of models that failed on a series: they do not compete there."""
    failed = metrics[metrics["status"] == "failed"]
    named = [f"{row.model} on {row.unique_id} ({row.reason})" for row in failed.itertuples()]
    return _warning(
        "no_model_failed",
        named,
        good=f"None of {metrics['model'].nunique()} models failed on any of"
        f" {metrics['unique_id'].nunique()} series.",
        bad=f"{len(named)} times a model failed on a series: {listed(named)}. There it does not"
        f" compete; the week is forecast by the others. Mend the model, or take it out of"
        f" `enabled` in forecast.toml.",
        about=failed["unique_id"],
    )


def champions_forecast(forecast: pd.DataFrame) -> dg.AssetCheckResult:
    """Warn of series that another model than the champion had to forecast."""
    others = forecast[(forecast["rung"] != CHAMPION) & (forecast["h"] == 1)]
    named = [f"{row.unique_id} by {row.model} ({row.rung})" for row in others.itertuples()]
    return _warning(
        "champions_forecast",
        named,
        good=f"All {forecast['unique_id'].nunique()} series were forecast by the model chosen"
        f" for them.",
        bad=f"{len(named)} series are not forecast by a champion: {listed(named)}. Either the"
        f" chosen model failed on the newest week, or no model forecast every fold of the series."
        f" The page of best_model tells which.",
        about=others["unique_id"],
    )


def live_forecasts_keep_their_promise(verdict: Verdict) -> dg.AssetCheckResult:
    """Warn where published forecasts were worse than naive, or their intervals off."""
    found = [one for one in (verdict.worse_than_naive, *verdict.off_coverage) if one]
    return _warning(
        "live_forecasts_keep_their_promise",
        found,
        good=f"Of {verdict.n_weeks} weeks of published forecasts"
        + (
            f" nothing can be told yet: it takes {verdict.n_needed}."
            if verdict.n_weeks < verdict.n_needed
            else " none shows what chance would not."
        ),
        bad=f"Over {verdict.n_weeks} weeks of published forecasts {'; '.join(found)}. The backtest"
        f" promised better: the series have changed, or `n_windows` is too short to tell. The page"
        f" of forecast_accuracy has each series and model; until it is mended, lean on naive.",
    )


def everyone_was_told(undelivered: Sequence[str]) -> dg.AssetCheckResult:
    """Warn of notices that a channel of `[notify]` did not take yet, or never will."""
    return _warning(
        "everyone_was_told",
        list(undelivered),
        good="Every notice was taken by every channel that it is for.",
        bad=f"{len(undelivered)} notices were not taken: {listed(undelivered)}. The week itself is"
        f" published. What waits is tried again for a day, by the sensor `alarms` and by the next"
        f" run; `forecast-assets notify` tries a channel now and says how it answers.",
    )


def _warning(
    name: str, found: list[str], *, good: str, bad: str, about: Iterable[str] = ()
) -> dg.AssetCheckResult:
    ids = list(dict.fromkeys(about))
    return dg.AssetCheckResult(
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=bad if found else good,
        metadata={
            "n_problems": len(found),
            **({ABOUT: ids} if 0 < len(ids) <= MOST_ABOUT else {}),
        },
    )
