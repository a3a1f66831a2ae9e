"""How is an installation served?"""

from __future__ import annotations

from pathlib import Path

import click

from ops import logs
from ops.cli.local import options
from ops.cli.local.failing import explained
from ops.inputs import SystemInputs
from ops.settings import read_settings, require_servable
from ops.wiring import serve


@click.command("serve")
@options.store
@click.option("--host", help="The address to listen on; loopback by default. [MUNIMENT_HOST]")
@click.option("--port", type=int, help="The port, 0 for any free one. [MUNIMENT_PORT]")
@click.option("--public-url", help="The https address of the service. [MUNIMENT_PUBLIC_URL]")
def command(
    data_dir: Path | None,
    database_url: str | None,
    host: str | None,
    port: int | None,
    public_url: str | None,
) -> None:
    """Serve in the foreground; prints `listening on http://HOST:PORT`."""
    with explained():
        settings = read_settings(
            data_dir=data_dir,
            database_url=database_url,
            host=host,
            port=port,
            public_url=public_url,
        )
        require_servable(settings)
        logs.configure(level=settings.log_level.upper())
        serve(settings, SystemInputs())
