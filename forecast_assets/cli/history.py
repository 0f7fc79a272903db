"""The commands that look back at versions: `history`, `show`, `diff` and `verify`."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from forecast_assets.cli.options import (
    FAILED,
    asset_argument,
    assets_argument,
    command,
    limit_option,
    open_store,
    parse_time,
    partition_option,
)
from forecast_assets.cli.output import MAX_ROWS, print_csv, print_records, records_of

# Columns that are null or false for every version are left out.
HISTORY_COLUMNS = (
    *("version", "partition", "as_of", "written_at", "run_id", "n_rows", "data_version"),
    *("withdrawn_at", "is_future", "pruned_at", "made_from"),
)
# But not from --json.
ALWAYS_IN_JSON = ("withdrawn_at", "is_future", "pruned_at")


@command(
    "history next_week_forecast",
    "history backtest_predictions --partition naive --limit 5",
    "history metrics --json",
)
@asset_argument
@partition_option
@limit_option("newest")
def history(asset: str, partition: str | None, limit: int | None, *, is_json: bool) -> None:
    """List the versions of ASSET.

    The list is sorted from old to new and gives each version's run, times and inputs, and marks
    those that do not count: withdrawn, or as of a future time. Without --json or --limit it ends
    with the newest 50.
    """
    from forecast_assets.storage.versions import withdrawn_versions

    _, store = open_store()
    now = datetime.now(UTC)
    commits = store.history(asset, partition=partition)
    pruned = store.pruned(asset) if commits else {}
    n_shown = limit or (None if is_json else MAX_ROWS)
    shown = commits[-n_shown:] if n_shown else commits
    withdrawn = {source: commit.as_of for source, commit in withdrawn_versions(store).items()}
    rows = [
        {
            **vars(commit),
            "withdrawn_at": withdrawn.get(commit.as_input),
            "is_future": commit.as_of > now,
            "pruned_at": pruned.get(commit.version),
            "made_from": commit.made_from,
        }
        for commit in shown
    ]
    names = [
        name
        for name in HISTORY_COLUMNS
        if any(row[name] is not None and row[name] is not False for row in rows)
        or (is_json and name in ALWAYS_IN_JSON)
    ]
    print_records(
        [{name: row[name] for name in names} for row in rows], is_json=is_json, limit=None
    )
    if not is_json and len(commits) > len(shown):
        click.echo(f"… after {len(commits) - len(shown)} older versions; --json prints them all.")


@command(
    "show next_week_forecast",
    "show metrics --version 0 --limit 10",
    "show next_week_forecast --as-of 2026-11-01",
    "show next_week_forecast --csv > forecast.csv",
)
@asset_argument
@partition_option
@click.option("--version", type=int, metavar="N", help="A version number from the history.")
@click.option("--as-of", metavar="TIME", help="The newest version as of this time.")
@click.option("--run", "run_id", metavar="ID", help="What this run wrote; the id may be shortened.")
@limit_option("first")
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

    The options select a version; the default is the newest that counts. A withdrawn version, or
    scores of a withdrawn forecast, are printed only by a version's number or run. Without --json,
    --csv or --limit the first 50 rows are printed, without columns that are empty in every row. Of
    data_findings, what holds the data comes first; of raw_data, rows that were set aside.
    """
    from forecast_assets.data.quality import finding
    from forecast_assets.storage import versions
    from forecast_assets.storage.withdrawals import drop_withdrawn

    if is_json and is_csv:
        raise click.UsageError("--json and --csv exclude each other: give one of them")
    _, store = open_store()
    is_by_name = as_of is None and (version is not None or run_id is not None)
    commits = versions.select(
        store,
        asset,
        partitions=None if partition is None else [partition],
        version=version,
        as_of=None if is_by_name else datetime.now(UTC) if as_of is None else parse_time(as_of),
        run_id=run_id,
    )
    rows = store.read(commits)
    if asset == "forecast_accuracy" and not is_by_name:
        rows = drop_withdrawn(store, rows)
    if asset == "data_findings":
        rows = finding.by_policy(rows)
    if asset == "raw_data" and not is_csv and "problem" in rows:
        rows = rows.sort_values("problem", key=lambda problem: problem.isna(), kind="stable")
    if not (is_json or is_csv):
        rows = rows.dropna(axis="columns", how="all") if len(rows) else rows
    records = records_of(rows)
    records = records[:limit] if is_json or is_csv else records
    if is_csv:
        print_csv(records)
    else:
        print_records(records, is_json=is_json, limit=limit or MAX_ROWS)


@command("diff next_week_forecast 0 1", "diff metrics 0 1 --json")
@asset_argument
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@partition_option
def diff(
    asset: str, old: int | None, new: int | None, partition: str | None, *, is_json: bool
) -> None:
    """Compare two versions of ASSET, by default the newest ones.

    Prints one row for each added row, removed row and changed cell.
    """
    from forecast_assets.storage import versions

    _, store = open_store()
    partitions = None if partition is None else [partition]
    if old is None or new is None:
        newest_two = [commit.version for commit in store.history(asset)][-2:]
        if old is not None or newest_two[1:] == []:
            raise click.UsageError("give two versions, or none for the newest two of several")
        old, new = newest_two
        click.echo(f"Versions {old} and {new} of {asset}:", err=True)
    before, after = (
        versions.select(store, asset, partitions=partitions, version=version)
        for version in (old, new)
    )
    changes = versions.diff(store, before, after)
    if changes.empty and not is_json:
        click.echo(f"Versions {old} and {new} of {asset} are equal.")
        return
    print_records(records_of(changes), is_json=is_json)


@command(
    "verify", "verify series next_week_forecast --json", failure="a version is missing or damaged"
)
@assets_argument
def verify(assets: Sequence[str], *, is_json: bool) -> None:
    """Check that every version is undamaged.

    Reads each version again and compares it with its record; without ASSET, of all tables.
    """
    from forecast_assets.storage import audit
    from forecast_assets.storage.tables import TABLES

    _, store = open_store()
    audits = audit.verify(store, assets or TABLES)
    damaged = [result for result in audits if result.problem]
    n_pruned = sum(result.pruned_at is not None for result in audits)
    if is_json:
        print_records([vars(result) for result in audits], is_json=True)
    elif damaged:
        names = ("asset", "version", "partition", "n_rows", "problem")
        print_records([{name: vars(result)[name] for name in names} for result in damaged])
        click.echo(
            f"{len(damaged)} of {len(audits)} versions are missing or damaged. Only a backup can"
            f" restore them; the other versions are not affected."
        )
    else:
        n_read = len(audits) - n_pruned
        pruned = f" {n_pruned} more are pruned; their records match." if n_pruned else ""
        click.echo(
            f"{n_read} version{' is' if n_read == 1 else 's are'} readable and"
            f" match{'es its record' if n_read == 1 else ' their records'}.{pruned}"
        )
    if damaged:
        raise click.exceptions.Exit(FAILED)
