"""The commands of the week: `run`, told as it goes, and `status`, how it stands."""

import functools
import sys
from datetime import UTC, datetime
from os.path import relpath
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.asking import NO, as_json, ending, opened
from forecast_assets.cli.lines import Line, print_lines
from forecast_assets.cli.printing import Record, print_records, records_of

if TYPE_CHECKING:
    from forecast_assets.settings import Settings
    from forecast_assets.store import Store


NOTHING_YET = """\
Nothing was forecast yet. To begin:
  forecast-assets check   looks whether all is there that a week needs
  forecast-assets run     runs one"""


@click.command(
    epilog=ending(
        "forecast-assets run",
        "forecast-assets run --as-of 2026-01-05",
        "forecast-assets run --accept",
        "forecast-assets run --json > forecast.json",
        no="the week failed",
    )
)
@click.option(
    "--as-of", metavar="TIME", help="The moment that the run stands for; now if not given."
)
@click.option("--accept", "is_accepted", is_flag=True, help="Publish data that would be held back.")
@as_json
@click.pass_context
def run(ctx: click.Context, as_of: str | None, *, is_accepted: bool, is_json: bool) -> None:
    """Run one week.

    Every asset and every model. Data that do not look like the next week are held back, with the
    reason; --accept publishes them as they stand. With --json the forecast goes to the standard
    output, and how the week goes to the other.
    """
    from forecast_assets import versions
    from forecast_assets.defs.run import run_week

    settings, store = opened()
    run_id = run_week(
        settings,
        as_of=as_of,
        say=functools.partial(click.echo, err=is_json),
        is_accepted=is_accepted,
    )
    if run_id is None:
        click.echo("The week failed; what failed is above. Earlier versions stand.", err=True)
        if is_json:
            print_records([], is_json=True)
        ctx.exit(NO)
    if is_json:
        forecast = store.read(versions.select(store, "next_week_forecast", run_id=run_id))
        print_records(records_of(forecast), is_json=True)
    else:
        _print_week(settings, store, run_id)


@click.command(epilog=ending("forecast-assets status", "forecast-assets status --json"))
@as_json
def status(*, is_json: bool) -> None:
    """Tell the week at a glance.

    How the newest forecast stands, and the newest version of every asset. With --json a record a
    line, with `name`, `value` and `is_well` (null where there is nothing to judge), and then one an
    asset, whose value is its newest version.
    """
    from forecast_assets.cli import glance

    settings, store = opened()
    lines = glance.look(settings, store, now=datetime.now(UTC))
    assets = glance.newest_versions(store)
    if is_json:
        newest = [Line(str(row["asset"]), row) for row in assets]
        print_lines([*lines, *newest], is_json=True)
        return
    if lines:
        print_lines(lines)
    else:
        click.echo(NOTHING_YET)
    if assets:
        click.echo()
        print_records(assets)


def _print_week(settings: "Settings", store: "Store", run_id: str) -> None:
    from forecast_assets import versions
    from forecast_assets.cli.glance import page_among
    from forecast_assets.judging import judged
    from forecast_assets.report import headlines
    from forecast_assets.verdict import by_policy, in_a_line

    week = {
        asset: store.read(versions.select(store, asset, run_id=run_id))
        for asset in ("next_week_forecast", "series", "weekly_report")
    }
    rows = headlines(week["next_week_forecast"], week["series"])
    click.echo()
    print_records([_headline(row, settings.forecast.levels) for row in rows])
    (weeks,) = versions.select(store, "series", run_id=run_id)
    findings = judged(store, weeks, settings)
    if by_policy(findings, "hold", "warn"):
        click.echo(f"\nThe data:       {in_a_line(findings)}; more: forecast-assets status")
    page = settings.var / page_among(week["weekly_report"]["file"])
    click.echo(f"\nThe report:     {page}")
    click.echo(f"Earlier weeks:  {relpath(sys.argv[0])} history next_week_forecast")
    click.echo("The UI:         make ui, then http://127.0.0.1:3000")


def _headline(row: Record, levels: tuple[float, ...]) -> Record:
    from forecast_assets.ladder import CHAMPION
    from forecast_assets.tables import column_suffix

    is_champion = row["rung"] == CHAMPION
    return {
        "series": row["unique_id"],
        "week": row["ds"],
        "last week": row["last_y"],
        "forecast": row["y_hat"],
        **{
            f"{end} {suffix} %": row[f"{end}_{suffix}"]
            for suffix in map(column_suffix, levels)
            for end in ("lo", "hi")
        },
        "model": row["model"] if is_champion else f"{row['model']} ({row['rung']})",
    }
