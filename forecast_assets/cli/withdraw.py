"""The command `withdraw`: take a published forecast back, and notify those who received it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import FAILED, command, login_name, open_store, parse_time
from forecast_assets.cli.output import print_records
from forecast_assets.errors import DeliveryError, SettingsError, StoreError

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.commit import Commit
    from forecast_assets.storage.store import Store
    from forecast_assets.storage.withdrawals import Withdrawal


SEND_SECONDS = 40.0
TEXT = """\
The forecast as of {as_of:%Y-%m-%d %H:%M} UTC was withdrawn. Please do not use it.

Reason: {reason}

Withdrawn by {by} on {at:%Y-%m-%d %H:%M} UTC. {newest}"""


@command(
    "withdraw --as-of 2026-11-23 --reason 'The file was of last year'",
    "show withdrawals",
    failure="it is withdrawn, but not everybody who has it knows",
)
@click.option("--as-of", required=True, metavar="TIME", help="Its as_of, as `history` shows it.")
@click.option("--reason", required=True, help="Why; readers of the report receive it.")
@click.option("--by", help="Who withdraws it; the default is the user's login name.")
def withdraw(as_of: str, reason: str, by: str | None, *, is_json: bool) -> None:
    """Take a published forecast back.

    The forecast, and what was made for it alone, no longer counts: everything that looks for the
    newest version passes over it, and it is not scored. Nothing is deleted, its report stays as it
    was, those who received the report are notified, and what was delivered is taken back. No
    schedule or sensor publishes the week again; to publish it again, run it. With --json, prints
    the record of the withdrawal, the versions withdrawn, the channels notified and the deliveries
    taken back.
    """
    from forecast_assets.storage import withdrawals
    from forecast_assets.storage.tables import FORECAST
    from forecast_assets.storage.versions import valid_versions

    if not reason.strip():
        raise click.BadParameter("give the reason in words", param_hint="--reason")
    settings, store = open_store()
    forecasts = withdrawals.forecasts_as_of(store, parse_time(as_of))
    row = withdrawals.Withdrawal(
        as_of=forecasts[0].as_of,
        reason=" ".join(reason.split()),
        by=by or login_name(),
        at=datetime.now(UTC),
    )
    commit = withdrawals.withdraw(store, forecasts, row)
    valid = valid_versions(store, FORECAST)
    newest = _newest_text(valid, now=row.at)
    # Equal forecasts have one report, which stands as long as one of them counts.
    reports = {one.data_version for one in forecasts} - {one.data_version for one in valid}
    failures, channels = list[str](), list[str]()
    try:
        channels = _notify_readers(settings, sorted(reports), row, newest)
    except StoreError as error:
        text = f"The forecast is withdrawn, but its readers could not be notified. {error}"
        failures.append(text)
    taken_back = _take_back(settings, store, failures, now=row.at)
    pages = _rebuild_pages(settings, store, now=row.at)
    if is_json:
        record = {
            **vars(row),
            "withdrawn": commit.made_from,
            "notified": channels,
            "taken_back": taken_back,
        }
        print_records([record], is_json=True)
    else:
        click.echo(f"Withdrawn: {commit.made_from}, as of {row.as_of.isoformat()}.")
        nobody = (
            "no report of it was sent" if reports else "another forecast with its numbers counts"
        )
        click.echo(f"Notified:  {', '.join(channels) or f'nobody, because {nobody}'}.")
        if settings.deliver:
            click.echo(f"Taken back: {', '.join(taken_back) or 'nothing'}.")
        click.echo(f"{newest}\nTo publish the week again: {row.run_command}")
    if pages:
        click.echo(pages, err=True)
    for text in failures:
        click.echo(text, err=True)
    if failures:
        raise click.exceptions.Exit(FAILED)


def _rebuild_pages(settings: "Settings", store: "Store", *, now: datetime) -> str:
    """Mark the week in the index of the reports; return why not, empty where it is done."""
    from forecast_assets.reporting.stored_weeks import rebuild_site
    from forecast_assets.storage.report_files import derived_files

    try:
        if derived_files(store.var):
            rebuild_site(store, settings, now=now)
    except StoreError as error:
        return f"The index of the reports does not show it yet. {error}"
    return ""


def _take_back(
    settings: "Settings", store: "Store", failures: list[str], *, now: datetime
) -> list[str]:
    """Take what is withdrawn back from each delivery; return where there was something."""
    taken_back = []
    for name in settings.deliver:
        from forecast_assets.delivery.deliver import take_back

        try:
            if take_back(name, settings, store, now=now).n_taken_back:
                taken_back.append(name)
        except (DeliveryError, SettingsError) as error:
            failures.append(
                f"The forecast is withdrawn, but {name} may still have it. {error} The next"
                f" delivery takes it back; to do so now: `forecast-assets deliver {name}`."
            )
    return taken_back


def _newest_text(valid: "Sequence[Commit]", *, now: datetime) -> str:
    from forecast_assets.storage.versions import newest

    commit = newest(valid, as_of=now)
    if commit is None:
        return "There is no other forecast."
    return f"The newest forecast is now that as of {commit.as_of:%Y-%m-%d %H:%M} UTC."


def _notify_readers(
    settings: "Settings", reports: Sequence[str], row: "Withdrawal", newest: str
) -> list[str]:
    """Notify each channel that received one of the reports; return the channels."""
    from forecast_assets.notifications.queue import NotificationQueue
    from forecast_assets.reporting.render import escape_markdown

    queue = NotificationQueue(settings.var / "outbox")
    words = {"reason": escape_markdown(row.reason), "by": escape_markdown(row.by)}
    text = TEXT.format(as_of=row.as_of, at=row.at, newest=newest, **words)
    notified = [queue.withdraw_report(report, text, now=row.at) for report in reports]
    queue.deliver(settings, now=row.at, seconds=SEND_SECONDS)
    return list(dict.fromkeys(channel for channels in notified for channel in channels))
