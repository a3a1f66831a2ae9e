"""How is a person erased from a terminal? (cli 5.5 and 6, level 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ops.cli import client, effects
from ops.cli.client import Server
from ops.cli.failures import Failure, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOUND = 6


@click.command("erase", cls=client.Command)
@client.connected
@click.argument("subject", metavar="user:EMAIL|user:ID")
@click.option("--confirm", metavar="NAME", help="The EMAIL or ID once more, instead of a question.")
def command(server: Server, subject: str, confirm: str | None) -> None:
    """Erase the personal data of a person for good; a user who is still there is deleted.

    The keys of e-mail, names and passwords are destroyed. The log keeps who did what by ids, and
    every proof stays valid. It needs a --reason, which stands in the log for ever.
    """
    if not server.reason:
        raise click.UsageError("give --reason: nothing of the person can tell it afterwards")
    kind, _, name = subject.partition(":")
    if kind != "user" or not name:
        raise click.UsageError(f"{subject} must be user:EMAIL or user:ID")
    path = f"/api/v1/users/{quote(_id_of(server, name), safe='')}/erase"
    would_be = server.rehearse("POST", path)
    for line in _lines(would_be):
        click.echo(line, err=not server.dry_run)
    if server.dry_run:
        return
    client.require_name(name, confirm)
    answered = server.write("POST", path)
    click.echo(f"erased at position {answered.position}")


def _id_of(server: Server, name: str) -> str:
    """Answer the id of the user with an e-mail; anything else is an id."""
    if "@" not in name:
        return name
    query = {"filters[email][EQUALS]": name, "size": 2}
    found = server.read("/api/v1/users", **query).value["results"]
    if len(found) != 1:
        raise Failure(f"no user {shown(name)}; one deleted before is named by its id", NOT_FOUND)
    id_: str = found[0]["id"]
    return id_


def _lines(would_be: dict[str, Any]) -> Iterator[str]:
    losses = would_be["access"]["losses"]
    if not would_be["events"]:
        yield "erased already"
        return
    yield from effects.events(would_be)
    if losses:
        yield f"{losses} rights end"
