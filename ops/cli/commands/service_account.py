"""How are service accounts managed from a terminal? (cli 5.2)."""

from __future__ import annotations

from typing import Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import GROUP, SERVICE_ACCOUNT, resolve

ROWS: Final = ("id", "username", "description", "groups.name")
ONE: Final = ("id", "name", "description", "enabled", "created", "lastUsed")
PATH: Final = "service-accounts"


@click.group(cls=client.Group)
def command() -> None:
    """Manage service accounts: programs, which sign in by API tokens only."""


@command.command("list")
@client.connected
@lists.narrowed
@click.option("--group", help="Only members of this group, by name.")
@click.option("--disabled", is_flag=True, help="Only those that are disabled.")
def list_(server: Server, group: str | None, *, disabled: bool, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List service accounts."""
    if group is not None:
        given["filters[groupList][EQUALS]"] = resolve(server, GROUP, group)
    if disabled:
        given["filters[enabled][EQUALS]"] = "false"
    lists.write(server, server.path(PATH), ROWS, **given)


@command.command("get")
@client.connected
@click.argument("name")
def get(server: Server, name: str) -> None:
    """Show a service account."""
    output.write_one(server.read(_place(server, name)).value, ONE)


@command.command("create")
@client.connected
@click.argument("name")
@click.option("--description", default="")
@click.option("--group", "groups", multiple=True, help="A group to join. Repeatable.")
def create(server: Server, name: str, description: str, groups: tuple[str, ...]) -> None:
    """Create a service account, in groups or in none."""
    members = [{"id": resolve(server, GROUP, group)} for group in groups]
    body = {"name": name, "description": description, "groups": members}
    answer = server.write("POST", server.path(PATH), body)
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


@command.command("update")
@client.connected
@click.argument("name")
@click.option("--name", "new_name", help="Another name.")
@click.option("--description", help="Another description.")
def update(server: Server, name: str, new_name: str | None, description: str | None) -> None:
    """Change a name or a description."""
    lists.redescribe(server, _place(server, name), new_name, description, ONE)


@command.command("enable")
@client.connected
@click.argument("name")
def enable(server: Server, name: str) -> None:
    """Let a service account act again."""
    answer = server.write("POST", f"{_place(server, name)}/enable")
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


@command.command("disable")
@client.connected
@click.argument("name")
def disable(server: Server, name: str) -> None:
    """Refuse all tokens of a service account from the next request on; nothing is lost."""
    place = _place(server, name)
    if not server.dry_run:
        client.require_yes(f"Disable service account {name}?")
    answer = server.write("POST", f"{place}/disable")
    effects.written(server, answer, lambda made: output.write_one(made, ONE))


@command.command("delete")
@client.connected
@click.argument("name")
def delete(server: Server, name: str) -> None:
    """Delete a service account, with its tokens, memberships and bindings."""
    lists.delete(server, SERVICE_ACCOUNT, PATH, name)


def _place(server: Server, name: str) -> str:
    return server.path(f"{PATH}/{resolve(server, SERVICE_ACCOUNT, name)}")
