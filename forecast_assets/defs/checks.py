"""Asset checks: warnings about tables that keep their contract, and reasons to hold data back.

An asset evaluates its own checks on the frame at hand: a step of their own would read it again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg
import pandas as pd

from forecast_assets.backtesting.regressor_problems import RegressorProblem
from forecast_assets.config.settings import ForecastPolicy
from forecast_assets.data.quality.evaluate import blocking, with_policy
from forecast_assets.data.quality.finding import Finding
from forecast_assets.errors import format_list
from forecast_assets.forecasting.held_forecast import implausible_series
from forecast_assets.forecasting.live_accuracy import LiveAccuracyCheck
from forecast_assets.reporting.render import escape_markdown
from forecast_assets.storage.tables import CHOSEN, IMPLAUSIBLE

# Metadata: the series that a failed check is about, if it is not about all.
SERIES_KEY = "series"
# More series than this are not listed: notifications then go to everybody.
MAX_SERIES = 100
# Series of each finding in a check's table.
ROWS_SHOWN = 25
ACCEPTED = "It was accepted, so the data are published."
FORECAST_ACCEPTED = "It was accepted, so the forecast is published."
LEFT_OUT = (
    "Look at their newest values: `forecast-assets show series`. To publish every forecast as it"
    ' is, set `data_quality.implausible_forecast = "publish"`.'
)

# The data checks of `series`: their kinds of finding, and what holds if they pass.
DATA_CHECKS: Mapping[str, tuple[Sequence[str], str]] = {
    "rows": (
        (
            *("malformed", "duplicates", "overlapping_files", "number_format"),
            *("off_grid", "midnight_dates", "placeholder_dates"),
        ),
        "Every row can be read in one way only, comes once, and has a date like the others.",
    ),
    "on_time": (
        ("late", "unchanged", "future_clock"),
        "Every series has the newest week that is over.",
    ),
    "complete": (
        ("partial", "unknown_completeness", "gaps", "long_gap"),
        "The newest week has its usual days, and no new week had to be filled.",
    ),
    "same_series": (
        ("new_series", "vanished_series", "similar_names"),
        "The series are those of the previous version, and no two have nearly the same name.",
    ),
    "same_history": (
        ("revised", "rewritten", "shrunk", "repeated", "new_week"),
        "Every week of the previous version has the same value as before.",
    ),
    "plausible_values": (
        ("out_of_range", "totals_differ", "unusual", "flat", "rescaled"),
        "The new values are in range, and like those of the past.",
    ),
}
# The other checks: their asset, and what holds if they pass.
OTHER_CHECKS: Mapping[str, tuple[str, str]] = {
    "long_enough": ("series", "Every series has enough weeks to backtest a model on."),
    "known_ahead": (
        "regressors",
        "Every regressor is known for the weeks ahead, changes, and was known in most folds.",
    ),
    "benchmarks_read": (
        "benchmark_forecasts",
        "Every benchmark could be read, and each of its forecasts was made in time, once.",
    ),
    "models_complete": ("metrics", "Every model forecast every fold of its backtest."),
    "champions_used": (
        "next_week_forecast",
        "Every series is forecast by the model that was selected for it, plausibly.",
    ),
    "intervals_and_skill": (
        "forecast_accuracy",
        "Last year's forecasts beat naive, and intervals cover what they promise, up to chance.",
    ),
    "pages_written": (
        "weekly_report",
        "Every page of the report was written, and no page of an earlier one was edited.",
    ),
    "notifications_delivered": ("weekly_report", "Every channel took every notification."),
}


def specs_of(asset: str) -> list[dg.AssetCheckSpec]:
    """Return the check specs of an asset."""
    specs = [
        dg.AssetCheckSpec(name, asset=asset, description=passes)
        for name, (of_asset, passes) in OTHER_CHECKS.items()
        if of_asset == asset
    ]
    if asset == "series":
        for name, (kinds, passes) in DATA_CHECKS.items():
            text = f"{passes} `[data_quality]` sets the policies: {', '.join(kinds)}."
            specs.append(dg.AssetCheckSpec(name, asset=asset, blocking=True, description=text))
    return specs


def data_checks(
    findings: Sequence[Finding], *, is_accepted: bool = False
) -> Iterator[dg.AssetCheckResult]:
    """Return the result of each data check: an error if it holds back data that no one accepted."""
    for name, (kinds, passes) in DATA_CHECKS.items():
        group = [finding for finding in findings if finding.kind in kinds]
        failed = with_policy(group, "warn", "hold")
        is_held = bool(blocking(failed))
        texts = [finding.text for finding in failed or group] or [passes]
        ids = [finding.series for finding in failed]
        yield _result(
            name,
            sum(finding.n for finding in failed),
            " ".join([*texts, ACCEPTED] if is_held and is_accepted else texts),
            series=[series for some in ids for series in some] if all(ids) else (),
            is_error=is_held and not is_accepted,
            metadata={"findings": _findings_table(group)} if group else {},
        )


def long_enough(series: pd.DataFrame, *, horizon: int) -> dg.AssetCheckResult:
    """Warn about series too short for a backtest."""
    sizes = series.groupby("unique_id").size()
    short = list(sizes.index[sizes <= horizon])
    good = f"All {len(sizes)} series have at least {horizon + 1} weeks."
    bad = (
        f"{len(short)} of {len(sizes)} series have at most {horizon} week{'s' * (horizon > 1)}:"
        f" {format_list(short)}. No model can be backtested on them, so they get the naive"
        f" forecast, without an interval. Wait for more weeks, or remove them from the source."
    )
    return _result("long_enough", len(short), bad if short else good, series=short)


def known_ahead(problems: Sequence[RegressorProblem]) -> dg.AssetCheckResult:
    """Warn about regressors; an error where one holds the week."""
    texts = [problem.text for problem in problems] or [OTHER_CHECKS["known_ahead"][1]]
    is_held = any(problem.is_blocking for problem in problems)
    return _result("known_ahead", len(problems), " ".join(texts), is_error=is_held)


def benchmarks_read(problems: Sequence[str]) -> dg.AssetCheckResult:
    """Warn about benchmarks that cannot be read, and about forecasts that do not count."""
    text = " ".join(problems) or OTHER_CHECKS["benchmarks_read"][1]
    return _result("benchmarks_read", len(problems), text)


def models_complete(metrics: pd.DataFrame) -> dg.AssetCheckResult:
    """Warn about models that failed on a series."""
    failed = metrics[metrics["status"] == "failed"]
    names = [f"{row.model} on {row.unique_id} ({row.reason})" for row in failed.itertuples()]
    n_models, n_series = metrics["model"].nunique(), metrics["unique_id"].nunique()
    good = f"None of {n_models} models failed on any of {n_series} series."
    bad = (
        f"{len(failed)} backtests failed: {format_list(names)}. The model is no candidate for the"
        f" series, which another model forecasts. Correct the model, or remove it from"
        f" `models.enabled`."
    )
    text = bad if names else good
    return _result("models_complete", len(failed), text, series=failed["unique_id"])


def champions_used(
    forecast: pd.DataFrame,
    best_model: pd.DataFrame,
    *,
    policy: ForecastPolicy = "fallback",
    is_held: bool = False,
) -> dg.AssetCheckResult:
    """Warn about series without a plausible forecast of their champion; an error if held back.

    `best_model` has every series that should have a forecast.
    """
    first = forecast[forecast["h"] == 1].reindex(columns=["unique_id", "model", "rung", "reason"])
    first["reason"] = first["reason"].astype(object)  # all null in a version without it
    has_problem = first["reason"].notna() & ~first["reason"].str.startswith(IMPLAUSIBLE, na=False)
    others = {
        name: f"by {model} ({rung}{'; ' + reason if isinstance(reason, str) else ''})"
        for name, model, rung, reason in first[~first["rung"].isin(CHOSEN) | has_problem].to_numpy()
    }
    implausible = {name: f"({why})" for name, why in implausible_series(forecast).items()}
    left_out = dict.fromkeys(sorted({*best_model["unique_id"]} - {*forecast["unique_id"]}), "")
    advice = "The column `reason` says why."
    if first["reason"].str.contains(" below 0,", na=False).any():
        advice += " `[forecast] minimum = 0` raises negative forecasts to 0."
    outcome = "The forecast is held back." if is_held else FORECAST_ACCEPTED
    groups = (
        (others, "not forecast by their champion with all of its members", advice),
        (implausible, "forecast far outside their past", outcome * (policy != "publish")),
        (left_out, "left out, as none of their candidates makes a plausible forecast", LEFT_OUT),
    )
    n_series = best_model["unique_id"].nunique()
    texts = [
        f"{len(group)} of {n_series} series {'is' if len(group) == 1 else 'are'} {what}:"
        f" {format_list(f'{name} {why}'.rstrip() for name, why in group.items())}. {then}".rstrip()
        for group, what, then in groups
        if group
    ]
    failed = {**others, **({} if policy == "publish" else implausible), **left_out}
    good = f"All {n_series} series are forecast by their champion."
    return _result(
        "champions_used",
        len(failed),
        " ".join(texts) or good,
        series=failed,
        is_error=is_held,
    )


def intervals_and_skill(
    accuracy: LiveAccuracyCheck, *, benchmarks: Sequence[str] = ()
) -> dg.AssetCheckResult:
    """Warn if published forecasts are worse than naive, or their intervals miss their levels.

    `benchmarks` are sentences about benchmarks that cannot be compared as they should.
    """
    good = "errors and intervals are as in the backtest, within chance."
    if accuracy.n_weeks < accuracy.n_needed:
        good = f"too few to judge: {accuracy.n_needed} are needed."
    bad = (
        f"{'; '.join(accuracy.problems)}. The backtest promised better: the series have changed, or"
        f" `backtest.n_windows` is too small to tell. Compare the series and models on the page of"
        f" forecast_accuracy, and rely on the naive forecast until then."
    )
    text = f"{accuracy.n_weeks} weeks of published forecasts: {bad if accuracy.problems else good}"
    n_problems = len(accuracy.problems) + len(benchmarks)
    return _result("intervals_and_skill", n_problems, " ".join([text, *benchmarks]))


def notifications_delivered(
    undelivered: Sequence[str], *, error: str | None = None
) -> dg.AssetCheckResult:
    """Warn about notifications that a channel of `[notify]` did not take, or an unusable queue."""
    bad = (
        f"{len(undelivered)} notifications were not delivered: {format_list(undelivered)}. The"
        f" forecast is published all the same. The sensor `alarms` and the next run try again for a"
        f" day; `forecast-assets notify` tests every channel now."
    )
    if error:
        bad = (
            f"Notifications may not have been sent. The forecast is published all the same. {error}"
        )
    good = "Every channel took every notification."
    n_problems = len(undelivered) + bool(error)
    return _result("notifications_delivered", n_problems, bad if n_problems else good)


def pages_written(problems: Sequence[str]) -> dg.AssetCheckResult:
    """Warn about pages that could not be written, and about those that were edited."""
    good = "Every page was written, and no page of an earlier report was edited."
    bad = f"The forecast is published all the same. {' '.join(problems)}"
    return _result("pages_written", len(problems), bad if problems else good)


def _result(
    name: str,
    n_problems: int,
    description: str,
    *,
    series: Iterable[str] = (),
    is_error: bool = False,
    metadata: Mapping[str, dg.MetadataValue] | None = None,
) -> dg.AssetCheckResult:
    ids = list(dict.fromkeys(series))
    return dg.AssetCheckResult(
        check_name=name,
        passed=not n_problems,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={
            **(metadata or {}),
            "n_problems": n_problems,
            **({SERIES_KEY: ids} if 0 < len(ids) <= MAX_SERIES else {}),
        },
    )


def _findings_table(findings: Sequence[Finding]) -> dg.MetadataValue:
    lines = ["| kind | series | week | what | policy |", "|---|---|---|---|---|"]
    for finding in findings:
        cells = [("", "", finding.message)]
        cells += [(row.unique_id, row.ds or "", row.detail) for row in finding.rows[:ROWS_SHOWN]]
        lines += [
            f"| {finding.kind} | {escape_markdown(series)} | {week} | {escape_markdown(what)}"
            f" | {finding.policy} |"
            for series, week, what in cells
        ]
    if any(len(finding.series) > ROWS_SHOWN for finding in findings):
        lines.append("\n`forecast-assets show data_findings` has more rows.")
    return dg.MetadataValue.md("\n".join(lines))
