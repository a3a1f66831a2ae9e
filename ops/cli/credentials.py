"""As whom does a client command speak, and where does the secret come from? (cli 2).

A secret stands in no error, and on the command line of no other process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.cli.options import Chosen

_COMMAND_SECONDS = 30


def authorization(given: Mapping[str, Chosen]) -> str:
    """Answer the Authorization header. UsageError where no way to sign in is chosen."""
    if "user" in given:
        return _basic(given["user"])
    token = _token(given)
    if not token:
        raise click.UsageError(
            "nobody is signed in: give --api-token-file, --api-token or --user, or a --profile"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise click.UsageError("what was given as a token is none")
    return f"Bearer {token}"


def _token(given: Mapping[str, Chosen]) -> str:
    if "api_token" in given:
        text = str(given["api_token"].value)
        return sys.stdin.readline().strip() if text == "-" else text
    if "api_token_file" in given:
        path = Path(str(given["api_token_file"].value))
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise click.UsageError(f"{path} cannot be read: {type(fault).__name__}") from None
    if "token_command" in given:
        return _printed(str(given["token_command"].value))
    return ""


def _printed(command: str) -> str:
    """Answer what a program of the profile prints: it is run without a shell."""
    import shlex
    import subprocess

    try:
        ran = subprocess.run(  # noqa: S603 - the user's own program, from a file of mode 0600
            shlex.split(command),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as fault:
        raise click.UsageError(f"the token_command failed: {type(fault).__name__}") from None
    return ran.stdout.strip()


def _basic(user: Chosen) -> str:
    import base64

    email, colon, password = str(user.value).partition(":")
    if colon and user.source == "flag":
        click.echo("note: lists of processes show a password that is given so", err=True)
    if not colon:
        password = _password(email)
    return f"Basic {base64.b64encode(f'{email}:{password}'.encode()).decode()}"


def _password(email: str) -> str:
    import os

    if options.given().get("password_stdin"):
        return sys.stdin.readline().rstrip("\r\n")
    if "MUNIMENT_PASSWORD" in os.environ:
        return os.environ["MUNIMENT_PASSWORD"]
    if not sys.stdin.isatty() or options.given().get("no_input"):
        raise click.UsageError("give --password-stdin or MUNIMENT_PASSWORD; nobody can be asked")
    asked: str = click.prompt(f"Password of {email}", hide_input=True, err=True)
    return asked
