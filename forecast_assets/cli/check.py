"""The command `check`: try everything that a run needs, without running it.

Each check is a function that yields its lines; `CHECKS` lists them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import FAILED, as_json, help_epilog, open_store
from forecast_assets.cli.output import StatusLine, print_lines
from forecast_assets.errors import ForecastAssetsError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


@click.command(
    epilog=help_epilog(
        "forecast-assets check", "forecast-assets check --json", failure="a check failed"
    )
)
@as_json
@click.pass_context
def check(ctx: click.Context, *, is_json: bool) -> None:
    """Check everything that a run needs.

    Tries the settings, the source, its weeks, the models, the store and the channels without
    running a week, and shows what a run would hold. With --json, one record for each line with
    `name`, `value` and `is_well` (null for a warning).
    """
    lines = list(_run_checks(datetime.now(UTC)))
    print_lines(lines, is_json=is_json)
    if any(line.is_well is False for line in lines):
        ctx.exit(FAILED)


def _run_checks(now: datetime) -> Iterator[StatusLine]:
    from forecast_assets.config import loader

    try:
        settings, store = open_store()
    except ForecastAssetsError as error:  # nothing else can be checked
        yield StatusLine("settings", str(error), is_well=False)
        return
    yield StatusLine("settings", str(loader.config_path()), is_well=True)
    for run_check in CHECKS:
        try:
            yield from run_check(settings, store, now)
        except ForecastAssetsError as error:
            yield StatusLine(run_check.__name__, str(error), is_well=False)


def source(settings: "Settings", store: "Store", now: datetime) -> Iterator[StatusLine]:
    """Fetch from the source, build weeks and evaluate their quality."""
    from forecast_assets.data.quality.baseline import previous_rows
    from forecast_assets.data.sources import fetch
    from forecast_assets.data.sources.request import FetchRequest
    from forecast_assets.data.weekly import to_weeks

    previous = previous_rows(store, settings, as_of=now)
    log = functools.partial(click.echo, err=True)
    raw = fetch.fetch(FetchRequest(_retry_once(settings), now, previous=previous, log=log))
    origin = fetch.display_name(settings)
    yield StatusLine("source", origin, is_well=True, text=f"{len(raw)} rows from {origin}")
    try:
        weeks = to_weeks(raw, settings, as_of=now)
    except ForecastAssetsError as error:
        yield StatusLine("series", str(error), is_well=False)
        return
    summary = {
        "n_series": int(weeks.frame["unique_id"].nunique()),
        "last_week": weeks.frame["ds"].max(),
        "n_unfinished": weeks.n_unfinished,
        "n_filled": weeks.n_filled,
    }
    text = (
        f"{summary['n_series']} series up to {summary['last_week']:%Y-%m-%d};"
        f" {weeks.n_unfinished} rows of unfinished weeks are left out,"
        f" {weeks.n_filled} weeks are filled"
    )
    yield StatusLine("series", summary, is_well=True, text=text)
    yield from _quality(raw, weeks.frame, settings, store, now)


def _retry_once(settings: "Settings") -> "Settings":
    """Return settings with at most one retry of the source, because a person waits."""
    if getattr(settings.source, "max_retries", 0) <= 1:
        return settings
    source = settings.source.model_copy(update={"max_retries": 1})
    return settings.model_copy(update={"source": source})


def _quality(
    raw: "pd.DataFrame", series: "pd.DataFrame", settings: "Settings", store: "Store", now: datetime
) -> Iterator[StatusLine]:
    """Yield a line for each finding in the data that a run would fetch now."""
    from forecast_assets.data.quality.baseline import previous_series
    from forecast_assets.data.quality.evaluate import evaluate

    try:
        before = previous_series(store, settings, as_of=now)
    except StoreError:  # reported by the check `store`
        return
    for finding in evaluate(raw, series, before, settings, as_of=now):
        value = {"policy": finding.policy, "n": finding.n, "series": list(finding.series)}
        prefix = "A run would hold these data: " if finding.policy == "hold" else ""
        is_well = None if finding.policy == "warn" else not prefix
        yield StatusLine(finding.kind, value, is_well=is_well, text=f"{prefix}{finding.text}")


def models(settings: "Settings", _: "Store", __: datetime) -> Iterator[StatusLine]:
    """Create every enabled model."""
    from forecast_assets.models import find_model

    names = settings.models.enabled
    failures = []
    for name in names:
        try:
            model = find_model(name, settings)
            model.check()
            model.make()
        except ForecastAssetsError as error:
            failures.append(StatusLine("models", str(error), is_well=False))
    yield from failures or [
        StatusLine("models", list(names), is_well=True, text=f"{len(names)} can be created")
    ]


def store(settings: "Settings", store: "Store", _: datetime) -> Iterator[StatusLine]:
    """Read the histories and write to the store and to the folder of all output."""
    from forecast_assets.storage.delta import try_writing

    for asset in store.tables:
        if store.history(asset):
            try_writing(store.location(asset))
    try_writing(store.uri)
    try_writing(str(settings.var))
    yield StatusLine("store", store.uri, is_well=True)


def notices(settings: "Settings", _: "Store", __: datetime) -> Iterator[StatusLine]:
    """Check the URL of each channel of `[notify]` without contacting it."""
    from forecast_assets.notifications.apprise_client import check_url
    from forecast_assets.notifications.routing import all_channels

    urls = all_channels(settings)
    problems = [problem for url in urls if (problem := check_url(url))]
    text = f"{len(urls)} channels; `forecast-assets notify` sends a test" if urls else "no channel"
    yield from [StatusLine("notices", problem, is_well=False) for problem in problems] or [
        StatusLine("notices", len(urls), is_well=True, text=text)
    ]


CHECKS: Sequence[Callable[["Settings", "Store", datetime], Iterator[StatusLine]]] = (
    source,
    models,
    store,
    notices,
)
