"""Checks of the command `check` on what people know: calendar, regressors and benchmarks."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.output import StatusLine
from forecast_assets.errors import ForecastAssetsError, format_list

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store

# Days in which `check` looks for the next holidays and events.
NEXT_DAYS = 366
MAX_NAMES = 3


def calendar(series: "pd.DataFrame", settings: "Settings", now: datetime) -> Iterator[StatusLine]:
    """Look up holidays and read the events."""
    from forecast_assets.data.calendar import calendar_events

    if not settings.calendar.is_set:
        return
    first, last = now.date(), now.date() + timedelta(days=NEXT_DAYS)
    try:
        events = calendar_events(settings, first=first, last=last)
    except ForecastAssetsError as error:
        yield StatusLine("calendar", str(error), is_well=False)
        return
    names = {event.name for event in events}
    ahead = sorted((event.first, event.name) for event in events if first <= event.first <= last)
    dates = format_list([f"{name} on {day}" for day, name in ahead[:MAX_NAMES]]) or "none"
    text = f"{len(names)} holidays and events; the next: {dates}"
    yield StatusLine("calendar", len(names), is_well=True if ahead else None, text=text)
    yield from _without_series(series, [event.series for event in events], "calendar", "Events")


def exclusions(series: "pd.DataFrame", settings: "Settings") -> Iterator[StatusLine]:
    """Name excluded periods that are of no series."""
    patterns = [period.series for period in settings.series.excluded]
    yield from _without_series(series, patterns, "excluded", "Periods of `[[series.excluded]]`")


def _without_series(
    series: "pd.DataFrame", patterns: Sequence[str], name: str, what: str
) -> Iterator[StatusLine]:
    """Yield a note on patterns that match no series, as if a name were misspelt."""
    from forecast_assets.config.series_settings import matches_any

    ids = series["unique_id"].unique()
    lone = [p for p in patterns if not any(matches_any(str(each), [p]) for each in ids)]
    if lone:
        shown = format_list(dict.fromkeys(lone))
        text = f"{what} of no series, which have no effect: {shown}"
        yield StatusLine(name, text, text=text)


def regressors(
    series: "pd.DataFrame", settings: "Settings", store: "Store", now: datetime
) -> Iterator[StatusLine]:
    """Read the regressors, and say what of them a run would report or hold."""
    from forecast_assets.config.calendar_settings import CalendarSettings
    from forecast_assets.defs.health import check_regressors

    if not settings.regressors:
        return
    without = settings.model_copy(update={"calendar": CalendarSettings()})  # see `calendar`
    try:
        table, problems = check_regressors(
            series, without, store, as_of=now, log=lambda text: click.echo(text, err=True)
        )
    except ForecastAssetsError as error:
        yield StatusLine("regressors", str(error), is_well=False)
        return
    for name, rows in table.groupby("regressor"):
        n, first, last = len(rows), rows["ds"].min(), rows["ds"].max()
        text = f"{name}: {n} values of the weeks {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        yield StatusLine("regressors", {"name": name, "n": n}, is_well=True, text=text)
    for problem in problems:
        prefix = "A run would hold the week: " if problem.is_blocking else ""
        is_well = False if prefix else None
        yield StatusLine("regressors", problem.text, is_well, text=f"{prefix}{problem.text}")


def benchmarks(series: "pd.DataFrame", settings: "Settings", now: datetime) -> Iterator[StatusLine]:
    """Read the forecasts of each benchmark, and compare them with the series."""
    from forecast_assets.data.benchmarks import known_forecasts, read_benchmark
    from forecast_assets.forecasting.benchmark_scores import series_problems

    for name in settings.benchmark:
        try:
            fetched = known_forecasts(read_benchmark(name, settings, now), now)
        except ForecastAssetsError as error:
            yield StatusLine(f"benchmark_{name}", str(error), is_well=False)
            continue
        problems = [*fetched.problems, *series_problems(fetched.rows, series, name)]
        n, n_series = len(fetched.rows), fetched.rows["unique_id"].nunique()
        text = "; ".join([f"{n} forecasts of {n_series} series", *problems])
        yield StatusLine(f"benchmark_{name}", n, is_well=None if problems else True, text=text)
