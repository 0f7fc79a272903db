"""The commands `config` and `check`: print the settings; try what a run needs.

Each check is a function that yields its lines; `CHECKS` lists them.
"""

import functools
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.cli.check_causes import benchmarks, calendar, exclusions, regressors
from forecast_assets.cli.check_models import models, too_short
from forecast_assets.cli.deliver import deliveries
from forecast_assets.cli.options import FAILED, command, open_store, print_warning
from forecast_assets.cli.output import Record, StatusLine, print_lines, print_records
from forecast_assets.errors import ForecastAssetsError, StoreError

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


COMMENT_COLUMN = 44
SERIES_TEXT = (
    "{n_series} series up to {last_week:%Y-%m-%d}; left out are {n_unfinished} rows of unfinished"
    " weeks and {n_left_out} rows of incomplete weeks or before a long gap; {n_filled} weeks have"
    " no value and are {filled}"
)


FILLED = {"zero": "zeros"}


@command("config", "config --json")
def config(*, is_json: bool) -> None:
    """Print the settings and where they come from.

    The output is TOML that can be copied into forecast.toml; secrets are masked. With --json, one
    record for each setting with `name`, `value` and `from`.
    """
    from forecast_assets.config import loader

    settings = loader.load(warn=print_warning)
    file = loader.config_path()
    paths = [
        {"name": name, "value": str(path), "from": _origin(name)}
        for name, path in (("FORECAST_CONFIG", file), ("FORECAST_VAR", settings.var))
    ]
    records = list(_records(settings, settings.model_dump(mode="json"), file.name))
    if is_json:
        print_records([*paths, *records], is_json=True)
        return
    for title, path in zip(("settings file", "folder of all output"), paths, strict=True):
        click.echo(f"# {title}: {path['value']} ({path['from']})")
    _print_toml(records)


def _origin(variable: str) -> str:
    return f"environment {variable}" if os.environ.get(variable) else "default"


def _records(
    model: "BaseModel", dump: Mapping[str, Any], file: str, table: str = ""
) -> Iterator[Record]:
    """Yield a record for every setting below a table; `dump` has the secrets masked."""
    from pydantic import BaseModel

    names = {field.alias or name: name for name, field in type(model).model_fields.items()}
    for key, value in dump.items():
        name = names.get(key, key)
        inner = getattr(model, name)
        by_name = inner if isinstance(inner, Mapping) and not table else {}  # [benchmark.NAME]
        for other, of_name in by_name.items():
            yield from _records(of_name, value[other], file, f"{key}.{other}.")
        if isinstance(inner, BaseModel):
            yield from _records(inner, value, file, f"{table}{key}.")
        elif not by_name:
            origin = file if name in model.model_fields_set else "default"
            variables = sorted(set(re.findall(r'"env:([^"]+)"', json.dumps(value))))
            origin += f", environment {', '.join(variables)}" if variables else ""
            yield {"name": f"{table}{key}", "value": value, "from": origin}


def _print_toml(records: Sequence[Record]) -> None:
    by_table = itertools.groupby(records, lambda record: str(record["name"]).rpartition(".")[0])
    for table, settings in by_table:
        if not table:  # there is no [benchmark.NAME]
            click.echo("".join(f"\n[{record['name']}]\n" for record in settings), nl=False)
            continue
        click.echo(f"\n[{table}]")
        for record in settings:
            key, value = str(record["name"]).rpartition(".")[2], record["value"]
            line = f"# {key} is not set" if value is None else f"{key} = {_toml(value)}"
            click.echo(f"{line:<{COMMENT_COLUMN}}  # {record['from']}")


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        items = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items())
        return f"{{ {items} }}" if items else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)  # texts and numbers look the same in TOML


