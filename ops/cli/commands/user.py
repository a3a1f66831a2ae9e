"""How are users managed from a terminal? (cli 5.2; for instance owners)."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from ops.cli import client, effects, lists, output
from ops.cli.client import Server
from ops.cli.names import GROUP, INSTANCE_USER, resolve

COLUMNS: Final = ("id", "username", "displayName", "tenants.id", "instanceOwner")
PATH: Final = "/api/v1/users"


@click.group(cls=client.Group)
def command() -> None:
    """Manage users: people, who have a password and may sign in to the console."""


@command.command("list")
@client.connected
@lists.narrowed
def list_(server: Server, **given: Any) -> None:  # noqa: ANN401 - the options of every list
    """List the users of the installation."""
    lists.write(server, PATH, COLUMNS, **given)


@command.command("get")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
def get(server: Server, email: str) -> None:
    """Show a user."""
    output.write_one(server.read(_place(server, email)).value, COLUMNS)


@command.command("create")
@client.connected
@click.argument("email")
@click.option("--first-name", default="")
@click.option("--last-name", default="")
@click.option("--new-password-stdin", is_flag=True, help="A first password, from standard input.")
@click.option("--tenant-access", "tenants", multiple=True, metavar="TENANT", help="Repeatable.")
@click.option("--group", "groups", multiple=True, help="Of the chosen tenant. Repeatable.")
def create(
    server: Server,
    email: str,
    first_name: str,
    last_name: str,
    tenants: tuple[str, ...],
    groups: tuple[str, ...],
    *,
    new_password_stdin: bool,
) -> None:
    """Create a user, without a password unless one is given."""
    body: dict[str, Any] = {"email": email, "firstName": first_name, "lastName": last_name}
    body["tenants"] = [*tenants]
    body["groups"] = [resolve(server, GROUP, group) for group in groups]
    if new_password_stdin:
        body["password"] = sys.stdin.readline().rstrip("\r\n")
    answer = server.write("POST", PATH, body)
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("update")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
@click.option("--email", "new_email", help="Another e-mail.")
@click.option("--first-name")
@click.option("--last-name")
def update(
    server: Server,
    email: str,
    new_email: str | None,
    first_name: str | None,
    last_name: str | None,
) -> None:
    """Change a user's e-mail or names."""
    given = {"email": new_email, "firstName": first_name, "lastName": last_name}
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("give --email, --first-name or --last-name")
    answer = server.write("PATCH", _place(server, email), body)
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


@command.command("set-password")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
@click.option("--new-password-stdin", is_flag=True, help="Read it from standard input.")
def set_password(server: Server, email: str, *, new_password_stdin: bool) -> None:
    """Set a user's password, and end all sessions."""
    place = _place(server, email)
    if new_password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif client.is_asked():
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise click.UsageError("give --new-password-stdin, since nobody can be asked")
    effects.written(server, server.write("PATCH", f"{place}/password", {"password": password}))


@command.command("enable")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
def enable(server: Server, email: str) -> None:
    """Let a user act again."""
    effects.written(server, server.write("POST", f"{_place(server, email)}/enable"))


@command.command("disable")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
def disable(server: Server, email: str) -> None:
    """Refuse a user's password, sessions and tokens from the next request on."""
    place = _place(server, email)
    if not server.dry_run:
        client.require_yes(f"Disable user {email}?")
    effects.written(server, server.write("POST", f"{place}/disable"))


@command.command("delete")
@client.connected
@click.argument("email", metavar="EMAIL|ID")
def delete(server: Server, email: str) -> None:
    """Delete a user, with tokens, memberships and bindings; `erase` forgets the person as well."""
    place = _place(server, email)
    if not server.dry_run:
        client.require_yes(f"Delete user {email}?")
    effects.written(server, server.write("DELETE", place))


def _place(server: Server, email: str) -> str:
    return f"{PATH}/{resolve(server, INSTANCE_USER, email)}"
