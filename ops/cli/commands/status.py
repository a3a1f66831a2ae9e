"""Is the server well, and how far is it? (cli 5.1)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, output
from ops.cli.client import Server

COLUMNS: Final = ("muniment.version", "position", "uuid")


@click.command("status", cls=client.Command)
@client.connected
def command(server: Server) -> None:
    """Tell the server's version, installation and position; exit code 9 when it is not ready."""
    server.read("/readyz")
    answer = server.read("/api/v1/configs")
    output.write_one({**answer.value, "position": answer.position}, COLUMNS)
