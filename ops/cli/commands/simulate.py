"""Who would gain and lose what by changes that are not made yet? (cli 5.5)."""

from __future__ import annotations

import json
import sys
from typing import IO, Any, Final

import click

from ops.cli import client, effects, options
from ops.cli.client import Server
from ops.cli.main import DENIED

KINDS: Final = ("role", "group", "binding", "service-account", "user")


@click.command("simulate", cls=client.Command)
@client.connected
@click.option(
    "-f", "--file", type=click.File(encoding="utf-8"), help="JSON: a list of changes; - for input."
)
@click.option(
    "--remove",
    multiple=True,
    metavar="KIND:NAME",
    help=f"Remove this as well, by name or id; KIND is one of {', '.join(KINDS)}. Repeatable.",
)
@click.option("--fail-on-gain", is_flag=True, help="Exit 3 when anyone would gain anything.")
def command(
    server: Server,
    file: IO[str] | None,
    remove: tuple[str, ...],
    fail_on_gain: bool,  # noqa: FBT001 - a flag of the command line
) -> None:
    """Try changes out together, and print who would gain and who would lose what.

    A change is a request as it would be sent, {"method", "path", "body", "as"}, or a removal,
    {"remove", "id"}; "{name}" stands for the id of what an earlier change made "as" that name.
    Nothing is written.
    """
    changes = [*_read(file), *map(_removal, remove)]
    if not changes:
        raise click.UsageError("give changes by --file, or --remove something")
    server.require_now("and changes are tried on what is there now")
    found = server.ask(server.path("access/simulate"), {"changes": changes}).value
    if options.form() == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        for line in effects.of_access(found["access"]):
            click.echo(line)
    click.echo(f"position {found['position']}, nothing is written", err=True)
    if fail_on_gain and is_gain(found["access"]):
        sys.exit(DENIED)


def _read(file: IO[str] | None) -> list[Any]:
    if file is None:
        return []
    try:
        found = json.load(file)
    except ValueError as fault:
        raise click.UsageError(f"--file holds no JSON: {fault}") from None
    changes = found.get("changes") if isinstance(found, dict) else found
    if not isinstance(changes, list):
        raise click.UsageError('--file holds a list of changes, or {"changes": [...]}')
    return changes


def _removal(text: str) -> dict[str, str]:
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS or not name:
        raise click.UsageError(f"--remove {text} must be KIND:NAME, such as role:deployer")
    return {"remove": kind, "id": name}


def is_gain(access: dict[str, Any]) -> bool:
    """Tell whether anyone gains, or whether that cannot be said: unknown means yes."""
    return bool(access["gains"] or access["ownersGained"] or access["hidden"])
