"""What the commands share: how a question is put, what is opened for it, and how it is refused.

Exit codes: 0 done; 1 the answer is no (a version is not sound, the run failed); 2 it could not be
asked; 130 interrupted.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click

from forecast_assets.errors import ForecastAssetsError

if TYPE_CHECKING:
    from forecast_assets.config.settings import Settings
    from forecast_assets.storage.store import Store


COMPLETE = "_FORECAST_ASSETS_COMPLETE"  # by which a shell asks, whatever the program is called
OK, NO, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


class Commands(click.Group):
    """A group whose commands are listed as they were added, and refuse with a paragraph."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order in which a person meets them."""
        del ctx
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line in a terminal of whatever encoding."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a dash must not cost the answer
        return super().main(*args, **{"complete_var": COMPLETE, **extra})

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print what the package refuses, not a traceback."""
        if os.environ.get("NO_COLOR"):  # no-color.org
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ForecastAssetsError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(UNUSABLE)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What was published before stands.", err=True)
            ctx.exit(INTERRUPTED)


def help_epilog(*examples: str, no: str | None = None) -> str:
    r"""How every help page ends: examples that can be run as they stand, and the exit codes.

    Click keeps the line breaks of a paragraph that begins with \b.
    """
    lines = "\n".join(f"  {example}" for example in examples)
    codes = [f"{OK} done", *([f"{NO} {no}"] if no else []), f"{UNUSABLE} it could not be asked"]
    return f"\b\nExamples:\n{lines}\n\nExit codes: {'; '.join(codes)}."


def open_store() -> "tuple[Settings, Store]":
    """The settings in force, and the store that they name. Raises SettingsError."""
    from forecast_assets.config import loader
    from forecast_assets.storage.store import Store
    from forecast_assets.storage.tables import table_contracts

    settings = loader.load(warn=print_warning)
    contracts = table_contracts(settings.forecast.levels)
    return settings, Store(settings.store_uri, contracts, var=settings.var)


def print_warning(text: str) -> None:
    """Print a warning to stderr, apart from what the command prints."""
    click.echo(f"Warning: {text}", err=True)


def moment(text: str) -> datetime:
    """Read an ISO 8601 time; a bare one is in UTC, as `run --as-of` reads it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no ISO 8601 time, such as 2026-11-23") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _assets(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[str]:
    from forecast_assets.storage.tables import ASSETS

    return [name for name in ASSETS if name.startswith(incomplete)]


def _models(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[str]:
    from forecast_assets.config import loader

    with suppress(ForecastAssetsError):  # a press of TAB is no place for it
        enabled = loader.load(warn=lambda _: None).models.enabled
        return [name for name in enabled if name.startswith(incomplete)]
    return []


Decorator = Callable[[Callable[..., None]], Callable[..., None]]

as_json = click.option("--json", "is_json", is_flag=True, help="Print an array of records.")
asset_argument: Decorator = click.argument("asset", shell_complete=_assets)
assets_argument: Decorator = click.argument(
    "assets", nargs=-1, metavar="[ASSET]...", shell_complete=_assets
)
partition_option: Decorator = click.option(
    "--partition", metavar="MODEL", shell_complete=_models, help="One partition of the asset."
)


def limit_option(which: str) -> Decorator:
    """The option that says how many rows are printed, and which ones."""
    return click.option(
        "--limit", metavar="N", type=click.IntRange(min=1), help=f"Print the {which} N alone."
    )


@click.command(
    epilog=help_epilog(
        "forecast-assets completion bash >> ~/.bashrc",
        "forecast-assets completion zsh >> ~/.zshrc",
        "forecast-assets completion fish > ~/.config/fish/completions/forecast-assets.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes in a shell.

    With it, TAB completes commands, options, assets and models.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter(f"click has no completion for {shell}")
    program = click.get_current_context().find_root().command
    click.echo(found(program, {}, "forecast-assets", COMPLETE).source())
