"""How are roles given to principals and groups, and taken, from a terminal? (cli 5.2)."""

from __future__ import annotations

from typing import Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import GROUP, ROLE, resolve, subject
from ops.cli.times import instant

COLUMNS: Final = (
    *("id", "type", "user.displayName", "group.name", "role.name"),
    *("namespace", "resource", "state", "expiresAt"),
)


@click.group(cls=client.Group)
def command() -> None:
    """Give a role at a scope to a principal or a group; a binding is made and deleted, no more."""


@command.command("list")
@client.connected
@lists.narrowed
@click.option("--subject", "named", help="Only of sa:NAME, user:EMAIL or group:NAME.")
@click.option("--role", help="Only of this role.")
@click.option("--namespace", help="Only in this namespace and below.")
def list_(
    server: Server,
    named: str | None,
    role: str | None,
    namespace: str | None,
    **given: Any,  # noqa: ANN401 - the options of every list
) -> None:
    """List bindings."""
    if named is not None:
        given["filters[externalId][EQUALS]"] = subject(server, named).id
    if role is not None:
        given["filters[roleId][EQUALS]"] = resolve(server, ROLE, role)
    if namespace is not None:
        given["filters[namespace][PREFIX]"] = namespace
    lists.write(server, server.path("bindings/search"), COLUMNS, **given)


@command.command("get")
@client.connected
@click.argument("id_", metavar="ID")
def get(server: Server, id_: str) -> None:
    """Show a binding."""
    output.write_one(server.read(_place(server, id_)).value, COLUMNS)


@command.command("create")
@client.connected
@click.argument("named", metavar="SUBJECT")
@click.argument("role")
@click.option("--namespace", help="There and below; else the whole tenant.")
@click.option("--resource", metavar="TYPE/ID", help="For this resource only.")
@click.option("--not-before", metavar="TIME", help="From then on.")
@click.option("--expires-at", metavar="TIME", help="Until then.")
def create(
    server: Server,
    named: str,
    role: str,
    namespace: str | None,
    resource: str | None,
    not_before: str | None,
    expires_at: str | None,
) -> None:
    """Bind a role to sa:NAME, user:EMAIL or group:NAME."""
    who = subject(server, named)
    body: dict[str, Any] = {
        "type": "GROUP" if who.kind is GROUP else "USER",
        "externalId": who.id,
        "roleId": resolve(server, ROLE, role),
    }
    if namespace is not None:
        body["namespaceId"] = namespace
    if resource is not None:
        type_, slash, id_ = resource.partition("/")
        if not slash or not type_ or not id_:
            raise click.UsageError(f"--resource {resource} must be TYPE/ID")
        body["resource"] = {"type": type_, "id": id_}
    if not_before is not None:
        body["notBefore"] = instant(not_before, "--not-before")
    if expires_at is not None:
        body["expiresAt"] = instant(expires_at, "--expires-at")
    answer = server.write("POST", server.path("bindings"), body)
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("delete")
@client.connected
@click.argument("id_", metavar="ID")
def delete(server: Server, id_: str) -> None:
    """Delete a binding: what it gave ends at once."""
    if not server.dry_run:
        client.require_yes(f"Delete binding {id_}?")
    effects.written(server, server.write("DELETE", _place(server, id_)))


def _place(server: Server, id_: str) -> str:
    return server.path(f"bindings/{client.quoted(id_)}")
