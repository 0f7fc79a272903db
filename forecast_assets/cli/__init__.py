"""The command `forecast-assets`: run the week, see how it stands, and look back at every version.

A module for each group of commands; a command is one call of a function that has its own module,
and its printing. A new command is written beside those that it is like, and named in `COMMANDS`.

What a command needs is imported when it runs: `--help` and a press of TAB are to answer at once.
"""

import click

from forecast_assets.cli.check import check
from forecast_assets.cli.config import config
from forecast_assets.cli.history import diff, history, show, verify
from forecast_assets.cli.maintenance import healthcheck, notify, prune
from forecast_assets.cli.options import Commands, completion, help_epilog
from forecast_assets.cli.run import run
from forecast_assets.cli.status import status

COMMANDS = (
    run,
    status,
    healthcheck,
    check,
    notify,
    history,
    show,
    diff,
    verify,
    prune,
    config,
    completion,
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=help_epilog(
        "forecast-assets run",
        "forecast-assets status",
        "forecast-assets show --help",
        no="the answer is no",
    ),
)
def main() -> None:
    """Weekly forecasts with every version kept."""


for command in COMMANDS:
    main.add_command(command)
