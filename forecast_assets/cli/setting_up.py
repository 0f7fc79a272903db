"""The commands before a week: `config`, what is in force, and `check`, whether all is there.

A thing to check is a function that yields its lines, named in `CHECKS`.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.cli.asking import NO, as_json, ending, opened
from forecast_assets.cli.lines import Line, print_lines
from forecast_assets.cli.printing import Record, print_records
from forecast_assets.errors import ForecastAssetsError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

    from forecast_assets.settings import Settings
    from forecast_assets.store import Store

COMMENTS_AT = 44


@click.command(epilog=ending("forecast-assets config", "forecast-assets config --json"))
@as_json
def config(*, is_json: bool) -> None:
    """Print the settings in force.

    And where each comes from. For a person as TOML, to be copied into forecast.toml. With --json a
    record a setting, with `name`, `value` and `from`. What may be secret is not shown.
    """
    from forecast_assets import settings_file

    settings = settings_file.load()
    file = settings_file.in_force()
    places = [
        _place("FORECAST_CONFIG", str(file), "the settings"),
        _place("FORECAST_VAR", str(settings.var), "what runs write"),
    ]
    values = list(_values(settings, settings.model_dump(mode="json"), file.name))
    if is_json:
        kept = [{name: row[name] for name in ("name", "value", "from")} for row in places]
        print_records([*kept, *values], is_json=True)
        return
    for row in places:
        click.echo(f"# {row['what']}: {row['value']} ({row['from']})")
    _print_toml(values)


def _place(name: str, value: str, what: str) -> Record:
    origin = f"environment {name}" if os.environ.get(name) else "default"
    return {"name": name, "value": value, "from": origin, "what": what}


def _values(
    model: "BaseModel", shown: Mapping[str, Any], file: str, table: str = ""
) -> Iterator[Record]:
    """Every setting of a table and those below it, as `shown`: secrets masked."""
    from pydantic import BaseModel

    for name, value in shown.items():
        inner = getattr(model, name)
        if isinstance(inner, BaseModel):
            yield from _values(inner, value, file, f"{table}{name}.")
        else:
            origin = file if name in model.model_fields_set else "default"
            named = sorted(set(_from_environment(value)))
            origin += f", environment {', '.join(named)}" if named else ""
            yield {"name": f"{table}{name}", "value": value, "from": origin}


def _from_environment(value: object) -> Iterator[str]:
    """The names that a value is read from in the environment: those of `env:NAME`."""
    if isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:")
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _from_environment(one)


def _print_toml(values: Sequence[Record]) -> None:
    last = None
    for row in values:
        table, _, key = str(row["name"]).rpartition(".")
        if table != last:
            click.echo(f"\n[{table}]")
            last = table
        is_set = row["value"] is not None
        line = f"{key} = {_toml(row['value'])}" if is_set else f"# {key} is not set"
        click.echo(f"{line:<{COMMENTS_AT}}  # {row['from']}")


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # of a text or a number TOML's form is the same


@click.command(
    epilog=ending(
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


def _checked(now: datetime) -> Iterator[Line]:
    from forecast_assets import settings_file

    try:
        settings, store = opened()
    except ForecastAssetsError as error:  # without settings there is nothing else to look at
        yield Line("settings", str(error), is_well=False)
        return
    yield Line("settings", str(settings_file.in_force()), is_well=True)
    for one in CHECKS:
        try:
            yield from one(settings, store, now)
        except ForecastAssetsError as error:
            yield Line(one.__name__, str(error), is_well=False)


def source(settings: "Settings", store: "Store", now: datetime) -> Iterator[Line]:
    """Whether the source can be read, its rows become weeks, and these would be published."""
    from forecast_assets import sources
    from forecast_assets.judging import rows_before
    from forecast_assets.series import to_weeks
    from forecast_assets.sources.asked import Asked

    before = rows_before(store, settings, as_of=now)
    say = functools.partial(click.echo, err=True)
    raw = sources.fetch(Asked(_impatient(settings), now, before=before, say=say))
    origin = sources.described(settings)
    yield Line("source", origin, is_well=True, text=f"{len(raw)} rows from {origin}")
    try:
        weeks = to_weeks(raw, settings, as_of=now)
    except ForecastAssetsError as error:
        yield Line("series", str(error), is_well=False)
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
    yield Line("series", found, is_well=True, text=text)
    yield from _judged(raw, weeks.frame, settings, store, now)


def _impatient(settings: "Settings") -> "Settings":
    """The settings, but for how often the source is tried: somebody waits."""
    if getattr(settings.source, "max_retries", 0) <= 1:
        return settings
    source = settings.source.model_copy(update={"max_retries": 1})
    return settings.model_copy(update={"source": source})


def _judged(
    raw: "pd.DataFrame", series: "pd.DataFrame", settings: "Settings", store: "Store", now: datetime
) -> Iterator[Line]:
    """The verdict on what a run would fetch now: a line for each finding."""
    from forecast_assets.judging import version_before
    from forecast_assets.verdict import judge

    try:
        before = version_before(store, settings, as_of=now)
    except StoreError:  # of which `store` tells
        return
    for one in judge(raw, series, before, settings, as_of=now):
        value = {"policy": one.policy, "n": one.n, "series": list(one.series)}
        held = "It would be held back: " if one.policy == "hold" else ""
        is_well = None if one.policy == "warn" else not held
        yield Line(one.kind, value, is_well=is_well, text=f"{held}{one.says}")


def models(settings: "Settings", _: "Store", __: datetime) -> Iterator[Line]:
    """Whether every model that is enabled can be made."""
    from forecast_assets.models import find

    names = settings.models.enabled
    refused = []
    for name in names:
        try:
            model = find(name, settings)
            model.check()
            model.make()
        except ForecastAssetsError as error:
            refused.append(Line("models", str(error), is_well=False))
    yield from refused or [
        Line("models", list(names), is_well=True, text=f"{len(names)} can be made")
    ]


def store(settings: "Settings", store: "Store", _: datetime) -> Iterator[Line]:
    """Whether the store can be read and written, and so the folder of all that runs write."""
    from forecast_assets.probing import try_writing

    for asset in store.tables:
        if store.history(asset):
            try_writing(store.location(asset))
    try_writing(store.uri)
    try_writing(str(settings.var))
    yield Line("store", store.uri, is_well=True)


def notices(settings: "Settings", _: "Store", __: datetime) -> Iterator[Line]:
    """Whether each channel of `[notify]` can be used as its URL stands; none is contacted."""
    from forecast_assets.notify import check_url, configured

    urls = configured(settings)
    refused = [Line("notices", why, is_well=False) for url in urls if (why := check_url(url))]
    told = f"{len(urls)} channels; `forecast-assets notify` tries them" if urls else "no channel"
    yield from refused or [Line("notices", len(urls), is_well=True, text=told)]


CHECKS: Sequence[Callable[["Settings", "Store", datetime], Iterator[Line]]] = (
    source,
    models,
    store,
    notices,
)
