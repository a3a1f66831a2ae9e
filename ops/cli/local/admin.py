"""What can only the operator do, on the host, with the keys at hand?"""

from __future__ import annotations

from pathlib import Path

import click

from ops.checkpoints import ROTATION
from ops.cli.local import options
from ops.cli.local.failing import Failure, explained
from ops.cli.main import INVALID
from ops.inputs import SystemInputs
from ops.log_check import equal_through
from ops.settings import read_settings
from ops.stores import open_stores


@click.group("admin")
def command() -> None:
    """Change what only the operator may: keys, and the origin of checkpoints."""


@command.command("rotate-key")
@click.argument("key", type=click.Choice(["signing"]))
@options.store
def rotate_key(key: str, data_dir: Path | None, database_url: str | None) -> None:
    """Let a new key sign checkpoints; the old one signs beside it for a while.

    On SQLite the server must be stopped.
    """
    del key
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        inputs = SystemInputs()
        with open_stores(settings, inputs) as stores:
            verifier = stores.checkpoints.rotate(stores.vault, inputs)
    click.echo(str(verifier))
    click.echo(f"the former key signs beside it for {ROTATION.days} days", err=True)


@command.command("new-origin")
@options.store
def new_origin(data_dir: Path | None, database_url: str | None) -> None:
    """Sign a restored log under a new origin, since it cannot continue what was published.

    The last checkpoint of the former origin stays published beside it, so that the cut is seen.
    On SQLite the server must be stopped.
    """
    with explained():
        settings = read_settings(data_dir=data_dir, database_url=database_url)
        inputs = SystemInputs()
        with open_stores(settings, inputs) as stores:
            last = stores.checkpoints.last()
            held = equal_through(stores.log, stores.checkpoints)
            if last is None or held == last.size:
                raise Failure(
                    "origin.continues", "the log continues all that was signed of it", INVALID
                )
            origins = stores.checkpoints.origins()
            name = f"{origins[0].name}/{len(origins) + 1}"
            stores.checkpoints.begin(stores.vault, name, inputs, held)
    click.echo(name)
    click.echo(f"{last.origin} was signed up to {last.size}; {held} events are the same", err=True)
