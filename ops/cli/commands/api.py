"""How is any route asked with the same credentials? (cli 5.1)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ops.cli import client
from ops.cli.client import Server

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@click.command("api", cls=client.Command)
@client.connected
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("-d", "--data", metavar="JSON|@FILE", help="The body; @- reads standard input.")
def command(server: Server, method: str, path: str, data: str | None) -> None:
    """Send a raw request to a PATH such as /api/v1/main/roles/search, and print the answer."""
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise click.UsageError("PATH must begin with / and be encoded as in a URL")
    body = None if data is None else _body(data)
    if method == "GET" and body is None:
        answer = server.read_target(path)
    else:
        answer = server.write(method, path, body)
    if answer.value is not None:
        click.echo(json.dumps(answer.value, indent=2, ensure_ascii=False))
    client.done(answer)


def _body(data: str) -> object:
    try:
        if not data.startswith("@"):
            return json.loads(data)
        name = data.removeprefix("@")
        return json.loads(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise click.UsageError(f"--data holds no JSON: {type(fault).__name__}") from None
