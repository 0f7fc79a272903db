"""The commands for who watches over the week: `healthcheck`, and `notify`, a test of channels."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import NO, as_json, help_epilog, open_store
from forecast_assets.cli.output import StatusLine, humanize_bytes, print_lines, print_records

if TYPE_CHECKING:
    from forecast_assets.storage.retention import PruneCandidate


TEST_SECONDS = 30.0  # that a channel has to take a test message


@click.command(
    epilog=help_epilog(
        "forecast-assets healthcheck",
        "forecast-assets healthcheck --no-daemon",
        "forecast-assets healthcheck --json",
        no="something is not well",
    )
)
@click.option(
    "--no-daemon",
    is_flag=True,
    help="The week is run by something else, such as cron: no Dagster daemon has to be up.",
)
@as_json
@click.pass_context
def healthcheck(ctx: click.Context, *, no_daemon: bool, is_json: bool) -> None:
    """Tell in one line whether the week is safe.

    For cron, systemd, or a container's probe: a daemon that is down raises no alarm. Not well is a
    week without a forecast by its deadline, a daemon that fell silent, a run whose process is gone,
    and a notice that is not delivered. Nothing is changed. With --json a record for each.
    """
    from forecast_assets.defs.health import health_problems

    settings, store = open_store()
    now = datetime.now(UTC)
    found = health_problems(settings, store, at=now, has_daemon=not no_daemon)
    if is_json:
        print_records([{"ailment": one} for one in found], is_json=True)
    elif found:
        click.echo(f"Not well: {'; '.join(found)}.")
    else:
        newest = max(commit.as_of for commit in store.history("next_week_forecast"))
        click.echo(f"Well: the newest forecast is as of {newest:%Y-%m-%d %H:%M} UTC.")
    if found:
        ctx.exit(NO)


@click.command(
    epilog=help_epilog(
        "forecast-assets notify", "forecast-assets notify --json", no="a channel did not take it"
    )
)
@as_json
@click.pass_context
def notify(ctx: click.Context, *, is_json: bool) -> None:
    """Send a test message to every channel.

    To each URL of [notify], and say how it answered. With --json a record a channel, with `name`,
    `value` (why it did not take it) and `is_well`.
    """
    from forecast_assets.config.redaction import mask
    from forecast_assets.notifications.apprise_client import send
    from forecast_assets.notifications.routing import Notification, all_channels

    settings, _ = open_store()
    now = datetime.now(UTC)
    notice = Notification(
        id=f"test {now.isoformat()}",
        event="report",
        severity="info",
        title="A test of forecast_assets",
        text=f"Sent by `forecast-assets notify` on {now:%Y-%m-%d %H:%M} UTC. Nothing is to be"
        " done: reports and alarms will come this way.",
    )
    urls = all_channels(settings)
    lines = []
    for url in urls:
        why = send(notice, url, seconds=TEST_SECONDS)
        lines.append(StatusLine(mask(url), why, is_well=why is None, text=why or "taken"))
    if not lines and not is_json:
        click.echo("No channel is set. Write Apprise URLs into `[notify] urls` in forecast.toml.")
        return
    print_lines(lines, is_json=is_json) if lines else print_records([], is_json=True)
    if not all(line.is_well for line in lines):
        ctx.exit(NO)


HALF_A_YEAR = 26  # weeks
TOLD = {
    "rows": "rows of superseded backtests and scores",
    "folds": "folds of models that no run added to",
    "records": "what the steps of old runs passed each other",
}


@click.command(
    epilog=help_epilog(
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
    from forecast_assets.config.loader import dagster_home
    from forecast_assets.storage import retention as pruning

    settings, store = open_store()
    now = datetime.now(UTC)
    found = pruning.find_prunable(
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
        freed = humanize_bytes(sum(one.n_bytes for one in found))
        said = f"Deleted: {freed}." if is_sure else f"{freed} would go; --yes deletes them."
        click.echo(f"\n{said}")
    else:
        click.echo(f"Nothing to delete: all of it was needed in the last {keep_weeks} weeks.")


def _print_sums(found: "Sequence[PruneCandidate]") -> None:
    rows = []
    for kind, told in TOLD.items():
        some = [one for one in found if one.kind == kind]
        if some:
            rows.append(
                {
                    "what": told,
                    "n": len(some),
                    "files": sum(one.n_files for one in some),
                    "size": humanize_bytes(sum(one.n_bytes for one in some)),
                    "from": f"{some[0].since:%Y-%m-%d}",
                    "to": f"{some[-1].since:%Y-%m-%d}",
                }
            )
    print_records(rows)
