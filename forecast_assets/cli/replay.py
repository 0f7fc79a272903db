"""The command `replay`: run past weeks again on what was known then."""

import functools

import click

from forecast_assets.cli.options import command, open_store
from forecast_assets.cli.output import Record, print_records


@command(
    "replay --from 2025-01-01 --to 2025-12-31",
    "replay --from 2024-01-01 --to 2025-12-31 --every 4w --store var/replay-4w",
    failure="",
)
@click.option("--from", "first", metavar="TIME", required=True, help="First time to replay.")
@click.option("--to", "last", metavar="TIME", required=True, help="Last time to replay.")
@click.option("--every", default="1w", show_default=True, help="Weeks between two ticks.")
@click.option("--store", metavar="URI", help="Store of the replay; by default below FORECAST_VAR.")
@click.option(
    "--no-vintages",
    "is_blind",
    is_flag=True,
    help="Let each tick know its own data only, not what was known before.",
)
@click.option(
    "--missing-vintage",
    type=click.Choice(["fail", "nearest"]),
    default="fail",
    show_default=True,
    help="What to do about a tick of which it is not known what was known.",
)
def replay(
    first: str,
    last: str,
    every: str,
    store: str | None,
    *,
    is_blind: bool,
    missing_vintage: str,
    is_json: bool,
) -> None:
    """Run past weeks again on what was known then.

    They go into a store of their own. Every tick of the schedule between the two times is run once,
    with the present settings, on the data as they were known: from the publication times of the
    source, from dated files, or from the fetches in the store. Nobody is notified. A replay that
    was stopped goes on where it was. It waits while a week of the present is due or in progress.
    """
    from forecast_assets.defs.launcher import replay_weeks
    from forecast_assets.defs.replay import ReplayPlan, parse_weeks
    from forecast_assets.defs.run_config import parse_as_of

    settings, _ = open_store()
    plan = ReplayPlan(
        parse_as_of(first),
        parse_as_of(last),
        parse_weeks(every),
        store,
        not is_blind,
        "nearest" if missing_vintage == "nearest" else "fail",
    )
    replayed = replay_weeks(settings, plan, write_line=functools.partial(click.echo, err=is_json))
    weeks: list[Record] = [
        {"as_of": commit.as_of, "run_id": commit.run_id, "n_rows": commit.n_rows}
        for commit in replayed.history("next_week_forecast")
    ]
    if is_json:
        print_records(weeks, is_json=True)
    else:
        click.echo(f"{len(weeks)} weeks are in the store {replayed.uri}")
