"""How are groups and their members managed from a terminal? (cli 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import GROUP, SERVICE_ACCOUNT, USER, resolve, subject
from ops.cli.times import instant

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS: Final = ("id", "name", "description")
MEMBERS: Final = ("id", "displayName", "username")


@click.group(cls=client.Group)
def command() -> None:
    """Manage groups: a role that is bound to a group governs all its members."""


@command.command("list")
@client.connected
@lists.narrowed
def list_(server: Server, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List groups."""
    lists.write(server, server.path("groups/search"), ROWS, **given)


@command.command("get")
@client.connected
@click.argument("name")
def get(server: Server, name: str) -> None:
    """Show a group."""
    output.write_one(server.read(_place(server, name)).value, ROWS)


@command.command("create")
@client.connected
@click.argument("name")
@click.option("--description", default="")
def create(server: Server, name: str, description: str) -> None:
    """Create a group."""
    body = {"name": name, "description": description}
    answer = server.write("POST", server.path("groups"), body)
    effects.written(server, answer, lambda made: output.write_one(made, ROWS))


@command.command("update")
@client.connected
@click.argument("name")
@click.option("--name", "new_name", help="Another name.")
@click.option("--description", help="Another description.")
def update(server: Server, name: str, new_name: str | None, description: str | None) -> None:
    """Change a name or a description."""
    lists.redescribe(server, _place(server, name), new_name, description, ROWS)


@command.command("delete")
@client.connected
@click.argument("name")
def delete(server: Server, name: str) -> None:
    """Delete a group and its bindings; its members lose what came through it."""
    lists.delete_unused_first(server, GROUP, "groups", name)


@command.command("members")
@client.connected
@lists.narrowed
@click.argument("name")
def members(server: Server, name: str, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List the members of a group."""
    lists.write(server, f"{_place(server, name)}/members", MEMBERS, **given)


@command.command("add")
@client.connected
@click.argument("name")
@click.argument("subjects", nargs=-1, required=True)
@click.option("--owner", is_flag=True, help="As owners, who manage the members.")
@click.option("--not-before", metavar="TIME", help="From then on.")
@click.option("--expires-at", metavar="TIME", help="Until then.")
def add(
    server: Server,
    name: str,
    subjects: tuple[str, ...],
    not_before: str | None,
    expires_at: str | None,
    *,
    owner: bool,
) -> None:
    """Add members, each by a command of its own: sa:NAME or user:EMAIL."""
    body = {"membership": "OWNER" if owner else "MEMBER"}
    if not_before is not None:
        body["notBefore"] = instant(not_before, "--not-before")
    if expires_at is not None:
        body["expiresAt"] = instant(expires_at, "--expires-at")
    for place in _places(server, name, subjects, "members"):
        effects.written(server, server.write("PUT", place, body))


@command.command("remove")
@client.connected
@click.argument("name")
@click.argument("subjects", nargs=-1, required=True)
def remove(server: Server, name: str, subjects: tuple[str, ...]) -> None:
    """Remove members, each by a command of its own."""
    places = _places(server, name, subjects, "members")
    if not server.dry_run:
        client.require_yes(f"Remove {', '.join(subjects)} from {name}?")
    for place in places:
        effects.written(server, server.write("DELETE", place))


@command.command("set-owner")
@client.connected
@click.argument("name")
@click.argument("subjects", nargs=-1, required=True)
def set_owner(server: Server, name: str, subjects: tuple[str, ...]) -> None:
    """Make members owners, who manage the members."""
    _set(server, name, subjects, "OWNER")


@command.command("set-member")
@client.connected
@click.argument("name")
@click.argument("subjects", nargs=-1, required=True)
def set_member(server: Server, name: str, subjects: tuple[str, ...]) -> None:
    """Make owners mere members."""
    _set(server, name, subjects, "MEMBER")


def _set(server: Server, name: str, subjects: Iterable[str], membership: str) -> None:
    for place in _places(server, name, subjects, "members/membership"):
        effects.written(server, server.write("PUT", place, membership=membership))


def _place(server: Server, name: str) -> str:
    return server.path(f"groups/{resolve(server, GROUP, name)}")


def _places(server: Server, name: str, subjects: Iterable[str], below: str) -> list[str]:
    """Answer the path of each member; all of them are known before the first is changed."""
    group = _place(server, name)
    named = [subject(server, text, SERVICE_ACCOUNT, USER) for text in subjects]
    return [f"{group}/{below}/{one.id}" for one in named]
