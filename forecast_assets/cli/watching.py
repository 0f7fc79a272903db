"""The commands for who watches over the week: `healthcheck`, and `notify`, a test of channels."""

from datetime import UTC, datetime

import click

from forecast_assets.cli.asking import NO, as_json, ending, opened
from forecast_assets.cli.lines import Line, print_lines
from forecast_assets.cli.printing import print_records

TEST_SECONDS = 30.0  # that a channel has to take a test message


@click.command(
    epilog=ending(
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
    from forecast_assets.defs.health import ailments

    settings, store = opened()
    now = datetime.now(UTC)
    found = ailments(settings, store, at=now, has_daemon=not no_daemon)
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
    epilog=ending(
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
    from forecast_assets.notify import Notice, configured, send
    from forecast_assets.source_settings import masked

    settings, _ = opened()
    now = datetime.now(UTC)
    notice = Notice(
        id=f"test {now.isoformat()}",
        event="report",
        severity="info",
        title="A test of forecast_assets",
        text=f"Sent by `forecast-assets notify` on {now:%Y-%m-%d %H:%M} UTC. Nothing is to be"
        " done: reports and alarms will come this way.",
    )
    urls = configured(settings)
    lines = []
    for url in urls:
        why = send(notice, url, seconds=TEST_SECONDS)
        lines.append(Line(masked(url), why, is_well=why is None, text=why or "taken"))
    if not lines and not is_json:
        click.echo("No channel is set. Write Apprise URLs into `[notify] urls` in forecast.toml.")
        return
    print_lines(lines, is_json=is_json) if lines else print_records([], is_json=True)
    if not all(line.is_well for line in lines):
        ctx.exit(NO)
