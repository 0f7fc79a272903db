"""The command `forecast-assets`: run a week, see its state, and look back at every version.

Each module holds a group of commands; a new command is also listed in `COMMANDS`. Commands import
what they need when they run, so that `--help` and completion answer at once.
"""

import click

from forecast_assets.cli.check import check, config
from forecast_assets.cli.compare_rules import compare_rules
from forecast_assets.cli.deliver import deliver
from forecast_assets.cli.explain import explain
from forecast_assets.cli.history import diff, history, show, verify
from forecast_assets.cli.maintenance import healthcheck, notify, prune, site
from forecast_assets.cli.options import CommandGroup, completion, help_epilog
from forecast_assets.cli.override import override
from forecast_assets.cli.replay import replay
from forecast_assets.cli.run import run
from forecast_assets.cli.status import status
from forecast_assets.cli.withdraw import withdraw

COMMANDS = (
    *(run, status, healthcheck, check, notify, withdraw, override, replay, deliver),
    *(explain, compare_rules, history, show, diff, verify, prune, site, config, completion),
)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=help_epilog("run", "status", "show --help", failure="a check failed or the run failed"),
)
def main() -> None:
    """Weekly forecasts with every version kept."""


for command in COMMANDS:
    main.add_command(command)
