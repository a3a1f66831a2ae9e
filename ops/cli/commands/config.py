"""How are profiles kept, and which value comes from where? (cli 2 and 2.1)."""

from __future__ import annotations

from typing import Any

import click

from ops.cli import client, options, output, profiles
from ops.cli.failures import Failure
from ops.cli.main import INVALID, NOT_FOUND

_SECRET = frozenset({"api_token", "user", "header"})


@click.group(cls=client.Group)
def command() -> None:
    """Keep profiles: a server, a tenant, and a way to sign in."""


@command.command("show")
def show() -> None:
    """Print each value with its source; secrets as `set`."""
    rows = [
        {"name": name, "value": "set" if name in _SECRET else one.value, "source": one.source}
        for name, one in options.chosen().items()
    ]
    output.write_list(rows, ("name", "value", "source"))


@command.command("list")
def list_() -> None:
    """List profiles."""
    tables = profiles.read_all()
    rows = [
        {
            "name": name,
            "server": profile.get("server", ""),
            "tenant": profile.get("tenant", ""),
            "default": name == tables.get("default"),
        }
        for name, profile in tables.items()
        if isinstance(profile, dict)
    ]
    output.write_list(rows, ("name", "server", "tenant", "default"))


@command.command("add")
@click.argument("name")
@click.option("--default", "is_default", is_flag=True, help="Use it where none is named.")
@click.option("--token-command", help="A program that prints the token.")
def add(name: str, token_command: str | None, *, is_default: bool) -> None:
    """Keep the --server, --tenant and credential that are given under a name."""
    if name == "default" or not name.isprintable():
        raise click.UsageError("a profile may not have this name")
    tables = profiles.read_all()
    if name in tables:
        raise Failure(f"there is a profile {name} already", INVALID, code="profile.exists")
    given = options.given()
    profile = {key: str(given[key]) for key in profiles.MEMBERS if key in given}
    if token_command is not None:
        profile["token_command"] = token_command
    if sum(key in profile for key in options.CREDENTIALS) > 1:
        raise click.UsageError("a profile has one way to sign in")
    if "server" not in profile or profile.get("api_token") == "-":
        raise click.UsageError("give --server, and a credential that does not come from input")
    default = {"default": name} if is_default else {}
    profiles.write({**tables, **default, name: profile})


@command.command("use")
@click.argument("name")
def use(name: str) -> None:
    """Make a profile the one that is used where none is named."""
    profiles.write({**_with(name), "default": name})


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a profile."""
    tables = _with(name)
    del tables[name]
    if tables.get("default") == name:
        del tables["default"]
    profiles.write(tables)


def _with(name: str) -> dict[str, Any]:
    tables = profiles.read_all()
    if not isinstance(tables.get(name), dict):
        raise Failure(f"there is no profile {name}", NOT_FOUND, code="profile.unknown")
    return tables
