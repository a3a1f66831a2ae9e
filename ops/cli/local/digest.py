"""What does the whole state at a position amount to, in one line that can be compared?"""

from __future__ import annotations

from pathlib import Path

import click

from domain.state import digest
from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.cli.local.moments import instant
from ops.replays import replay
from ops.settings import read_settings
from ops.stores import open_reader, read_all


@click.command("digest")
@options.store
@click.option("--position", type=click.IntRange(min=0), help="At this position; else the head.")
@click.option("--at", metavar="INSTANT", help="At the end of this instant or day, in UTC.")
def command(
    data_dir: Path | None, database_url: str | None, position: int | None, at: str | None
) -> None:
    """Print `POSITION SHA-256` of the state, folded from the log; works beside a server."""
    if position is not None and at is not None:
        raise click.UsageError("give --position or --at, not both")
    moment = position if at is None else instant(at, "--at")
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        with open_reader(settings) as log:
            state = replay(read_all(log), moment, lambda _: None)
    click.echo(f"{state.position} {digest(state)}")
