"""The command `completion`: what a shell needs to complete the others."""

import click

from forecast_assets.cli.asking import COMPLETE, ending


@click.command(
    epilog=ending(
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
