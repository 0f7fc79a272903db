"""The commands that look back: `history`, `show`, `diff`, `verify`."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import (
    NO,
    as_json,
    asset_argument,
    assets_argument,
    help_epilog,
    limit_option,
    moment,
    open_store,
    partition_option,
)
from forecast_assets.cli.output import ROWS_SHOWN, Record, print_csv, print_records, records_of

if TYPE_CHECKING:
    from forecast_assets.storage.commit import Commit


@click.command(
    epilog=help_epilog(
        "forecast-assets history next_week_forecast",
        "forecast-assets history backtest_predictions --partition naive --limit 5",
        "forecast-assets history metrics --json",
    )
)
@asset_argument
@partition_option
@limit_option("newest")
@as_json
def history(asset: str, partition: str | None, limit: int | None, *, is_json: bool) -> None:
    """List every version of ASSET.

    Who wrote it, when, for which moment, and from what; the oldest first. A person is shown the
    newest 50.
    """
    _, store = open_store()
    commits = store.history(asset, partition=partition)
    pruned = store.pruned(asset) if commits else {}
    most = limit or (None if is_json else ROWS_SHOWN)
    shown = commits[-most:] if most else commits
    has_pruned = is_json or any(one.version in pruned for one in shown)
    rows = [_told(one, pruned.get(one.version), has_pruned=has_pruned) for one in shown]
    print_records(rows, is_json=is_json, most=None)
    if not is_json and len(commits) > len(shown):
        click.echo(f"… after {len(commits) - len(shown)} older versions; --json prints them all.")


@click.command(
    epilog=help_epilog(
        "forecast-assets show next_week_forecast",
        "forecast-assets show metrics --version 0 --limit 10",
        "forecast-assets show next_week_forecast --as-of 2026-11-01",
        "forecast-assets show next_week_forecast --csv > forecast.csv",
    )
)
@asset_argument
@partition_option
@click.option("--version", type=int, metavar="N", help="A number from the history.")
@click.option("--as-of", metavar="TIME", help="What was known at that moment.")
@click.option(
    "--run", "run_id", metavar="ID", help="What that run wrote (its first characters do)."
)
@limit_option("first")
@as_json
@click.option("--csv", "is_csv", is_flag=True, help="Print every row as CSV.")
def show(
    asset: str,
    partition: str | None,
    version: int | None,
    as_of: str | None,
    run_id: str | None,
    limit: int | None,
    *,
    is_json: bool,
    is_csv: bool,
) -> None:
    """Print the rows of ASSET.

    The newest, or those that answer to an option. A person is shown the first 50.
    """
    from forecast_assets.storage import versions

    if is_json and is_csv:
        raise click.UsageError("--json and --csv ask for two answers: give one of them")
    _, store = open_store()
    found = versions.select(
        store,
        asset,
        partitions=None if partition is None else [partition],
        version=version,
        as_of=None if as_of is None else moment(as_of),
        run_id=run_id,
    )
    rows = records_of(store.read(found))
    rows = rows[:limit] if is_json or is_csv else rows
    if is_csv:
        print_csv(rows)
    else:
        print_records(rows, is_json=is_json, most=limit or ROWS_SHOWN)


@click.command(
    epilog=help_epilog(
        "forecast-assets diff next_week_forecast 0 1",
        "forecast-assets diff metrics 0 1 --json",
    )
)
@asset_argument
@click.argument("old", type=int)
@click.argument("new", type=int)
@partition_option
@as_json
def diff(asset: str, old: int, new: int, partition: str | None, *, is_json: bool) -> None:
    """Print what changed from version OLD to NEW.

    Cell by cell, by the key of ASSET's table.
    """
    from forecast_assets.storage import versions

    _, store = open_store()
    chosen = None if partition is None else [partition]
    before, after = (
        versions.select(store, asset, partitions=chosen, version=version) for version in (old, new)
    )
    changes = versions.diff(store, before, after)
    if changes.empty and not is_json:
        click.echo(f"Version {new} of {asset} says the same as version {old}.")
        return
    print_records(records_of(changes), is_json=is_json)


@click.command(
    epilog=help_epilog(
        "forecast-assets verify",
        "forecast-assets verify series next_week_forecast --json",
        no="a version is not sound",
    )
)
@assets_argument
@as_json
@click.pass_context
def verify(ctx: click.Context, assets: Sequence[str], *, is_json: bool) -> None:
    """Look whether every version is as recorded.

    Each is read again and compared with what was recorded of it.
    """
    from forecast_assets.storage import audit
    from forecast_assets.storage.tables import ASSETS

    _, store = open_store()
    findings = audit.verify(store, assets or ASSETS)
    unsound = [finding for finding in findings if finding.problem]
    n_pruned = sum(finding.pruned_at is not None for finding in findings)
    if is_json:
        print_records([vars(finding) for finding in findings], is_json=True)
    elif unsound:
        names = ("asset", "version", "partition", "n_rows", "problem")
        print_records([{name: vars(one)[name] for name in names} for one in unsound])
        click.echo(
            f"{len(unsound)} of {len(findings)} versions are not sound. What they held is lost"
            f" unless a back-up has it; the other versions are not touched by it."
        )
    else:
        of_pruned = (
            f" {n_pruned} more are pruned: their records are as written." if n_pruned else ""
        )
        click.echo(
            f"Sound: {len(findings) - n_pruned} versions are there, readable and as recorded."
            f"{of_pruned}"
        )
    if unsound:
        ctx.exit(NO)


def _told(commit: "Commit", pruned_at: datetime | None, *, has_pruned: bool) -> Record:
    return {
        "version": commit.version,
        **({"partition": commit.partition} if commit.partition else {}),
        "as_of": commit.as_of,
        "written_at": commit.written_at,
        "run_id": commit.run_id,
        "n_rows": commit.n_rows,
        "data_version": commit.data_version,
        **({"pruned_at": pruned_at} if has_pruned else {}),
        "made_from": commit.made_from,
    }
