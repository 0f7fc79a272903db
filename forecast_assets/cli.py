"""The command `forecast-assets`: run the week, and look back at every version of every table.

Each command is one call of a function that has its own module, and its printing. Exit codes: 0
done; 1 the answer is no (a version is not sound, the run failed); 2 it could not be asked.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from os.path import relpath
from typing import Any

import click
import pandas as pd

from forecast_assets import audit, settings_file, versions
from forecast_assets.commits import Commit
from forecast_assets.errors import ForecastAssetsError
from forecast_assets.report import digits, headlines
from forecast_assets.settings import Settings
from forecast_assets.store import Store
from forecast_assets.tables import ASSETS, column_suffix, tables

ROWS_SHOWN = 50
UNUSABLE = 2

as_json = click.option("--json", "is_json", is_flag=True, help="Print an array of records.")
partition_option = click.option("--partition", metavar="MODEL", help="One partition of the asset.")


def says_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print what the package refuses as a paragraph, not as a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ForecastAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(UNUSABLE)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Weekly forecasts with every version kept."""


@main.command()
@click.option(
    "--as-of", metavar="TIME", help="The moment that the run stands for; now if not given."
)
@says_errors
def run(as_of: str | None) -> None:
    """Run one week: every asset and every model."""
    from forecast_assets.defs.run import run_week  # noqa: PLC0415 - the only one to need Dagster

    settings, store = _opened()
    run_id = run_week(settings, as_of=as_of, say=click.echo)
    if run_id is None:
        click.echo("The week failed; what failed is above. Earlier versions stand.", err=True)
        sys.exit(1)
    _print_week(settings, store, run_id)


@main.command()
@click.argument("asset")
@partition_option
@as_json
@says_errors
def history(asset: str, partition: str | None, *, is_json: bool) -> None:
    """List every version of ASSET, oldest first."""
    _, store = _opened()
    commits = store.history(asset, partition=partition)
    _print([_told(commit) for commit in commits], is_json=is_json)


@main.command()
@click.argument("asset")
@partition_option
@click.option("--version", type=int, help="A number from the history.")
@click.option("--as-of", metavar="TIME", help="What was known at that moment.")
@click.option(
    "--run", "run_id", metavar="ID", help="What that run wrote (its first characters do)."
)
@as_json
@says_errors
def show(
    asset: str,
    partition: str | None,
    version: int | None,
    as_of: str | None,
    run_id: str | None,
    *,
    is_json: bool,
) -> None:
    """Print ASSET's rows: the newest, or those that answer to an option."""
    _, store = _opened()
    found = versions.select(
        store,
        asset,
        partitions=None if partition is None else [partition],
        version=version,
        as_of=None if as_of is None else _moment(as_of),
        run_id=run_id,
    )
    _print(_records(store.read(found)), is_json=is_json)


@main.command()
@click.argument("asset")
@click.argument("old", type=int)
@click.argument("new", type=int)
@partition_option
@as_json
@says_errors
def diff(asset: str, old: int, new: int, partition: str | None, *, is_json: bool) -> None:
    """Print what changed in ASSET from version OLD to version NEW, cell by cell."""
    _, store = _opened()
    chosen = None if partition is None else [partition]
    before, after = (
        versions.select(store, asset, partitions=chosen, version=version) for version in (old, new)
    )
    changes = versions.diff(store, before, after)
    if changes.empty and not is_json:
        click.echo(f"Version {new} of {asset} says the same as version {old}.")
        return
    _print(_records(changes), is_json=is_json)


@main.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@as_json
@says_errors
def verify(assets: Sequence[str], *, is_json: bool) -> None:
    """Read every version again and compare it with what was recorded of it."""
    _, store = _opened()
    findings = audit.verify(store, assets or ASSETS)
    unsound = [finding for finding in findings if finding.problem]
    if is_json:
        _print([vars(finding) for finding in findings], is_json=True)
    elif unsound:
        _print([vars(finding) for finding in unsound], is_json=False)
        click.echo(
            f"{len(unsound)} of {len(findings)} versions are not sound. What they held is lost"
            f" unless a back-up has it; the other versions are not touched by it."
        )
    else:
        click.echo(f"Sound: {len(findings)} versions are there, readable and as recorded.")
    if unsound:
        sys.exit(1)


@main.command()
@says_errors
def config() -> None:
    """Print the settings in force, as JSON."""
    click.echo(settings_file.load().model_dump_json(indent=2))


def _opened() -> tuple[Settings, Store]:
    settings = settings_file.load()
    contracts = tables(settings.forecast.levels)
    return settings, Store(settings.store_uri, contracts, var=settings.var)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no ISO 8601 time, such as 2026-11-23") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # as `run --as-of` reads it


def _told(commit: Commit) -> dict[str, object]:
    return {
        "version": commit.version,
        **({"partition": commit.partition} if commit.partition else {}),
        "as_of": commit.as_of,
        "written_at": commit.written_at,
        "run_id": commit.run_id,
        "n_rows": commit.n_rows,
        "data_version": commit.data_version,
        "made_from": commit.made_from,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _print(records: Sequence[Mapping[str, object]], *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps([{k: _for_json(v) for k, v in row.items()} for row in records]))
        return
    from tabulate import tabulate  # noqa: PLC0415 - not for programs

    if not records:
        click.echo("No rows.")
        return
    names = list(records[0])
    rows = [[_for_people(name, row[name]) for name in names] for row in records[:ROWS_SHOWN]]
    sides = ["right" if _is_number(value) else "left" for value in records[0].values()]
    click.echo(tabulate(rows, names, "simple", disable_numparse=True, colalign=sides))
    if len(records) > ROWS_SHOWN:
        click.echo(f"… and {len(records) - ROWS_SHOWN} more rows; --json prints them all.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _for_people(name: str, value: object) -> str:
    if isinstance(value, float):
        return digits(value)
    if value is None or value is pd.NaT:
        return "–"
    if name in ("run_id", "data_version"):
        return str(value)[:8]
    if isinstance(value, datetime):
        is_day = value.tzinfo is None and value == value.replace(hour=0, minute=0, second=0)
        return f"{value:%Y-%m-%d}" if is_day else f"{value:%Y-%m-%d %H:%M}"
    return str(value)


def _for_json(value: object) -> object:
    if value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None  # JSON has no NaN and no infinity
    if isinstance(value, datetime):
        is_day = value.tzinfo is None and value == value.replace(hour=0, minute=0, second=0)
        return value.date().isoformat() if is_day else value.isoformat()
    return value


def _print_week(settings: Settings, store: Store, run_id: str) -> None:
    week = {
        asset: store.read(versions.select(store, asset, run_id=run_id))
        for asset in ("next_week_forecast", "series", "weekly_report")
    }
    rows = headlines(week["next_week_forecast"], week["series"])
    shown = [
        {
            "series": row["unique_id"],
            "week": row["ds"],
            "last week": row["last_y"],
            "forecast": row["y_hat"],
            **{
                f"{end} {suffix} %": row[f"{end}_{suffix}"]
                for suffix in map(column_suffix, settings.forecast.levels)
                for end in ("lo", "hi")
            },
            "model": row["model"]
            if row["rung"] == "champion"
            else f"{row['model']} ({row['rung']})",
        }
        for row in rows
    ]
    click.echo()
    _print(shown, is_json=False)
    page = next(name for name in week["weekly_report"]["file"] if name.endswith(".html"))
    click.echo(f"\nThe report:     {settings.var / page}")
    click.echo(f"Earlier weeks:  {relpath(sys.argv[0])} history next_week_forecast")
    click.echo("The UI:         make ui, then http://127.0.0.1:3000")
