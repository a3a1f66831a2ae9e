"""How does a shell come to complete commands and options? (cli 1)."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ops.cli import client

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=client.Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what a shell is to read: `eval "$(muniment completion bash)"`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "muniment", "_MUNIMENT_COMPLETE").source())
