"""Who are the instance owners? (cli 5.2)."""

from __future__ import annotations

from typing import Final

import click

from ops.cli import client, effects, output
from ops.cli.client import Server
from ops.cli.names import INSTANCE_USER, SERVICE_ACCOUNT, resolve, subject

COLUMNS: Final = ("id", "username", "name")
_SIZE: Final = 1_000


@click.group(cls=client.Group)
def command() -> None:
    """Give and take instance ownership: tenants and identities everywhere."""


@command.command("list")
@client.connected
def list_(server: Server) -> None:
    """List the users and service accounts that are instance owners."""
    found = []
    for noun in ("users", "service-accounts"):
        query = {"filters[instanceOwner][EQUALS]": "true", "size": _SIZE}
        found += server.read(f"/api/v1/{noun}", **query).value["results"]
    output.write_list(found, COLUMNS)


@command.command("give")
@client.connected
@click.argument("named", metavar="SUBJECT")
def give(server: Server, named: str) -> None:
    """Make user:EMAIL or sa:NAME an instance owner."""
    _set(server, named, "Make {} an instance owner?", owns=True)


@command.command("take")
@client.connected
@click.argument("named", metavar="SUBJECT")
def take(server: Server, named: str) -> None:
    """End an instance ownership; not the last one."""
    _set(server, named, "End the instance ownership of {}?", owns=False)


def _set(server: Server, named: str, question: str, *, owns: bool) -> None:
    kind, _, name = named.partition(":")
    if kind == "user" and name:
        place = f"/api/v1/users/{resolve(server, INSTANCE_USER, name)}"
    else:
        place = f"/api/v1/service-accounts/{subject(server, named, SERVICE_ACCOUNT).id}"
    if not server.dry_run:
        client.require_yes(question.format(named))
    body = {"instanceOwner": owns}
    effects.written(server, server.write("PATCH", f"{place}/instanceowner", body))
