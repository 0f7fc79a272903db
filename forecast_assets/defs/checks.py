"""Asset checks: what a person should know of a table that keeps its contract.

An asset evaluates its own check on the frame at hand: a step of its own would read it again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg
import pandas as pd

from forecast_assets.data.quality.finding import Finding
from forecast_assets.errors import format_list
from forecast_assets.forecasting.live_accuracy import LiveAccuracyCheck
from forecast_assets.storage.tables import CHAMPION

ABOUT = "series"  # under this name a result lists whom it is about, where that is not everybody
MOST_ABOUT = 100  # more are told to all: an event is no place for thousands of names
ACCEPTED = "It was accepted, so it is published."

NAMES: Mapping[str, tuple[str, str]] = {
    # kind: the check, and what holds where it passes
    "new_week": ("weeks_are_known", "Every week was in the previous version."),
    "unchanged": ("something_is_new", "Something differs from the previous version."),
    "revised": ("values_stand", "What the previous version gave is what the source says now."),
    "rewritten": ("history_stands", "Less than half of the history is another than it was."),
    "repeated": ("weeks_are_their_own", "No week has come again under a later date."),
    "shrunk": ("no_week_is_gone", "Every week of the previous version is there."),
    "late": ("source_is_on_time", "The newest week that is over is there, of every series."),
    "malformed": ("rows_keep_the_contract", "Every row could be read."),
    "partial": ("newest_week_is_whole", "The newest week has the days that it usually has."),
    "duplicates": ("rows_come_once", "No series and time comes twice."),
    "off_grid": ("rows_keep_their_weekday", "Rows of weekly series are on their usual weekday."),
    "gaps": ("no_week_is_missing", "No week had to be filled since the previous version."),
    "out_of_range": ("values_are_in_range", "Every value is one that its series can have."),
    "new_series": ("series_are_known", "Every series was in the previous version."),
    "vanished_series": ("no_series_is_gone", "Every series of the previous version is there."),
    "unusual": ("newest_values_are_usual", "The newest values are as far off as values usually."),
    "rescaled": ("units_stand", "No series was multiplied, nor is its newest value."),
    "flat": ("no_series_is_stuck", "No series stands still for longer than ever."),
}

SPECS = tuple(
    dg.AssetCheckSpec(
        name,
        asset="series",
        blocking=True,
        description=f"{says} `[data_quality] {kind}` says what is done where not.",
    )
    for kind, (name, says) in NAMES.items()
)


def results(
    findings: Sequence[Finding], *, is_accepted: bool = False
) -> Iterator[dg.AssetCheckResult]:
    """What each check says of a fetch: passed, a warning, or an error where it is held back.

    Where that was accepted, an error is a warning that says so.
    """
    by_kind = {one.kind: one for one in findings}
    for kind, (name, says) in NAMES.items():
        one = by_kind.get(kind)
        is_held = one is not None and one.policy == "hold"
        said = says if one is None else one.says
        yield dg.AssetCheckResult(
            check_name=name,
            passed=one is None or one.policy == "publish",
            severity=dg.AssetCheckSeverity.ERROR
            if is_held and not is_accepted
            else dg.AssetCheckSeverity.WARN,
            description=f"{said} {ACCEPTED}" if is_held and is_accepted else said,
            metadata={
                "n_problems": 0 if one is None else one.n,
                **({ABOUT: list(one.series)} if one and 0 < len(one.series) <= MOST_ABOUT else {}),
            },
        )


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
    *SPECS,
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
        f" week{'s' * (horizon > 1)}: {format_list(short)}. None can be held out to judge a model by, so"
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
        bad=f"{len(named)} times a model failed on a series: {format_list(named)}. There it does not"
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
        bad=f"{len(named)} series are not forecast by a champion: {format_list(named)}. Either the"
        f" chosen model failed on the newest week, or no model forecast every fold of the series."
        f" The page of best_model tells which.",
        about=others["unique_id"],
    )


def live_forecasts_keep_their_promise(verdict: LiveAccuracyCheck) -> dg.AssetCheckResult:
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
        bad=f"{len(undelivered)} notices were not taken: {format_list(undelivered)}. The week itself is"
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
