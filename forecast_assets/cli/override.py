"""The command `override`: put a person's number next to the forecast of a week."""

from datetime import UTC, date, datetime

import click

from forecast_assets.cli.options import command, login_name, open_store
from forecast_assets.cli.output import print_records


@command(
    "override store_01 --week 2026-12-25 --value 1200 --reason 'New branch next door'",
    "override store_01 --week 2026-12-25 --withdraw --reason 'It opens in January'",
    "show overrides",
)
@click.argument("series")
@click.option("--week", required=True, metavar="DAY", help="A day of the week, such as its last.")
@click.option("--value", type=float, help="The value that you expect, in the series' unit.")
@click.option("--lower", type=float, help="The lowest value that you expect.")
@click.option("--upper", type=float, help="The highest value that you expect.")
@click.option("--withdraw", "is_withdrawn", is_flag=True, help="Withdraw the week's override.")
@click.option("--reason", required=True, help="Why; it is shown with the number.")
@click.option("--by", help="Who expects it; the default is the user's login name.")
def override(
    series: str,
    week: str,
    value: float | None,
    lower: float | None,
    upper: float | None,
    reason: str,
    by: str | None,
    *,
    is_withdrawn: bool,
    is_json: bool,
) -> None:
    """Put your number next to the forecast of SERIES for a week.

    The newest forecast is written again with both numbers, and so is every later one of the week:
    no run removes an override. The report shows both, and forecast_accuracy scores both once the
    week is over. No model sees it. The last override of a week counts, until it is withdrawn.
    """
    from forecast_assets.forecasting import overrides
    from forecast_assets.storage.overrides import Override

    if (value is None) != is_withdrawn:
        raise click.UsageError("give one of --value and --withdraw")
    settings, store = open_store()
    row = Override(
        series,
        _parse_day(week),
        value,
        lower,
        upper,
        reason=" ".join(reason.split()),
        by=by or login_name(),
        at=datetime.now(UTC),
    )
    published = overrides.override(store, settings, row)
    if is_json:
        print_records([published.record], is_json=True)
    else:
        click.echo(published.text)


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not a day like 2026-12-25", param_hint="--week"
        ) from error
