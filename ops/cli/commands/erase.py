"""How is a person erased from a terminal? (cli 5.5 and 6, level 2)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from ops.cli import client
from ops.cli.client import Failure, Server, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_FOUND = 6


@click.command("erase")
@client.options
@click.argument("subject", metavar="user:EMAIL|user:ID")
@click.option("--reason", required=True, help="Why; it stands in the log for ever.")
@click.option("--confirm", metavar="NAME", help="The EMAIL or ID once more, instead of a question.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done.")
def command(
    server: Server,
    tenant: str,
    subject: str,
    reason: str,
    confirm: str | None,
    dry_run: bool,  # noqa: FBT001 - a flag of the command line
) -> None:
    """Erase the personal data of a person for good; a user who is still there is deleted.

    The keys of e-mail, names and passwords are destroyed. The log keeps who did what by ids, and
    every proof stays valid.
    """
    del tenant  # a person belongs to the installation
    kind, _, name = subject.partition(":")
    if kind != "user" or not name:
        raise click.UsageError(f"{subject} must be user:EMAIL or user:ID")
    path = f"/api/v1/users/{quote(_id_of(server, name), safe='')}/erase"
    headers = {"X-Muniment-Reason": reason}
    with server.answer("POST", f"{path}?dryRun=true", headers=headers) as answer:
        would_be = json.loads(answer.read())
    for line in _lines(would_be):
        click.echo(line, err=not dry_run)
    if dry_run:
        return
    _require_confirmed(name, confirm)
    with server.answer("POST", path, headers=headers) as answer:
        answer.read()
        click.echo(f"erased at position {answer.headers['X-Muniment-Position']}")


def _id_of(server: Server, name: str) -> str:
    """Answer the id of the user with an e-mail; anything else is an id."""
    if "@" not in name:
        return name
    query = urlencode({"filters[email][EQUALS]": name, "size": 2})
    with server.answer("GET", f"/api/v1/users?{query}") as answer:
        found = json.loads(answer.read())["results"]
    if len(found) != 1:
        raise Failure(f"no user {shown(name)}; one deleted before is named by its id", NOT_FOUND)
    id_: str = found[0]["id"]
    return id_


def _require_confirmed(name: str, confirm: str | None) -> None:
    if confirm is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"give --confirm {name}, since nobody can be asked")
        confirm = click.prompt(f"This cannot be undone. Type {name}", err=True)
    if confirm != name:
        raise click.UsageError(f"--confirm must be {name}; nothing is erased")


def _lines(would_be: dict[str, Any]) -> Iterator[str]:
    topics = [event["topic"] for event in would_be["events"]]
    for topic in dict.fromkeys(topics):
        yield shown(f"{topics.count(topic)} x {topic}")
    losses = would_be["access"]["losses"]
    if losses:
        yield f"{losses} rights end"
    if not topics:
        yield "erased already"
