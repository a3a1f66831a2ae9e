"""Where is the trail delivered to, and how far has it come? (cli 5.5; for instance owners)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ops.cli import client, effects, output
from ops.cli.client import Server
from ops.cli.failures import Failure
from ops.cli.main import INVALID, NOT_FOUND

if TYPE_CHECKING:
    from ops.cli.client import Answer

COLUMNS: Final = (
    *("id", "name", "kind", "url", "paused", "delivery.position", "delivery.lag"),
    *("delivery.halted", "delivery.error"),
)
PATH: Final = "/api/v1/audit/sinks"


@click.group(cls=client.Group)
def command() -> None:
    """Deliver the trail to a webhook, or to files on the server's host."""


@command.command("list")
@client.connected
def list_(server: Server) -> None:
    """List the sinks, and how far each has come."""
    output.write_list(server.read(PATH).value["items"], COLUMNS)


@command.command("get")
@client.connected
@click.argument("name")
def get(server: Server, name: str) -> None:
    """Show a sink."""
    output.write_one(server.read(_place(server, name)).value, COLUMNS)


@command.command("create")
@client.connected
@click.argument("name")
@click.option("--url", help="Of a webhook; without it, files are written where the operator says.")
@click.option("--type", "types", multiple=True, help="Only these types, as token.*. Repeatable.")
@click.option(
    "--after", type=click.IntRange(min=0), help="From this position on; else from now on."
)
def create(
    server: Server, name: str, url: str | None, types: tuple[str, ...], after: int | None
) -> None:
    """Begin to deliver; the secret that signs what is sent is shown here, once."""
    body: dict[str, Any] = {"name": name, "kind": "file" if url is None else "webhook"}
    given = {"url": url, "types": [*types] or None, "after": after}
    body |= {key: value for key, value in given.items() if value is not None}
    answer = server.write("POST", PATH, body)
    effects.written(server, answer, lambda made: output.write_one(made, ("id", "name", "secret")))


@command.command("pause")
@client.connected
@click.argument("name")
def pause(server: Server, name: str) -> None:
    """Let a sink wait; nothing is lost."""
    _written(server, server.write("POST", f"{_place(server, name)}/pause"))


@command.command("resume")
@client.connected
@click.argument("name")
def resume(server: Server, name: str) -> None:
    """Let a sink go on that was paused or halted."""
    _written(server, server.write("POST", f"{_place(server, name)}/resume"))


@command.command("replay")
@client.connected
@click.argument("name")
@click.option("--from", "after", type=click.IntRange(min=0), required=True, metavar="POSITION")
def replay(server: Server, name: str, after: int) -> None:
    """Send again what follows a position."""
    _written(server, server.write("POST", f"{_place(server, name)}/replay", {"after": after}))


@command.command("delete")
@client.connected
@click.argument("name")
def delete(server: Server, name: str) -> None:
    """Deliver to a sink no more."""
    place = _place(server, name)
    version = server.read_version(place)[1]
    if not server.dry_run:
        client.require_yes(f"Delete sink {name}?")
    effects.written(server, server.write("DELETE", place, None, version))


def _written(server: Server, answer: Answer) -> None:
    effects.written(server, answer, lambda made: output.write_one(made, COLUMNS))


def _place(server: Server, name: str) -> str:
    """Answer the path of the sink that has this name or id."""
    found = server.read(PATH).value["items"]
    ids = [one["id"] for one in found if name in {one["id"], one["name"]}]
    if not ids:
        raise Failure(f"there is no sink {name}", NOT_FOUND, code="name.unknown")
    if len(ids) > 1:
        said = f"sink {name} is ambiguous: give one of {', '.join(ids)}"
        raise Failure(said, INVALID, code="name.ambiguous")
    return f"{PATH}/{ids[0]}"
