"""What does the whole state at a position amount to, in one line that can be compared?"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from domain.events import decode
from domain.state import Draft, State, apply, digest
from ops.cli.local import options
from ops.cli.local.failing import Failure, explained
from ops.cli.main import INVALID
from ops.settings import read_settings
from ops.stores import open_reader, read_all


@click.command("digest")
@options.store
@click.option("--at", "position", type=click.IntRange(min=0), help="The position; else the head.")
def command(data_dir: Path | None, database_url: str | None, position: int | None) -> None:
    """Print `POSITION SHA-256` of the state, folded from the log; works beside a server."""
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        with open_reader(settings) as log:
            draft = Draft(State())
            for record in islice(read_all(log), position):
                apply(draft, decode(record))
    state = draft.finish()
    if position is not None and state.position != position:
        raise Failure("position.future", f"the log ends at {state.position}", INVALID)
    click.echo(f"{state.position} {digest(state)}")
