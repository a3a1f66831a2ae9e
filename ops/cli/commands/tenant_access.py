"""Who has access to a tenant? (cli 5.2)."""

from __future__ import annotations

from typing import Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import SERVICE_ACCOUNT, USER, subject

ROWS: Final = ("id", "username", "displayName", "groups.name")
ONE: Final = ("userId", "username", "tenantId", "instanceOwner", "roles.name")


@click.group(cls=client.Group)
def command() -> None:
    """Give access to the tenant and end it; rights come by roles only."""


@command.command("list")
@client.connected
@lists.narrowed
def list_(server: Server, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List the users that have access; service accounts have a list of their own."""
    lists.write(server, server.path("tenant-access"), ROWS, **given)


@command.command("get")
@client.connected
@click.argument("named", metavar="SUBJECT")
def get(server: Server, named: str) -> None:
    """Show what sa:NAME or user:EMAIL has in the tenant, by its roles."""
    output.write_one(server.read(_place(server, named)).value, ONE)


@command.command("grant")
@client.connected
@click.argument("named", metavar="user:EMAIL|SUBJECT")
def grant(server: Server, named: str) -> None:
    """Give access, to user:EMAIL of the installation or to any principal by its id."""
    kind, _, name = named.partition(":")
    if kind == "user" and "@" in name:
        answer = server.write("POST", server.path("tenant-access"), {"email": name})
    elif kind in {"user", "sa"} and name:
        answer = server.write("PUT", server.path(f"tenant-access/{client.quoted(name)}"))
    else:
        raise click.UsageError(f"{named} must be user:EMAIL, user:ID or sa:ID")
    effects.written(server, answer)


@command.command("remove")
@client.connected
@click.argument("named", metavar="SUBJECT")
def remove(server: Server, named: str) -> None:
    """End access, with the memberships and bindings in this tenant."""
    place = _place(server, named)
    if not server.dry_run:
        client.require_yes(f"End the access of {named} to {server.tenant}?")
    effects.written(server, server.write("DELETE", place))


def _place(server: Server, named: str) -> str:
    return server.path(f"tenant-access/{subject(server, named, SERVICE_ACCOUNT, USER).id}")
