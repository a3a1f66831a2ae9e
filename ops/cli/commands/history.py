"""What happened to one object? (cli 5.5)."""

from __future__ import annotations

import click

from ops.cli import client, lists, output
from ops.cli.client import Server
from ops.cli.names import ROLE, resolve, subject
from ops.cli.trail import COLUMNS


@click.command("history", cls=client.Command)
@client.connected
@click.argument("named", metavar="sa:NAME|user:EMAIL|group:NAME|role:NAME")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
def command(server: Server, named: str, limit: int) -> None:
    """List the events that concern one object, newest first; of one that is gone by its id."""
    kind, _, name = named.partition(":")
    is_role = kind == "role" and name
    id_ = resolve(server, ROLE, name) if is_role else subject(server, named).id
    output.write_list(lists.walk(server, server.path("events"), limit, {"target": id_}), COLUMNS)
