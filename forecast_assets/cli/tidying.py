"""The command `prune`: delete what can be made again and has not been needed for long."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.asking import as_json, ending, opened
from forecast_assets.cli.printing import print_records, size

if TYPE_CHECKING:
    from forecast_assets.prune import Stale

HALF_A_YEAR = 26  # weeks
TOLD = {
    "rows": "rows of superseded backtests and scores",
    "folds": "folds of models that no run added to",
    "records": "what the steps of old runs passed each other",
}


@click.command(
    epilog=ending(
        "forecast-assets prune",
        "forecast-assets prune --keep-weeks 52 --json",
        "forecast-assets prune --yes",
    )
)
@click.option(
    "--keep-weeks",
    metavar="N",
    type=click.IntRange(min=1),  # what a run of now still reads is younger
    default=HALF_A_YEAR,
    show_default=True,
    help="Keep what was needed in the last N weeks.",
)
@click.option("--yes", "is_sure", is_flag=True, help="Delete it; without, only tell what would go.")
@as_json
def prune(keep_weeks: int, *, is_sure: bool, is_json: bool) -> None:
    """Delete what can be made again.

    What was not needed in the last N weeks goes, with --yes: rows of superseded versions of
    backtest_predictions and metrics, fold caches that no run added to, and what the steps of old
    runs passed each other. Data, choices, forecasts, their accuracy, reports, and the history of
    every version stay.
    """
    from forecast_assets import prune as pruning
    from forecast_assets.settings_file import dagster_home

    settings, store = opened()
    now = datetime.now(UTC)
    found = pruning.find(
        store,
        fold_cache=settings.var / "fold_cache",
        dagster_home=dagster_home(settings),
        before=now - timedelta(weeks=keep_weeks),
    )
    if is_sure:
        pruning.remove(store, found, now=now)
    if is_json:
        rows = [
            {
                "kind": one.kind,
                "name": one.name,
                "since": one.since,
                "n_files": one.n_files,
                "n_bytes": one.n_bytes,
                "deleted": is_sure,
            }
            for one in found
        ]
        print_records(rows, is_json=True)
    elif found:
        _print_sums(found)
        freed = size(sum(one.n_bytes for one in found))
        said = f"Deleted: {freed}." if is_sure else f"{freed} would go; --yes deletes them."
        click.echo(f"\n{said}")
    else:
        click.echo(f"Nothing to delete: all of it was needed in the last {keep_weeks} weeks.")


def _print_sums(found: "Sequence[Stale]") -> None:
    rows = []
    for kind, told in TOLD.items():
        some = [one for one in found if one.kind == kind]
        if some:
            rows.append(
                {
                    "what": told,
                    "n": len(some),
                    "files": sum(one.n_files for one in some),
                    "size": size(sum(one.n_bytes for one in some)),
                    "from": f"{some[0].since:%Y-%m-%d}",
                    "to": f"{some[-1].since:%Y-%m-%d}",
                }
            )
    print_records(rows)
