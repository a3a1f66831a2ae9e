"""How is a store brought to this release's schema?"""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.settings import read_settings
from ops.setup import migrate


@click.command("migrate")
@options.store
@click.option(
    "--owner-database-url",
    metavar="URL",
    help="PostgreSQL, as the owner of the schema. [MUNIMENT_OWNER_DATABASE_URL]",
)
def command(
    data_dir: Path | None, database_url: str | None, owner_database_url: str | None
) -> None:
    """Make or mend tables, triggers and grants; the log's rows are never touched."""
    with explained():
        migrate(
            read_settings(
                data_dir=data_dir,
                database_url=database_url,
                owner_database_url=owner_database_url,
            )
        )
    click.echo("the schema is this release's", err=True)
