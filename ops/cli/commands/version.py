"""Which release is this client? (cli 5.1)."""

from __future__ import annotations

from importlib.metadata import version

import click

from ops.cli import client


@click.command("version", cls=client.Command)
def command() -> None:
    """Print the version of this command line; `status` tells that of a server."""
    click.echo(version("muniment"))
