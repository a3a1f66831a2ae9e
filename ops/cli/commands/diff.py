"""What differs between two moments, and who gained and lost what? (cli 5.5)."""

from __future__ import annotations

import sys

import click

from ops.cli import client, effects, options, output
from ops.cli.client import Server
from ops.cli.failures import shown
from ops.cli.main import DENIED
from ops.cli.names import SERVICE_ACCOUNT, USER, subject
from ops.cli.times import instant


@click.command("diff", cls=client.Command)
@client.connected
@click.option("--from", "begin", required=True, help="A position, an instant, a day or 24h ago.")
@click.option("--to", "end", help="The same; else now.")
@click.option("--subject", "named", help="Only about sa:NAME or user:EMAIL.")
@click.option("--namespace", help="Only in this namespace.")
@click.option("--exit-code", is_flag=True, help="Exit 3 when anything differs.")
def command(
    server: Server,
    begin: str,
    end: str | None,
    named: str | None,
    namespace: str | None,
    *,
    exit_code: bool,
) -> None:
    """Compare the tenant's objects and effective access at two moments."""
    server.require_now("which a comparison takes by --from and --to")
    asked = {
        "from": _moment(begin, "--from"),
        "to": None if end is None else _moment(end, "--to"),
        "principal": named and subject(server, named, SERVICE_ACCOUNT, USER).id,
        "namespace": namespace,
    }
    path = client.target(server.path("access/compare"), asked)
    found = server.read_target(path).value
    if options.form() in {"json", "yaml"}:
        output.write_one(found, ())
    else:
        for one in found["objects"]:
            word = {(True, False): "gone", (False, True): "new"}.get(
                ("before" in one, "after" in one), "changed"
            )
            name = one.get("after", one.get("before", {})).get("name", "")
            click.echo(shown(f"{word}: {one['kind']} {name or one['id']}"))
        for line in effects.of_access(found["access"]):
            click.echo(line)
    # Rights that may not be told are taken for a difference: unknown means yes here.
    access = found["access"]
    differs = found["differences"] or access["gains"] or access["losses"] or access["hidden"]
    if exit_code and (differs or access["ownersGained"] or access["ownersLost"]):
        sys.exit(DENIED)


def _moment(text: str, option: str) -> str:
    return text if text.isascii() and text.isdigit() else instant(text, option)
