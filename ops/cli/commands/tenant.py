"""How are tenants managed from a terminal? (cli 5.2; for instance owners)."""

from __future__ import annotations

from typing import Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server

COLUMNS: Final = ("id", "name")
PATH: Final = "/api/v1/tenants"


@click.group(cls=client.Group)
def command() -> None:
    """Manage tenants: isolated spaces of groups, roles and bindings."""


@command.command("list")
@client.connected
@lists.narrowed
def list_(server: Server, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List tenants."""
    lists.write(server, f"{PATH}/search", COLUMNS, **given)


@command.command("get")
@client.connected
@click.argument("id_", metavar="ID")
def get(server: Server, id_: str) -> None:
    """Show a tenant."""
    output.write_one(server.read(_place(id_)).value, COLUMNS)


@command.command("create")
@client.connected
@click.argument("id_", metavar="ID")
@click.option("--name", help="Its name; else the id.")
def create(server: Server, id_: str, name: str | None) -> None:
    """Create a tenant with its managed roles."""
    answer = server.write("POST", PATH, {"id": id_, "name": name or id_})
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("update")
@client.connected
@click.argument("id_", metavar="ID")
@click.option("--name", required=True, help="Another name.")
def update(server: Server, id_: str, name: str) -> None:
    """Change a tenant's name, and nothing else."""
    before, version = server.read_version(_place(id_))
    answer = server.write("PUT", _place(id_), {**before, "name": name}, version)
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("delete")
@client.connected
@click.argument("id_", metavar="ID")
@click.option("--confirm", metavar="ID", help="The id once more, instead of a question.")
def delete(server: Server, id_: str, confirm: str | None) -> None:
    """Delete a tenant with all that is in it; it cannot be undone."""
    if not server.dry_run:
        client.require_name(id_, confirm)
    effects.written(server, server.write("DELETE", _place(id_)))


def _place(id_: str) -> str:
    return f"{PATH}/{client.quoted(id_)}"
