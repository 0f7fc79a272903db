"""The command `deliver`, and the check of the destinations of `[deliver.NAME]`."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from forecast_assets.cli.options import FAILED, command, open_store
from forecast_assets.cli.output import StatusLine, print_records
from forecast_assets.errors import DeliveryError, ForecastAssetsError, format_list

if TYPE_CHECKING:
    from forecast_assets.cli.status_lines import StatusContext
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


def _complete_delivery(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[str]:
    from forecast_assets.config import loader

    names: Sequence[str] = ()
    with suppress(ForecastAssetsError):  # the shell has no place to show an error
        names = list(loader.load(warn=lambda _: None).deliver)
    return [name for name in names if name.startswith(incomplete)]


@command("deliver erp", "deliver erp --version 12", failure="it was not delivered")
@click.argument("name", shell_complete=_complete_delivery)
@click.option("--version", type=int, metavar="N", help="A version number from the history.")
def deliver(name: str, version: int | None, *, is_json: bool) -> None:
    """Deliver a version as [deliver.NAME] says.

    The default is the newest version that counts. Runs deliver the newest week by themselves; this
    command repeats a delivery that failed, and delivers any past version. What was delivered
    already does not change, and what was withdrawn since is taken back.
    """
    from forecast_assets.delivery import deliver as deliveries

    settings, store = open_store()
    now = datetime.now(UTC)
    commit = deliveries.version_to_deliver(name, settings, store, version, now=now)
    try:
        written = deliveries.deliver(name, settings, store, commit, now=now)
    except DeliveryError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(FAILED) from None
    if is_json:
        about = {"delivery": name, "version": commit.version, "as_of": commit.as_of}
        print_records([{**about, **vars(written)}], is_json=True)
    else:
        click.echo(f"Version {commit.version} of {commit.asset}: {written.text}")


def deliveries(settings: "Settings", store: "Store", now: datetime) -> Iterator[StatusLine]:
    """Try what each delivery needs, without writing anything there."""
    for name in settings.deliver:
        from forecast_assets.delivery.deliver import check_delivery

        try:
            text, is_well = check_delivery(name, settings, store, now=now), True
        except ForecastAssetsError as error:
            text, is_well = str(error), False
        yield StatusLine(f"deliver_{name}", text, is_well=is_well)


def delivered(context: "StatusContext") -> Iterator[StatusLine]:
    """Name the deliveries that lack the newest version; yield nothing without any."""
    from forecast_assets.storage.deliveries import last_deliveries

    deliveries = context.settings.deliver
    last = last_deliveries(context.store) if deliveries else {}
    absent = {
        name: f"{name} (its last is as of {last[name].as_of:%Y-%m-%d %H:%M})"
        if name in last
        else f"{name} (nothing yet)"
        for name, delivery in deliveries.items()
        for newest in [context.newest(delivery.asset)]
        if newest and (name not in last or last[name].version != newest.version)
    }
    if deliveries:
        names = format_list(absent.values(), limit=3)
        text = f"not to {names}: forecast-assets deliver NAME" if absent else "to all"
        yield StatusLine("delivered", sorted(absent), is_well=not absent, text=text)
