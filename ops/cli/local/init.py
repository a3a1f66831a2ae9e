"""How does an operator make an installation?"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from domain.sealed import Secret
from ops.cli.local import options
from ops.cli.local.failing import Failure, explained
from ops.cli.main import INVALID
from ops.inputs import SystemInputs
from ops.passwords import PasswordHasher, check_password
from ops.settings import Settings, read_settings
from ops.setup import NewUser, set_up


@click.command("init")
@options.store
@click.option("--admin-email", required=True, metavar="EMAIL", help="The first instance owner.")
@click.option("--first-name", default="", help="The owner's first name.")
@click.option("--last-name", default="", help="The owner's last name.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the owner's password; asked for on a terminal otherwise.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--public-url",
    help="The https address of the service: checkpoints are signed under it. [MUNIMENT_PUBLIC_URL]",
)
def command(
    data_dir: Path | None,
    database_url: str | None,
    admin_email: str,
    first_name: str,
    last_name: str,
    password_file: Path | None,
    public_url: str | None,
    *,
    password_stdin: bool,
) -> None:
    """Make log, vault, master key, tenant main and the first instance owner."""
    with explained():
        settings = read_settings(
            data_dir=data_dir, database_url=database_url, public_url=public_url
        )
        password = _password(password_file, password_stdin=password_stdin)
        _judge(password, (admin_email, first_name, last_name), settings)
        inputs = SystemInputs()
        hasher = PasswordHasher(inputs)
        owner = NewUser(
            email=admin_email,
            first_name=first_name,
            last_name=last_name,
            password_hash=asyncio.run(hasher.hash(password)),
        )
        hasher.close()
        try:
            set_up(settings, inputs, owner)
        except ValueError as error:
            raise Failure("user.invalid", f"--admin-email {error}", INVALID) from error
    click.echo(f"made an installation in {settings.data_dir}", err=True)


def _password(file: Path | None, *, password_stdin: bool) -> Secret:
    if file is not None:
        return _text(file.read_bytes())
    if password_stdin:
        return _text(sys.stdin.buffer.readline())
    if not sys.stdin.isatty():
        raise click.UsageError("give --password-file or --password-stdin; there is no default")
    return Secret(click.prompt("Password", hide_input=True, confirmation_prompt=True, type=str))


def _text(given: bytes) -> Secret:
    # What is no UTF-8 is kept apart by surrogates, which no password may have.
    return Secret(given.decode(errors="surrogateescape").rstrip("\r\n"))


def _judge(password: Secret, own_words: tuple[str, ...], settings: Settings) -> None:
    faults = check_password(
        password, own_words=own_words, minimum_length=settings.password_characters_min
    )
    if faults:
        raise Failure(faults[0].code, f"the password {faults[0].detail}", INVALID)
