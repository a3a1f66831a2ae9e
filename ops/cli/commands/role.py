"""How are roles managed from a terminal? (cli 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import ROLE, resolve
from ops.cli.permissions import read_permissions

if TYPE_CHECKING:
    from ops.cli.permissions import Permissions

ROWS: Final = ("id", "name", "isDefault", "isManaged", "permissionCount")
ONE: Final = ("id", "name", "description", "isDefault", "isManaged", "permissions")
_WRITABLE: Final = ("name", "description", "permissions", "isDefault")


@click.group(cls=client.Group)
def command() -> None:
    """Manage roles: named sets of permissions, which grant nothing until they are bound."""


@command.command("list")
@client.connected
@lists.narrowed
def list_(server: Server, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List roles."""
    lists.write(server, server.path("roles/search"), ROWS, **given)


@command.command("get")
@client.connected
@click.argument("name")
def get(server: Server, name: str) -> None:
    """Show a role."""
    output.write_one(server.read(_place(server, name)).value, ONE)


@command.command("create")
@client.connected
@click.argument("name")
@click.option(
    "--permission",
    "given",
    multiple=True,
    required=True,
    metavar="TYPE:ACTION[,ACTION]",
    help="What it contains. Repeatable.",
)
@click.option("--description", default="")
@click.option("--default", "is_default", is_flag=True, help="For every new user of the tenant.")
def create(
    server: Server, name: str, given: tuple[str, ...], description: str, *, is_default: bool
) -> None:
    """Create a role."""
    body = {
        "name": name,
        "description": description,
        "permissions": read_permissions(given, "--permission"),
        "isDefault": is_default,
    }
    answer = server.write("POST", server.path("roles"), body)
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


@command.command("update")
@client.connected
@click.argument("name")
@click.option("--add", multiple=True, metavar="TYPE:ACTION[,ACTION]", help="Repeatable.")
@click.option("--remove", multiple=True, metavar="TYPE:ACTION[,ACTION]", help="Repeatable.")
@click.option("--name", "new_name", help="Another name.")
@click.option("--description", help="Another description.")
def update(
    server: Server,
    name: str,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    new_name: str | None,
    description: str | None,
) -> None:
    """Change what a role contains, its name or its description, on exactly what was read."""
    change: dict[str, object] = {}
    if new_name is not None:
        change["name"] = new_name
    if description is not None:
        change["description"] = description
    if not (add or remove or change):
        raise click.UsageError("give --add, --remove, --name or --description")
    added, removed = read_permissions(add, "--add"), read_permissions(remove, "--remove")
    _replace(
        server, name, lambda before: {**change, "permissions": _edited(before, added, removed)}
    )


@command.command("set-default")
@client.connected
@click.argument("name")
def set_default(server: Server, name: str) -> None:
    """Make a role the one that new users of the tenant get."""
    _replace(server, name, lambda _: {"isDefault": True})


@command.command("duplicate")
@client.connected
@click.argument("name")
@click.argument("new_name")
def duplicate(server: Server, name: str, new_name: str) -> None:
    """Create a role with the permissions of another one."""
    before = server.read(_place(server, name)).value
    body = {
        "name": new_name,
        "description": before.get("description", ""),
        "permissions": before["permissions"],
    }
    answer = server.write("POST", server.path("roles"), body)
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


@command.command("delete")
@client.connected
@click.argument("name")
def delete(server: Server, name: str) -> None:
    """Delete a role and the bindings that name it."""
    lists.delete_unused_first(server, ROLE, "roles", name)


def _replace(server: Server, name: str, change: Any) -> None:  # noqa: ANN401 - from the role before to what differs
    place = _place(server, name)
    before, version = server.read_version(place)
    kept = {key: before[key] for key in _WRITABLE if key in before}
    answer = server.write("PUT", place, {**kept, **change(before)}, version)
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


def _edited(role: dict[str, Any], added: Permissions, removed: Permissions) -> Permissions:
    """Answer a role's permissions with these more and these less; what it lacks is a fault."""
    edited: Permissions = {type_: [*actions] for type_, actions in role["permissions"].items()}
    for type_, actions in removed.items():
        for action in actions:
            if action not in edited.get(type_, ()):
                raise click.UsageError(f"--remove {type_}:{action}: the role does not contain it")
            edited[type_].remove(action)
    for type_, actions in added.items():
        there = edited.setdefault(type_, [])
        there += [action for action in actions if action not in there]
    return {type_: actions for type_, actions in edited.items() if actions}


def _place(server: Server, name: str) -> str:
    return server.path(f"roles/{resolve(server, ROLE, name)}")
