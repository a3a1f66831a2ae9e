"""What happened that is no change: decisions, sign-ins, refusals, readings? (cli 5.5)."""

from __future__ import annotations

from typing import Any, Final

import click

from ops.cli import client, output
from ops.cli.client import Server
from ops.cli.trail import filtered, searched

COLUMNS: Final = ("number", "at", "actor.name", "kind", "outcome", "summary")
_PAGE_ROWS_MAX: Final = 1_000


@click.group(cls=client.Group)
def command() -> None:
    """Read the journal: decisions, sign-ins, refusals, uses of tokens, readings of the trail."""


@command.command("list")
@client.connected
@click.option("--everything", is_flag=True, help="The whole installation; for instance owners.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@filtered
def list_(
    server: Server,
    limit: int,
    everything: bool,  # noqa: FBT001 - a flag of the command line
    **asked: str | None,
) -> None:
    """List entries, newest first; all filters must let them through."""
    server.require_now("and the journal has none: use --since and --until-time")
    path = "/api/v1/audit/journal" if everything else server.path("audit/journal")
    query = {**searched(asked), "limit": min(limit, _PAGE_ROWS_MAX)}
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        page = server.read_target(client.target(path, query)).value
        found += page["items"]
        if "nextBefore" not in page:
            break
        query["before"] = page["nextBefore"]
    output.write_list(found[:limit], COLUMNS)