@command("check", "check --json", failure="a check failed")
def check(*, is_json: bool) -> None:
    """Check everything that a run needs.

    Tries the settings, the source, its weeks, the models, the store and the channels without
    running a week, and shows what a run would hold. With --json, one record for each line with
    `name`, `value` and `is_well` (null for a warning).
    """
    lines = list(_run_checks(datetime.now(UTC)))
    print_lines(lines, is_json=is_json)
    if any(line.is_well is False for line in lines):
        raise click.exceptions.Exit(FAILED)


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
    from forecast_assets.data.hierarchy import check_children
    from forecast_assets.data.quality.stored_versions import previous_rows
    from forecast_assets.data.sources import fetch
    from forecast_assets.data.sources.request import FetchRequest
    from forecast_assets.data.weekly import to_weeks

    previous = previous_rows(store, settings, as_of=now)
    log = functools.partial(click.echo, err=True)
    notes: list[str] = []
    request = FetchRequest(
        _retry_once(settings), now, previous=previous, log=log, note=notes.append
    )
    try:
        raw = fetch.fetch(request)
    except ForecastAssetsError:
        yield from _read_as(notes)
        raise
    origin = fetch.display_name(settings)
    yield StatusLine("source", origin, is_well=True, text=f"{len(raw)} rows from {origin}")
    yield from _read_as(notes)
    try:
        weeks = to_weeks(raw, settings, as_of=now)
        check_children(weeks.frame, settings.hierarchy)
    except ForecastAssetsError as error:
        yield StatusLine("series", str(error), is_well=False)
        return
    summary = {
        "n_series": int(weeks.frame["unique_id"].nunique()),
        "last_week": weeks.frame["ds"].max(),
        "n_unfinished": weeks.n_unfinished,
        "n_left_out": weeks.n_left_out,
        "n_filled": weeks.n_filled,
    }
    text = SERIES_TEXT.format(**summary, filled=FILLED.get(settings.series.missing, "filled"))
    yield StatusLine("series", summary, is_well=True, text=text)
    yield from _quality(raw, weeks.frame, settings, store, now)
    yield from exclusions(weeks.frame, settings)
    yield from regressors(weeks.frame, settings, store, now)
    yield from calendar(weeks.frame, settings, now)
    yield from benchmarks(weeks.frame, settings, now)
    yield from too_short(weeks.frame, settings)


def _read_as(notes: Sequence[str]) -> Iterator[StatusLine]:
    """Yield a line about what was recognized of how the source is written, if anything was."""
    distinct = list(dict.fromkeys(notes))
    if distinct:
        yield StatusLine("read_as", distinct, is_well=True, text="; ".join(distinct))


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
    from forecast_assets.data.quality.evaluate import evaluate
    from forecast_assets.data.quality.stored_versions import previous_series
    from forecast_assets.storage.versions import future_forecasts

    try:
        before = previous_series(store, settings, as_of=now)
        future = [commit.as_of for commit in future_forecasts(store, now=now)]
    except StoreError:  # reported by the check `store`
        return
    for finding in evaluate(raw, series, before, settings, as_of=now, future=future):
        value = {"policy": finding.policy, "n": finding.n, "series": list(finding.series)}
        prefix = "A run would hold these data: " if finding.policy == "hold" else ""
        is_well = None if finding.policy == "warn" else not prefix
        yield StatusLine(finding.kind, value, is_well=is_well, text=f"{prefix}{finding.text}")


def schedule(settings: "Settings", store: "Store", _: datetime) -> Iterator[StatusLine]:
    """Build the schedule, which refuses a cron expression that names no time."""
    from forecast_assets.defs.health import check_schedule

    check_schedule(settings, store)
    cron, zone = settings.schedule.cron, settings.schedule.timezone
    yield StatusLine("schedule", cron, is_well=True, text=f"{cron} ({zone})")


def store(settings: "Settings", store: "Store", _: datetime) -> Iterator[StatusLine]:
    """Read the histories and write to the store and to the folder of all output."""
    from forecast_assets.storage.delta import try_writing

    folders = [store.location(asset) for asset in filter(store.history, store.tables)]
    for folder in (*folders, store.uri, str(settings.var)):
        try_writing(folder)
    yield StatusLine("store", store.uri, is_well=True)


def notices(settings: "Settings", _: "Store", now: datetime) -> Iterator[StatusLine]:
    """Check the URL of each channel of `[notify]` without contacting it, and the queue."""
    from forecast_assets.notifications.apprise_client import check_url
    from forecast_assets.notifications.queue import NotificationQueue
    from forecast_assets.notifications.routing import all_channels

    urls = all_channels(settings)
    problems = list(filter(None, map(check_url, urls)))
    yield from (StatusLine("notices", problem, is_well=False) for problem in problems)
    NotificationQueue(settings.var / "outbox").undelivered(now=now)  # raises StoreError
    text = f"{len(urls)} channels; `forecast-assets notify` sends a test" if urls else "no channel"
    if not problems:
        yield StatusLine("notices", len(urls), is_well=True, text=text)


CHECKS = (source, schedule, models, store, deliveries, notices)
