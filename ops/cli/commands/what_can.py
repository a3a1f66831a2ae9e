"""What may somebody do, and where does it come from? (cli 5.4)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, lists, output
from ops.cli.asking import principal
from ops.cli.client import Server

COLUMNS: Final = ("scope", "permissions", "sources.role.name", "sources.via.name")


@click.command("what-can", cls=client.Command)
@client.connected
@click.argument("subject", metavar="SUBJECT")
def command(server: Server, subject: str) -> None:
    """List the rights of sa:NAME or user:EMAIL by scopes, with the roles and groups behind."""
    whom = principal(server, subject)
    output.write_list(lists.walk(server, server.path("access/what-can"), None, whom), COLUMNS)
