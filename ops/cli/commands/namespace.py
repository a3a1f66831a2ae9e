"""In which namespaces does anybody have anything? (cli 5.2)."""

from __future__ import annotations

from collections import Counter
from typing import Final

import click

from ops.cli import client, lists, options, output
from ops.cli.client import Server
from ops.cli.failures import shown

COLUMNS: Final = ("namespace", "bindings")


@click.group(cls=client.Group)
def command() -> None:
    """Namespaces are paths such as prod.billing; a binding to one covers those below it."""


@command.command("list")
@client.connected
@click.option("--tree", is_flag=True, help="Drawn with what each one covers below it.")
def list_(server: Server, *, tree: bool) -> None:
    """List the namespaces that bindings name, with how many do."""
    rows = lists.pages(server, server.path("bindings/search"), {})
    often = Counter(row["namespace"] for row in rows if row.get("namespace"))
    if tree:
        _draw(often)
        return
    found = [{"namespace": path, "bindings": often[path]} for path in sorted(often)]
    output.write_list(found, COLUMNS)


def _draw(often: Counter[str]) -> None:
    if options.form() != "table":
        raise click.UsageError("--tree is drawn as a table only")
    words = [tuple(path.split(".")) for path in often]
    paths = {one[:depth] for one in words for depth in range(1, len(one) + 1)}
    for path in sorted(paths):
        count = often[".".join(path)]
        click.echo(shown(f"{'  ' * (len(path) - 1)}{path[-1]}{f'  {count}' if count else ''}"))
