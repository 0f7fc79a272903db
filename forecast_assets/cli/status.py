"""The command `status`: the state of the newest forecast and the newest version of each asset."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import command, open_store
from forecast_assets.cli.output import Record, StatusLine, print_lines, print_records
from forecast_assets.cli.status_lines import status_lines

if TYPE_CHECKING:
    from forecast_assets.storage.store import Store


NO_FORECAST_TEXT = """\
There is no forecast yet. To make one:
  forecast-assets check   checks everything that a run needs
  forecast-assets run     runs a week"""
NOT_VALID_TEXT = """\
There is no forecast that counts as published. To make one:
  forecast-assets run   runs a week"""
HELD_TEXT = """\
There is no forecast yet, because {what} held back. To see why, and to make one:
  forecast-assets show {table}   lists the reasons
  forecast-assets run                  runs a week with corrected data or models
  forecast-assets run --accept         publishes what is held back as it is"""
# By the line of the status that says so.
HELD = {"data": ("the data are", "data_findings"), "held_forecast": ("it is", "held_forecast")}


@command("status", "status --json")
def status(*, is_json: bool) -> None:
    """Show the state of the newest forecast.

    Also lists the newest version of every asset. With --json, one record for each line with
    `name`, `value` and `is_well` (null if there is nothing to judge), then one for each asset with
    its newest version as the value.
    """
    from forecast_assets.storage.tables import FORECAST

    settings, store = open_store()
    now = datetime.now(UTC)
    lines = status_lines(settings, store, now=now)
    assets = newest_versions(store, now=now)
    if is_json:
        print_lines([*lines, *(StatusLine(str(row["asset"]), row) for row in assets)], is_json=True)
        return
    if lines:
        print_lines(lines)
    if not any(row["asset"] == FORECAST for row in assets):
        held = [HELD[line.name] for line in lines if line.name in HELD]
        text = NOT_VALID_TEXT if store.history(FORECAST) else NO_FORECAST_TEXT
        click.echo(HELD_TEXT.format(what=held[0][0], table=held[0][1]) if held else text)
    if assets:
        click.echo()
        print_records(assets)


def newest_versions(store: "Store", *, now: datetime) -> list[Record]:
    """Return a record of the newest valid version of each asset that has one.

    For an asset with partitions it is the last one written, with the rows of all partitions.
    """
    from forecast_assets.storage.versions import newest_of_each

    records: list[Record] = []
    for asset in store.tables:
        commits = newest_of_each(store, asset, as_of=now)
        if not commits:
            continue
        last = max(commits, key=lambda commit: commit.version)
        record = {name: getattr(last, name) for name in ("asset", "version", "as_of", "written_at")}
        n_partitions = len(commits) if last.partition else None
        n_rows = sum(commit.n_rows for commit in commits)
        records += [{**record, "run_id": last.run_id, "partitions": n_partitions, "n_rows": n_rows}]
    return records
