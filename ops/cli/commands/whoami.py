"""Who is signed in? (cli 5.1)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, output
from ops.cli.client import Server

COLUMNS: Final = ("id", "profile.username", "instanceOwner", "tenants.id")


@click.command("whoami", cls=client.Command)
@client.connected
def command(server: Server) -> None:
    """Tell who is signed in, with which tenants, and whether it is an instance owner."""
    output.write_one(server.read("/api/v1/me").value, COLUMNS)
