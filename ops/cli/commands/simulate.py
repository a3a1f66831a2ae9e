"""Who would gain and lose what by changes that are not made yet? (cli 5.5)."""

from __future__ import annotations

import json
import sys
from typing import IO, TYPE_CHECKING, Any, Final

import click

from ops.cli import client
from ops.cli.client import Server, shown
from ops.cli.main import DENIED

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: Final = ("role", "group", "binding", "service-account", "user")


@click.command("simulate")
@client.options
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
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True
)
def command(
    server: Server,
    tenant: str,
    file: IO[str] | None,
    remove: tuple[str, ...],
    fail_on_gain: bool,  # noqa: FBT001 - a flag of the command line
    output: str,
) -> None:
    """Try changes out together, and print who would gain and who would lose what.

    A change is a request as it would be sent, {"method", "path", "body", "as"}, or a removal,
    {"remove", "id"}; "{name}" stands for the id of what an earlier change made "as" that name.
    Nothing is written.
    """
    changes = [*_read(file), *map(_removal, remove)]
    if not changes:
        raise click.UsageError("give changes by --file, or --remove something")
    body = json.dumps({"changes": changes}).encode()
    with server.answer("POST", f"/api/v1/{tenant}/access/simulate", body) as answer:
        found = json.loads(answer.read())
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found["access"]):
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


def _lines(access: dict[str, Any]) -> Iterator[str]:
    yield from (_of_right("gains", right) for right in access["gained"])
    yield from (_of_right("loses", right) for right in access["lost"])
    yield from (_of_right("keeps", right) for right in access["remaining"])
    for word, owners in (("gains", access["ownersGained"]), ("loses", access["ownersLost"])):
        for owner in owners:
            yield shown(f"{_who(owner)} {word} instance ownership")
    for word, of in (("gains", "gained"), ("losses", "lost")):
        if access[word] > len(access[of]):
            yield f"{access[word] - len(access[of])} more {word} are not listed"
    if access["hidden"]:
        yield "rights change in tenants about which you may not ask"
    if not any(access.values()):
        yield "nobody gains or loses anything"


def _of_right(word: str, right: dict[str, Any]) -> str:
    permission, scope = right["permission"], right["scope"]
    resource = scope.get("resource", {})
    place = scope.get("namespace") or "/".join(resource.values()) or "everywhere"
    what = f"{permission['type']}:{permission['action']}"
    return shown(f"{_who(right['principal'])} {word} {what} in {right['tenant']}, {place}")


def _who(principal: dict[str, str]) -> str:
    return f"{principal['type']} {principal.get('name', principal['id'])}"
