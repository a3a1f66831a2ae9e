"""Can the whole log be read, in one order without gaps, and folded?"""

from __future__ import annotations

from pathlib import Path

import click

from domain.events import decode
from domain.state import Draft, State, apply, digest
from ops.cli.local import options
from ops.cli.local.failing import Failure, explained
from ops.cli.main import INTEGRITY
from ops.settings import read_settings
from ops.stores import open_reader, read_all


@click.command("verify")
@options.store
def command(data_dir: Path | None, database_url: str | None) -> None:
    """Read, decode and fold every event; exit code 10 names the first position that is wrong."""
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        with open_reader(settings) as log:
            draft = Draft(State())
            for record in read_all(log):
                if record.position != draft.position + 1:
                    raise Failure("log.gap", f"position {draft.position + 1} is missing", INTEGRITY)
                fact = decode(record)
                if fact.envelope.at < draft.at:
                    raise Failure(
                        "log.time", f"time runs backwards at position {fact.position}", INTEGRITY
                    )
                apply(draft, fact)
            log_id = log.log_id
    state = draft.finish()
    if state.log_id != log_id:
        raise Failure("log.foreign", "position 1 opens another log", INTEGRITY)
    click.echo(f"{state.position} events, digest {digest(state)}")
