"""Define what the commands share: options, the store, errors and exit codes.

Exit codes: 0 success; 1 a check failed or the run failed; 2 usage or configuration error;
130 interrupted.
"""

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from forecast_assets.errors import ForecastAssetsError

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


# The variable through which a shell asks for completions, however the program is called.
COMPLETE_VARIABLE = "_FORECAST_ASSETS_COMPLETE"
SHELLS = {shell.name: shell for shell in (BashComplete, ZshComplete, FishComplete)}
FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


class CommandGroup(click.Group):
    """A group that lists its commands in the order of definition and prints errors as text."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the commands' names in the order of definition."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line; print `?` for characters that the terminal cannot encode."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **{"complete_var": COMPLETE_VARIABLE, **extra})

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an error of this package without a traceback."""
        if os.environ.get("NO_COLOR"):  # no-color.org
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ForecastAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(UNUSABLE)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What was published before is unchanged.", err=True)
            ctx.exit(INTERRUPTED)


def command(*examples: str, failure: str = "") -> Callable[[Callable[..., None]], click.Command]:
    """Return the decorator of a command with --json; its help ends with examples and exit codes."""
    as_json = click.option("--json", "is_json", is_flag=True, help="Print records as JSON.")
    make_command = click.command(epilog=help_epilog(*examples, failure=failure))
    return lambda function: make_command(as_json(function))


def help_epilog(*examples: str, failure: str = "") -> str:
    r"""Return the end of a help page; `failure` says when the command exits with 1, if it can.

    Click keeps the line breaks of a paragraph that begins with \b.
    """
    lines = "".join(f"  forecast-assets {example}\n" for example in examples)
    failed = f" {FAILED} {failure};" if failure else ""
    codes = f"Exit codes: 0 success;{failed} {UNUSABLE} usage or configuration error."
    return f"\b\nExamples:\n{lines}\n{codes}"


def open_store(uri: str | None = None) -> "tuple[Settings, Store]":
    """Load the settings and open the store that they name, or another. Raises SettingsError."""
    from forecast_assets.config import loader
    from forecast_assets.storage.store import Store
    from forecast_assets.storage.tables import table_contracts

    settings = loader.load(warn=print_warning)
    if settings.has_regressors or settings.used_benchmarks:
        from forecast_assets.models.registry import with_candidates

        settings = with_candidates(settings)
    contracts = table_contracts(
        settings.forecast.levels, settings.forecast.quantiles, settings.benchmark_quantiles
    )
    address = settings.resolve_path(uri) if uri else settings.store_uri
    return settings, Store(address, contracts, var=settings.var)


def login_name() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"user {os.getuid()}"


def print_warning(text: str) -> None:
    """Print a warning to stderr, apart from what the command prints."""
    click.echo(f"Warning: {text}", err=True)


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time; one without a zone is in UTC, as in `run --as-of`."""
    try:
        time = datetime.fromisoformat(text)
        time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 time like 2026-11-23") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _complete_asset(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[str]:
    from forecast_assets.storage.tables import TABLES

    return [name for name in TABLES if name.startswith(incomplete)]


def _complete_model(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[str]:
    from forecast_assets.config import loader

    enabled: Sequence[str] = ()
    with suppress(ForecastAssetsError):  # the shell has no place to show an error
        enabled = loader.load(warn=lambda _: None).models.enabled
    return [name for name in enabled if name.startswith(incomplete)]


Decorator = Callable[[Callable[..., None]], Callable[..., None]]

asset_argument: Decorator = click.argument("asset", shell_complete=_complete_asset)
assets_argument: Decorator = click.argument(
    "assets", nargs=-1, metavar="[ASSET]...", shell_complete=_complete_asset
)
partition_option: Decorator = click.option(
    "--partition", metavar="MODEL", shell_complete=_complete_model, help="Only this partition."
)


def limit_option(which: str) -> Decorator:
    """Return the option that limits the printed rows to the first or the newest ones."""
    return click.option(
        "--limit", metavar="N", type=click.IntRange(min=1), help=f"Print only the {which} N."
    )


@click.command(
    epilog=help_epilog(
        "completion bash >> ~/.bashrc",
        "completion zsh >> ~/.zshrc",
        "completion fish > ~/.config/fish/completions/forecast-assets.fish",
    )
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print a script for shell completion.

    With it, TAB completes commands, options, assets and models.
    """
    program = click.get_current_context().find_root().command
    click.echo(SHELLS[shell](program, {}, "forecast-assets", COMPLETE_VARIABLE).source())
