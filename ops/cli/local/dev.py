"""How does a newcomer see the service alive, with one command?"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from msgspec import structs

from domain.sealed import Secret
from ops import logs
from ops.cli.local.failing import Failure, explained
from ops.cli.main import CONFLICT, INVALID
from ops.demo import OWNER_EMAIL, Shown, seed
from ops.inputs import SystemInputs
from ops.passwords import PasswordHasher
from ops.serving import announce
from ops.settings import read_settings
from ops.stores import LOG_FILE
from ops.wiring import serve


@click.command("dev")
@click.option("--host", help="Loopback only: the demo is for this machine.")
@click.option("--port", type=int, help="The port, 0 for any free one; 8080 by default.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Make the demo in this new directory and leave it there at the end.",
)
def command(host: str | None, port: int | None, keep: Path | None) -> None:
    """Serve a demo with a year of history; prints URL, sign-in and a ready token."""
    with explained(), ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muniment-")))
        elif (keep / LOG_FILE).exists():
            raise Failure(
                "instance.already_set_up",
                f"serve it: muniment serve --data-dir {shlex.quote(str(keep))}",
                CONFLICT,
            )
        # Whatever the environment says of a real installation: the demo's store is its own, and
        # it is served on this machine only.
        settings = structs.replace(
            read_settings(data_dir=keep, host=host, port=port),
            database_url=None,
            owner_database_url=None,
            master_key=None,
            public_url="",
            trusted_proxies=(),
        )
        if not settings.is_loopback:
            raise Failure("dev.not_loopback", "dev listens on loopback only", INVALID)
        logs.configure(level=settings.log_level.upper(), readable=True)
        inputs = SystemInputs()
        password = Secret(f"demo-{inputs.id()}")
        hasher = PasswordHasher(inputs)
        password_hash = asyncio.run(hasher.hash(password))
        hasher.close()
        shown = seed(settings, inputs.now(), password, password_hash)
        serve(settings, inputs, lambda url: _tell(url, shown))


def _tell(url: str, shown: Shown) -> None:
    click.echo(f"sign in as {OWNER_EMAIL} with the password {shown.password.reveal()}")
    token = shlex.quote(shown.token.reveal())
    click.echo(f"export MUNIMENT_SERVER={url} MUNIMENT_API_TOKEN={token}")
    # Last, so that a script that waits for this line finds the others.
    announce(url)
