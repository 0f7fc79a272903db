"""Commands `healthcheck`, `notify`, `site` and `prune`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import FAILED, command, open_store
from forecast_assets.cli.output import Record, StatusLine, print_lines, print_records

if TYPE_CHECKING:
    from forecast_assets.storage.retention import PruneCandidate
    from forecast_assets.storage.store import Store


TEST_SECONDS = 30.0
HALF_A_YEAR_WEEKS = 26
KINDS = {
    "rows": "rows of superseded backtests and scores",
    "folds": "folds of models that no run has added to",
    "records": "values that steps of old runs passed to each other",
    "pages": "pages that `forecast-assets site` builds from the store",
}


@command(
    "healthcheck", "healthcheck --no-daemon", "healthcheck --json", failure="there is a problem"
)
@click.option(
    "--no-daemon",
    is_flag=True,
    help="The weekly run is started by something else, such as cron: do not check for a daemon.",
)
def healthcheck(*, no_daemon: bool, is_json: bool) -> None:
    """Report in one line whether the weekly forecast is at risk.

    For cron, systemd or a container's probe, because a daemon that is down raises no alarm. A
    problem is a week without a forecast after its deadline, data that are held back, a forecast
    from the future, a daemon without a heartbeat, a run whose process no longer exists, or a
    notification that was not delivered. Changes nothing. With --json, prints one record for each
    problem.
    """
    from forecast_assets.defs.health import health_problems

    settings, store = open_store()
    now = datetime.now(UTC)
    problems = health_problems(settings, store, now=now, has_daemon=not no_daemon)
    if is_json:
        print_records([{"problem": problem} for problem in problems], is_json=True)
    elif problems:
        click.echo(f"Not healthy: {'; '.join(problems).rstrip('.')}.")
    else:
        click.echo(f"Healthy: {_newest_forecast(store, now=now)}.")
    if problems:
        raise click.exceptions.Exit(FAILED)


def _newest_forecast(store: "Store", *, now: datetime) -> str:
    """Name the newest forecast, and the week that was withdrawn since."""
    from forecast_assets.storage.tables import FORECAST
    from forecast_assets.storage.versions import newest_of_each
    from forecast_assets.storage.withdrawals import open_withdrawals

    newest = [commit.as_of for commit in newest_of_each(store, FORECAST, as_of=now)]
    texts = [f"the newest forecast is as of {as_of:%Y-%m-%d %H:%M} UTC" for as_of in newest]
    since = [row for row in open_withdrawals(store) if newest < [row.as_of] <= [now]]
    return "; ".join([*texts, *(f"the one {row.text} is withdrawn" for row in since[:1])])


@command("notify", "notify --json", failure="a channel did not accept it")
def notify(*, is_json: bool) -> None:
    """Send a test message to every channel.

    Sends to each URL in [notify] and prints whether it was accepted. With --json, prints a record
    for each channel with `name`, `value` (why it was not accepted) and `is_well`.
    """
    from forecast_assets.config.redaction import mask
    from forecast_assets.notifications.apprise_client import send
    from forecast_assets.notifications.routing import Notification, all_channels

    settings, _ = open_store()
    now = datetime.now(UTC)
    notification = Notification(
        id=f"test {now.isoformat()}",
        event="report",
        severity="info",
        title="Test message of forecast_assets",
        text=f"Sent at {now:%Y-%m-%d %H:%M} UTC. Reports and alarms will arrive here. You need not"
        " do anything. This message was sent by `forecast-assets notify`",
    )
    lines = []
    for url in all_channels(settings):
        failure = send(notification, url, seconds=TEST_SECONDS)
        reason = failure.reason if failure else None
        lines.append(StatusLine(mask(url), reason, is_well=not reason, text=reason or "accepted"))
    if lines or is_json:
        print_lines(lines, is_json=is_json)
    else:
        click.echo("There are no channels. Add Apprise URLs to `[notify] urls` in forecast.toml.")
    if not all(line.is_well for line in lines):
        raise click.exceptions.Exit(FAILED)


@command("site", "site --json", failure="the pages could not be written")
def site(*, is_json: bool) -> None:
    """Build the pages that are derived from the store.

    Writes `reports/index.html`, the list of all weeks, and the pages of the series, as each run
    does: after a restore from a back-up, or a change of the package. The pages of the weeks stay as
    they are. With --json, prints a record with the path of the index.
    """
    from forecast_assets.reporting.stored_weeks import rebuild_site
    from forecast_assets.storage.report_files import REPORTS

    settings, store = open_store()
    weeks = rebuild_site(store, settings, now=datetime.now(UTC))
    index = store.var / REPORTS / "index.html"
    if is_json:
        print_records([{"index": str(index), "n_reports": len(weeks)}], is_json=True)
    else:
        click.echo(f"{index} lists {len(weeks)} reports.")


@command("prune", "prune --keep-weeks 52 --json", "prune --yes")
@click.option(
    "--keep-weeks",
    metavar="N",
    type=click.IntRange(min=1),  # a run of today reads nothing older than a week
    default=HALF_A_YEAR_WEEKS,
    show_default=True,
    help="Keep what was needed in the last N weeks.",
)
@click.option("--yes", "is_confirmed", is_flag=True, help="Delete; without it, only list.")
def prune(keep_weeks: int, *, is_confirmed: bool, is_json: bool) -> None:
    """Delete data that can be computed again.

    Lists what was not needed in the last N weeks, and deletes it with --yes: rows of superseded
    versions of backtest_predictions and metrics, caches of folds that no run has added to, and
    values that steps of old runs passed to each other. Source data, selected models, forecasts,
    their accuracy, reports and the history of every version are kept.
    """
    from rich import filesize

    from forecast_assets.config.loader import dagster_home
    from forecast_assets.storage import retention

    settings, store = open_store()
    now = datetime.now(UTC)
    candidates = retention.find_prunable(
        store,
        fold_cache=settings.var / "fold_cache",
        dagster_home=dagster_home(settings),
        before=now - timedelta(weeks=keep_weeks),
    )
    if is_confirmed:
        retention.remove(store, candidates, now=now)
    if is_json:
        names = ("kind", "name", "since", "n_files", "n_bytes")
        rows = [{name: getattr(candidate, name) for name in names} for candidate in candidates]
        print_records([{**row, "deleted": is_confirmed} for row in rows], is_json=True)
    elif candidates:
        print_records(list(_totals(candidates)))
        size = filesize.decimal(sum(candidate.n_bytes for candidate in candidates))
        click.echo(f"\nDeleted {size}." if is_confirmed else f"\n--yes deletes these {size}.")
    else:
        click.echo(f"Nothing to delete: everything was needed in the last {keep_weeks} weeks.")


def _totals(candidates: "Sequence[PruneCandidate]") -> Iterator[Record]:
    from rich import filesize

    for kind, text in KINDS.items():
        if group := [candidate for candidate in candidates if candidate.kind == kind]:
            yield {
                "what": text,
                "n": len(group),
                "files": sum(candidate.n_files for candidate in group),
                "size": filesize.decimal(sum(candidate.n_bytes for candidate in group)),
                "from": f"{group[0].since:%Y-%m-%d}",
                "to": f"{group[-1].since:%Y-%m-%d}",
            }
