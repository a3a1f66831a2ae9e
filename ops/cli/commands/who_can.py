"""Who may do this there? (cli 5.4)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, lists, output
from ops.cli.client import Server

COLUMNS: Final = ("type", "id", "name", "via.name")


@click.command("who-can", cls=client.Command)
@client.connected
@click.argument("action", metavar="ACTION")
@click.argument("resource", metavar="TYPE[/ID]")
@click.argument("namespace", metavar="[NAMESPACE]", required=False)
def command(server: Server, action: str, resource: str, namespace: str | None) -> None:
    """List the users and service accounts that may do something, and through which groups."""
    type_, _, id_ = resource.partition("/")
    asked = {"resourceType": type_, "action": action, "namespace": namespace}
    asked["resourceId"] = id_ or None
    found = lists.walk(server, server.path("access/who-can"), None, asked)
    output.write_list(found, COLUMNS)
