"""What does the whole state at a position amount to, in one line that can be compared?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
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
@click.option("--position", type=click.IntRange(min=0), help="At this position; else the head.")
@click.option("--at", metavar="INSTANT", help="At the end of this instant or day, in UTC.")
def command(
    data_dir: Path | None, database_url: str | None, position: int | None, at: str | None
) -> None:
    """Print `POSITION SHA-256` of the state, folded from the log; works beside a server."""
    if position is not None and at is not None:
        raise click.UsageError("give --position or --at, not both")
    end = None if at is None else _instant(at)
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        with open_reader(settings) as log:
            draft = Draft(State())
            facts = map(decode, islice(read_all(log), position))
            # Instants never run backwards along positions.
            for fact in takewhile(lambda fact: end is None or fact.envelope.at <= end, facts):
                apply(draft, fact)
    state = draft.finish()
    if position is not None and state.position != position:
        raise Failure("position.future", f"the log ends at {state.position}", INVALID)
    click.echo(f"{state.position} {digest(state)}")


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
        if len(text) == len("2026-03-31"):
            # A day is meant to its end (cli 2.2).
            instant += timedelta(days=1, microseconds=-1)
    except ValueError:
        raise click.UsageError(f"--at {text} is no instant of RFC 3339") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
