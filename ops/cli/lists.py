"""How are lists, single objects and deletions asked for, the same way for every noun? (cli 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ops.cli import client, effects, output
from ops.cli.client import Server, require_yes
from ops.cli.failures import Failure, shown
from ops.cli.names import Kind, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    F = TypeVar("F", bound=Callable[..., Any])

_PAGE_ROWS_MAX: Final = 1_000


def narrowed(command: F) -> F:
    """Give a list the options of every list."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="The whole list."),
        click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True),
        click.option("--sort", metavar="FIELD[:desc]", help="In which order."),
        click.option("--q", help="Only what has this text."),
    ):
        command = option(command)
    return command


def write(
    server: Server,
    path: str,
    columns: Sequence[str],
    *,
    limit: int,
    everything: bool,
    q: str | None = None,
    **query: Any,  # noqa: ANN401 - filters of the route
) -> None:
    """Write a list; all its pages show one moment."""
    if q is not None:
        query["filters[q][EQUALS]"] = q
    wanted = None if everything else limit
    output.write_list(pages(server, path, query, wanted), columns)


def pages(
    server: Server,
    path: str,
    query: Mapping[str, Any],
    wanted: int | None = None,
    moment: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Answer the first `wanted` rows of a list, or all; by default of the chosen moment."""
    rows: list[dict[str, Any]] = []
    moment = server.moment() if moment is None else moment
    page = 1
    size = min(_PAGE_ROWS_MAX, wanted or _PAGE_ROWS_MAX)
    while True:
        asked = {**query, **moment, "page": page, "size": size}
        answer = server.read_target(client.target(path, asked))
        found = answer.value["results"]
        rows += found
        if len(found) < size or (wanted is not None and len(rows) >= wanted):
            return rows[:wanted]
        # A server of the contract alone tells no position, and has no past.
        moment, page = ({"position": answer.position} if answer.position else moment), page + 1


def walk(
    server: Server,
    path: str,
    limit: int | None,
    query: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Answer the first `limit` entries of a list that goes on by cursors, or all, of one moment."""
    size = min(_PAGE_ROWS_MAX, limit or _PAGE_ROWS_MAX)
    asked = {**query, **server.moment(), "limit": size}
    found: list[dict[str, Any]] = []
    while True:
        page = server.read_target(client.target(path, asked)).value
        found += page["items"]
        if "nextCursor" not in page or (limit is not None and len(found) >= limit):
            return found[:limit]
        asked["cursor"] = page["nextCursor"]


def redescribe(
    server: Server, place: str, name: str | None, description: str | None, columns: Sequence[str]
) -> None:
    """Change a name or a description and nothing else, on exactly what is there now."""
    if name is None and description is None:
        raise click.UsageError("give --name or --description")
    before, version = server.read_version(place)
    body = {
        "name": before["name"] if name is None else name,
        "description": before.get("description", "") if description is None else description,
    }
    answer = server.write("PUT", place, body, version)
    effects.written(server, answer, lambda made: output.write_one(made, columns))


def delete(server: Server, kind: Kind, path: str, name: str) -> None:
    """Delete what has a name, after a question; what depends on it is named first (cli 6)."""
    target = server.path(f"{path}/{resolve(server, kind, name)}")
    if not server.dry_run:
        require_yes(f"Delete {kind.word} {name}?")
    effects.written(server, server.write("DELETE", target))


def delete_unused_first(server: Server, kind: Kind, path: str, name: str) -> None:
    """Delete a role or group; where bindings name it, only after a question that lists them."""
    target = server.path(f"{path}/{resolve(server, kind, name)}")
    if server.dry_run:
        effects.written(server, server.write("DELETE", target))
        return
    require_yes(f"Delete {kind.word} {name}?")
    try:
        answer = server.write("DELETE", target, ifUnused="true")
    except Failure as refusal:
        if not str(refusal.problem.get("code")).endswith(".in_use"):
            raise
        for one in refusal.problem.get("dependents", []):
            click.echo(shown(f"ends with it: {one['type']} {one['id']}"), err=True)
        require_yes(f"{kind.word} {name} is in use. Delete it with all of these?")
        answer = server.write("DELETE", target)
    effects.written(server, answer)
