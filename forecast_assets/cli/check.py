"""The commands before a week: `config`, what is in force, and `check`, whether all is there.

A thing to check is a function that yields its lines, named in `CHECKS`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import NO, as_json, help_epilog, open_store
from forecast_assets.cli.output import StatusLine, print_lines
from forecast_assets.errors import ForecastAssetsError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


@click.command(
    epilog=help_epilog(
        "forecast-assets check", "forecast-assets check --json", no="something is not well"
    )
)
@as_json
@click.pass_context
def check(ctx: click.Context, *, is_json: bool) -> None:
    """Look at all that a week needs.

    Without running one: the settings, the source, its weeks, the models, the store, the channels;
    all are tried, and it is told what a run would hold back. With --json a record a line, with
    `name`, `value` and `is_well` (null where there would be a warning).
    """
    lines = list(_checked(datetime.now(UTC)))
    print_lines(lines, is_json=is_json)
    if any(line.is_well is False for line in lines):
        ctx.exit(NO)


def _checked(now: datetime) -> Iterator[StatusLine]:
    from forecast_assets.config import loader

    try:
        settings, store = open_store()
    except ForecastAssetsError as error:  # without settings there is nothing else to look at
        yield StatusLine("settings", str(error), is_well=False)
        return
    yield StatusLine("settings", str(loader.config_path()), is_well=True)
    for one in CHECKS:
        try:
            yield from one(settings, store, now)
        except ForecastAssetsError as error:
            yield StatusLine(one.__name__, str(error), is_well=False)


def source(settings: "Settings", store: "Store", now: datetime) -> Iterator[StatusLine]:
    """Whether the source can be read, its rows become weeks, and these would be published."""
    from forecast_assets.data.quality.baseline import previous_rows
    from forecast_assets.data.sources import fetch
    from forecast_assets.data.sources.request import FetchRequest
    from forecast_assets.data.weekly import to_weeks

    before = previous_rows(store, settings, as_of=now)
    say = functools.partial(click.echo, err=True)
    raw = fetch.fetch(FetchRequest(_impatient(settings), now, previous=before, log=say))
    origin = fetch.display_name(settings)
    yield StatusLine("source", origin, is_well=True, text=f"{len(raw)} rows from {origin}")
    try:
        weeks = to_weeks(raw, settings, as_of=now)
    except ForecastAssetsError as error:
        yield StatusLine("series", str(error), is_well=False)
        return
    found = {
        "n_series": int(weeks.frame["unique_id"].nunique()),
        "last_week": weeks.frame["ds"].max(),
        "n_unfinished": weeks.n_unfinished,
        "n_filled": weeks.n_filled,
    }
    text = (
        f"{found['n_series']} series to {found['last_week']:%Y-%m-%d};"
        f" {weeks.n_unfinished} rows of unfinished weeks are left out,"
        f" {weeks.n_filled} weeks are filled"
    )
    yield StatusLine("series", found, is_well=True, text=text)
    yield from _judged(raw, weeks.frame, settings, store, now)


def _impatient(settings: "Settings") -> "Settings":
    """The settings, but for how often the source is tried: somebody waits."""
    if getattr(settings.source, "max_retries", 0) <= 1:
        return settings
    source = settings.source.model_copy(update={"max_retries": 1})
    return settings.model_copy(update={"source": source})


def _judged(
    raw: "pd.DataFrame", series: "pd.DataFrame", settings: "Settings", store: "Store", now: datetime
) -> Iterator[StatusLine]:
    """The verdict on what a run would fetch now: a line for each finding."""
    from forecast_assets.data.quality.baseline import previous_series
    from forecast_assets.data.quality.evaluate import evaluate

    try:
        before = previous_series(store, settings, as_of=now)
    except StoreError:  # of which `store` tells
        return
    for one in evaluate(raw, series, before, settings, as_of=now):
        value = {"policy": one.policy, "n": one.n, "series": list(one.series)}
        held = "It would be held back: " if one.policy == "hold" else ""
        is_well = None if one.policy == "warn" else not held
        yield StatusLine(one.kind, value, is_well=is_well, text=f"{held}{one.says}")


def models(settings: "Settings", _: "Store", __: datetime) -> Iterator[StatusLine]:
    """Whether every model that is enabled can be made."""
    from forecast_assets.models import find_model

    names = settings.models.enabled
    refused = []
    for name in names:
        try:
            model = find_model(name, settings)
            model.check()
            model.make()
        except ForecastAssetsError as error:
            refused.append(StatusLine("models", str(error), is_well=False))
    yield from refused or [
        StatusLine("models", list(names), is_well=True, text=f"{len(names)} can be made")
    ]


def store(settings: "Settings", store: "Store", _: datetime) -> Iterator[StatusLine]:
    """Whether the store can be read and written, and so the folder of all that runs write."""
    from forecast_assets.storage.delta import try_writing

    for asset in store.tables:
        if store.history(asset):
            try_writing(store.location(asset))
    try_writing(store.uri)
    try_writing(str(settings.var))
    yield StatusLine("store", store.uri, is_well=True)


def notices(settings: "Settings", _: "Store", __: datetime) -> Iterator[StatusLine]:
    """Whether each channel of `[notify]` can be used as its URL stands; none is contacted."""
    from forecast_assets.notifications.apprise_client import check_url
    from forecast_assets.notifications.routing import all_channels

    urls = all_channels(settings)
    refused = [StatusLine("notices", why, is_well=False) for url in urls if (why := check_url(url))]
    told = f"{len(urls)} channels; `forecast-assets notify` tries them" if urls else "no channel"
    yield from refused or [StatusLine("notices", len(urls), is_well=True, text=told)]


CHECKS: Sequence[Callable[["Settings", "Store", datetime], Iterator[StatusLine]]] = (
    source,
    models,
    store,
    notices,
)
