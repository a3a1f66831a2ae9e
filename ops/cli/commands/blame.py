"""Since when may somebody do something, until when, and by whose act? (cli 5.4)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, options, output
from ops.cli.asking import principal
from ops.cli.client import Server

COLUMNS: Final = ("begin.at", "begin.position", "begin.sentence", "end.at", "end.sentence")


@click.command("blame", cls=client.Command)
@client.connected
@click.argument("subject", metavar="SUBJECT")
@click.argument("action", metavar="ACTION")
@click.argument("resource", metavar="TYPE[/ID]")
@click.argument("namespace", metavar="[NAMESPACE]", required=False)
def command(
    server: Server, subject: str, action: str, resource: str, namespace: str | None
) -> None:
    """List when sa:NAME or user:EMAIL might do it, with the events at the ends of each interval."""
    type_, _, id_ = resource.partition("/")
    asked = {"resourceType": type_, "action": action, "namespace": namespace}
    whom = principal(server, subject)
    path = server.path("access/blame")
    found = server.read(path, resourceId=id_ or None, **asked, **whom).value
    if options.form() in {"json", "yaml"}:
        output.write_one(found, COLUMNS)
    else:
        output.write_list(found["intervals"], COLUMNS)
